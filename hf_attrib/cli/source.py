"""Where a prompt comes from: an argument, a file or standard input."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hf_attrib.chat import Messages
from hf_attrib.errors import InputError

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """Prompt."""

    prompt: Annotated[str | None, typer.Argument(help="The prompt; - reads standard input.")] = None
    file: Annotated[Path | None, typer.Option(help="Read the prompt from a file.")] = None
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Send it as a user's message in the chat; a .json file holds all messages.",
        ),
    ] = False

    def read(self) -> str | Messages:
        """Return the prompt as text, or as messages for the chat template.

        Raises:
            InputError: there is no prompt, or more than one, or it cannot be read.
        """
        if self.file is not None and self.prompt is not None:
            raise InputError("a prompt and --file were both given; give one of them.")
        if self.file is not None:
            text = _decode(_bytes(self.file), str(self.file))
            if self.chat and self.file.suffix.lower() == ".json":
                return _messages(text, self.file)
        elif self.prompt not in (None, "-"):
            text = _decode(self.prompt.encode(errors="surrogateescape"), "the prompt")
        elif self.prompt is None and sys.stdin.isatty():
            raise InputError(
                "no prompt was given; pass it as an argument, with --file or on standard input "
                "(hf-attrib explain --help has an example)."
            )
        else:
            text = _decode(sys.stdin.buffer.read(), "standard input")
        return [{"role": "user", "content": text}] if self.chat else text


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None


def _decode(data: bytes, where: str) -> str:
    """Return text without the final newline that editors and echo add."""
    try:
        return data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InputError(f"{where} is not UTF-8 text.") from None


def _messages(text: str, path: Path) -> Messages:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}).") from None
    messages = content if isinstance(content, list) else []
    if not messages or not all(isinstance(message, dict) for message in messages):
        raise InputError(f"{path} is no list of messages; expected [{{role, content}}, ...].")
    return messages

"""What a command reads: a prompt from an argument, a file or standard input; saved results."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from hf_attrib.cli.files import STDSTREAM, check_distinct, check_writable
from hf_attrib.cli.options import check_positive
from hf_attrib.errors import InputError
from hf_attrib.results import Attribution, Comparison, Result, compare, from_json
from hf_attrib.text import Documents, Messages

__all__ = [
    "ComparisonOptions",
    "DocumentOptions",
    "PromptOptions",
    "SavedResult",
    "contents",
    "decoded",
    "json_lines",
]


@dataclass(frozen=True)
class SavedResult:
    """The file that a result is read from."""

    panel: ClassVar[str] = "Result"

    result: Annotated[
        Path,
        typer.Argument(
            help="What explain, rag, robustness or evaluate saved as JSON; - reads standard input."
        ),
    ]

    def load(self) -> Result:
        """Return the result, of whatever kind it is.

        Raises:
            HFAttribError: it cannot be read.
        """
        return from_json(*contents(self.result), Result)


@dataclass(frozen=True)
class ComparisonOptions:
    """The two files that are compared, and where the comparison goes besides the terminal."""

    panel: ClassVar[str] = "Results"

    a: Annotated[Path, typer.Argument(help="A result that hf-attrib explain --json saved.")]
    b: Annotated[Path, typer.Argument(help="Another one, of the same response.")]
    k: Annotated[int, typer.Option(help="Strongest inputs that the overlap looks at.")] = 5
    html: Annotated[
        Path | None, typer.Option(help="Write a page to explore into this file, too.")
    ] = None

    def __post_init__(self) -> None:
        check_positive("--k", self.k)
        if self.a == self.b == STDSTREAM:
            raise InputError("standard input holds one result; give a file for the other.")
        check_distinct(self.html, read=(self.a, self.b))
        if self.html is not None:
            check_writable(self.html)

    def compare(self) -> Comparison:
        """Return the comparison.

        Raises:
            HFAttribError: a result cannot be read, or they have nothing in common.
        """
        a, b = (from_json(*contents(path), Attribution) for path in (self.a, self.b))
        return compare(a, b, k=self.k)


def contents(path: Path) -> tuple[bytes, str]:
    """Return what a file or standard input holds, and what errors call it.

    Args:
        path: the file, or ``-``.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if path == STDSTREAM:
            return sys.stdin.buffer.read(), "standard input"
        return path.read_bytes(), str(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None


@dataclass(frozen=True)
class PromptOptions:
    """The prompt, and whether it is a message of a chat."""

    panel: ClassVar[str] = "Prompt"

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
            text = decoded(_bytes(self.file), str(self.file))
            if self.chat and self.file.suffix.lower() == ".json":
                return _messages(text, self.file)
        elif self.prompt not in (None, "-"):
            text = decoded(self.prompt.encode(errors="surrogateescape"), "the prompt")
        elif self.prompt is None and sys.stdin.isatty():
            raise InputError(
                "no prompt was given; pass it as an argument, with --file or on standard input "
                "(hf-attrib explain --help has an example)."
            )
        else:
            text = decoded(sys.stdin.buffer.read(), "standard input")
        return [{"role": "user", "content": text}] if self.chat else text


@dataclass(frozen=True)
class DocumentOptions:
    """The documents that a prompt comes with, and how they stand in it."""

    panel: ClassVar[str] = "Prompt"

    documents: Annotated[
        Path | None,
        typer.Option(
            help="Documents to answer from, one JSON text or object with a text on each line; they "
            "are scored one by one, unless --group says otherwise."
        ),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(help="How they stand in the prompt: '... {documents} ... {question}'."),
    ] = None

    def __post_init__(self) -> None:
        if self.documents is None and self.template is not None:
            raise InputError("--template says where documents stand; give --documents, too.")

    def read(self) -> dict[str, Any]:
        """Return the arguments of ``explain`` that say the same.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        if self.documents is None:
            return {}
        found = json_lines(self.documents)
        given = {"documents": found, "template": self.template}
        Documents.of(found, template=self.template)  # which refuses what is none
        return given


def json_lines(path: Path) -> list[Any]:
    """Return what each line of a file says as JSON; lines of white space say nothing.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be read, or a line is not JSON.
    """
    lines = decoded(_bytes(path), str(path)).split("\n")
    return [_line(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]


def _line(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number} of {path} is not JSON ({error}).") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None


def decoded(data: bytes, where: str) -> str:
    """Return text without the final newline that editors and echo add.

    Args:
        data: UTF-8, perhaps with a mark of its order of bytes.
        where: what errors call it.

    Raises:
        InputError: it is none.
    """
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

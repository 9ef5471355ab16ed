"""A file that an evaluation writes as it goes, so that it can be taken up where it ended."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hf_attrib.errors import InputError
from hf_attrib.results.json_value import Value, encoded, parse
from hf_attrib.text import TokenSequence
from hf_attrib.validation.entrants import Explained
from hf_attrib.validation.evaluation import Finding
from hf_attrib.validation.storage import numbers

__all__ = ["Ledger", "digest", "key_of"]

_FORMAT, _VERSION = "hf_attrib.evaluation_run", 2


def key_of(sequence: TokenSequence) -> str:
    """Return what tells a prompt with its answer from all others."""
    parts = sequence.prompt, sequence.start, sequence.response
    return digest([part.ids.tolist() for part in parts])


def digest(content: Any) -> str:
    """Return a short text that tells plain content from all other."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class Ledger:
    """Findings by prompt and by method or control, in memory and perhaps in a file.

    Args:
        path: of a JSONL file, which is made or taken up; ``None`` keeps all in memory.
        question: what is asked of all of them, as JSON can say it.

    Raises:
        InputError: the file holds findings of another question, or something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None, question: Mapping[str, Any]) -> None:
        if not isinstance(path, str | os.PathLike | None):
            raise InputError(f"resume is {path!r:.80}; expected the name of a .jsonl file.")
        self.path = None if path is None else Path(path)
        self._found: dict[tuple[str, str], Finding] = {}
        head = {"format": _FORMAT, "format_version": _VERSION, "question": dict(question)}
        if self.path is None:
            return
        lines = self._lines()
        if not lines:
            self._append(head)
            return
        self._check(lines[0], json.loads(json.dumps(head)))
        for line in lines[1:]:
            try:
                self._found[line.field("prompt").text(), line.field("method").text()] = _read(line)
            except ValueError as error:
                raise InputError(
                    f"{self.path} is damaged: {error}; give a new file to start anew."
                ) from None

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._found

    def __getitem__(self, key: tuple[str, str]) -> Finding:
        return self._found[key]

    def add(self, key: tuple[str, str], finding: Finding) -> None:
        """Keep what was found.

        Args:
            key: of the prompt, and what tells the method or control.
            finding: of it.
        """
        self._found[key] = finding
        if self.path is not None:
            self._append({"prompt": key[0], "method": key[1], **_written(finding)})

    def _append(self, content: Mapping[str, Any]) -> None:
        assert self.path is not None
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(content, allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}.") from None

    def _lines(self) -> list[Value]:
        """Return the lines of the file; a last one that was not finished is cut off."""
        assert self.path is not None
        if not self.path.exists():
            return []
        try:
            text = self.path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                self.path.write_text(whole, encoding="utf-8")
            return [
                Value(parse(line), f"line {number + 1}")
                for number, line in enumerate(whole.splitlines())
            ]
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{self.path} is no file of an evaluation ({error}); give a new file, or one that "
                "an evaluation has written."
            ) from None

    def _check(self, head: Value, expected: Mapping[str, Any]) -> None:
        """Refuse another file, and another question with what is different."""
        own = head.content if isinstance(head.content, dict) else {}
        if [own.get(n) for n in ("format", "format_version")] != [_FORMAT, _VERSION]:
            raise InputError(
                f"{self.path} is no file of an evaluation; give a new file, or one that an "
                "evaluation has written."
            )
        before, now = dict(own.get("question", {})), expected["question"]
        other = [name for name in {**now, **before} if before.get(name) != now.get(name)]
        if other:
            said = "; ".join(f"{n} was {before.get(n)!r}, is {now.get(n)!r}" for n in other)
            raise InputError(
                f"{self.path} holds another evaluation: {said:.400}. Ask the same, or give a new "
                "file."
            )


def _written(finding: Finding) -> dict[str, Any]:
    content = {name: encoded(getattr(finding, name).tolist()) for name in ("values", "curves")}
    if finding.explained is None:
        return {**content, "explained": None}
    own = finding.explained
    cost = {n: encoded(float(getattr(own, n))) for n in ("seconds", "gap")}
    rows = {"forward_rows": own.forward_rows, "backward_rows": own.backward_rows}
    return {**content, "explained": cost | rows}


def _read(line: Value) -> Finding:
    def explained(value: Value) -> Explained:
        seconds, gap = (value.field(n).number() for n in ("seconds", "gap"))
        forward, backward = (value.field(n).whole() for n in ("forward_rows", "backward_rows"))
        return Explained(np.zeros((0, 0)), seconds, forward, backward, gap)

    values, curves = (numbers(line.field(name)) for name in ("values", "curves"))
    return Finding(values, curves, line.field("explained").optional(explained))

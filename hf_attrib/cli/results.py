"""Saved results as arguments of the commands."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hf_attrib import robustness_file
from hf_attrib.attribution import Attribution
from hf_attrib.cli.options import check_positive
from hf_attrib.cli.output import STDSTREAM, check_writable
from hf_attrib.compare import Comparison, compare
from hf_attrib.errors import InputError
from hf_attrib.robustness import Robustness
from hf_attrib.storage import from_json

__all__ = ["Pair", "Saved"]


@dataclass(frozen=True)
class Saved:
    """Result."""

    result: Annotated[
        Path,
        typer.Argument(
            help="What explain --json or robustness --json saved; - reads standard input."
        ),
    ]

    def load(self) -> Attribution | Robustness:
        """Return the result.

        Raises:
            HFAttribError: it cannot be read.
        """
        data, name = _read(self.result)
        # The format is the first thing in a file.
        attacked = robustness_file.FORMAT.encode() in data[:200]
        return robustness_file.from_json(data, name) if attacked else from_json(data, name)


@dataclass(frozen=True)
class Pair:
    """Results."""

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
        if self.html is not None:
            check_writable(self.html)

    def compare(self) -> Comparison:
        """Return the comparison.

        Raises:
            HFAttribError: a result cannot be read, or they have nothing in common.
        """
        return compare(from_json(*_read(self.a)), from_json(*_read(self.b)), k=self.k)


def _read(path: Path) -> tuple[bytes, str]:
    """Return what a file holds, and what errors call it."""
    try:
        if path == STDSTREAM:
            return sys.stdin.buffer.read(), "standard input"
        return path.read_bytes(), str(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None

"""Paths that the command writes to, checked before a long run and not after it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hf_attrib.errors import InputError

__all__ = ["STDSTREAM", "check_distinct", "check_writable"]

#: What stands for standard output, or input, among paths.
STDSTREAM = Path("-")


def check_writable(path: Path) -> None:
    """Find out before a long run whether a file can be written after it.

    Raises:
        InputError: it cannot.
    """
    if path == STDSTREAM:
        raise InputError("standard output takes JSON only (--json -); give a file.")
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: it is no regular file.")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from None


def check_distinct(*paths: Path | None, read: Iterable[Path | None] = ()) -> None:
    """Refuse to write two things into one file, or one over a file that is read.

    Args:
        *paths: what is written.
        read: what is read.

    Raises:
        InputError: that was asked for.
    """
    sources = {os.path.realpath(path) for path in read if path not in (None, STDSTREAM)}
    seen: set[str] = set()
    for path in paths:
        if path is None or path == STDSTREAM:
            continue
        place = os.path.realpath(path)
        if place in sources:
            raise InputError(f"{path} is read here and would be overwritten; write another file.")
        if place in seen:
            raise InputError(f"{path} was given for two outputs; give each a file of its own.")
        seen.add(place)

"""Documents from files: what a command line names, found first and read once it is not too much."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from hf_attrib.cli.files import STDSTREAM
from hf_attrib.cli.inputs import contents, decoded
from hf_attrib.errors import InputError

__all__ = ["located", "read_texts"]

#: What makes a name a pattern, where no file is called so.
_MAGIC = "*?["
#: What a document from standard input is called.
_STREAM = "standard input"


def located(named: Sequence[str]) -> list[Path]:
    """Return the files that are named: each itself, all of a folder, all that match a pattern.

    Args:
        named: paths, patterns, or ``-`` for standard input, in the order of the documents.

    Raises:
        InputError: a folder or a pattern has no file, or a file is named twice.
    """
    found = [path for name in named for path in _files(name)]
    for path, times in Counter(map(os.path.realpath, found)).items():
        if times > 1:
            one = next(each for each in found if os.path.realpath(each) == path)
            raise InputError(f"{_called(one)} was given {times} times; give each document once.")
    return found


def read_texts(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Return what files say as documents, each called by its name and not by where it lies.

    Args:
        paths: the files.

    Raises:
        InputError: one cannot be read, is no text, or is empty.
    """
    seen: Counter[str] = Counter()
    documents = []
    for path in paths:
        name = _STREAM if path == STDSTREAM else _name(path)
        seen[name] += 1
        # Files of several folders may be called the same; citations need an id for each.
        own = name if seen[name] == 1 else f"{name} ({seen[name]})"
        title = {} if path == STDSTREAM else {"title": path.stem}
        documents.append({"id": own, **title, "source": name, "text": _text(path)})
    return documents


def _files(name: str) -> list[Path]:
    if not name:
        raise InputError("--document is empty; give a file, a folder, a pattern or -.")
    path = Path(name)
    try:
        if path == STDSTREAM:
            return [path]
        if path.is_dir():
            found = sorted(one for one in path.iterdir() if _visible_file(one))
            if not found:
                raise InputError(f"the folder {path} holds no files; give one that does.")
            return found
        if path.exists() and not (path.is_file() or path.is_fifo()):
            raise InputError(f"cannot read {path}: it is no regular file.")
        if path.exists() or not any(sign in name for sign in _MAGIC):
            return [path]  # reading it says what is wrong with it
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None
    if found := sorted(filter(Path.is_file, map(Path, glob(name, recursive=True)))):
        return found
    raise InputError(f"no file matches {name}; quote patterns, as 'notes/*.txt'.")


def _visible_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _called(path: Path) -> str:
    return _STREAM if path == STDSTREAM else str(path)


def _name(path: Path) -> str:
    """Return the name of a file, which stands in the prompt."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of {path} is not UTF-8 text; rename it.") from None
    return path.name


def _text(path: Path) -> str:
    if path.suffix.lower() == ".jsonl":
        raise InputError(f"{path} holds a document on each line; give it as --documents {path}.")
    data, called = contents(path)
    if b"\0" in data:
        raise InputError(
            f"{called} holds NUL bytes, as binary files and UTF-16 do; give UTF-8 text."
        )
    if not (text := decoded(data, called)).strip():
        raise InputError(f"{called} is empty; leave it out.")
    return text

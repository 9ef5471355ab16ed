"""Text files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hf_attrib.errors import InputError

__all__ = ["path_of", "write_atomically"]


def path_of(given: Any) -> Path:
    """Return the path of a file that a caller names.

    Raises:
        InputError: it is no path, or one that no file can have.
    """
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError(f"expected the path of a file; got {given!r:.80}.")
    return Path(path)


def write_atomically(path: str | os.PathLike[str], content: str) -> None:
    """Write a text file so that readers see the old or the new one, never half of it.

    Raises:
        InputError: the path is none, or a device, a folder or the like, which a rename would
            replace.
        OSError: there is no such folder, or it takes no file.
    """
    path = path_of(path).resolve()  # a link stays one
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {path}: it is no regular file.")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        error.filename = str(path)  # not a name that nobody gave
        raise
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp hides the file from everyone else
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

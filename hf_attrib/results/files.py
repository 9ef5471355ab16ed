"""Text files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hf_attrib.errors import InputError

__all__ = ["write_atomically"]


def write_atomically(path: Path, content: str) -> None:
    """Write a text file so that readers see the old or the new one, never half of it.

    Raises:
        InputError: the path is a device, a folder or the like, which a rename would replace.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {path}: it is no regular file.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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

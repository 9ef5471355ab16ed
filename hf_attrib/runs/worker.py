"""A process that works on a run: alive as long as it holds its lock, whatever ends it.

Rows go to disk in this order: a part file under another name, its name, the manifest. So a part
that the manifest does not know was left behind, and its rows are open again, when the process that
wrote it has ended.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.runs.manifest import Manifest
from hf_attrib.runs.rows import KINDS, features_of

__all__ = ["Worker", "folder_of", "needed"]

_LOCKS = "workers"
_PART = "part-"


def needed(module: str) -> Any:
    """Return a library that only data sets need.

    Raises:
        InputError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise InputError(
            f"data sets need {module.partition('.')[0]}: pip install 'hf_attrib[datasets]'."
        ) from None


def folder_of(given: Any) -> Path:
    """Return the folder of a run.

    Args:
        given: its path.

    Raises:
        InputError: it is none, or an empty one, which would be the current folder.
    """
    path = isinstance(given, str | os.PathLike) and os.fspath(given)
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError(f"folder is {given!r:.80}; expected the path of one.")
    return Path(path)


class Worker:
    """This process among those that work on a run; a context in which it counts as alive.

    Args:
        folder: of the run, which is made where there is none.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        filelock = needed("filelock")
        self.folder = folder
        self.name = uuid.uuid4().hex[:12]
        self._written = 0
        with self._refusing():
            (folder / _LOCKS).mkdir(parents=True, exist_ok=True)
            self._turn = filelock.FileLock(folder / _LOCKS / "turn.lock")
            self._alive = filelock.FileLock(self._lock_of(self.name))
            # Nobody must find the lock of a process before that process holds it.
            with self._turn:
                self._alive.acquire(blocking=False)
                self.manifest = Manifest(folder, new=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What ended the work is the news, and not that the disk is still full.
        unsaid = suppress(InputError) if kind is not None else nullcontext()
        try:
            with unsaid:
                self.manifest.reopen(self.name, blamed=False)
            self.manifest.close()
        finally:
            self._alive.release()
            # Where no file can be opened, whoever comes next deletes this one.
            with suppress(OSError), self._turn:
                self._lock_of(self.name).unlink(missing_ok=True)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write {self.folder}: {error.strerror}.") from None

    def _lock_of(self, name: str) -> Path:
        return self.folder / _LOCKS / f"{name}.lock"

    def recover(self) -> None:
        """Open the rows of processes that have ended, and delete what these left behind.

        Raises:
            InputError: the folder cannot be written to.
        """
        filelock = needed("filelock")
        with self._refusing(), self._turn:
            files = [*self.folder.glob(f"{_PART}*"), *self.folder.glob(f".{_PART}*")]
            written = [file for file in files if not self.manifest.has_part(file.name)]
            writers: dict[str, list[Path]] = {}
            for file in written:
                writers.setdefault(file.name.split("-")[1], []).append(file)
            locks = {file.stem for file in (self.folder / _LOCKS).glob("*.lock")} - {"turn"}
            for name in sorted({*writers, *locks, *self.manifest.workers()} - {self.name}):
                lock = filelock.FileLock(self._lock_of(name))
                try:
                    lock.acquire(blocking=False)
                except filelock.Timeout:
                    continue  # it is alive
                for file in writers.get(name, ()):
                    if not self.manifest.has_part(file.name):  # it may have ended just now
                        file.unlink(missing_ok=True)
                self.manifest.reopen(name, blamed=True)
                lock.release()
                self._lock_of(name).unlink(missing_ok=True)

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Put rows on disk, and then into the manifest.

        Args:
            records: with an entry ``row`` besides those of :data:`hf_attrib.runs.rows.KINDS`.

        Raises:
            InputError: they cannot be written.
        """
        arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        name = f"{_PART}{self.name}-{self._written:05d}.parquet"
        scalar = {
            "text": arrow.string(),
            "int": arrow.int64(),
            "float": arrow.float64(),
            "flag": arrow.bool_(),
        }
        schema = arrow.schema(features_of({"row": "int", **KINDS}, scalar, arrow.list_))
        temporary = self.folder / f".{name}"
        try:
            with temporary.open("wb") as file:
                table = arrow.Table.from_pylist(list(records), schema=schema)
                parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
            _sync(self.folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise InputError(
                f"cannot write {self.folder / name}: {error.strerror or error}. What was written "
                "before is kept; the same call goes on from it."
            ) from None
        self.manifest.finish(name, records)
        self._written += 1


def _sync(folder: Path) -> None:
    """See that names of files are on disk, where a folder can be opened for that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

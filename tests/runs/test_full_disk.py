"""A disk that fills up at any moment: the run stops, says so, and goes on once there is space."""

import os
import re
import sqlite3
from itertools import count
from pathlib import Path

import pytest
from helpers.dataset_runs import check_whole, pretend

from hf_attrib import InputError, explain_dataset
from hf_attrib.runs import dataset
from hf_attrib.runs.explain import Explain

ROWS = [{"prompt": f"row {n}"} for n in range(4)]


class Disk:
    """Counts all that a run writes, and has no space for some of it."""

    def __init__(self):
        self.writes, self.full = 0, range(0)

    def write(self, error=OSError):
        self.writes += 1
        if self.writes - 1 in self.full:
            raise error(28, "No space left on device") if error is OSError else error("disk full")


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()

    def noticed(name, owner=os):
        genuine = getattr(owner, name)

        def call(*arguments, **options):
            disk.write()
            return genuine(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    for name in ("fsync", "replace", "open"):
        noticed(name)
    opened = Path.open

    class File:
        """One that pyarrow writes to."""

        def __init__(self, file):
            self._file, self._writes = file, 0

        def __getattr__(self, name):
            return getattr(self._file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def write(self, data):
            self._writes += 1
            if self._writes.bit_count() == 1:  # there are hundreds, all alike
                disk.write()
            return self._file.write(data)

    def open_(path, mode="r", *rest, **options):
        if "w" not in mode:
            return opened(path, mode, *rest, **options)
        disk.write()
        return File(opened(path, mode, *rest, **options))

    monkeypatch.setattr(Path, "open", open_)

    class Base(sqlite3.Connection):
        def execute(self, query, *values):
            if query == "COMMIT":
                disk.write(sqlite3.OperationalError)
            return super().execute(query, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **options: connect(*given, factory=Base, **options)
    )
    return disk


@pytest.fixture
def undisturbed(tmp_path, monkeypatch):
    for name in ("found", "explainer"):
        monkeypatch.setattr(Explain, name, getattr(Explain, name))  # which comes back afterwards
    pretend(0.0)
    monkeypatch.setattr(dataset, "_ROWS", 2)
    return explain_dataset(ROWS, tmp_path / "undisturbed")


def refused(folder):
    """Return what a run says that cannot be written, or None of one that can."""
    try:
        explain_dataset(ROWS, folder)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "lasting", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["full", "for a moment"]
)
def test_whichever_write_fails_the_next_call_makes_the_run_whole(
    undisturbed, disk, tmp_path, lasting
):
    for first in count():
        folder, disk.writes = tmp_path / str(first), 0
        disk.full = range(first, 10**9 if lasting else first + 1)
        if (said := refused(folder)) is None:
            break
        assert re.search("No space left on device|disk full", said)
        assert not list(folder.glob(".part*"))
        disk.full = range(0)
        check_whole(explain_dataset(ROWS, folder), undisturbed)
    assert first > 20  # or else little of what it writes was met


@pytest.mark.skipif(os.name == "nt", reason="files have no greatest size there")
@pytest.mark.parametrize("size", [0, 4096, 40_000, 100_000])
def test_the_same_where_the_system_takes_no_more(undisturbed, tmp_path, size):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(InputError, match=r"has space|File too large"):
            explain_dataset(ROWS * 8, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run = explain_dataset(ROWS * 8, tmp_path / "run")
    check_whole(run, explain_dataset(ROWS * 8, tmp_path / "whole"))

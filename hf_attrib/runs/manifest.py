"""Which rows of a run are done, in work or open: a table that all its processes share.

The manifest is an SQLite file in write-ahead mode. A row is *open*, *running* in a process,
*found* there and not yet on disk, *done*, or *failed*. Processes are told apart by names, which
:mod:`hf_attrib.runs.worker` tells to be alive or not.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hf_attrib.errors import InputError

__all__ = ["Claim", "Manifest"]

_NAME = "manifest.sqlite"
_FORMAT = "hf_attrib.dataset_run 1"
#: Seconds that a process waits for another one to finish writing.
_PATIENCE = 60.0
#: Rows that are added in one change.
_TOGETHER = 10_000

_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS rows (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, length INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'open', attempts INTEGER NOT NULL DEFAULT 0,
    worker TEXT, since REAL, part TEXT, position INTEGER, error TEXT, seconds REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS queue ON rows (status, attempts, length DESC, id);
CREATE TEMP TABLE mine (id TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID;
"""


class Claim(NamedTuple):
    """A row that a process has taken to run.

    Args:
        id: of the row.
        place: where the source of this process has it.
        attempts: how many processes have begun it, this one included.
    """

    id: str
    place: int
    attempts: int


class Manifest:
    """The table of one run, as one process sees it.

    Args:
        folder: of the run.
        new: whether the table is made where there is none.

    Raises:
        InputError: there is none, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, new: bool = False) -> None:
        self.path = folder / _NAME
        if not new and not self.lies_in(folder):
            raise InputError(
                f"{folder} holds no run of a data set; give the folder that explain_dataset or "
                "hf-attrib dataset wrote."
            )
        with self._refusing():
            self._base = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            # What the last moment before a power failure wrote is found anew; nothing is damaged.
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(_TABLES)

    @staticmethod
    def lies_in(folder: Path) -> bool:
        """Return whether a folder holds a run."""
        return (folder / _NAME).is_file()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(
                f"cannot use {self.path}: {error}. See that the folder can be written to, has "
                "space and is on a disk of this machine."
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Change all that is changed inside, or nothing."""
        with self._refusing():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._refusing():
            return self._base.execute(query, values).fetchall()

    def settle(self, question: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, str]:
        """Keep the question of a new run, and refuse another one of a run that has begun.

        Args:
            question: as JSON can say it.
            versions: of packages.

        Returns:
            the versions that the run was begun with.

        Raises:
            InputError: the folder holds a run that asks something else.
        """
        about = {"format": _FORMAT, "question": question, "versions": versions}
        with self._changing() as base:
            base.executemany(
                "INSERT OR IGNORE INTO about VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in about.items()],
            )
        self.check(question)
        found: dict[str, str] = self._about("versions")
        return found

    def check(self, question: Mapping[str, Any]) -> None:
        """Refuse another question than that of the run.

        Raises:
            InputError: it is another one.
        """
        before = self.question
        if before != json.loads(json.dumps(question)):
            names = [n for n in {**question, **before} if before.get(n) != question.get(n)]
            said = "; ".join(f"{n} was {before.get(n)!r}, is {question.get(n)!r}" for n in names)
            raise InputError(
                f"{self.path.parent} holds a run that asks something else: {said:.400}. Ask the "
                "same, or give a new folder."
            )

    def _about(self, name: str) -> Any:
        rows = self._all("SELECT value FROM about WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else {}

    @property
    def question(self) -> dict[str, Any]:
        """What is asked of each row."""
        found: dict[str, Any] = self._about("question")
        return found

    def register(self, rows: Iterable[tuple[str, int, int]], retry: bool) -> None:
        """Add the rows of a process's source to the run, and remember which they are.

        Args:
            rows: id, place in the source and length of each.
            retry: whether those that have failed are opened again.
        """
        rows = iter(rows)
        # They are read between changes, and not within one, for which other processes would wait.
        while some := list(islice(rows, _TOGETHER)):
            with self._changing() as base:
                base.executemany("INSERT INTO mine VALUES (?, ?)", [one[:2] for one in some])
                base.executemany(
                    "INSERT OR IGNORE INTO rows (id, place, length) VALUES (?, ?, ?)", some
                )
        if retry:
            with self._changing() as base:
                base.execute(
                    "UPDATE rows SET status = 'open', attempts = 0 "
                    "WHERE status = 'failed' AND id IN (SELECT id FROM mine)"
                )

    def claim(self, worker: str, before: str | None) -> Claim | None:
        """Take the longest open row of this process's source; those that ended processes go last.

        Args:
            worker: the process.
            before: the row that it has found what is to be found of, since.
        """
        with self._changing() as base:
            if before is not None:
                base.execute("UPDATE rows SET status = 'found' WHERE id = ?", (before,))
            row = base.execute(
                "SELECT rows.id, mine.place, rows.attempts + 1 FROM rows INDEXED BY queue "
                "CROSS JOIN mine ON mine.id = rows.id WHERE rows.status = 'open' "
                "ORDER BY rows.attempts, rows.length DESC, rows.id LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            base.execute(
                "UPDATE rows SET status = 'running', attempts = ?, worker = ?, since = ? "
                "WHERE id = ?",
                (row[2], worker, time.time(), row[0]),
            )
        return Claim(*row)

    def finish(self, part: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Write down that rows are on disk.

        Args:
            part: name of the file that holds them.
            records: what it holds, in order.
        """
        with self._changing() as base:
            base.execute("INSERT INTO parts VALUES (?)", (part,))
            base.executemany(
                "UPDATE rows SET status = ?, part = ?, position = ?, error = ?, seconds = ?, "
                "worker = NULL WHERE id = ?",
                [
                    (
                        "failed" if record["error"] else "done",
                        part,
                        position,
                        record["error"],
                        record["seconds"],
                        record["id"],
                    )
                    for position, record in enumerate(records)
                ],
            )

    def reopen(self, worker: str, blamed: bool) -> None:
        """Open the rows again that a process has taken and not finished.

        Args:
            worker: the process.
            blamed: whether its end may be due to the row that was running.
        """
        blameless = "'found'" if blamed else "'found', 'running'"
        with self._changing() as base:
            base.execute(
                f"UPDATE rows SET attempts = attempts - (status IN ({blameless})), "
                "status = 'open', worker = NULL "
                "WHERE worker = ? AND status IN ('running', 'found')",
                (worker,),
            )

    def workers(self) -> set[str]:
        """Return the processes that have rows in work."""
        query = "SELECT DISTINCT worker FROM rows WHERE status IN ('running', 'found')"
        return {name for (name,) in self._all(query)}

    def in_work(self) -> bool:
        """Return whether rows of this process's source are open, or in work in any process."""
        query = (
            "SELECT 1 FROM rows INDEXED BY queue CROSS JOIN mine ON mine.id = rows.id "
            "WHERE rows.status IN ('open', 'running', 'found') LIMIT 1"
        )
        return bool(self._all(query))

    def finished(self) -> set[str]:
        """Return the ids of all rows that are done or failed."""
        return {
            name for (name,) in self._all("SELECT id FROM rows WHERE status IN ('done', 'failed')")
        }

    def of_source(self) -> tuple[int, int]:
        """Return how many rows of this process's source are finished, and how many there are."""
        query = (
            "SELECT COALESCE(SUM(rows.status IN ('done', 'failed')), 0), COUNT(*) "
            "FROM mine JOIN rows ON mine.id = rows.id"
        )
        ((finished, every),) = self._all(query)
        return finished, every

    def counts(self) -> dict[str, int]:
        """Return how many rows are done, failed, open, and in work."""
        found = dict(self._all("SELECT status, COUNT(*) FROM rows GROUP BY status"))
        work = found.pop("running", 0) + found.pop("found", 0)
        return {name: found.get(name, 0) for name in ("done", "failed", "open")} | {"in work": work}

    def errors(self) -> list[tuple[int, str]]:
        """Return place and error of each row that has failed, in order."""
        query = "SELECT place, error FROM rows WHERE status = 'failed' ORDER BY place, id"
        return [(place, error) for place, error in self._all(query)]

    def has_part(self, name: str) -> bool:
        """Return whether a file of rows belongs to the run."""
        return bool(self._all("SELECT 1 FROM parts WHERE name = ?", (name,)))

    def positions(self) -> list[tuple[str, int]]:
        """Return the part and the position of each finished row, in the order of the source."""
        query = (
            "SELECT part, position FROM rows WHERE status IN ('done', 'failed') ORDER BY place, id"
        )
        return [(part, position) for part, position in self._all(query)]

"""A run of a data set: its rows are shared by any number of processes, and none is done twice."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from hf_attrib.errors import AttributionWarning, InputError, UnsupportedModelError, warn
from hf_attrib.execution import Foresight, Progress, silent
from hf_attrib.hyperparameters import plain_number
from hf_attrib.runs.explain import Explain
from hf_attrib.runs.loading import DatasetRun, load_run
from hf_attrib.runs.rows import failure
from hf_attrib.runs.sources import Source, opened
from hf_attrib.runs.worker import Worker, folder_of

__all__ = ["checked_shard", "explain_dataset", "identified", "prepared"]

#: Rows and seconds after which what was found goes to disk: what a kill can cost.
_ROWS, _SECONDS = 512, 60.0
#: Scores after which it does so, too: until then each takes 32 bytes, as Python has them.
_SCORES = 2**22
#: So many processes may end while one row runs, before it is taken for what ends them.
_ATTEMPTS = 5
#: Seconds between looks at what other processes have in work.
_WAIT = 0.5
_PACKAGES = ("hf_attrib", "torch", "transformers")


def explain_dataset(
    source: Any,
    folder: str | os.PathLike[str],
    model: str = "keys-llama",
    *,
    split: str | None = None,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    retry: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> DatasetRun:
    """Explain all rows of a data set into a folder; the same call goes on where it ended.

    Any number of processes may make the call at the same time, on one machine, however they were
    started; each takes the longest row that is open. It returns when all rows are finished.
    A row has a hash of its content and the question as its id; of equal rows the second has ``-2``
    behind it.

    Args:
        source: the path of a ``.jsonl``, ``.csv`` or ``.parquet`` file, a ``Dataset``, an
            ``IterableDataset`` (of which all rows that are read are held in memory), a list of
            mappings, or the name of a data set on the hub.
        folder: of the run, on a disk of this machine; it is made where there is none.
        model: an embedded model, a model of the Hugging Face hub, or a local folder.
        split: of a data set on the hub; ``"train"`` unless it is named.
        limit: how many rows to take at most, from the first.
        shard: (i, n) takes only each n-th row, from row i, which counts from 0.
        retry: whether rows that have failed are run again.
        progress: called with (rows finished, rows in all).
        **options: what :class:`Explain` takes by name.

    Raises:
        InputError: an argument cannot be used, the folder holds a run that asks something else, or
            cannot be written to.
        UnsupportedModelError: the model cannot be explained faithfully.
    """
    explain, rows = prepared(source, model, split, limit, options)
    own = folder_of(folder)
    index, count = checked_shard(shard)
    with Worker(own) as worker:
        _settle(worker, explain)
        every = identified(explain, rows)
        worker.manifest.register((one for one in every if one[1] % count == index), retry)
        worker.recover()
        resumed = " What is done stays if it is interrupted, and the same call goes on."
        with Foresight("rows", progress, resumed).speaking() as foresight:
            _Shift(worker, explain, rows, foresight).work()
    return load_run(folder)


def prepared(
    source: Any, model: str, split: str | None, limit: int | None, options: Mapping[str, Any]
) -> tuple[Explain, Source]:
    """Return what explains rows, and the rows; arguments as for :func:`explain_dataset`."""
    if options.get("prefix"):
        raise InputError("prefix came for a run, whose columns stand by themselves; leave it out.")
    limit = plain_number(limit)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InputError(f"limit is {limit!r}; expected at least 1.")
    explain = Explain(model, **options)
    return explain, opened(source, explain.columns, split, limit)


def identified(explain: Explain, rows: Source) -> Iterator[tuple[str, int, int]]:
    """Yield id, place and length of each row; equal rows are numbered.

    Args:
        explain: knows the question.
        rows: of the source.
    """
    seen = Counter[str]()
    for place in range(rows.count):
        values = rows.values(place)
        own = explain.id_of(values)
        seen[own] += 1
        number = f"-{seen[own]}" if seen[own] > 1 else ""
        yield f"{own}{number}", place, len(json.dumps(values, default=repr, ensure_ascii=False))


def checked_shard(shard: Any) -> tuple[int, int]:
    """Return a shard, (i, n), if it is one.

    Raises:
        InputError: it is none.
    """
    whole = isinstance(shard, tuple | list) and len(shard) == 2
    if not whole or any(type(n) is not int for n in shard) or not 0 <= shard[0] < shard[1]:
        raise InputError(f"shard is {shard!r:.80}; expected (i, n) with i from 0 to n - 1.")
    return shard[0], shard[1]


def _settle(worker: Worker, explain: Explain) -> None:
    """Refuse another question, and warn of other versions than those that the run began with."""
    now = {name: version(name) for name in _PACKAGES}
    before = worker.manifest.settle(explain.question, now)
    if other := [name for name in now if before.get(name) != now[name]]:
        said = ", ".join(f"{name} {before.get(name)}, now {now[name]}" for name in other)
        warn(
            AttributionWarning(
                f"the run in {worker.folder} was begun with {said}; rows may differ in their last "
                "digits or more. The column version says which hf_attrib explained each."
            )
        )


class _Shift:
    """The work of one process on a run.

    Args:
        worker: this process.
        explain: explains rows.
        rows: of the source.
        progress: called with (rows finished, rows in all).
    """

    def __init__(self, worker: Worker, explain: Explain, rows: Source, progress: Progress) -> None:
        self._worker = worker
        self._explain = explain
        self._rows = rows
        self._progress = progress
        self._found: list[dict[str, Any]] = []
        self._since = time.monotonic()
        #: Scores among what was found.
        self._held = 0
        self._any = False
        rank = os.environ.get("LOCAL_RANK", "")
        self._rank = int(rank) if rank.isdecimal() else None

    def work(self) -> None:
        """Run rows until none of this source is open or in work; what was found is never lost."""
        manifest = self._worker.manifest
        try:
            while manifest.in_work():
                if not self._run_open_rows():
                    time.sleep(_WAIT)  # others have some in work, and may yet end
                    self._worker.recover()
            self._progress(*manifest.of_source())
        except BaseException:
            with suppress(InputError):  # or else it hides what ended the work
                self._flush()
            raise

    def _run_open_rows(self) -> bool:
        """Return whether there was any."""
        before, ran, self._since = None, False, time.monotonic()
        finished, every = self._worker.manifest.of_source()
        while (claim := self._worker.manifest.claim(self._worker.name, before)) is not None:
            values = self._rows.values(claim.place)
            record = self._record(values, claim.id, claim.attempts)
            self._found.append({"row": claim.place, **record})
            self._held += sum(map(len, record["scores"]))
            before, ran, finished = claim.id, True, finished + 1
            self._progress(min(finished, every), every)
            if self._due():
                self._flush()
                before, (finished, every) = None, self._worker.manifest.of_source()
        self._flush()
        return ran

    def _record(self, values: Mapping[str, Any], row_id: str, attempts: int) -> dict[str, Any]:
        if attempts > _ATTEMPTS:
            return failure(row_id, f"{_ATTEMPTS} processes ended while this row was running.")
        explainer = self._explain.explainer(self._rank)
        try:
            record = self._explain.found(explainer, values, row_id)
        except UnsupportedModelError as error:
            if not self._any:
                raise  # which is no row's fault
            return failure(row_id, error)
        except Exception as error:
            return failure(row_id, error)
        self._any = True
        return record

    def _due(self) -> bool:
        late = time.monotonic() - self._since >= _SECONDS
        return late or len(self._found) >= _ROWS or self._held >= _SCORES

    def _flush(self) -> None:
        if self._found:
            self._worker.write(self._found)
        self._found, self._held, self._since = [], 0, time.monotonic()

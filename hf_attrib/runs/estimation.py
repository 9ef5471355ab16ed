"""What a run of a data set would cost, from a few rows of different lengths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_attrib.engine import Estimate
from hf_attrib.engine.memory import written
from hf_attrib.errors import HFAttribError
from hf_attrib.results import Told
from hf_attrib.runs.dataset import checked_shard, identified, prepared
from hf_attrib.runs.explain import Explain
from hf_attrib.runs.manifest import Manifest
from hf_attrib.runs.worker import folder_of

__all__ = ["DatasetEstimate", "estimate_dataset"]

#: Rows that are measured, and of the longest how many are named.
_MEASURED, _NAMED = 8, 3
#: Of each score, which is written in double precision.
_BYTES = 8


@dataclass(frozen=True)
class DatasetEstimate(Told):
    """What the open rows of a run would cost, as (least, most).

    Args:
        rows: how many are open.
        finished: how many are not.
        measured: place and estimate of those that were measured, from the shortest to the longest.
        failed: place and error of those that could not be.
        passes: sequences run forward or backward, of all open rows: each row as many as those
            that were measured next to it in length.
        seconds: time that they take in one process, generation aside.
        size: bytes of all their scores, 8 T G of a row, before compression; whole results aside.
    """

    rows: int
    finished: int
    measured: tuple[tuple[int, Estimate], ...]
    failed: tuple[tuple[int, str], ...]
    passes: tuple[int, int]
    seconds: tuple[float, float]
    size: int

    def __str__(self) -> str:
        limit = " at most" if any(estimate.at_most for _, estimate in self.measured) else ""
        largest = [
            f"row {place}: {e.tokens:,} tokens, {written(e.peak_memory)} beyond the model"
            for place, e in self.measured[: -_NAMED - 1 : -1]
        ]
        finished = f", {self.finished:,} more are finished" if self.finished else ""
        passes = " to ".join(dict.fromkeys(f"{n:,}" for n in self.passes))
        seconds = " to ".join(dict.fromkeys(map(_duration, self.seconds)))
        lines = {
            "open rows": f"{self.rows:,}{finished}",
            "measured": f"{len(self.measured)} of them, spread over their lengths",
            "passes": f"about {passes}{limit}",
            "time": f"about {seconds}{limit} in one process, without generation",
            "scores": f"about {written(self.size)}{limit}, before compression",
            "longest": "\n               ".join(largest),
        }
        told = [f"{name:<14} {value}" for name, value in lines.items() if value]
        return "\n".join([*told, *(f"{f'row {p} fails':<14} {e}" for p, e in self.failed)])


def estimate_dataset(
    source: Any,
    folder: str | os.PathLike[str] | None = None,
    model: str = "keys-llama",
    *,
    split: str | None = None,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    **options: Any,
) -> DatasetEstimate:
    """Tell what :func:`explain_dataset` would cost; up to eight rows are measured.

    Arguments are those of that function. A folder that holds the run already says which rows are
    open; nothing is written into it.

    Raises:
        HFAttribError: none of the measured rows can be explained; the error of the longest.
    """
    explain, rows = prepared(source, model, split, limit, options)
    index, count = checked_shard(shard)
    own = [one for one in identified(explain, rows) if one[1] % count == index]
    finished = set[str]() if folder is None else _finished(folder_of(folder), explain)
    waiting = sorted((length, place) for row_id, place, length in own if row_id not in finished)
    if not waiting:
        return DatasetEstimate(0, len(own), (), (), (0, 0), (0.0, 0.0), 0)
    explainer = explain.explainer()
    measured, failed, lengths = [], [], []
    last: HFAttribError | None = None
    for length, place in _spread(waiting):
        try:
            estimate = explainer.estimate(**explain.request(rows.values(place)))
        except HFAttribError as error:
            failed.append((place, str(error)))
            last = error
            continue
        measured.append((place, estimate))
        lengths.append(length)
    if last is not None and not measured:
        raise last
    own_lengths = [length for length, _ in waiting]

    def of_all(numbers: Sequence[float]) -> float:
        """Return a sum over all open rows, from those that were measured, by length."""
        return float(np.interp(own_lengths, lengths, numbers).sum())

    passes = [[e.forward_rows[i] + e.backward_rows[i] for _, e in measured] for i in (0, 1)]
    seconds = [[e.seconds[i] for _, e in measured] for i in (0, 1)]
    return DatasetEstimate(
        len(waiting),
        len(own) - len(waiting),
        tuple(measured),
        tuple(failed),
        (round(of_all(passes[0])), round(of_all(passes[1]))),
        (of_all(seconds[0]), of_all(seconds[1])),
        round(of_all([_BYTES * e.targets * e.groups for _, e in measured])),
    )


def _finished(folder: Path, explain: Explain) -> set[str]:
    """Return the ids of the rows that a run has finished, if the folder holds one."""
    if not Manifest.lies_in(folder):
        return set()
    manifest = Manifest(folder)
    try:
        manifest.check(explain.question)
        return manifest.finished()
    finally:
        manifest.close()


def _spread(rows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a few of many rows, from the first to the last."""
    places = np.linspace(0, len(rows) - 1, min(_MEASURED, len(rows)))
    return [rows[round(place)] for place in places]


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds"

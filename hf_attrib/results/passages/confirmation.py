"""Which passages a part of an answer rests on, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from hf_attrib.results.passages.coalitions import Coalitions, Rows, SubsetMissing, is_necessary

__all__ = ["THRESHOLDS", "Confirmation", "Status", "confirm"]

#: Nats of log-odds that a sentence must lose for a citation, by how passages are taken away: the
#: smallest at which, with 95 % confidence, at most 5 % of answers without support have one, as
#: ``benchmarks/citations.py`` finds. A rate that is 5 % where it was found is more elsewhere.
THRESHOLDS: Mapping[str, float] = MappingProxyType(
    {"embed": 2.5, "token": 1.75, "attention": 1.75, "drop": 1.75}
)

#: What is known of a part of an answer, or of a passage.
Status = Literal[
    "confirmed", "redundant", "joint", "own knowledge", "against", "not decided", "unused"
]

#: Passages that are taken away together where not all subsets are run, at most.
_TOGETHER = 4


@dataclass(frozen=True)
class Confirmation:
    """What a part of an answer rests on.

    Args:
        cited: numbers of the passages, in order.
        status: of the part. ``"confirmed"``: without those cited its odds lose the threshold;
            ``"redundant"``: it does so without all of them only, not without any one; ``"joint"``:
            none of them suffices alone, but together they do; ``"own knowledge"``: it is said as
            well without any passage; ``"not decided"``: passages matter, but no set of them was
            confirmed, or what would tell was not run.
        gain: of all passages, in nats.
        drop: what is lost without those cited, in nats; NaN where it is not known.
        hold: what is lost with these alone, likewise.
        passages: status of each of the n: that of a cited one ``"confirmed"``, ``"redundant"`` or
            ``"joint"``; else ``"against"``, where its score argues against the part by half
            of the threshold; ``"not decided"`` or ``"unused"``.
        drops: what is lost without each, [n], NaN where it is not known; and
        holds: with each alone.
        missing: subsets that were not run, and would tell more.
    """

    cited: tuple[int, ...]
    status: Status
    gain: float
    drop: float
    hold: float
    passages: tuple[Status, ...]
    drops: tuple[float, ...]
    holds: tuple[float, ...]
    missing: tuple[tuple[int, ...], ...] = ()


def confirm(
    table: Coalitions,
    scores: Tensor,
    threshold: float,
    rows: Rows = None,
    errors: Tensor | None = None,
) -> Confirmation:
    r"""Find the passages that a part of an answer rests on, and confirm them as a set.

    Cited is who is in one of the smallest sets S with :math:`\omega(\text{all}) -
    \omega(\text{all} \setminus S) \ge \tau`, of which no member could stay for less than half of
    that; :math:`\omega` are the log-odds of :meth:`Coalitions.odds`. Copies of a fact, of which any
    one can go, make up such a set together. Those cited must also add as much as they take away,
    :math:`\omega(S) - \omega(\emptyset) \ge \tau`, and each of them half of that, alone or to the
    others; or else whoever keeps another passage from misleading the model would be cited. In a
    table that is not complete each passage alone is tried, and then the best of them by score
    together, up to 4. What is told of gain, drop and hold is of the log-probability.

    Args:
        table: the passages.
        scores: of each in this part, [n], in nats.
        threshold: :math:`\tau`, in nats.
        rows: the part; by default all of the answer.
        errors: standard errors of the scores, [n], where they have some.
    """
    view = _View(table.odds(rows))
    order = scores.argsort(descending=True).tolist()
    gain, cited = view.table.gain(), _needed(view, order, threshold)
    if cited:
        cited = _rising(view, cited, gain, threshold)
    status = _status(view, cited, threshold, gain)
    alone = view.each(view.drop)
    told = _View(table, rows)
    drops, holds = told.each(told.drop), told.each(told.hold)
    found: list[Status] = []
    for i, score in enumerate(scores.tolist()):
        if i in (cited or ()):
            needed = alone[i] >= threshold
            found.append("joint" if status == "joint" else "confirmed" if needed else "redundant")
            continue
        wide, least = 0.0 if errors is None else 2 * float(errors[i]), -threshold / 2
        if score + wide <= least:
            found.append("against")
        elif score - wide <= least or (status == "not decided" and not cited):
            found.append("not decided")
        else:
            found.append("unused")
    lost = (told.drop(cited), told.hold(cited)) if cited else (math.nan, math.nan)
    return Confirmation(
        tuple(cited or ()), status, table.gain(rows), *lost, tuple(found), drops, holds,
        tuple(dict.fromkeys(view.missing)),
    )  # fmt: skip


@dataclass
class _View:
    """A table that remembers what it was asked for in vain."""

    table: Coalitions
    rows: Rows = None
    missing: list[tuple[int, ...]] = field(default_factory=list)

    def drop(self, some: Sequence[int]) -> float:
        try:
            return self.table.drop(some, self.rows)
        except SubsetMissing as lacking:
            self.missing.append(lacking.kept)
            return math.nan

    def hold(self, some: Sequence[int]) -> float:
        try:
            return self.table.hold(some, self.rows)
        except SubsetMissing as lacking:
            self.missing.append(lacking.kept)
            return math.nan

    def each(self, what: Callable[[Sequence[int]], float]) -> tuple[float, ...]:
        """Return a number of each passage alone; what is not known is not missed."""
        asked = len(self.missing)
        found = tuple(what([i]) for i in range(self.table.count))
        del self.missing[asked:]
        return found


def _needed(view: _View, order: Sequence[int], threshold: float) -> list[int] | None:
    """Return who the part loses by; ``None`` where what would tell was not run."""
    table = view.table
    if table.complete:
        sets = table.necessary(threshold, view.rows)
        return sorted({i for some in sets for i in some})
    alone = [view.drop([i]) for i in range(table.count)]
    if view.missing:
        return None
    if single := [i for i, lost in enumerate(alone) if lost >= threshold]:
        return single
    for size in range(2, min(_TOGETHER, table.count) + 1):
        lost = view.drop(order[:size])
        if math.isnan(lost):
            return None
        if lost >= threshold:
            return _adding(view, sorted(order[:size]), lost, threshold)
    return []


def _adding(view: _View, some: Sequence[int], lost: float, threshold: float) -> list[int] | None:
    """Return the members of a set that add to what is lost without it."""
    own = [lost - view.drop([j for j in some if j != i]) for i in some]
    if any(map(math.isnan, own)):
        return None
    left = [i for i, more in zip(some, own, strict=True) if more >= threshold / 2]
    try:
        return left if is_necessary(view.table, left, threshold, view.rows) else []
    except SubsetMissing as lacking:
        view.missing.append(lacking.kept)
        return None


def _rising(view: _View, some: Sequence[int], gain: float, threshold: float) -> list[int] | None:
    """Return who of a set adds to the part as well; ``None`` where that was not run."""
    found = []
    for i in some:
        alone = gain - view.hold([i])
        if len(some) > 1 and not alone >= threshold / 2:
            others = [j for j in some if j != i]
            more = view.hold(others) - view.hold(some)
            alone = math.nan if math.isnan(alone + more) else max(alone, more)
        if math.isnan(alone):
            return None
        if alone >= threshold / 2:
            found.append(i)
    if not found:
        return []
    rise, lost = gain - view.hold(found), view.drop(found)
    if math.isnan(rise) or math.isnan(lost):
        return None
    return found if min(rise, lost) >= threshold else []


def _status(view: _View, cited: Sequence[int] | None, threshold: float, gain: float) -> Status:
    """Return the status of a part."""
    if not cited:
        return "own knowledge" if cited is not None and gain < threshold else "not decided"
    drop, hold = view.drop(cited), view.hold(cited)
    if math.isnan(drop) or math.isnan(hold) or drop < threshold:
        return "not decided"
    if len(cited) == 1:
        return "confirmed"
    alone = [view.drop([i]) for i in cited]
    if all(lost < threshold for lost in alone):
        return "redundant"
    if hold < threshold:
        one = [view.hold([i]) for i in cited]
        if all(lost >= threshold for lost in one):
            return "joint"
        if any(map(math.isnan, one)):
            return "not decided"
    return "confirmed"

"""What an attribution would cost: rows by arithmetic, memory and time from rows that are run."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hf_attrib.engine.memory import Demand, Need, written
from hf_attrib.engine.probe import heaviest_row, heaviest_row_along
from hf_attrib.execution.rows import default_rows
from hf_attrib.field import Cost, Field, pulled_to_attention
from hf_attrib.results import Told

__all__ = ["Estimate", "Measurement", "estimated"]


@dataclass(frozen=True)
class Estimate(Told):
    """What an attribution would cost, as (least, most) where the method decides as it goes.

    Args:
        tokens: N, how many tokens the model reads.
        targets: T, how many sums are explained: generated tokens, or spans of them.
        groups: G, how many inputs are scored: tokens, or groups of them.
        at_most: whether T is the most that generation could write.
        rows_at_once: how many rows would run together.
        forward_rows: sequences run forward.
        backward_rows: (sequence, target) pairs run backward.
        directional_rows: (sequence, group) pairs run forward with their derivative.
        seconds: time of these rows, from the quickest and the slowest way they were measured.
        peak_memory: bytes that rows, or before them the baseline, take at once beyond the model.
    """

    tokens: int
    targets: int
    groups: int
    at_most: bool
    rows_at_once: int
    forward_rows: tuple[int, int]
    backward_rows: tuple[int, int]
    directional_rows: tuple[int, int]
    seconds: tuple[float, float]
    peak_memory: int

    def __str__(self) -> str:
        limit = " at most: what generation may write" if self.at_most else ""
        seconds = " to ".join(dict.fromkeys(f"{s:.2g}" for s in self.seconds))
        lines = {
            "input tokens": f"{self.tokens:,}",
            "targets": f"{self.targets:,}{limit}",
            "groups": f"{self.groups:,}",
            "forward rows": _range(self.forward_rows, self.at_most),
            "backward rows": _range(self.backward_rows, self.at_most),
            "directions": _range(self.directional_rows, self.at_most),
            "rows at once": f"{self.rows_at_once:,}",
            "seconds": f"about {seconds}",
            "memory": f"{'up to ' * self.at_most}{written(self.peak_memory)} beyond the model",
        }
        return "\n".join(f"{name:<14} {value}" for name, value in lines.items())


def _range(ends: tuple[int, int], at_most: bool) -> str:
    if at_most and 0 < ends[0] == ends[1]:
        return f"up to {ends[1]:,}"
    return " to ".join(f"{end:,}" for end in dict.fromkeys(ends))


@dataclass(frozen=True, eq=False)
class Measurement:
    """A field that stands ready, and what is known of it.

    Args:
        field: F of one sequence.
        x: its embeddings, [1, 1, N, D].
        spent: forward rows that it took to see what the model does with them.
        passes: forward rows that F of all targets takes.
        demand: what is run of it.
        need: what rows take.
        before: bytes that a reference takes, before rows are run.
        groups: G, how many inputs are scored.
    """

    field: Field
    x: Tensor
    spent: int
    passes: int
    demand: Demand
    need: Need
    before: int
    groups: int


class _Counts(NamedTuple):
    """Rows of each kind, f(x) included."""

    forward: int
    backward: int
    directional: int


def estimated(measured: Measurement, least: Cost, most: Cost, at_most: bool) -> Estimate:
    """Return what rows of a field would cost.

    Args:
        measured: the field.
        least: what is run at least, f(x) aside.
        most: what is run at most.
        at_most: whether T is an upper limit.
    """
    field, tokens = measured.field, measured.x.shape[-2]
    every = heaviest_row(field, measured.x, field.targets)
    along = measured.demand.linear and heaviest_row_along(field, measured.x) is not None
    blocks = list(field.blocks(every))  # of pullbacks
    shared = 1 if along else len(blocks)
    fewest = _counts(least, least, measured, shared, along)
    # An answer of fewer tokens may take pullbacks where a longer one takes directions.
    largest = _counts(most, least, measured, len(blocks) if at_most else shared, along)
    if at_most:
        fewest = _counts_of_one_target(least, along, field.target_table.answers)
        if along:
            left = most.gradients * _targets_left_to_pullbacks(measured)
            largest = largest._replace(backward=largest.backward + left)
    usual = default_rows(tokens, measured.x.device)
    # Nodes of a fixed rule come all at once; those that a method decides on come in rounds.
    at_once = min(field.runner.limit, largest.forward, max(usual, least.gradients))
    ways = [_seconds_of_a_row(measured, count) for count in (min(at_once, usual), 1)]
    if not measured.demand.differentiates:  # rows that begin as the inputs do may take less
        ways.append(_seconds_of_a_row(measured, min(at_once, usual), begun=True))
    at_once = min(at_once, field.runner.limit)  # memory may have ended
    quick, slow = ([end(way) for way in zip(*ways, strict=True)] for end in (min, max))
    reads = field.target_table.reach[0].double()
    direction = float(field.direction_cost.of(reads.max())) if largest.directional else 0
    shorter = _shorter(reads, [every.target[0]] if along else blocks, at_most)
    return Estimate(
        tokens=tokens,
        targets=field.targets,
        groups=measured.groups,
        at_most=at_most,
        rows_at_once=at_once,
        forward_rows=(fewest.forward, largest.forward),
        backward_rows=(fewest.backward, largest.backward),
        directional_rows=(fewest.directional, largest.directional),
        seconds=(
            shorter[0] * fewest.forward * quick[0]
            + (shorter[1] * fewest.backward + direction * fewest.directional) * quick[1],
            largest.forward * slow[0]
            + (largest.backward + direction * largest.directional) * slow[1],
        ),
        peak_memory=max(round(measured.need.of(at_once)), measured.before),
    )


def _counts(rows: Cost, least: Cost, measured: Measurement, blocks: int, along: bool) -> _Counts:
    """Return how many rows of each kind a method runs.

    Args:
        rows: what it asks for.
        least: what it asks for at least.
        measured: of which field.
        blocks: forward passes that the gradients of all targets at a point take.
        along: whether these gradients come from directions.
    """
    field, groups = measured.field, int(measured.field.groups.moving.sum())
    whole, single = rows.values + rows.joint, rows.own + rows.own_values
    each = field.target_table.answers
    forward = whole * measured.passes // each + rows.gradients * blocks + single
    backward = rows.joint + rows.own + (0 if along else rows.gradients * field.targets)
    # Rows that ask for some targets take directions where these are fewer; never those for one,
    # which a method that asks for rows of single targets has at least.
    directed = measured.demand.linear and math.isfinite(field.direction_cost.linear)
    some = rows.own - least.own if directed else 0
    directional = some + (rows.gradients * groups if along else 0)
    return _Counts(measured.spent + each * forward, each * backward, each * directional)


def _counts_of_one_target(least: Cost, along: bool, each: int) -> _Counts:
    """Return what is run at least where the answer may be one token."""
    # With one target there are no blocks, and pullbacks cost less than directions; with more,
    # directions may leave no pullbacks.
    single = least.own + least.joint
    forward = 1 + least.values + least.own_values + least.gradients + single
    return _Counts(each * forward, each * (single + (0 if along else least.gradients)), 0)


def _targets_left_to_pullbacks(measured: Measurement) -> int:
    """Return how many targets an answer has at most before directions cost less for all."""
    reads = measured.field.target_table.reach[0].double()
    groups, furthest = int(measured.field.groups.moving.sum()), reads.max()
    pullbacks = groups * measured.field.direction_cost.of(furthest) * furthest / reads.min()
    return min(measured.field.targets, math.ceil(pullbacks))


def _shorter(reads: Tensor, blocks: Sequence[Tensor], at_most: bool) -> tuple[float, float]:
    """Return how long passes are next to the longest one, forward and backward, on average.

    Args:
        reads: how many inputs each target reads, [T].
        blocks: targets that share a pass.
        at_most: whether there may be the shortest one alone.
    """
    if at_most:
        return (float(reads.min() / reads.max()),) * 2
    spans = [float(reads[block].max() / reads.max()) for block in blocks]
    back = sum(span * len(block) for span, block in zip(spans, blocks, strict=True))
    return sum(spans) / len(spans), back / len(reads)


def _seconds_of_a_row(
    measured: Measurement, count: int, begun: bool = False
) -> tuple[float, float]:
    """Return the seconds that a row takes forward and in one pullback.

    Args:
        measured: a field and its inputs.
        count: so many rows together.
        begun: whether rows begin as the inputs do, behind what the field keeps of these.
    """
    x = measured.x if begun or measured.demand.differentiates else -measured.x
    field, query = measured.field, heaviest_row(measured.field, x)
    (block,) = [b for b in field.blocks(query) if query.needed[:, b].any()]
    follows = measured.demand.attention
    linearise = partial(pulled_to_attention, field) if follows else field.linearise
    forward, backward = 0.0, 0.0

    def compute(rows: Tensor) -> tuple[Tensor, ...]:
        nonlocal forward, backward
        some = query.at(torch.zeros_like(rows)).part(torch.arange(len(rows)), block)
        started = time.perf_counter()
        if not measured.demand.differentiates:
            value = field.evaluate(some.points, some.sequence, some.target)
            forward += _done(value) - started
            return (value,)
        linear = linearise(some.points, some.sequence, some.target)
        between = _done(linear.value)
        forward += between - started
        backward += _done(linear.pullback(some.wanted.float())) - between
        return (linear.value,)

    field.runner.map(count, compute)
    rows = count * field.target_table.answers
    return forward / rows, backward / rows


def _done(found: Tensor) -> float:
    """Return the time when a tensor is there, for which devices may have to be waited for."""
    found.sum().item()
    return time.perf_counter()

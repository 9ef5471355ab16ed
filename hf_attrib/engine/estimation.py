"""What an attribution would cost: rows by arithmetic, memory and time from rows that are run."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.text import Text
from torch import Tensor

from hf_attrib.engine.memory import Need, written
from hf_attrib.engine.probe import directed, longest
from hf_attrib.engine.question import Question
from hf_attrib.execution import Processes
from hf_attrib.execution.rows import usual_rows
from hf_attrib.field import Cost, Field
from hf_attrib.text import Request, TokenSequence

__all__ = ["Estimate", "Measured", "Rehearsal", "estimated"]


@dataclass(frozen=True)
class Estimate:
    """What an attribution would cost, as (least, most) where the method decides as it goes.

    Args:
        tokens: N, how many tokens the model reads.
        targets: T, how many sums are explained: generated tokens, or spans of them.
        at_most: whether T is the most that generation could write.
        rows_at_once: how many rows would run together.
        forward_rows: sequences run forward.
        backward_rows: (sequence, target) pairs run backward.
        directional_rows: (sequence, column) pairs run forward with their derivative.
        seconds: time of these rows, from the quickest and the slowest way they were measured.
        peak_memory: bytes that rows, or before them the baseline, take at once beyond the model.
    """

    tokens: int
    targets: int
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
            "forward rows": _range(self.forward_rows, self.at_most),
            "backward rows": _range(self.backward_rows, self.at_most),
            "directions": _range(self.directional_rows, self.at_most),
            "rows at once": f"{self.rows_at_once:,}",
            "seconds": f"about {seconds}",
            "memory": f"{'up to ' * self.at_most}{written(self.peak_memory)} beyond the model",
        }
        return "\n".join(f"{name:<14} {value}" for name, value in lines.items())

    def __rich__(self) -> Text:
        """Return the same for a terminal."""
        return Text(str(self))


def _range(ends: tuple[int, int], at_most: bool) -> str:
    if at_most and 0 < ends[0] == ends[1]:
        return f"up to {ends[1]:,}"
    return " to ".join(f"{end:,}" for end in dict.fromkeys(ends))


@dataclass(frozen=True, eq=False)
class Measured:
    """A field that stands ready, and what is known of it.

    Args:
        field: F of one sequence.
        x: its embeddings, [1, 1, N, D].
        spent: forward rows that it took to see what the model does with them.
        passes: forward rows that F of all targets takes.
        linear: whether derivatives along directions would do for gradients.
        need: what rows take.
        before: bytes that a reference takes, before rows are run.
    """

    field: Field
    x: Tensor
    spent: int
    passes: int
    linear: bool
    need: Need
    before: int


def estimated(measured: Measured, least: Cost, most: Cost, at_most: bool) -> Estimate:
    """Return what rows of a field would cost.

    Args:
        measured: the field.
        least: what is run at least, f(x) aside.
        most: what is run at most.
        at_most: whether T is an upper limit.
    """
    field, tokens = measured.field, measured.x.shape[-2]
    every = longest(field, measured.x, field.targets)
    reads = field.reads().expand(1, field.targets, tokens)[0].sum(-1).double()
    along = measured.linear and directed(field, measured.x) is not None
    blocks = [every.target[0]] if along else list(field.blocks(every))
    # How far passes of gradients run, next to the longest, forward and backward.
    spans = [float(reads[block].max() / reads.max()) for block in blocks]
    back = sum(span * len(block) for span, block in zip(spans, blocks, strict=True))
    counts = [_counts(rows, least, measured, len(blocks), along) for rows in (least, most)]
    if at_most:
        passes = len(list(field.blocks(every)))  # of pullbacks, which fewer targets may take
        counts = [_fewest(least, along), _counts(most, least, measured, passes, along)]
    forward, backward, directional = zip(*counts, strict=True)
    turn = most.gradients * _turn(measured, reads) if at_most and along else 0
    usual = usual_rows(tokens, measured.x.device)
    # Nodes of a fixed rule come all at once; those that a method decides on come in rounds.
    at_once = min(field.runner.limit, forward[1], max(usual, least.gradients))
    together, alone = _timed(measured, min(at_once, usual)), _timed(measured, 1)
    at_once = min(at_once, field.runner.limit)  # memory may have ended
    quick, slow = [[end(pair) for pair in zip(alone, together, strict=True)] for end in (min, max)]
    cost = float(field.direction_cost.of(reads.max())) if max(directional) else 0
    shorter = sum(spans) / len(spans), back / field.targets
    if at_most:
        shorter = (float(reads.min() / reads.max()),) * 2
    return Estimate(
        tokens=tokens,
        targets=field.targets,
        at_most=at_most,
        rows_at_once=at_once,
        forward_rows=forward,
        backward_rows=(backward[0], backward[1] + turn),
        directional_rows=directional,
        seconds=(
            shorter[0] * forward[0] * quick[0]
            + (shorter[1] * backward[0] + cost * directional[0]) * quick[1],
            forward[1] * slow[0] + (backward[1] + cost * directional[1]) * slow[1],
        ),
        peak_memory=max(round(measured.need.of(at_once)), measured.before),
    )


def _counts(
    rows: Cost, least: Cost, measured: Measured, blocks: int, along: bool
) -> tuple[int, int, int]:
    """Return forward, backward and directional rows, f(x) included."""
    field, columns = measured.field, int(measured.field.columns.moving.sum())
    whole, single = rows.values + rows.joint, rows.own + rows.own_values
    forward = whole * measured.passes + rows.gradients * blocks + single
    backward = rows.joint + rows.own + (0 if along else rows.gradients * field.targets)
    # Rows that ask for some targets take directions where these are fewer; never those for one,
    # which a method that asks for rows of single targets has at least.
    directed = measured.linear and math.isfinite(field.direction_cost.linear)
    some = rows.own - least.own if directed else 0
    return measured.spent + forward, backward, some + (rows.gradients * columns if along else 0)


def _fewest(least: Cost, along: bool) -> tuple[int, int, int]:
    """Return what is run at least where the answer may be one token."""
    # With one target there are no blocks, and pullbacks cost less than directions; with more,
    # directions may leave no pullbacks.
    single = least.own + least.joint
    forward = 1 + least.values + least.own_values + least.gradients + single
    return forward, single + (0 if along else least.gradients), 0


def _turn(measured: Measured, reads: Tensor) -> int:
    """Return how many targets are at most left to pullbacks where more take directions."""
    columns, furthest = int(measured.field.columns.moving.sum()), reads.max()
    pullbacks = columns * measured.field.direction_cost.of(furthest) * furthest / reads.min()
    return min(measured.field.targets, math.ceil(pullbacks))


def _timed(measured: Measured, count: int) -> tuple[float, float]:
    """Return the seconds that a row takes forward and in one pullback, of so many together."""
    field, pairs = measured.field, longest(measured.field, measured.x)
    (columns,) = [c for c in field.blocks(pairs) if pairs.needed[:, c].any()]
    spent = [0.0, 0.0]

    def compute(rows: Tensor) -> tuple[Tensor, ...]:
        some = pairs.part(torch.zeros_like(rows), columns)
        times = [time.perf_counter()]
        linear = field.linearise(some.points, some.sequence, some.target)
        times.append(_done(linear.value))
        times.append(_done(linear.pullback(some.wanted.float())))
        for way in (0, 1):
            spent[way] += times[way + 1] - times[way]
        return (linear.value,)

    field.runner.map(count, compute)
    return spent[0] / count, spent[1] / count


def _done(found: Tensor) -> float:
    """Return the time when a tensor is there, for which devices may have to be waited for."""
    found.sum().item()
    return time.perf_counter()


class Rehearsal:
    """Takes the places of an explainer's parts, and estimates what they would do.

    Args:
        transcriber: writes down prompts, and responses that are given.
        engine: runs rows.
    """

    def __init__(self, transcriber: Any, engine: Any) -> None:
        self.transcriber = transcriber
        self.engine = engine
        self._at_most = False

    def transcribe(
        self, request: Request, template_options: Mapping[str, Any], generation: Mapping[str, Any]
    ) -> TokenSequence:
        """Write down a prompt with its response, or one that stands for any that is no longer."""
        self._at_most = request.response is None and request.response_ids is None
        if self._at_most:
            request = self.transcriber.stand_in(request, template_options, generation)
            generation = {}
        found: TokenSequence = self.transcriber.transcribe(request, template_options, generation)
        return found

    def attribute(
        self, sequences: Sequence[TokenSequence], question: Question, processes: Processes
    ) -> list[Estimate]:
        """Estimate what each sequence would cost alone, in one process."""
        if self._at_most and isinstance(question.spans, str) and question.spans != "response":
            # As many words as tokens, at most.
            singles = [(t, t + 1) for t in range(max(len(s.response) for s in sequences))]
            question = replace(question, spans=singles)
        return [self.engine.estimate(s, question, self._at_most) for s in sequences]

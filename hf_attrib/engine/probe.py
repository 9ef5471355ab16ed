"""One row of a field, run to see how many bytes it takes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.execution import Meter, RowRunner
from hf_attrib.field import Contraction, Field, Groups, Query, dot, pulled_to_attention
from hf_attrib.field.directions import cheaper, follow, uncompiled
from hf_attrib.field.gradients import pulled

__all__ = [
    "Taken",
    "bytes_along",
    "bytes_backward",
    "bytes_forward",
    "heaviest_row",
    "heaviest_row_along",
]

#: Bytes on each device.
Taken: TypeAlias = Mapping[torch.device, float]


def heaviest_row(field: Field, x: Tensor, wanted: int = 1) -> Query:
    """Return one row, of all targets, whose gradient is wanted for those that read the most.

    Args:
        field: F and its gradient.
        x: embeddings, [B, 1, N, D].
        wanted: for how many targets.
    """
    read = field.reads().sum(-1).masked_fill(~field.valid(), -1)  # [B, T]
    b = int(read.amax(1).argmax())
    asked = torch.zeros(1, field.targets, dtype=torch.bool)
    asked[0, read[b].argsort(descending=True)[:wanted]] = True
    every = torch.arange(field.targets)[None]

    def points_of(rows: Tensor) -> tuple[Tensor, Tensor]:
        points = x[b][rows.to(x.device)]
        return points, torch.zeros_like(points)

    return Query(points_of, torch.tensor([b]), every, asked, asked)


def heaviest_row_along(field: Field, x: Tensor) -> Query | None:
    """Return the longest row of all targets whose gradients come from directions, if any do.

    Args:
        field: F and its gradient.
        x: embeddings, [B, 1, N, D].
    """
    sequence, valid = torch.arange(field.sequences), field.valid()
    every = torch.arange(field.targets).expand(valid.shape)
    effort = field.effort(sequence, every)
    query = Query(lambda rows: (x[rows, 0], x[rows, 0]), sequence, every, valid, valid)
    along = cheaper(query, effort, field.groups, field.direction_cost)
    if not bool(along.any()):
        return None
    b = (effort * valid).amax(1).mul(along).argmax()[None]
    tables = (table[b] for table in (sequence, every, valid, valid))
    return Query(lambda rows: (x[b[rows], 0], x[b[rows], 0]), *tables)


def bytes_forward(field: Field, x: Tensor) -> Taken:
    """Return the bytes that one row takes on each device without any gradient.

    Args:
        field: F.
        x: embeddings, [B, 1, N, D].
    """
    # Begun otherwise than the inputs are, no row is run behind what was kept of these.
    query, meter = heaviest_row(field, -x), Meter()
    batch = query.at(torch.tensor([0]))

    def compute(_: Tensor) -> tuple[Tensor, ...]:
        with uncompiled(), meter:
            return (field.evaluate(batch.points, batch.sequence, batch.target),)

    (kept,) = RowRunner(1).map(1, compute)
    return _total(meter, 2 * x[:1].nbytes, kept)


def bytes_backward(field: Field, x: Tensor, whole: bool, attention: bool = False) -> Taken:
    """Return the bytes that one row takes on each device, forward and for one pullback.

    Args:
        field: F and its gradient.
        x: embeddings, [B, 1, N, D].
        whole: whether gradients of all targets are kept whole.
        attention: whether gradients are those by attention.

    Raises:
        HFAttribError: of these, the model gives none.
    """
    query, meter = heaviest_row(field, x), Meter()
    contract: Contraction = (lambda gradient, _: gradient) if whole or attention else dot
    linearise = partial(pulled_to_attention, field) if attention else field.linearise

    def compute(rows: Tensor) -> tuple[Tensor, ...]:
        # torch would never again run as compiled what it met inside a mode.
        with uncompiled(), meter:
            return (pulled(field, query, contract, linearise, rows).gradient,)

    (kept,) = RowRunner(1).map(1, compute)
    return _total(meter, 2 * x[:1].nbytes, kept)


def bytes_along(field: Field, query: Query) -> Taken:
    """Return the bytes that one row takes on each device, forward and along one direction.

    Args:
        field: F and its gradient.
        query: the row.

    Raises:
        NotImplementedError: an operation has no forward-mode derivative.
        MemoryLimitError: memory ends.
    """
    meter, batch = Meter(), query.at(torch.tensor([0]))
    owner = torch.zeros_like(field.groups.owner)  # all inputs are joined: one direction
    push = partial(follow, field.pushforward, batch, Groups(owner, field.groups.movable), 1)

    def compute(_: Tensor) -> tuple[Tensor, ...]:
        with uncompiled(), meter:
            return (push().gradient,)

    (kept,) = RowRunner(1).map(1, compute)
    return _total(meter, 4 * batch.points.nbytes, kept)


def _total(meter: Meter, copied: int, kept: Tensor) -> Taken:
    """Return the bytes that were seen, with those of points and results that are copied unseen."""
    peak, device = meter.peak, kept.device
    # Points and velocities are copied on their way. Gradients are copied where they are joined, and
    # those of the rows before are in use until the next have come.
    peak[device] = max(peak[device] + copied + kept.nbytes, 3 * kept.nbytes)
    return {device: float(taken) for device, taken in peak.items() if taken}

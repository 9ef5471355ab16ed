"""One row of a field, run to see how much memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.execution import Meter, RowRunner
from hf_attrib.field import Field
from hf_attrib.field.directions import Columns, cheaper, follow, uncompiled
from hf_attrib.field.gradients import Asked, Contraction, Pairs, differentiate, dot

__all__ = ["Taken", "directed", "followed", "longest", "pulled_back"]

#: Bytes on each device.
Taken: TypeAlias = Mapping[torch.device, float]


def longest(field: Field, x: Tensor, wanted: int = 1) -> Pairs:
    """Return one row, of all targets, whose gradient is wanted for those that read the most.

    Args:
        field: F and its gradient.
        x: embeddings, [B, 1, N, D].
        wanted: for how many targets.
    """
    shape = (field.sequences, field.targets, x.shape[-2])
    read = field.reads().expand(shape).sum(-1).masked_fill(~field.valid(), -1)  # [B, T]
    b = int(read.amax(1).argmax())
    asked = torch.zeros(1, field.targets, dtype=torch.bool)
    asked[0, read[b].argsort(descending=True)[:wanted]] = True
    columns = torch.arange(field.targets)[None]
    return Pairs(x[b], torch.zeros_like(x[b]), torch.tensor([b]), columns, asked, asked)


def directed(field: Field, x: Tensor) -> Pairs | None:
    """Return the longest row of all targets whose gradients come from directions, if any do.

    Args:
        field: F and its gradient.
        x: embeddings, [B, 1, N, D].
    """
    sequence, valid = torch.arange(field.sequences), field.valid()
    target = torch.arange(field.targets).expand(valid.shape)
    effort = field.effort(sequence, target)
    asked = Asked(lambda rows: (x[rows, 0], x[rows, 0]), sequence, target, valid, valid)
    along = cheaper(asked, effort, field.columns, field.direction_cost)
    if not bool(along.any()):
        return None
    return asked.at((effort * valid).amax(1).mul(along).argmax()[None])


def pulled_back(field: Field, x: Tensor, whole: bool) -> Taken:
    """Return the bytes that one row takes on each device, forward and for one pullback.

    Args:
        field: F and its gradient.
        x: embeddings, [B, 1, N, D].
        whole: whether gradients of all targets are kept whole.
    """
    pairs, meter = longest(field, x), Meter()
    contract: Contraction = (lambda gradient, _: gradient) if whole else dot

    def compute(_: Tensor) -> tuple[Tensor, ...]:
        # torch would never again run as compiled what it met inside a mode.
        with uncompiled(), meter:
            blocks = field.blocks(pairs)
            found = differentiate(field.linearise, pairs, blocks, field.movable, contract)
        return (found.gradient,)

    (kept,) = RowRunner(1).map(1, compute)
    return _total(meter, pairs, kept)


def followed(field: Field, pairs: Pairs) -> Taken:
    """Return the bytes that one row takes on each device, forward and along one direction.

    Args:
        field: F and its gradient.
        pairs: the row.

    Raises:
        NotImplementedError: an operation has no forward-mode derivative.
        MemoryLimitError: memory ends.
    """
    meter = Meter()
    owner = torch.zeros_like(field.columns.owner)  # all inputs are joined: one direction
    columns = Columns(owner, field.columns.movable)

    def compute(_: Tensor) -> tuple[Tensor, ...]:
        # torch would never again run as compiled what it met inside a mode.
        with uncompiled(), meter:
            return (follow(field.pushforward, pairs, columns, 1).gradient,)

    (kept,) = RowRunner(1).map(1, compute)
    return _total(meter, pairs, kept)


def _total(meter: Meter, pairs: Pairs, kept: Tensor) -> Taken:
    """Return the bytes that were seen, with those of points and results that are copied."""
    peak, device = meter.peak, pairs.points.device
    # Points and velocities are copied on their way. Gradients are copied where they are joined, and
    # those of the rows before are in use until the next have come.
    peak[device] = max(peak[device] + 4 * pairs.points.nbytes + kept.nbytes, 3 * kept.nbytes)
    return {device: float(taken) for device, taken in peak.items() if taken}

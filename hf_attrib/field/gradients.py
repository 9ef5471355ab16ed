"""Gradients of pairs of a point and a target: which forward serves which, one pullback for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.field.decomposition import Linearisation

__all__ = [
    "Asked",
    "Contraction",
    "Found",
    "Linearise",
    "Locate",
    "Pairs",
    "cheapest_blocks",
    "differentiate",
    "dot",
    "flattened",
]

#: Maps a gradient [R, N, D] and a velocity, broadcastable to it, to what a method keeps of them,
#: usually [R, N]. It is applied at once, so that no K x T x N x D tensor ever exists.
Contraction: TypeAlias = Callable[[Tensor, Tensor], Tensor]

#: Maps numbers of rows, [r], to their points and velocities, [r, N, D] each.
Locate: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]

#: Maps points [R, N, D], their sequences [R] and targets [R, C] to F and its pullback.
Linearise: TypeAlias = Callable[[Tensor, Tensor, Tensor], Linearisation]


#: Blocks of targets must save a tenth by the model of their cost, which is only a model.
_WORTH = 0.9


def dot(gradient: Tensor, velocity: Tensor) -> Tensor:
    """Return the inner product over the embedding width, [..., N]."""
    return (gradient * velocity).sum(-1)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows, and the targets of each that are asked for.

    Args:
        points: embeddings, [R, N, D].
        velocity: what gradients are contracted with, [R, N, D].
        sequence: which of the B sequences each row belongs to, [R], on the CPU.
        target: which of its T targets each column means, [R, C], on the CPU.
        needed: where F is asked for, [R, C] bool, on the CPU.
        wanted: where the gradient is, too, [R, C] bool, on the CPU.
    """

    points: Tensor
    velocity: Tensor
    sequence: Tensor
    target: Tensor
    needed: Tensor
    wanted: Tensor

    def part(self, rows: Tensor, columns: Tensor) -> Pairs:
        """Return some columns of some rows."""
        here = rows.to(self.points.device)
        tables = (t[rows][:, columns] for t in (self.target, self.needed, self.wanted))
        return Pairs(self.points[here], self.velocity[here], self.sequence[rows], *tables)


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of rows whose points are made when they are run.

    Args:
        locate: maps numbers of rows to their points and velocities.
        sequence: as for :class:`Pairs`, and so are the others.
        target: [R, C].
        needed: [R, C] bool.
        wanted: [R, C] bool.
    """

    locate: Locate
    sequence: Tensor
    target: Tensor
    needed: Tensor
    wanted: Tensor

    def at(self, rows: Tensor) -> Pairs:
        """Return some rows with their points."""
        tables = (self.sequence, self.target, self.needed, self.wanted)
        return Pairs(*self.locate(rows), *(table[rows] for table in tables))


@dataclass(frozen=True, eq=False)
class Found:
    """What was found for R rows of C targets.

    Args:
        value: F, [R, C]; not a number where it was not asked for.
        gradient: the contracted gradient, [R, C, ...]; 0 where it was not asked for.
        forward: how often each row was run forward, [R].
    """

    value: Tensor
    gradient: Tensor
    forward: Tensor


def flattened(points: Tensor, sequences: int, targets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return points [K, B, T or 1, N, D] as rows [R, N, D], their sequences [R], targets [R, C].

    Args:
        points: of all targets, or of each.
        sequences: B.
        targets: T.
    """
    count, given, own = points.shape[:3]
    if given != sequences or own not in (1, targets):
        raise ValueError(
            f"points are {tuple(points.shape)}, expected [K, B, T or 1, N, D] with "
            f"B = {sequences} and T = {targets}"
        )
    grid = (count, sequences, own)
    sequence = torch.arange(sequences)[None, :, None].expand(grid).flatten()
    if own == 1:
        target = torch.arange(targets).expand(len(sequence), -1)
    else:
        target = torch.arange(own).expand(grid).reshape(-1, 1)
    return points.flatten(0, 2), sequence, target


def differentiate(
    linearise: Linearise,
    pairs: Pairs,
    blocks: Iterable[Tensor],
    movable: Tensor,
    contract: Contraction,
) -> Found:
    """Return F and contracted gradients of pairs.

    Args:
        linearise: runs rows forward.
        pairs: what is asked for.
        blocks: columns that share a forward pass; together, all of them.
        movable: where inputs may move, [B, N] bool; gradients are 0 elsewhere.
        contract: what to keep of a gradient.
    """
    value = torch.full(pairs.target.shape, torch.nan).to(pairs.points)
    gradient: Tensor | None = None
    forward = torch.zeros(len(pairs.points), dtype=torch.int64)
    for columns in blocks:
        rows = pairs.needed[:, columns].any(1).nonzero()[:, 0]
        if not len(rows):
            continue
        some = pairs.part(rows, columns)
        linear = linearise(some.points, some.sequence, some.target)
        found = linear.value.masked_fill(~some.needed.to(value.device), torch.nan)
        value[rows[:, None], columns] = found.to(value)
        fixed = ~movable[some.sequence][..., None].to(some.points.device)
        for these, column, weights in _turns(some.wanted):
            pulled = linear.pullback(weights).masked_fill(fixed, 0)
            kept = contract(pulled, some.velocity)[these]
            if gradient is None:
                gradient = torch.zeros(*pairs.target.shape, *kept.shape[1:]).to(kept)
            gradient[rows[these], columns[column]] = kept
        forward[rows] += 1
        del linear  # its graph, before the next block makes another
    if gradient is None:  # only values were asked for
        nothing = contract(torch.zeros_like(pairs.points), pairs.velocity)
        gradient = torch.zeros(*pairs.target.shape, *nothing.shape[1:]).to(nothing)
    return Found(value, gradient, forward)


def _turns(wanted: Tensor) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
    """Yield rows, one wanted column of each, and both as weights [R, C], until none is left.

    Rows take turns together, so that as many pullbacks are run as the busiest row has columns.
    """
    count = wanted.sum(1)
    order = wanted.int().argsort(dim=1, descending=True, stable=True)
    for turn in range(int(count.max())):
        rows = (count > turn).nonzero()[:, 0]
        column = order[rows, turn]
        weights = torch.zeros(wanted.shape)
        weights[rows, column] = 1
        yield rows, column, weights


def cheapest_blocks(effort: Tensor, wanted: Tensor) -> tuple[Tensor, ...]:
    """Return blocks of columns, each run no further than it needs, as many as cost least.

    A pass costs about the same forward as backward.

    Args:
        effort: of one pass for each column, [C].
        wanted: where gradients are asked for, [R, C] bool.
    """
    columns = torch.arange(len(effort))

    def cost(count: int) -> float:
        blocks = columns.tensor_split(count)
        passes = (1 + int(wanted[:, block].sum(1).max()) for block in blocks)
        return sum(float(effort[b].max()) * p for b, p in zip(blocks, passes, strict=True))

    counts = [2**k for k in range(len(columns).bit_length())]
    best = min(counts, key=cost)
    return columns.tensor_split(best if cost(best) < _WORTH * cost(1) else 1)

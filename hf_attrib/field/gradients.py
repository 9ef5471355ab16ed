"""Which gradients are asked for, and which forward pass serves which of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor

from hf_attrib.field.decomposition import Linearisation

if TYPE_CHECKING:
    from hf_attrib.field.base import Field

__all__ = [
    "Answer",
    "Contraction",
    "Linearise",
    "Path",
    "PointsOf",
    "Query",
    "RowBatch",
    "cheapest_blocks",
    "dot",
    "flattened",
    "one_target_each",
    "pulled",
]

#: Maps a gradient [R, N, D] and a velocity, broadcastable to it, to what a method keeps of them,
#: usually [R, N]. It is applied at once, so that no K x T x N x D tensor ever exists.
Contraction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
#: Maps numbers of rows, [r], to their points and velocities, [r, N, D] each.
PointsOf: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]

#: Maps points [R, N, D], their sequences [R] and targets [R, C] to F and its pullback.
Linearise: TypeAlias = Callable[[Tensor, Tensor, Tensor], Linearisation]

#: Maps k positions in [0, 1] to points, [k, B, T or 1, N, D], and to the velocity there, of a
#: shape that broadcasts to the points'. A T axis of size 1: all targets share the path.
Path: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]

#: Blocks of targets must save a tenth by the model of their cost, which is only a model.
_WORTH = 0.9


def dot(gradient: Tensor, velocity: Tensor) -> Tensor:
    """Return the inner product over the embedding width, [..., N]."""
    return (gradient * velocity).sum(-1)


@dataclass(frozen=True, eq=False)
class RowBatch:
    """Rows that run together, with their points.

    Args:
        points: embeddings, [R, N, D].
        velocity: what gradients are contracted with, [R, N, D].
        sequence: which of the B sequences each row belongs to, [R], on the CPU.
        target: which of its T targets each entry means, [R, C], on the CPU.
        needed: where F is asked for, [R, C] bool, on the CPU.
        wanted: where the gradient is, too, [R, C] bool, on the CPU.
    """

    points: Tensor
    velocity: Tensor
    sequence: Tensor
    target: Tensor
    needed: Tensor
    wanted: Tensor

    def part(self, rows: Tensor, entries: Tensor) -> RowBatch:
        """Return some target entries of some rows."""
        here = rows.to(self.points.device)
        tables = (t[rows][:, entries] for t in (self.target, self.needed, self.wanted))
        return RowBatch(self.points[here], self.velocity[here], self.sequence[rows], *tables)


@dataclass(frozen=True, eq=False)
class Query:
    """Values and gradients that are asked for, of rows whose points are made when they run.

    Args:
        points_of: maps numbers of rows to their points and velocities.
        sequence: which of the B sequences each row belongs to, [R], on the CPU.
        target: which of its T targets each entry means, [R, C], on the CPU.
        needed: where F is asked for, [R, C] bool, on the CPU.
        wanted: where the gradient is, too, [R, C] bool, on the CPU.
    """

    points_of: PointsOf
    sequence: Tensor
    target: Tensor
    needed: Tensor
    wanted: Tensor

    @classmethod
    def of(cls, points: Tensor, velocity: Tensor, valid: Tensor) -> Query:
        """Ask for F and its gradient at points, whatever their number.

        Args:
            points: of all targets, or of each, [K, B, T or 1, N, D].
            velocity: what gradients are contracted with, broadcastable to the points.
            valid: which targets are no padding of the batch, [B, T] bool.
        """
        rows, sequence, target = flattened(points, *valid.shape)
        velocity = velocity.expand(points.shape).flatten(0, 2)
        wanted = valid[sequence].gather(1, target)

        def points_of(part: Tensor) -> tuple[Tensor, Tensor]:
            here = part.to(rows.device)
            return rows[here], velocity[here]

        return cls(points_of, sequence, target, torch.ones_like(wanted), wanted)

    def __len__(self) -> int:
        return len(self.sequence)

    def at(self, rows: Tensor) -> RowBatch:
        """Return some rows with their points."""
        tables = (self.sequence, self.target, self.needed, self.wanted)
        return RowBatch(*self.points_of(rows), *(table[rows] for table in tables))


class Answer(NamedTuple):
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


def one_target_each(wanted: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield rows, one wanted target of each, and both as weights [R, C], until none is left.

    Rows take turns together, so that as many pullbacks are run as the busiest row has targets.

    Args:
        wanted: where gradients are asked for, [R, C] bool.
    """
    count = wanted.sum(1)
    order = wanted.int().argsort(dim=1, descending=True, stable=True)
    for turn in range(int(count.max())):
        rows = (count > turn).nonzero()[:, 0]
        target = order[rows, turn]
        weights = torch.zeros(wanted.shape, dtype=torch.float32)
        weights[rows, target] = 1
        yield rows, target, weights


def pulled(
    field: Field, query: Query, contract: Contraction, linearise: Linearise, rows: Tensor
) -> Answer:
    """Return F and contracted gradients of some rows of a query, by one pullback for each target.

    Args:
        field: says which targets share a pass and which inputs may move; gradients are 0 elsewhere.
        query: what is asked for.
        contract: what to keep of a gradient.
        linearise: gives F and its pullback.
        rows: which of the query, [R].
    """
    batch = query.at(rows)
    value = torch.full(batch.target.shape, torch.nan).to(batch.points)
    gradient: Tensor | None = None
    forward = torch.zeros(len(batch.points), dtype=torch.int64)
    for block in field.blocks(batch):
        used = batch.needed[:, block].any(1).nonzero()[:, 0]
        if not len(used):
            continue
        some = batch.part(used, block)
        linear = linearise(some.points, some.sequence, some.target)
        found = linear.value.masked_fill(~some.needed.to(linear.value.device), torch.nan)
        value[used[:, None], block] = found.to(value)
        fixed = ~field.movable[some.sequence][..., None].to(some.points.device)
        for these, entry, weights in one_target_each(some.wanted):
            back = linear.pullback(weights).masked_fill(fixed, 0)
            kept = contract(back, some.velocity)[these]
            if gradient is None:
                gradient = torch.zeros(*batch.target.shape, *kept.shape[1:]).to(kept)
            gradient[used[these], block[entry]] = kept
        forward[used] += 1
        del linear  # its graph, before the next block makes another
    if gradient is None:  # only values were asked for
        nothing = contract(torch.zeros_like(batch.points), batch.velocity)
        gradient = torch.zeros(*batch.target.shape, *nothing.shape[1:]).to(nothing)
    if contract is dot:
        gradient = field.groups.add_up(gradient, batch.sequence)
    return Answer(value, gradient, forward)


def cheapest_blocks(effort: Tensor, wanted: Tensor) -> tuple[Tensor, ...]:
    """Return blocks of targets, each run no further than it needs, as many as cost least.

    A pass costs about the same forward as backward.

    Args:
        effort: of one pass for each target, [C].
        wanted: where gradients are asked for, [R, C] bool.
    """
    every = torch.arange(len(effort))

    def cost(count: int) -> float:
        blocks = every.tensor_split(count)
        passes = (1 + int(wanted[:, block].sum(1).max()) for block in blocks)
        return sum(float(effort[b].max()) * p for b, p in zip(blocks, passes, strict=True))

    counts = [2**k for k in range(len(every).bit_length())]
    best = min(counts, key=cost)
    return every.tensor_split(best if cost(best) < _WORTH * cost(1) else 1)

"""Derivatives along directions of the inputs: one forward pass each, for all targets at once.

Where T targets ask N inputs for the product of gradient and velocity, T pullbacks give it, and so
do N derivatives along the velocity of one input alone. Inputs that are joined to G columns take G
of them. Which way costs less is told by counting and not by a clock, so that it depends on what is
asked and on nothing else.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from threading import Lock
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from hf_attrib.execution import RowRunner
from hf_attrib.execution.rows import Compute
from hf_attrib.field.decomposition import Pushforward
from hf_attrib.field.gradients import Asked, Found, Pairs

__all__ = [
    "NEVER",
    "Columns",
    "DirectionCost",
    "Push",
    "cheaper",
    "derivative",
    "either",
    "follow",
    "uncompiled",
]

#: Maps points [R, N, D], their sequences [R] and targets [R, C] to F and its pushforward.
Push: TypeAlias = Callable[[Tensor, Tensor, Tensor], Pushforward]

#: Forward-mode levels, and which attention kernels are allowed, belong to the whole process.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True)
class DirectionCost:
    """What a pass along a direction costs, in pullbacks over the same positions.

    Args:
        linear: whatever their number; infinite where there are no directions.
        attention: for each position more, since directions run on plain attention.
    """

    linear: float
    attention: float = 0.0

    def of(self, effort: Tensor) -> Tensor:
        """Return the cost of one over so many positions."""
        return self.linear + self.attention * effort


#: Where there are no directions.
NEVER = DirectionCost(math.inf)


@dataclass(frozen=True, eq=False)
class Columns:
    """What the scores of N inputs are added up to: G columns.

    Args:
        owner: the column of each input, [B, N], on the CPU.
        movable: where inputs may move, [B, N] bool, on the CPU.
    """

    owner: Tensor
    movable: Tensor

    @classmethod
    def single(cls, movable: Tensor) -> Columns:
        """Return columns of one input each.

        Args:
            movable: where inputs may move, [B, N] bool.
        """
        return cls(torch.arange(movable.shape[1]).expand(movable.shape), movable)

    @cached_property
    def moving(self) -> Tensor:
        """Which columns have an input that moves, [B, G] bool."""
        counts = torch.zeros(len(self.owner), int(self.owner.max()) + 1, dtype=torch.int64)
        return counts.scatter_add(1, self.owner, self.movable.cpu().long()) > 0

    @cached_property
    def apart(self) -> bool:
        """Whether each input is a column of its own."""
        return torch.equal(self.owner, torch.arange(self.owner.shape[1]).expand_as(self.owner))

    def add_up(self, by_input: Tensor, sequence: Tensor) -> Tensor:
        """Add up what inputs have, [R, C, N], to what columns have, [R, C, G].

        Args:
            by_input: for each input, [R, C, N].
            sequence: which of the B sequences each row belongs to, [R].
        """
        if self.apart:
            return by_input
        owner = self.owner[sequence][:, None].expand(by_input.shape).to(by_input.device)
        total = by_input.new_zeros(*by_input.shape[:2], self.moving.shape[1])
        return total.scatter_add(2, owner, by_input)

    def restricted(self, velocity: Tensor, sequence: Tensor, column: Tensor) -> Tensor:
        """Return velocities [I, N, D] of the inputs of one column each, 0 elsewhere.

        Args:
            velocity: of all inputs, [I, N, D].
            sequence: which of the B sequences each belongs to, [I].
            column: what it is restricted to, [I].
        """
        own = (self.owner[sequence] == column[:, None]) & self.movable[sequence]
        return velocity.masked_fill(~own[..., None].to(velocity.device), 0)


def cheaper(asked: Asked, effort: Tensor, columns: Columns, cost: DirectionCost) -> Tensor:
    """Tell the rows whose derivatives along columns cost less than their pullbacks, [R] bool.

    It is told for each row alone, so that it does not depend on what runs together.

    Args:
        asked: what is asked for.
        effort: of one pass for each target, [R, C].
        columns: what the directions are.
        cost: of a pass along a direction.
    """
    passes = columns.moving.sum(1)[asked.sequence]
    pullbacks = (effort * asked.wanted).sum(1)
    furthest = (effort * asked.needed).amax(1)
    along = passes * furthest * cost.of(furthest)
    return asked.wanted.any(1) & (passes > 0) & (along < pullbacks)


def follow(push: Push, pairs: Pairs, columns: Columns, limit: int) -> Found:
    """Return F, and its derivative along the velocity of each column.

    Args:
        push: runs rows forward.
        pairs: what is asked for.
        columns: what the directions are.
        limit: directions that are run at once.
    """
    places = pairs.needed.any(0).nonzero()[:, 0]
    some = pairs.part(torch.arange(len(pairs.points)), places)
    value = torch.full(pairs.target.shape, torch.nan).to(pairs.points)
    forward = push(some.points, some.sequence, some.target)
    value[:, places] = forward.value.masked_fill(~some.needed.to(value.device), torch.nan).to(value)
    moving = columns.moving[some.sequence]
    found = torch.zeros(*some.target.shape, moving.shape[1]).to(value)
    for rows, column in _batches(moving, limit):
        velocity = some.velocity[rows.to(some.velocity.device)]
        direction = columns.restricted(velocity, some.sequence[rows], column)
        found[rows, :, column] = forward.along(rows, direction).to(found)
    gradient = torch.zeros(*pairs.target.shape, moving.shape[1]).to(value)
    gradient[:, places] = found.masked_fill(~some.wanted[..., None].to(found.device), 0)
    return Found(value, gradient, torch.ones(len(some.points), dtype=torch.int64))


def _batches(moving: Tensor, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and columns that move, [R, G], so many at a time."""
    for part in moving.nonzero().split(limit):
        yield part[:, 0], part[:, 1]


def either(runner: RowRunner, way: Tensor, one: Compute, other: Compute) -> tuple[Tensor, ...]:
    """Compute each row in one of two ways; return the results in the order of the rows.

    Args:
        runner: runs rows, some at once.
        way: which rows are computed by ``one``, [R] bool.
        one: a way.
        other: the other way.
    """
    if bool(way.all()) or not bool(way.any()):
        return runner.map(len(way), one if bool(way.all()) else other)
    first, second = way.nonzero()[:, 0], (~way).nonzero()[:, 0]
    parts = (
        runner.map(len(first), lambda part: one(first[part])),
        runner.map(len(second), lambda part: other(second[part])),
    )
    back = way.int().argsort(descending=True, stable=True).argsort()
    return tuple(torch.cat(pair)[back.to(pair[0].device)] for pair in zip(*parts, strict=True))


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what is compiled as it was written."""
    with torch.compiler.set_stance("force_eager"):
        yield


def derivative(function: Callable[[Tensor], Tensor], points: Tensor, direction: Tensor) -> Tensor:
    """Return the derivative of a function's output along a direction, by forward-mode AD.

    Args:
        function: of points, to a tensor of any shape.
        points: where, [R, N, D].
        direction: of the same shape.

    Raises:
        NotImplementedError: an operation in it has no forward-mode derivative.
    """
    _load()
    with _ONE_AT_A_TIME, _plain(), torch.no_grad(), forward_ad.dual_level():
        output = function(forward_ad.make_dual(points.detach(), direction.to(points)))
        primal, tangent = forward_ad.unpack_dual(output)
        # A copy, since what is known to be 0 comes without memory of its own.
        return torch.zeros_like(primal) if tangent is None else tangent.clone()


@contextmanager
def _plain() -> Iterator[None]:
    """Run what forward mode knows, which is no fused attention and no compiled code."""
    with uncompiled(), sdpa_kernel(SDPBackend.MATH):
        yield


@cache
def _load() -> None:
    """Let torch load what forward mode needs, for which it warns of its own use of TorchScript."""
    with _ONE_AT_A_TIME, warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))

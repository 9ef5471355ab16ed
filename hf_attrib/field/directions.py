"""Derivatives along directions of the inputs: one forward pass each, for all targets at once.

Where T targets ask N inputs for the product of gradient and velocity, T pullbacks give it, and so
do N derivatives along the velocity of one input alone. Inputs that are joined to G groups take G
of them. Which way costs less is told by counting and not by a clock, so that it depends on what is
asked and on nothing else.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import get_ident
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from hf_attrib.execution import RowRunner, Turn
from hf_attrib.execution.rows import Compute
from hf_attrib.field.decomposition import Pushforward
from hf_attrib.field.gradients import Answer, Query, RowBatch
from hf_attrib.field.groups import Groups

__all__ = [
    "NEVER",
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

#: Forward-mode levels, and whether what is compiled runs as such, belong to the whole process.
_PROCESS = Turn()
_FUSED = functional.scaled_dot_product_attention


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


def cheaper(query: Query, effort: Tensor, groups: Groups, cost: DirectionCost) -> Tensor:
    """Tell the rows whose derivatives along groups cost less than their pullbacks, [R] bool.

    It is told for each row alone, so that it does not depend on what runs together.

    Args:
        query: what is asked for.
        effort: of one pass for each target, [R, C].
        groups: what the directions are.
        cost: of a pass along a direction.
    """
    passes = groups.moving.sum(1)[query.sequence]
    pullbacks = (effort * query.wanted).sum(1)
    furthest = (effort * query.needed).amax(1)
    along = passes * furthest * cost.of(furthest)
    return query.wanted.any(1) & (passes > 0) & (along < pullbacks)


def follow(push: Push, batch: RowBatch, groups: Groups, limit: int) -> Answer:
    """Return F, and its derivative along the velocity of each group.

    Args:
        push: runs rows forward.
        batch: what is asked for.
        groups: what the directions are.
        limit: directions that are run at once.
    """
    places = batch.needed.any(0).nonzero()[:, 0]
    some = batch.part(torch.arange(len(batch.points)), places)
    value = torch.full(batch.target.shape, torch.nan).to(batch.points)
    forward = push(some.points, some.sequence, some.target)
    value[:, places] = forward.value.masked_fill(~some.needed.to(value.device), torch.nan).to(value)
    moving = groups.moving[some.sequence]
    found = torch.zeros(*some.target.shape, moving.shape[1]).to(value)
    for rows, group in _batches(moving, limit):
        velocity = some.velocity[rows.to(some.velocity.device)]
        direction = groups.restricted(velocity, some.sequence[rows], group)
        found[rows, :, group] = forward.along(rows, direction).to(found)
    gradient = torch.zeros(*batch.target.shape, moving.shape[1]).to(value)
    gradient[:, places] = found.masked_fill(~some.wanted[..., None].to(found.device), 0)
    return Answer(value, gradient, torch.ones(len(some.points), dtype=torch.int64))


def _batches(moving: Tensor, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and groups that move, [R, G], so many at a time."""
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
    """Run what is compiled as it was written, in other threads too: it only takes them longer."""
    with _PROCESS.taken() as undo:
        undo.enter_context(torch.compiler.set_stance("force_eager"))
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
    with uncompiled(), _PROCESS.taken() as undo, torch.no_grad():
        undo.callback(setattr, functional, _FUSED.__name__, _FUSED)
        setattr(functional, _FUSED.__name__, _plain_here(get_ident()))
        try:
            undo.enter_context(forward_ad.dual_level())
        except RuntimeError as error:  # the caller, or another thread, is in one
            raise NotImplementedError(str(error)) from error
        output = function(forward_ad.make_dual(points.detach(), direction.to(points)))
        primal, tangent = forward_ad.unpack_dual(output)
        # A copy, since what is known to be 0 comes without memory of its own.
        return torch.zeros_like(primal) if tangent is None else tangent.clone()


def _plain_here(thread: int) -> Callable[..., Tensor]:
    """Return attention that is plain in one thread, since forward mode knows none that is fused.

    ``sdpa_kernel`` would take the fused kernels, and so memory, from all threads.
    """

    def attention(*arguments: Any, **options: Any) -> Tensor:
        one = _plain_attention if get_ident() == thread else _FUSED
        return one(*arguments, **options)

    return attention


def _plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return attention as torch's own plain kernel computes it."""
    mask = attn_mask
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -torch.inf)
    attended: Tensor = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]
    return attended


@cache
def _load() -> None:
    """Let torch load what forward mode needs, for which it warns of its own use of TorchScript."""
    with _PROCESS.taken(), warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))

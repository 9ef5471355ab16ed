"""Sums that published code makes in place of path integrals, for replication."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_attrib.attacks import GoesOn, Objective, UpdateRule, sizes
from hf_attrib.field import Decomposition, Field

__all__ = ["own_products", "reanchored"]


def own_products(
    field: Field,
    rule: UpdateRule,
    objective: Objective,
    x: Tensor,
    goes_on: GoesOn | None = None,
) -> Decomposition:
    r"""Return :math:`\sum_k \sum_d (x^{k+1} - x^k)_{nd}\,d^k_{nd}`: steps times their directions.

    Whatever the direction is, be it normalised or a sum over steps, it is taken for the gradient.

    Args:
        field: F of all targets.
        rule: says where steps go.
        objective: J, with a walker for each target.
        x: embeddings, [B, 1, N, D].
        goes_on: tells which walkers take another step.
    """
    climb = rule.climb(objective, x)
    directions = rule.directions(climb)
    alive = torch.ones(climb.x.shape[:2], dtype=torch.bool)
    total = torch.zeros_like(climb.x[..., 0])
    for done in range(1, rule.steps + 1):
        if goes_on is not None:
            alive &= goes_on(climb.here).to(alive)
        if not alive.any():
            break
        here, direction = climb.here, next(directions) * climb.moves
        there = climb.advance(direction)
        climb.here = torch.where(alive[..., None, None].to(here.device), there, here)
        total += ((climb.here - here) * direction).sum(-1)
        field.progress(done, rule.steps)
    return Decomposition(
        total, None, sizes=sizes(field, climb.eps[..., 0, 0], climb.step[..., 0, 0])
    )


def reanchored(
    field: Field,
    objective: Objective,
    x: Tensor,
    reach: Tensor,
    steps: int,
    goes_on: GoesOn | None = None,
) -> Tensor:
    r"""Return :math:`-\sum_k \sum_d \frac{\partial f_t}{\partial x_{nd}}(x^k)\,\delta^k_{nd}`.

    Each point is one step away from the input, :math:`x^{k+1} = x + \delta^k` with
    :math:`\delta^k = r\,\mathrm{sign}\,\nabla J(x^k)`, so that they are on no path.

    Args:
        field: F of all targets.
        objective: J, with a walker for each target.
        x: embeddings, [B, 1, N, D].
        reach: r, broadcastable to x.
        steps: how many.
        goes_on: tells which walkers take another step.

    Returns:
        scores [B, T, N].
    """
    here = x.expand(-1, field.targets, -1, -1)
    alive, total = torch.ones(here.shape[:2], dtype=torch.bool), torch.zeros_like(here[..., 0])
    for _ in range(steps):
        if goes_on is not None:
            alive &= goes_on(here).to(alive)
        if not alive.any():
            break
        moves = alive[..., None, None].to(here.device)
        ahead = field.rounded(x + reach * objective.gradient(here[None])[0].sign())
        gained = field.at(here, torch.where(moves, ahead - x, 0)).gradient[0]
        total, here = total - gained, torch.where(moves, ahead, here)
    return total

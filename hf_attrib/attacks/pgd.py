"""Projected gradient descent. Madry et al. 2017, arXiv:1706.06083."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.base import GoesOn, UpdateRule
from hf_attrib.attacks.climb import Climb, Objective, Walk
from hf_attrib.field import Cost
from hf_attrib.hyperparameters import at_least, hyperparameter, one_of, positive
from hf_attrib.integration import generator

__all__ = ["PGD"]

_NORMS = ("linf", "l2")


@dataclass(frozen=True)
class PGD(UpdateRule, name="pgd"):
    r"""Steps along the gradient from a random point of the ball, the best of several walks.

    .. math:: x^1 = x + \epsilon u\,\xi, \qquad
        x^{k+1} = \Pi_\epsilon\Big(x^k + \alpha u\,\mathrm{sign}\,\nabla J(x^k)\Big)

    with :math:`\xi` even on the unit ball. For "l2" the sign gives way to
    :math:`\nabla J / \|\nabla J\|`, and u to the length of a vector of typical coordinates,
    :math:`u \sqrt{ND}` over the inputs that may move. Walks start at the same time, and each
    walker keeps the one whose end has the highest J. By default :math:`\alpha = 2.5 \epsilon / K`,
    which leads across the ball.

    Images leave out the jump to the random point; here it is the first segment of the walk, as
    scores sum to the change along all of it.

    Args:
        norm: "linf" or "l2".
        restarts: how many walks.
        seed: of the random points.

    Source: arXiv:1706.06083.
    """

    stochastic: ClassVar[bool] = True
    #: From one end of the ball to the other.
    outrun: ClassVar[float] = 2.5
    step: float | None = hyperparameter(
        None, "Length of a step in embedding scales; or 2.5 eps/steps.", positive
    )
    norm: str = hyperparameter("linf", f"Of the ball: {', '.join(_NORMS)}.", one_of(_NORMS))
    restarts: int = hyperparameter(1, "Walks, of which the best is kept.", at_least(1))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def euclidean(self) -> bool:
        """Return whether steps and ball are measured by the length of vectors."""
        return self.norm == "l2"

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return self.restarts

    def segments(self) -> int:
        """Return how many segments a walk has that does not stop."""
        return 1 + self.steps

    def cost(self, walkers: int | None) -> Cost:
        """Return the cost of walks that do not stop."""
        ends = self.restarts if self.restarts > 1 else 0
        choice = Cost(values=ends) if walkers is None else Cost(own_values=ends).times(walkers)
        return super().cost(walkers) + choice

    def walk(self, objective: Objective, x: Tensor, goes_on: GoesOn | None = None) -> Walk:
        """Take K steps from each random point, and keep the best walk of each walker."""
        climb = self.climb(objective, x)
        climb.here = torch.stack([self._start(climb, r) for r in range(self.restarts)])
        whole = climb.x.expand_as(climb.here)
        each = None if goes_on is None else _each(goes_on)
        walk = climb.walked([whole, climb.here, *self.stepped(climb, each)])
        best = torch.zeros(climb.x.shape[:2], dtype=torch.int64).to(climb.x.device)
        if self.restarts > 1:
            best = objective.value(walk.points[-1]).argmax(0)
        chosen = torch.take_along_dim(walk.points, best[None, None, ..., None, None], 1)
        return replace(walk, points=chosen[:, 0])

    def _start(self, climb: Climb, restart: int) -> Tensor:
        """Return a point that lies evenly in the ball, [B, W, N, D]."""
        stream = self.seed, "pgd", restart
        if not self.euclidean():
            away = climb.eps * climb.uniform(*stream)
        else:
            even = climb.ball.unit(climb.normal(*stream) / climb.scale)
            count = climb.moves.sum((-2, -1), keepdim=True) * climb.x.shape[-1]
            share = torch.rand((), generator=generator(*stream, "radius"), dtype=torch.float32).to(
                climb.x
            )
            away = climb.ball.radius * share ** (1 / count) * even
        return climb.field.rounded(climb.ball.project(climb.x + away))

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the gradient at each point."""
        while True:
            yield climb.gradient()


def _each(goes_on: GoesOn) -> GoesOn:
    """Ask of each restart, [R, B, W, N, D], which walkers go on, [R, B, W]."""
    return lambda points: torch.stack([goes_on(one) for one in points])

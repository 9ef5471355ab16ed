"""Carlini and Wagner's attack. Carlini, Wagner 2016, arXiv:1608.04644."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.base import Attack, GoesOn
from hf_attrib.attacks.climb import Climb, Objective, Walk
from hf_attrib.field import Cost
from hf_attrib.hyperparameters import at_least, hyperparameter, not_negative, positive
from hf_attrib.targets import TARGETS, Target

__all__ = ["CarliniWagner"]

#: Of Adam: what is kept of means of gradients and of their squares, and what never divides.
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class CarliniWagner(Attack, name="cw"):
    r"""The smallest change by which tokens lose their lead, on a straight line.

    .. math:: \min_\delta \; \|\delta\|^2 + c \sum_t \max\big(\mathrm{margin}_t(x + \delta),
        -\kappa\big), \qquad \mathrm{margin}_t = z_y - \max_{v \ne y} z_v

    by Adam, with :math:`\|\delta\|^2` the mean square of its coordinates in embedding scales.
    Each walker takes the shortest :math:`\delta` that it met at which all its tokens have margins
    of at most :math:`-\kappa`; where there is none, the one whose margins are least above. An
    objective that raises tokens has their margins with the other sign.

    Images are kept between black and white by a tanh; embeddings have no such limits, and it is
    left out.

    Args:
        steps: of Adam.
        rate: length of its steps, in embedding scales.
        weight: c.
        kappa: :math:`\kappa`, the lead of another token that is asked for.

    Raises:
        InputError: a field is out of range.

    Source: arXiv:1608.04644.
    """

    fewest: ClassVar[int | None] = 0
    steps: int = hyperparameter(50, "Steps of Adam.", at_least(1))
    rate: float = hyperparameter(0.02, "Its rate, in embedding scales.", positive)
    weight: float = hyperparameter(1.0, "Weight of the margin.", positive)
    kappa: float = hyperparameter(0.0, "Lead of another token to reach.", not_negative)

    def cost(self, walkers: int | None) -> Cost:
        """Return the cost of a search."""
        if walkers is None:
            return Cost(values=1, joint=self.steps)
        return Cost(own_values=1, own=self.steps).times(walkers)

    def segments(self) -> int:
        """Return how many segments a walk has."""
        return 1

    def euclidean(self) -> bool:
        """Return whether distances are measured by the length of vectors."""
        return True

    def walk(self, objective: Objective, x: Tensor, goes_on: GoesOn | None = None) -> Walk:
        """Search from x; the walk is the straight line to what was found."""
        start = x.expand(-1, objective.field.targets, -1, -1)
        climb = Climb(objective, start, 1.0, self.rate, 1.0, True)
        left = objective.field.aimed(Target("hinge", partial(_hinge, self, objective.sign), 1e-3))
        count = climb.moves.sum((-2, -1), keepdim=True) * x.shape[-1]
        best, adam, delta = _Best(climb, count), _Adam(), torch.zeros_like(climb.x)
        for step in range(1, self.steps + 1):
            here = climb.field.rounded(climb.x + delta * climb.scale)
            sample = left(here[None])
            best.see(here, sample.value[0])
            slope = self.weight * sample.gradient[0] * climb.scale + 2 * delta / count
            delta = delta - self.rate * adam(slope)
            climb.field.progress(step, self.steps)
        here = climb.field.rounded(climb.x + delta * climb.scale)
        best.see(here, left.value(here[None])[0])
        found = climb.straight(best.point, goes_on)
        return replace(found, eps=best.size(found.points[1])[..., 0, 0].sqrt())


class _Best:
    """The best point that each walker has met.

    Args:
        climb: where it began.
        count: of coordinates that move, [B, 1, 1, 1].
    """

    def __init__(self, climb: Climb, count: Tensor) -> None:
        self.climb, self.count = climb, count
        self.point, self._cost = climb.x, torch.full_like(climb.eps, torch.inf)

    def size(self, point: Tensor) -> Tensor:
        """Return the mean square of how far points are off, in embedding scales, [B, W, 1, 1]."""
        away = (point - self.climb.x) / self.climb.scale
        return away.square().sum((-2, -1), keepdim=True) / self.count

    def see(self, point: Tensor, hinge: Tensor) -> None:
        """Keep points [B, W, N, D] that are better by their hinges [B, W]."""
        over = hinge[..., None, None].to(point)
        # What has flipped comes before all that has not, and the shortest first.
        cost = torch.where(over > 0, over, -1 / self.size(point))
        self.point = torch.where(cost < self._cost, point, self.point)
        self._cost = torch.minimum(cost, self._cost)


class _Adam:
    """Steps of Adam at rate 1 (Kingma and Ba 2014, arXiv:1412.6980)."""

    def __init__(self) -> None:
        self._mean = self._square = torch.zeros(())
        self._step = 0

    def __call__(self, slope: Tensor) -> Tensor:
        """Return the step to subtract for a gradient, of the same shape."""
        self._step += 1
        self._mean = _FIRST * self._mean + (1 - _FIRST) * slope
        self._square = _SECOND * self._square + (1 - _SECOND) * slope.square()
        spread = (self._square / (1 - _SECOND**self._step)).sqrt()
        return self._mean / (1 - _FIRST**self._step) / (spread + _TINY)


def _hinge(attack: CarliniWagner, sign: float, logits: Tensor, ids: Tensor) -> Tensor:
    """Return by how much a margin misses what is asked for: 0 where it does not."""
    margin: Tensor = TARGETS["margin"].score(logits, ids)
    return (attack.kappa - sign * margin).clamp_min(0)

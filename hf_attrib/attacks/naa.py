"""Neuron attribution attack. Zhang et al. 2022, arXiv:2204.00008."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.field import Cost
from hf_attrib.field.gradients import flattened
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.integration import midpoint

__all__ = ["NAA"]


@dataclass(frozen=True)
class NAA(MomentumRule, name="naa"):
    r"""Momentum steps that lower what the states of a hidden layer contribute.

    .. math:: G^k = \nabla_x \sum_j w_j\,h_j(x^k), \qquad
        w_j = \int_0^1 \frac{\partial J}{\partial h_j}\big(x' + \alpha (x - x')\big)\,d\alpha

    with h the states of the layer in the middle of the decoder. The weights are found once, at
    the start. As h depends on how a model is built, models that compute the same are not always
    attacked the same way.

    Images are weighed on the way from black; here it is from the reference x'.

    Args:
        decay: :math:`\mu` of the momentum.
        points: of the midpoint rule for the weights.

    Raises:
        UnsupportedModelError: when it walks: the model has no layers that can be found.

    Source: arXiv:2204.00008.
    """

    uses_reference: ClassVar[bool] = True
    implementation_invariant: ClassVar[bool] = False
    points: int = hyperparameter(30, "Points averaged over for the weights.", at_least(1))

    def cost(self, walkers: int | None) -> Cost:
        """Return the cost of walks that do not stop."""
        weights = Cost(joint=self.points)
        if walkers is not None:
            weights = Cost(own=self.points).times(walkers)
        return super().cost(walkers) + weights

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield gradients of the weighted states."""
        alpha = midpoint(self.points).nodes.to(climb.x).reshape(-1, 1, 1, 1, 1)
        points = climb.reference + alpha * (climb.x - climb.reference)
        weights = climb.objective.sign * _run(climb, points, None).mean(0)
        while True:
            yield _run(climb, climb.here[None], weights)[0] * climb.moves


def _run(climb: Climb, points: Tensor, weights: Tensor | None) -> Tensor:
    """Return gradients at points [K, B, W, N, D]: of F by a layer's states, or of these by x.

    Args:
        climb: of the walk.
        points: where.
        weights: of the states, [B, W, ...].
    """
    field = climb.field
    rows, sequence, target = flattened(points, field.sequences, field.targets)
    own = None if weights is None else weights.flatten(0, 1)

    def compute(part: Tensor) -> tuple[Tensor, ...]:
        here = part.to(rows.device)
        found = field.layered(rows[here], sequence[part], target[part])
        return (
            found.weigh(torch.ones(len(part), 1, dtype=torch.float32))
            if own is None
            else found.pull(own[here]),
        )

    (gradient,) = field.runner.map(len(rows), compute)
    field.count(len(rows) // field.sequences, len(rows) // field.sequences)
    return gradient.reshape(*points.shape[:3], *gradient.shape[1:])

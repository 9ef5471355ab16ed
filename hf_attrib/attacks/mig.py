"""Momentum integrated gradients. Ma et al., ICCV 2023."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.integration import midpoint

__all__ = ["MIG"]


@dataclass(frozen=True)
class MIG(MomentumRule, name="mig"):
    r"""Momentum steps along gradients that are averaged from the reference to the input.

    .. math:: G^k = \int_0^1 \nabla J\big(x' + \alpha (x^k - x')\big)\,d\alpha

    The paper multiplies by the input, as integrated gradients do, which turns the step around
    wherever an input is negative: pixels never are, coordinates of embeddings are half of the
    time, so the averaged gradient is taken as it is, and from the reference x' instead of black.

    Args:
        decay: :math:`\mu` of the momentum.
        points: of the midpoint rule for the average.

    Source: "Transferable Adversarial Attack for Both Vision Transformers and Convolutional
    Networks via Momentum Integrated Gradients", ICCV 2023 (no arXiv id).
    """

    uses_reference: ClassVar[bool] = True
    points: int = hyperparameter(20, "Points averaged over at each step.", at_least(1))

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return self.points

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield averages between the reference and each point."""
        alpha = midpoint(self.points).nodes.to(climb.x).reshape(-1, 1, 1, 1, 1)
        while True:
            points = climb.reference + alpha * (climb.here - climb.reference)
            yield climb.gradient(points).mean(0)

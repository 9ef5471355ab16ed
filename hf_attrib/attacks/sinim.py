"""Scale-invariant Nesterov iterative method. Lin et al. 2019, arXiv:1908.06281."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.hyperparameters import at_least, hyperparameter

__all__ = ["SINIM"]


@dataclass(frozen=True)
class SINIM(MomentumRule, name="sinim"):
    r"""Momentum steps along gradients of scaled copies, taken where the momentum leads.

    .. math:: G^k = \frac{1}{C} \sum_{i < C} \nabla_x J\big(x' + 2^{-i} (x^k + \alpha u \mu m^{k-1}
        - x')\big)

    Images are scaled to black; here copies are scaled to the reference x', as most models
    normalise away the scale of an embedding.

    Args:
        decay: :math:`\mu` of the momentum.
        copies: C.

    Source: arXiv:1908.06281.
    """

    uses_reference: ClassVar[bool] = True
    copies: int = hyperparameter(5, "Copies of the input at each step.", at_least(1))

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return self.copies

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield means over scaled copies."""
        halves = 0.5 ** torch.arange(self.copies).to(climb.x).reshape(-1, 1, 1, 1, 1)
        while True:
            ahead = climb.here + self.decay * climb.step * climb.scale * climb.momentum
            points = climb.reference + halves * (ahead - climb.reference)
            yield (halves * climb.gradient(points)).mean(0)

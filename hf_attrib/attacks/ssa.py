"""Spectrum simulation. Long et al. 2022, arXiv:2207.05382."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.hyperparameters import at_least, hyperparameter, share

__all__ = ["SSA"]


@dataclass(frozen=True)
class SSA(MomentumRule, name="ssa"):
    r"""Momentum steps along gradients of copies whose coordinates are rescaled and noisy.

    .. math:: G^k = \frac{1}{C} \sum_{i < C} \nabla J\big(s_i \odot x^k + \epsilon u\,\xi_i\big),
        \qquad s_i \sim U(1 - \rho, 1 + \rho), \quad \xi_i \sim \mathcal N(0, 1)

    Images are rescaled frequency by frequency; the dimensions of an embedding have no order and
    so no frequencies, and are rescaled themselves.

    Args:
        decay: :math:`\mu` of the momentum.
        copies: C.
        spread: :math:`\rho`.
        seed: of scales and noise.

    Source: arXiv:2207.05382.
    """

    stochastic: ClassVar[bool] = True
    copies: int = hyperparameter(20, "Copies of the input at each step.", at_least(1))
    spread: float = hyperparameter(0.5, "By how much copies are rescaled.", share)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return self.copies

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield means over rescaled, noisy copies."""
        for step in count():
            numbers = [(self.seed, "ssa", step, i) for i in range(self.copies)]
            drawn = torch.stack([climb.uniform(*n) for n in numbers]) / climb.scale
            noise = climb.eps * torch.stack([climb.normal(*n, "noise") for n in numbers])
            scales = 1 + self.spread * drawn
            yield climb.gradient(scales * climb.here + noise).mean(0)

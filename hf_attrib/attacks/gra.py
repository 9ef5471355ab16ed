"""Gradient relevance attack. Zhu et al., ICCV 2023."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.hyperparameters import at_least, hyperparameter, positive

__all__ = ["GRA"]

#: What is left of the pace of a coordinate whose direction has turned.
_SLOWER = 0.94


@dataclass(frozen=True)
class GRA(MomentumRule, name="gra"):
    r"""Momentum steps along gradients that are mixed with those around, slower where they turn.

    .. math:: \bar G = \frac{1}{C} \sum_{i < C} \nabla J(x^k + \beta\epsilon u\,\xi_i), \qquad
        G^k = s \nabla J(x^k) + (1 - s) \bar G, \qquad s = \cos(\nabla J(x^k), \bar G)

    with :math:`\xi_i \sim U(-1, 1)`. The step of a coordinate is :math:`0.94^j \alpha u` after j
    turns of its momentum.

    Noise knows no geometry, so nothing changes from images to embeddings.

    Args:
        decay: :math:`\mu` of the momentum.
        copies: C.
        reach: :math:`\beta`.
        seed: of the noise.

    Source: "Boosting Adversarial Transferability via Gradient Relevance Attack", ICCV 2023 (no
    arXiv id).
    """

    stochastic: ClassVar[bool] = True
    copies: int = hyperparameter(20, "Copies of the input at each step.", at_least(1))
    reach: float = hyperparameter(3.5, "Noise of copies, in radii.", positive)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return 1 + self.copies

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield gradients mixed by how much they agree with those around."""
        for step in count():
            drawn = [climb.uniform(self.seed, "gra", step, i) for i in range(self.copies)]
            noise = self.reach * climb.eps * torch.stack([torch.zeros_like(drawn[0]), *drawn])
            gradient, *others = climb.gradient(climb.here + noise)
            around = torch.stack(others).mean(0)
            agreement = torch.cosine_similarity(gradient.flatten(-2), around.flatten(-2), dim=-1)
            mixed = agreement[..., None, None]
            yield mixed * gradient + (1 - mixed) * around

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the momentum, and slow down where it has turned."""
        before: Tensor | None = None
        for momentum in super().directions(climb):
            if before is not None:
                turned = momentum.sign() != before.sign()
                climb.pace = climb.pace * torch.where(turned, _SLOWER, 1.0).to(momentum)
            before = momentum
            yield momentum

"""Momentum of gradients averaged over scaled and noisy copies; what AttEXplore walks by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_attrib.attacks.base import UpdateRule
from hf_attrib.attacks.climb import Climb, mean_size
from hf_attrib.checks import at_least, positive

__all__ = ["FrequencyNoise"]

#: Gradients of a sequence that are held at once, unless each walker has as many.
_TOGETHER = 32


@dataclass(frozen=True)
class FrequencyNoise(UpdateRule):
    r"""Steps along the sign of an accumulated mean gradient of S copies.

    .. math:: G^k = \frac1S \sum_j \nabla J\big(x^k \odot m_j + \epsilon u\,\xi_j\big), \qquad
        d^k = \mu d^{k-1} + \frac{G^k}{\mathrm{mean}\,|G^k|}

    with :math:`m_j \sim U(1 - \rho, 1 + \rho)` and :math:`\xi_j \sim \mathcal N(0, 1)`. The
    original scales the cosine spectrum of an image; coordinates of embeddings have no order that a
    spectrum could be taken over, so they are scaled themselves.

    Args:
        copies: S.
        spread: :math:`\rho`.
        decay: :math:`\mu`.
        seed: of the copies.
    """

    copies: int = field(default=20, metadata={"help": "Copies at each step."})
    spread: float = field(default=0.5, metadata={"help": "Half the range of their factors."})
    decay: float = field(default=1.0, metadata={"help": "Share of the momentum that is kept."})
    seed: int = field(default=0, metadata={"help": "Seed of all random numbers."})

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, copies=self.copies)
        at_least(0, seed=self.seed)
        positive(spread=self.spread)

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return self.copies

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the momentum."""
        momentum = torch.zeros_like(climb.x)
        together = max(1, _TOGETHER // climb.x.shape[1])
        for step in range(self.steps):
            total = torch.zeros_like(climb.x)
            for copies in torch.arange(self.copies).split(together):
                points = [self._copy(climb, step, copy) for copy in copies.tolist()]
                total = total + climb.gradient(torch.stack(points)).sum(0)
            momentum = self.decay * momentum + total / mean_size(total, climb.moves)
            yield momentum

    def _copy(self, climb: Climb, step: int, copy: int) -> Tensor:
        """Return the present point, scaled and shifted at random, [B, W, N, D]."""
        stream = self.seed, "copies", step, copy
        # Uniform noise comes in embedding scales, and a factor has none.
        factor = 1 + self.spread * climb.uniform(*stream, "factor") / climb.scale
        return climb.here * factor + climb.eps * climb.normal(*stream, "shift")

"""Momentum iterative method. Dong et al. 2018, arXiv:1710.06081."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_attrib.attacks.base import UpdateRule
from hf_attrib.attacks.climb import Climb, mean_size

__all__ = ["MIM"]


@dataclass(frozen=True)
class MIM(UpdateRule, name="mim"):
    r"""Steps along the sign of an accumulated gradient.

    .. math:: d^k = \mu d^{k-1} + \frac{\nabla J(x^k)}{\mathrm{mean}\,|\nabla J(x^k)|}

    The mean is over the coordinates of inputs that may move.

    Args:
        decay: :math:`\mu`.

    Source: arXiv:1710.06081.
    """

    decay: float = field(default=1.0, metadata={"help": "Share of the momentum that is kept."})

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the momentum."""
        momentum = torch.zeros_like(climb.x)
        while True:
            gradient = climb.gradient()
            momentum = self.decay * momentum + gradient / mean_size(gradient, climb.moves)
            yield momentum

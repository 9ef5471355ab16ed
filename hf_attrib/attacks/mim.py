"""Momentum iterative method. Dong et al. 2018, arXiv:1710.06081."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule

__all__ = ["MIM"]


@dataclass(frozen=True)
class MIM(MomentumRule, name="mim"):
    r"""Steps along the sign of an accumulated gradient.

    .. math:: d^k = \mu d^{k-1} + \frac{\nabla J(x^k)}{\mathrm{mean}\,|\nabla J(x^k)|}

    The mean is over the coordinates of inputs that may move.

    Args:
        decay: :math:`\mu`.

    Source: arXiv:1710.06081.
    """

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the gradient at each point."""
        while True:
            yield climb.gradient()

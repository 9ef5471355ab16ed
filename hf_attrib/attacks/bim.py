"""Basic iterative method. Kurakin, Goodfellow, Bengio 2016, arXiv:1607.02533."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from hf_attrib.attacks.base import UpdateRule
from hf_attrib.attacks.climb import Climb

__all__ = ["BIM"]


@dataclass(frozen=True)
class BIM(UpdateRule, name="bim"):
    r"""Steps along the sign of the gradient.

    .. math:: d^k = \nabla J(x^k)

    Source: arXiv:1607.02533.
    """

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the gradient at each point."""
        while True:
            yield climb.gradient()

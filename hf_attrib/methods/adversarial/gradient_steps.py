"""Gradient steps that the ball never cuts short; what the attribution methods walk by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_attrib.attacks import Climb, UpdateRule

__all__ = ["GradientSteps"]


@dataclass(frozen=True)
class GradientSteps(UpdateRule):
    r"""Steps along the gradient whose lengths add up to the radius.

    .. math:: x^{k+1} = x^k + \tfrac{\epsilon}{K} u\,\mathrm{sign}(d^k)
        \quad\text{or}\quad x^k + \tfrac{\epsilon}{K} u \sqrt{n D}\,\frac{d^k}{\|d^k\|_2},
        \qquad d^k = \nabla J(x^k)

    for n inputs that move.

    Args:
        by_length: whether steps are measured by the length of vectors, the second form.
        sums: whether the direction is the sum of all gradients so far, as where a program never
            clears them.
    """

    outrun: ClassVar[float] = 1.0
    by_length: bool = False
    sums: bool = False

    def euclidean(self) -> bool:
        """Return whether steps and ball are measured by the length of vectors."""
        return self.by_length

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the gradient at each point, or the sum of those so far."""
        direction = climb.gradient()
        while True:
            yield direction
            direction = climb.gradient() + (direction if self.sums else 0)

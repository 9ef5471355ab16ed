"""Translation invariance. Dong et al. 2019, arXiv:1904.02884."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import at_least, hyperparameter

__all__ = ["TIM"]

#: Standard deviations from the middle of the kernel to its end.
_SPREAD = 3.0


def _odd(name: str, value: Any) -> int:
    length: int = at_least(3)(name, value)
    if length % 2 == 0:
        raise InputError(f"length is {length}; expected an odd number, as 3 or 5.")
    return length


@dataclass(frozen=True)
class TIM(MomentumRule, name="tim"):
    r"""Momentum steps along gradients that are smoothed over neighbouring tokens.

    .. math:: G^k_n = \sum_j w_j \nabla_{n+j} J(x^k), \qquad
        w_j \propto \exp\big(-\tfrac12 (3 j / h)^2\big), \quad |j| \le h

    Neighbours are counted among the inputs that may move. Smoothing blurs where the walk goes,
    and so which tokens get the scores.

    Images are smoothed over rows and columns of pixels; here only positions have an order, and
    the dimensions of an embedding have none.

    Args:
        decay: :math:`\mu` of the momentum.
        length: :math:`2h + 1` tokens, an odd number.

    Raises:
        InputError: a field is out of range.

    Source: arXiv:1904.02884.
    """

    length: int = hyperparameter(5, "Tokens smoothed over, an odd number.", _odd)

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield smoothed gradients."""
        kernel = (
            torch.linspace(-_SPREAD, _SPREAD, self.length, dtype=torch.float32)
            .square()
            .mul(-0.5)
            .exp()
        )
        kernel = (kernel / kernel.sum()).to(climb.x)
        while True:
            gradient = climb.gradient()
            smooth = torch.zeros_like(gradient)
            for b, moves in enumerate(climb.field.movable.to(gradient.device)):
                own = torch.nn.functional.pad(
                    gradient[b, :, moves], (0, 0, *[self.length // 2] * 2)
                )
                smooth[b, :, moves] = torch.einsum(
                    "wndk,k->wnd", own.unfold(1, self.length, 1), kernel
                )
            yield smooth

"""Fast gradient sign method. Goodfellow, Shlens, Szegedy 2014, arXiv:1412.6572."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hf_attrib.attacks.base import UpdateRule
from hf_attrib.attacks.climb import Climb
from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import at_least, hyperparameter

__all__ = ["FGSM"]


def _one_step(name: str, value: Any) -> int:
    steps: int = at_least(1)(name, value)
    if steps != 1:
        raise InputError(f"fgsm takes one step, but steps is {steps}; take bim for more.")
    return steps


@dataclass(frozen=True)
class FGSM(UpdateRule, name="fgsm"):
    r"""One step of the whole radius along the sign of the gradient.

    .. math:: d = \nabla J(x), \qquad K = 1, \alpha = \epsilon

    Raises:
        InputError: a field is out of range; ``steps`` can only be 1.

    Source: arXiv:1412.6572.
    """

    steps: int = hyperparameter(1, "Steps of the walk.", _one_step)

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the gradient."""
        yield climb.gradient()

"""Fast gradient sign method. Goodfellow, Shlens, Szegedy 2014, arXiv:1412.6572."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from hf_attrib.attacks.base import UpdateRule
from hf_attrib.attacks.climb import Climb
from hf_attrib.errors import InputError

__all__ = ["FGSM"]


@dataclass(frozen=True)
class FGSM(UpdateRule, name="fgsm"):
    r"""One step of the whole radius along the sign of the gradient.

    .. math:: d = \nabla J(x), \qquad K = 1, \alpha = \epsilon

    Raises:
        InputError: a field is out of range; ``steps`` can only be 1.

    Source: arXiv:1412.6572.
    """

    steps: int = field(default=1, metadata={"help": "Steps of the walk."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 1:
            raise InputError(f"fgsm takes one step, but steps is {self.steps}; take bim for more.")

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the gradient."""
        yield climb.gradient()

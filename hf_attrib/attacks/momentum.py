"""Attacks whose steps follow an accumulated gradient: what they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from hf_attrib.attacks.base import UpdateRule
from hf_attrib.attacks.climb import Climb, mean_size
from hf_attrib.hyperparameters import hyperparameter, not_negative

__all__ = ["MomentumRule"]


@dataclass(frozen=True)
class MomentumRule(UpdateRule):
    r"""An update rule along the sign of gradients that are accumulated.

    .. math:: d^k = m^k = \mu m^{k-1} + \frac{G^k}{\mathrm{mean}\,|G^k|}

    The mean is over the coordinates of inputs that may move. A rule says what the gradient
    :math:`G^k` is.

    Args:
        decay: :math:`\mu`.

    Raises:
        InputError: a field is out of range.
    """

    decay: float = hyperparameter(1.0, "Share of the momentum that is kept.", not_negative)

    @abstractmethod
    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield gradients [B, W, N, D], one for each step; after each, the climb is further."""

    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield the momentum."""
        for gradient in self.gradients(climb):
            size = mean_size(gradient, climb.moves)
            climb.momentum = self.decay * climb.momentum + gradient / size
            yield climb.momentum

"""SquareGrad. Hooker, Erhan, Kindermans, Kim 2018, arXiv:1806.10758."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hf_attrib.field import Decomposition, Field
from hf_attrib.integration import Running
from hf_attrib.methods.gradient.noisy_gradients import NoisyGradients

__all__ = ["SquareGrad"]


@dataclass(frozen=True)
class SquareGrad(NoisyGradients, name="square_grad"):
    r"""Squared gradient averaged over noisy inputs.

    .. math:: A_{t,n} = \frac{1}{S} \sum_j \Big\|
        \frac{\partial f_t}{\partial x_n}(x + \epsilon_j) \Big\|_2^2,
        \qquad \epsilon_j \sim \mathcal N(0, \sigma^2)

    Returns:
        scores [B, T, N], never negative (squared units of f per unit of embedding).

    Source: arXiv:1806.10758.
    """

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Average the squared gradient around the input; there is no baseline."""
        squares = Running()
        for drawn in self.gradients(field, x, _squared_length):
            squares.add(drawn)
        return Decomposition(squares.mean, None, standard_error=squares.standard_error)


def _squared_length(gradient: Tensor, _: Tensor) -> Tensor:
    return gradient.square().sum(-1)

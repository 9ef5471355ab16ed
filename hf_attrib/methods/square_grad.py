"""SquareGrad. Hooker, Erhan, Kindermans, Kim 2018, arXiv:1806.10758."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.checks import at_least, positive
from hf_attrib.field import Decomposition, Field
from hf_attrib.methods.base import Claims, Method, Rows
from hf_attrib.sampling import Running, cloud

__all__ = ["SquareGrad"]


@dataclass(frozen=True)
class SquareGrad(Method, name="square_grad"):
    r"""Squared gradient averaged over noisy inputs.

    .. math:: A_{t,n} = \frac{1}{S} \sum_j \Big\|
        \frac{\partial f_t}{\partial x_n}(x + \epsilon_j) \Big\|_2^2,
        \qquad \epsilon_j \sim \mathcal N(0, \sigma^2)

    Args:
        samples: S.
        sigma: standard deviation of the noise in units of the embedding scale.
        seed: of the noise.

    Returns:
        scores [B, T, N], never negative (squared units of f per unit of embedding).

    Raises:
        InputError: ``samples`` is below 2 or ``sigma`` is not positive.

    Source: arXiv:1806.10758.
    """

    claims: ClassVar = Claims(
        signed=False,
        identity=None,
        stochastic=True,
        cost="S + 1 forward rows, S * T backward rows",
        axioms=frozenset({"dummy"}),
    )
    samples: int = field(default=50, metadata={"help": "Samples S."})
    sigma: float = field(default=0.15, metadata={"help": "Noise, in embedding scales."})
    seed: int = field(default=0, metadata={"help": "Seed of all random numbers."})

    def __post_init__(self) -> None:
        at_least(2, samples=self.samples)
        at_least(0, seed=self.seed)
        positive(sigma=self.sigma)

    def rows(self, targets: int, inputs: int) -> tuple[Rows, Rows]:
        """Return the rows run at least and at most."""
        return Rows(gradients=self.samples).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Average the squared gradient around the input; there is no baseline."""
        squares = Running()
        path = cloud(field, x, self.sigma, self.seed)
        for sample in field.along(path, torch.arange(self.samples), _squared_length):
            squares.add(sample.gradient)
        return Decomposition(squares.mean, None, standard_error=squares.standard_error)


def _squared_length(gradient: Tensor, _: Tensor) -> Tensor:
    return gradient.square().sum(-1)

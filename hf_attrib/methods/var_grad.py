"""VarGrad. Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018, arXiv:1810.03292."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.checks import at_least, positive
from hf_attrib.field import Decomposition, Field
from hf_attrib.methods.base import Claims, Method, Rows
from hf_attrib.sampling import Running, cloud

__all__ = ["VarGrad"]


@dataclass(frozen=True)
class VarGrad(Method, name="var_grad"):
    r"""Variance of the gradient over noisy inputs: how much f bends at a token.

    .. math:: A_{t,n} = \sum_d \mathrm{Var}_j
        \frac{\partial f_t}{\partial x_{nd}}(x + \epsilon_j),
        \qquad \epsilon_j \sim \mathcal N(0, \sigma^2)

    A running mean :math:`m_j` of the gradient gives both the variance and its error (Welford
    1962): :math:`\mathrm{Var} = \frac{1}{S} \sum_j \frac{j - 1}{j} (g_j - m_{j-1})^2`. Memory is
    T N D for each row that runs at once.

    Args:
        samples: S.
        sigma: standard deviation of the noise in units of the embedding scale.
        seed: of the noise.

    Returns:
        scores [B, T, N], never negative (squared units of f per unit of embedding).

    Raises:
        InputError: ``samples`` is below 2 or ``sigma`` is not positive.

    Source: arXiv:1810.03307.
    """

    claims: ClassVar = Claims(
        signed=False,
        identity=None,
        stochastic=True,
        cost="S + 1 forward rows, S * T backward rows",
        axioms=frozenset({"dummy"}),
        whole_gradients=4,
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
        """Measure the spread of the gradient around the input; there is no baseline."""
        mean, done, spread = torch.zeros(()), 0, Running()
        path = cloud(field, x, self.sigma, self.seed)
        for sample in field.along(path, torch.arange(self.samples), lambda whole, _: whole):
            for gradient in sample.gradient:
                step = gradient - mean.to(gradient)
                spread.add(step.square().sum(-1)[None] * (done / (done + 1)))
                done += 1
                mean = mean.to(gradient) + step / done
        return Decomposition(spread.mean, None, standard_error=spread.standard_error)

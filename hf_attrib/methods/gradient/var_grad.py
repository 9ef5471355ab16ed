"""VarGrad. Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018, arXiv:1810.03292."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Decomposition, Field
from hf_attrib.integration import Running
from hf_attrib.methods.base import Claims
from hf_attrib.methods.gradient.noisy_gradients import NoisyGradients

__all__ = ["VarGrad"]


@dataclass(frozen=True)
class VarGrad(NoisyGradients, name="var_grad"):
    r"""Variance of the gradient over noisy inputs: how much f bends at a token.

    .. math:: A_{t,n} = \sum_d \mathrm{Var}_j
        \frac{\partial f_t}{\partial x_{nd}}(x + \epsilon_j),
        \qquad \epsilon_j \sim \mathcal N(0, \sigma^2)

    A running mean :math:`m_j` of the gradient gives both the variance and its error (Welford
    1962): :math:`\mathrm{Var} = \frac{1}{S} \sum_j \frac{j - 1}{j} (g_j - m_{j-1})^2`. Memory is
    T N D for each row that runs at once.

    Returns:
        scores [B, T, N], never negative (squared units of f per unit of embedding).

    Source: arXiv:1810.03307.
    """

    CLAIMS: ClassVar[Claims] = replace(NoisyGradients.CLAIMS, whole_gradients=4)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Measure the spread of the gradient around the input; there is no baseline."""
        mean, done, spread = torch.zeros(()), 0, Running()
        for drawn in self.gradients(field, x, lambda whole, _: whole):
            for gradient in drawn:
                step = gradient - mean.to(gradient)
                spread.add(step.square().sum(-1)[None] * (done / (done + 1)))
                done += 1
                mean = mean.to(gradient) + step / done
        return Decomposition(spread.mean, None, standard_error=spread.standard_error)

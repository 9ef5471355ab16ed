"""SmoothGrad. Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, arXiv:1706.03825."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from hf_attrib.field import Decomposition, Field
from hf_attrib.integration import Running
from hf_attrib.methods.base import Claims
from hf_attrib.methods.gradient.noisy_gradients import NoisyGradients

__all__ = ["SmoothGrad"]


@dataclass(frozen=True)
class SmoothGrad(NoisyGradients, name="smooth_grad"):
    r"""Length of the gradient averaged over noisy inputs.

    .. math:: A_{t,n} = \Big\| \frac{1}{S} \sum_j
        \frac{\partial f_t}{\partial x_n}(x + \epsilon_j) \Big\|_2,
        \qquad \epsilon_j \sim \mathcal N(0, \sigma^2)

    The mean is of whole gradients, so memory is T N D for each row that runs at once. For signed
    scores, average ``input_x_gradient`` by ``noise_average``.

    Returns:
        scores [B, T, N], never negative (units of f per unit of embedding); their standard error
        is the root mean square length of the error of the mean gradient, a bound.

    Source: arXiv:1706.03825.
    """

    CLAIMS: ClassVar[Claims] = replace(NoisyGradients.CLAIMS, whole_gradients=4)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Average the gradient around the input; there is no baseline."""
        gradient = Running()
        for drawn in self.gradients(field, x, lambda whole, _: whole):
            gradient.add(drawn)
        error = (gradient.variance.sum(-1) / self.samples).sqrt()
        return Decomposition(gradient.mean.norm(dim=-1), start_value=None, standard_error=error)

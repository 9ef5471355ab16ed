"""SmoothGrad. Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, arXiv:1706.03825."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.checks import at_least, positive
from hf_attrib.field import Decomposition, Field
from hf_attrib.methods.base import Claims, Method, Rows
from hf_attrib.sampling import Running, cloud

__all__ = ["SmoothGrad"]


@dataclass(frozen=True)
class SmoothGrad(Method, name="smooth_grad"):
    r"""Length of the gradient averaged over noisy inputs.

    .. math:: A_{t,n} = \Big\| \frac{1}{S} \sum_j
        \frac{\partial f_t}{\partial x_n}(x + \epsilon_j) \Big\|_2,
        \qquad \epsilon_j \sim \mathcal N(0, \sigma^2)

    The mean is of whole gradients, so memory is T N D for each row that runs at once. For signed
    scores, average ``input_x_gradient`` by ``noise_average``.

    Args:
        samples: S.
        sigma: standard deviation of the noise in units of the embedding scale.
        seed: of the noise.

    Returns:
        scores [B, T, N], never negative (units of f per unit of embedding); their standard error
        is the root mean square length of the error of the mean gradient, a bound.

    Raises:
        InputError: ``samples`` is below 2 or ``sigma`` is not positive.

    Source: arXiv:1706.03825.
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
        """Average the gradient around the input; there is no baseline."""
        gradient = Running()
        path = cloud(field, x, self.sigma, self.seed)
        for sample in field.along(path, torch.arange(self.samples), lambda whole, _: whole):
            gradient.add(sample.gradient)
        error = (gradient.variance.sum(-1) / self.samples).sqrt()
        return Decomposition(gradient.mean.norm(dim=-1), reference=None, standard_error=error)

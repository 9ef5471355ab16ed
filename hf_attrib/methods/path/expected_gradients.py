"""Expected gradients. Erion, Janizek, Sturmfels, Lundberg, Lee 2019, arXiv:1906.10670."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Decomposition, Field, Path
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.integration import Running, generator, noise
from hf_attrib.methods.base import AXIOMS, Claims, Cost, Method

__all__ = ["ExpectedGradients"]


def _noise(name: str, value: Any) -> float:
    """Refuse what is neither 0, for no noise, nor the size of some."""
    return value if value == 0 else positive(name, value)


@dataclass(frozen=True)
class ExpectedGradients(Method, name="expected_gradients"):
    r"""Integrated gradients averaged over references, at one random point of each path.

    .. math:: A_{t,n} = \frac{1}{S} \sum_j \sum_d (\tilde x_{nd} - x'_{nd,j})
        \frac{\partial f_t}{\partial x_{nd}}(x'_j + \alpha_j(\tilde x - x'_j)),
        \qquad \alpha_j \sim U(0, 1)

    The :math:`\alpha_j` are stratified, so standard errors, computed as if they were not, are on
    the safe side. With ``noise``, :math:`\tilde x = x + \mathcal N(0, \sigma^2)`: GradientSHAP.

    Args:
        samples: S.
        noise: standard deviation :math:`\sigma` in units of the embedding scale.
        seed: of the references, the :math:`\alpha_j` and the noise.

    Returns:
        scores [B, T, N], summing to f(x) - E f(x') within their standard error (units of f).

    Raises:
        InputError: ``samples`` is below 2 or ``noise`` is negative.

    Source: arXiv:1906.10670; GradientSHAP: arXiv:1705.07874.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - E f(x')",
        stochastic=True,
        cost="2 * S + 1 forward rows, S * T backward rows",
        axioms=frozenset(AXIOMS),
        many_references=True,
        baseline="vocabulary",
        groups="joined",
    )
    samples: int = hyperparameter(200, "Samples S.", at_least(2))
    noise: float = hyperparameter(0.0, "Noise on x, in embedding scales.", _noise)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    @property
    def claims(self) -> Claims:
        """What holds, in the mean over noisy inputs if there is noise."""
        if not self.noise:
            return self.CLAIMS
        return self.CLAIMS.over_noise("3 * S + 1 forward rows, S * T backward rows")

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=2 if self.noise else 1, gradients=1).times(self.samples).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute along straight lines from drawn references."""
        draw = generator(self.seed, "positions")
        strata = torch.randperm(self.samples, generator=draw, dtype=torch.float64)
        within = torch.rand(self.samples, generator=draw, dtype=torch.float64)
        alpha = (strata + within) / self.samples
        numbers = torch.arange(self.samples)
        scores, residual, sums = Running(), Running(), []
        for sample in field.along(self._lines(field, x, alpha), numbers):
            scores.add(sample.gradient)
            sums.append(sample.gradient.sum(-1))
        start = field.values(self._lines(field, x, torch.zeros_like(alpha)), numbers)
        end = torch.zeros_like(start)  # the same f(x) for all samples, unless there is noise
        if self.noise:
            end = field.values(self._lines(field, x, torch.ones_like(alpha)), numbers)
        residual.add(torch.cat(sums) - (end - start))
        end_value = end.mean(0) if self.noise else None
        return Decomposition(
            scores.mean, start.mean(0), end_value, scores.standard_error, residual.standard_error
        )

    def _lines(self, field: Field, x: Tensor, alpha: Tensor) -> Path:
        """Map numbers of samples to the points at their alpha, and to the displacement there."""

        def path(numbers: Tensor) -> tuple[Tensor, Tensor]:
            starts = torch.stack([field.space.reference(int(j), self.seed) for j in numbers])
            ends = x[None].expand(len(numbers), *x.shape)
            if self.noise:
                moves = [noise(field, x, self.seed, int(j)) for j in numbers]
                ends = ends + self.noise * torch.stack(moves)
            at = alpha[numbers].to(x).reshape(-1, *[1] * x.dim())
            return (1 - at) * starts + at * ends, ends - starts

        return path

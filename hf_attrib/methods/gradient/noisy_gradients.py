"""Gradients at noisy inputs: what SmoothGrad, SquareGrad and VarGrad share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from hf_attrib.field import Field
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.integration import cloud
from hf_attrib.methods.base import Claims, Cost, Method

__all__ = ["NoisyGradients"]

#: Maps gradients and velocities [R, N, D] to what is kept of them.
Contraction: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class NoisyGradients(Method):
    r"""A method whose scores are statistics of the gradient at noisy inputs; it has no baseline.

    Args:
        samples: S.
        sigma: standard deviation of the noise in units of the embedding scale.
        seed: of the noise.

    Raises:
        InputError: ``samples`` is below 2 or ``sigma`` is not positive.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        signed=False,
        stochastic=True,
        cost="S + 1 forward rows, S * T backward rows",
        axioms=frozenset({"dummy", "implementation_invariance"}),
        baseline=None,
    )
    samples: int = hyperparameter(50, "Samples S.", at_least(2))
    sigma: float = hyperparameter(0.15, "Noise, in embedding scales.", positive)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(gradients=self.samples).exactly()

    def gradients(self, field: Field, x: Tensor, contract: Contraction) -> Iterator[Tensor]:
        """Yield gradients at S noisy inputs, chunk by chunk, [k, B, T, N, ...].

        Args:
            field: F and its gradient.
            x: embeddings, [B, 1, N, D].
            contract: maps gradients [R, N, D] and velocities, which are 0, to what is kept of them.
        """
        path = cloud(field, x, self.sigma, self.seed)
        for sample in field.along(path, torch.arange(self.samples), contract):
            yield sample.gradient

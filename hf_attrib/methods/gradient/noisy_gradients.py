"""Gradients at noisy inputs: what SmoothGrad, SquareGrad and VarGrad share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.field import Field
from hf_attrib.hyperparameters import at_least, positive
from hf_attrib.integration import cloud
from hf_attrib.methods.base import Method, Rows

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

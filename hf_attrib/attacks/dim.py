"""Diverse inputs. Xie et al. 2018, arXiv:1803.06978."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.hyperparameters import at_least, hyperparameter, share
from hf_attrib.integration import generator

__all__ = ["DIM"]


@dataclass(frozen=True)
class DIM(MomentumRule, name="dim"):
    r"""Momentum steps along gradients of inputs of which some tokens are replaced.

    .. math:: G^k = \nabla_x J\big(x' + b^k \odot (x^k - x')\big), \qquad
        b^k_n \sim \mathrm{Bernoulli}(1 - q)

    Each step is diverse with probability p, and takes the gradient at :math:`x^k` itself
    otherwise.

    Images are resized and padded at random; embeddings have no such geometry, so tokens are
    replaced by the reference x' at random instead.

    Args:
        decay: :math:`\mu` of the momentum.
        diverse: p.
        dropout: q.
        seed: of what is replaced.

    Source: arXiv:1803.06978.
    """

    stochastic: ClassVar[bool] = True
    uses_reference: ClassVar[bool] = True
    diverse: float = hyperparameter(0.5, "Probability of a diverse step.", share)
    dropout: float = hyperparameter(0.1, "Share that is replaced by x'.", share)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield gradients of diverse inputs."""
        for step in count():
            kept = torch.ones_like(climb.moves)
            if (
                torch.rand((), generator=generator(self.seed, "diverse", step), dtype=torch.float32)
                < self.diverse
            ):
                drawn = climb.shares(self.seed, "dim", step, width=1)
                kept = ((drawn >= self.dropout) | (climb.moves == 0)).to(kept)
            away = climb.here - climb.reference
            yield kept * climb.gradient(climb.reference + kept * away)

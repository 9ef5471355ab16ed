"""RISE, centred. Petsiuk, Das, Saenko 2018, arXiv:1806.07421."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.hyperparameters import at_least, hyperparameter, inner_share
from hf_attrib.integration import generator
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Solution
from hf_attrib.methods.perturbation.values import all_subsets, semivalues

__all__ = ["Rise"]


@dataclass(frozen=True)
class Rise(Perturbation, name="rise"):
    r"""How much larger f is in the mean where an input stays than where it is taken away.

    .. math:: A_{t,i} = E[v_t(S) \mid i \in S] - E[v_t(S) \mid i \notin S]

    S has each player with probability ``keep``, and each player is in that share of the S subsets
    exactly. The paper scores by the first mean alone, which for log-probabilities is mostly the
    mean of f, the same for all. All subsets are run, and the means are exact, where these are no
    more. With as many rows ``banzhaf``, its limit at one half, errs less.

    Args:
        samples: S.
        keep: probability that a player stays.
        seed: of the subsets.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G]; their sum is nothing in particular (units of f).

    Raises:
        InputError: ``samples`` is below 4 or ``keep`` is no share.

    Source: arXiv:1806.07421.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> Rise()(product, x, torch.zeros_like(x)).scores
    tensor([[[3., 3.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        stochastic=True,
        cost="S + 1 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset(AXIOMS) - {"completeness", "dummy"},
        groups="players",
    )
    samples: int = hyperparameter(1000, "Samples S.", at_least(4))
    keep: float = hyperparameter(0.5, "Probability that an input stays.", inner_share)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def subsets(self, count: int) -> Tensor:
        """Return subsets that each player is in equally often, or all subsets."""
        if 2**count <= self.samples:
            return all_subsets(count)
        often = min(max(round(self.keep * self.samples), 2), self.samples - 2)
        draw = generator(self.seed, "rise")
        return (
            often
            > torch.rand(count, self.samples, generator=draw, dtype=torch.float32).argsort(1).T
        )

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return differences of means."""
        count = subsets.shape[1]
        if len(subsets) == 2**count:
            sizes = torch.arange(count).double()
            return semivalues(value, self.keep**sizes * (1 - self.keep) ** (count - 1 - sizes))
        value = value - value.mean(0)  # which no score has a part of
        means, errors = [], []
        for flags in (subsets.T.double(), (~subsets.T).double()):
            often = flags.sum(1, keepdim=True)
            means.append(flags @ value / often)
            square = flags @ value.square() - often * means[-1].square()
            errors.append(square.clamp_min(0) / (often - 1) / often)
        return Solution(means[0] - means[1], standard_error=(errors[0] + errors[1]).sqrt())

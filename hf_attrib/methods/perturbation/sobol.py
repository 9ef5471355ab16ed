"""Sobol indices. Fel et al. 2021, arXiv:2111.04138."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.integration import derived
from hf_attrib.methods.base import Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Solution
from hf_attrib.methods.perturbation.values import all_subsets, neighbours

__all__ = ["Sobol"]


@dataclass(frozen=True)
class Sobol(Perturbation, name="sobol"):
    r"""The share of the variance of f that is left when all other inputs are known.

    .. math:: A_{t,i} = \frac{E\big[(v_t(S) - v_t(S \triangle i))^2\big]}
        {4 \operatorname{Var} v_t(S)}

    S has each player by a fair coin, and :math:`S \triangle i` has player i where S has not: total
    indices. Jansen's estimator throws again for player i, which half of the time changes nothing
    and counts as 0; here it always changes, at half the rows. The coins are scrambled Sobol points,
    and the variance is that of all rows. All subsets are run, and the indices are exact, where
    these are no more. Scores have no sign and no unit; where f is additive they are the squares of
    what each player adds, over their sum. Standard errors are a jackknife's.

    Args:
        samples: S, points.
        seed: of the scrambling.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G], at least 0; where players interact their sum is above 1.

    Raises:
        InputError: ``samples`` is below 3.

    Source: arXiv:2111.04138; the estimator: Jansen 1999, doi:10.1016/S0010-4655(98)00154-4.

    >>> from hf_attrib.field import FunctionField
    >>> total = FunctionField(lambda z: z.sum(1), targets=1, positions=2)
    >>> x = torch.tensor([[[[1.0], [3.0]]]])
    >>> Sobol()(total, x, torch.zeros_like(x)).scores
    tensor([[[0.1000, 0.9000]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        signed=False,
        stochastic=True,
        cost="S * (N + 1) + 1 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset({"dummy", "implementation_invariance", "sensitivity"}),
        groups="players",
    )
    samples: int = hyperparameter(32, "Samples S.", at_least(3))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def subsets(self, count: int) -> Tensor:
        """Return the points, and each with each player changed; or all subsets."""
        if 2**count <= self.samples * (count + 1):
            return all_subsets(count)
        from scipy.stats import qmc  # takes a while, and is needed here only

        engine = qmc.Sobol(count, rng=derived(self.seed, "sobol"))
        throws = engine.random_base2((self.samples - 1).bit_length())[: self.samples]
        points = torch.from_numpy(throws >= 0.5)
        changed = points ^ torch.eye(count, dtype=torch.bool)[:, None]
        return torch.cat([points, changed.flatten(0, 1)])

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return mean squares of what each player changes, over four times the variance."""
        count = subsets.shape[1]
        if len(subsets) == 2**count:
            changes = torch.stack([(a - b).square().mean(0) for a, b in neighbours(value)])
            exact = _over(changes, value.var(0, correction=0))
            return Solution(exact, standard_error=torch.zeros_like(exact))
        every = value.reshape(count + 1, self.samples, -1)  # the points, and each changed
        change = (every[0] - every[1:]).square()  # [n, S, T]
        sums, squares = every.sum(0), every.square().sum(0)
        found = _over(change.mean(1), _variance(sums.sum(0), squares.sum(0), every[..., 0]))
        # Without each point by turns: what the others come to, [n, S, T] and [S, T].
        others = (change.sum(1, keepdim=True) - change) / (self.samples - 1)
        spread = _variance(sums.sum(0) - sums, squares.sum(0) - squares, every[:, 1:, 0])
        left = _over(others, spread)
        square = (left - left.mean(1, keepdim=True)).square().sum(1)
        return Solution(found, standard_error=(square * (1 - 1 / self.samples)).sqrt())


def _variance(total: Tensor, squares: Tensor, counted: Tensor) -> Tensor:
    """Return the variance of as many values as are counted, by their sums."""
    count = counted.numel()
    return (squares / count - (total / count).square()).clamp_min(0)


def _over(change: Tensor, variance: Tensor) -> Tensor:
    """Return mean squares over four times the variance; nothing where nothing varies."""
    return torch.where(variance > 0, change / (4 * variance), 0.0)

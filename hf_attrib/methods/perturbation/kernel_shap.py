"""Shapley values by a regression. Lundberg, Lee 2017, arXiv:1705.07874."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.hyperparameters import at_least, even, hyperparameter
from hf_attrib.integration import generator
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Solution
from hf_attrib.methods.perturbation.regression import check_enough, least_squares
from hf_attrib.methods.perturbation.values import all_subsets, semivalues, shapley_weights

__all__ = ["KernelShap"]

#: Subsets for each player where nothing is said.
_EACH = 10


@dataclass(frozen=True)
class KernelShap(Perturbation, name="kernel_shap"):
    r"""Shapley values as the additive game that fits f best on drawn subsets.

    .. math:: \min_A \sum_S \pi(|S|) \Big(v_t(S) - v_t(\emptyset) - \sum_{i \in S} A_{t,i}\Big)^2
        \quad\text{with}\quad \sum_i A_{t,i} = v_t(N) - v_t(\emptyset),
        \qquad \pi(k) = \frac{n - 1}{\binom{n}{k}\, k\, (n - k)}

    A subset and its complement are one row of the regression, on the difference of their values.
    Each player alone is among them, so that players can always be told apart, whatever is drawn;
    others are drawn in proportion to :math:`\pi`, and together weigh what all of their sizes do.
    The constraint is solved exactly, so that scores sum to f(x) - f(x') at any number. All subsets
    are run, and the values are exact, where these are no more. From about seven subsets for each
    player on this errs less than ``shapley`` with as many rows, and below three its error cannot be
    told. Standard errors are a jackknife's over the pairs that are drawn; a regression on drawn
    subsets is off by a part of them on average.

    Args:
        samples: S, subsets; by default 10 for each player.
        seed: of the subsets.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G], summing to f(x) - f(x') exactly (units of f).

    Raises:
        InputError: ``samples`` is not even, or below three for each player.

    Source: arXiv:1705.07874; pairs: arXiv:2012.01536.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> KernelShap()(product, x, torch.zeros_like(x)).scores
    tensor([[[3., 3.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        stochastic=True,
        cost="S + 2 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset(AXIOMS) - {"dummy"},
        groups="players",
    )
    samples: int | None = hyperparameter(None, "Samples S; by default the method's own.", even(4))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def subsets(self, count: int) -> Tensor:
        """Return none, all, and pairs; or all subsets."""
        samples = self.samples or _EACH * count
        if 2**count <= samples + 2:
            return all_subsets(count)
        check_enough(samples, count)
        draw, drawn = generator(self.seed, "kernel_shap"), samples // 2 - count
        sizes, likely = _sizes(count)
        size = sizes[torch.multinomial(likely, drawn, replacement=True, generator=draw)]
        place = torch.rand(drawn, count, generator=draw, dtype=torch.float32).argsort(1).argsort(1)
        half = torch.cat([torch.eye(count, dtype=torch.bool), place < size[:, None]])
        ends = torch.tensor([[False], [True]]).expand(2, count)
        return torch.cat([ends, half, ~half])

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the coefficients of the regression, or the values themselves."""
        count = subsets.shape[1]
        if len(subsets) == 2**count:
            return semivalues(value, shapley_weights(count), value[0])
        (none, every), pairs = value[:2], len(subsets) // 2 - 1
        share = (every - none) / count
        plays = subsets[2 : 2 + pairs].double()
        # Off the mean share, scores sum to 0: so do the rows, and the regression keeps it.
        rows = plays - plays.mean(1, keepdim=True)
        apart = (value[2 : 2 + pairs] - value[2 + pairs :]) / 2
        size = plays.sum(1, keepdim=True)
        weight = torch.full((pairs,), 2 / (count * (count - 1)), dtype=torch.float64)
        weight[count:] = _sizes(count)[1].sum() / (pairs - count)
        left = apart - (size - count / 2) * share
        found, error = least_squares(rows, left, weight, certain=count)
        found = found - found.mean(0)  # but for rounding
        return Solution(found + share, none, error)


def _sizes(count: int) -> tuple[Tensor, Tensor]:
    """Return the sizes of subsets that are drawn, and what all of each size weigh together."""
    sizes = torch.arange(2, count - 1)
    return sizes, 1 / (sizes * (count - sizes)).double()

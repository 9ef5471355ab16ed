"""Banzhaf values by a regression. Banzhaf 1965; Hammer, Holzman 1992; Wang, Jia 2022."""

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
from hf_attrib.methods.perturbation.regression import check_enough, least_squares, uniform
from hf_attrib.methods.perturbation.values import all_subsets, semivalues

__all__ = ["Banzhaf"]

#: Subsets for each player where nothing is said.
_EACH = 10


@dataclass(frozen=True)
class Banzhaf(Perturbation, name="banzhaf"):
    r"""What each input adds to f in the mean over all subsets of the others.

    .. math:: A_{t,i} = \frac{1}{2^{n-1}} \sum_{S \not\ni i} v_t(S \cup i) - v_t(S)

    These are the coefficients of the additive function that is nearest to f on subsets drawn by
    fair coins; a regression on as many subsets errs less than a difference of means. Each subset
    comes with its complement, and a pair is one row of the regression; they are drawn anew where
    they leave players that cannot be told apart, as few may. All subsets are run, and the
    values are exact, where these are no more. Standard errors are a jackknife's over pairs.

    Args:
        samples: S, subsets; by default 10 for each player.
        seed: of the subsets.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G]; their sum is nothing in particular (units of f).

    Raises:
        InputError: ``samples`` is not even, or below three for each player.

    Source: arXiv:2205.15466.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> Banzhaf()(product, x, torch.zeros_like(x)).scores
    tensor([[[3., 3.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        stochastic=True,
        cost="S + 1 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset(AXIOMS) - {"completeness", "dummy"},
        groups="players",
    )
    samples: int | None = hyperparameter(None, "Samples S; by default the method's own.", even(4))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def subsets(self, count: int) -> Tensor:
        """Return pairs, or all subsets."""
        samples = self.samples or _EACH * count
        if 2**count <= samples:
            return all_subsets(count)
        check_enough(samples, count)
        draw = generator(self.seed, "banzhaf")
        half = uniform(count, samples // 2, draw)
        # Of few subsets some are drawn that leave an equation open; nothing would say so.
        while int(torch.linalg.matrix_rank(half.double() - 0.5)) < count:
            half = uniform(count, samples // 2, draw)
        return torch.cat([half, ~half])

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the coefficients of the regression, or the values themselves."""
        count, pairs = subsets.shape[1], len(subsets) // 2
        if len(subsets) == 2**count:
            return semivalues(value, torch.full((count,), 0.5 ** (count - 1), dtype=torch.float64))
        apart = (value[:pairs] - value[pairs:]) / 2
        found, error = least_squares(subsets[:pairs].double() - 0.5, apart)
        return Solution(found, standard_error=error)

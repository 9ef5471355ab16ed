"""LIME. Ribeiro, Singh, Guestrin 2016, arXiv:1602.04938."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import at_least, hyperparameter, not_negative, positive
from hf_attrib.integration import generator
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Solution
from hf_attrib.methods.perturbation.regression import (
    check_enough,
    effective,
    least_squares,
    uniform,
)
from hf_attrib.methods.perturbation.values import all_subsets

__all__ = ["Lime"]


#: Weights up to which a subset is lost in rounding.
_LOST = 1e-12


@dataclass(frozen=True)
class Lime(Perturbation, name="lime"):
    r"""The weights of the linear function that is nearest to f on subsets close to all players.

    .. math:: \min_{c, A} \sum_S e^{-D(S)^2 / w^2}
        \Big(v_t(S) - c - \sum_{i \in S} A_{t,i}\Big)^2 + \lambda \sum_i A_{t,i}^2,
        \qquad D(S) = 1 - \sqrt{|S| / n}

    D is the cosine distance of S from all players. Subsets are drawn by fair coins; all are run
    where these are no more, and then nothing is drawn. The authors' program has
    :math:`\lambda = 1`, which shrinks scores; here it is 0 unless you say so. Standard errors are a
    jackknife's over subsets.

    Args:
        samples: S, subsets.
        width: w of the kernel.
        ridge: :math:`\lambda`; the constant c is never penalised.
        seed: of the subsets.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G]; their sum is nothing in particular (units of f).

    Raises:
        InputError: ``samples`` is below three for each player, or ``width`` is so narrow that these
            count like less than one for each; or another field is out of range.

    Source: arXiv:1602.04938.

    >>> from hf_attrib.field import FunctionField
    >>> total = FunctionField(lambda z: z.sum(1), targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> Lime()(total, x, torch.zeros_like(x)).scores
    tensor([[[2., 3.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        stochastic=True,
        cost="S + 1 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset(AXIOMS) - {"completeness", "dummy"},
        groups="players",
    )
    samples: int = hyperparameter(1000, "Samples S.", at_least(4))
    width: float = hyperparameter(0.25, "Width of the kernel, in cosine distances.", positive)
    ridge: float = hyperparameter(0.0, "Penalty on squared scores.", not_negative)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def subsets(self, count: int) -> Tensor:
        """Return subsets by fair coins, or all subsets."""
        if 2**count <= self.samples:
            found = all_subsets(count)
        else:
            check_enough(self.samples, count)
            found = uniform(count, self.samples, generator(self.seed, "lime"))
        self._check_width(found, count)
        return found

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the coefficients of the weighted regression."""
        rows = torch.nn.functional.pad(subsets.double(), (1, 0), value=1.0)  # the constant
        penalty = torch.full(rows.shape[1:], self.ridge, dtype=torch.float64)
        penalty[0] = 0
        found, error = least_squares(rows, value, self._weight(subsets), penalty)
        drawn = len(subsets) < 2 ** subsets.shape[1]
        return Solution(found[1:], standard_error=error[1:] * drawn)

    def _weight(self, subsets: Tensor) -> Tensor:
        """Return how much each subset counts, [R]."""
        distance = 1 - subsets.double().mean(1).sqrt()
        return (-((distance / self.width) ** 2)).exp()

    def _check_width(self, subsets: Tensor, count: int) -> None:
        """Refuse a kernel under which too few subsets count, before they are run."""
        weight = self._weight(subsets)
        if len(subsets) < 2**count:
            told, least = effective(weight), count
        else:  # nothing is drawn, and so little is enough as does not drown in rounding
            told, least = int((weight > _LOST).sum()), count + 1
        if told < least:
            raise InputError(
                f"width is {self.width:g}, under which the {len(subsets)} subsets count like "
                f"{told:.3g}; a regression on {count} players takes {least} at least. Raise width, "
                "or samples."
            )

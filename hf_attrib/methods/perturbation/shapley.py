"""Shapley values by staircases. Shapley 1953; Castro, Gómez, Tejada 2009."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.game import Game, Solution
from hf_attrib.methods.perturbation.values import all_subsets, semivalues, shapley_weights
from hf_attrib.methods.perturbation.walks import Staircases

__all__ = ["Shapley"]


@dataclass(frozen=True)
class Shapley(Staircases, name="shapley"):
    r"""What each input adds to f as inputs come in one after another, in the mean over all orders.

    .. math:: A_{t,i} = \frac{1}{S} \sum_{\pi} v_t(\pi_{\le i}) - v_t(\pi_{< i})

    v(S) is f with the players S alone, and :math:`\pi_{\le i}` are those that come in up to i. An
    order is a staircase from x' to x along which one player moves at a time, so that scores of each
    sum to f(x) - f(x') exactly, however few there are. Orders come in pairs, one the reverse of the
    other, and pairs by twos, of which the second begins in the middle of the first: together they
    put each player early and late alike. Standard errors are over pairs as if these were drawn one
    by one, which is on the safe side.

    All subsets are run, and nothing is drawn, where that takes no more rows, or where there are up
    to 10 players and ``samples`` and ``budget`` are not given. With a ``budget``, staircases go on
    until no intervals of two standard errors of scores next to each other in rank overlap.

    Args:
        samples: S, orders; by default 8. With a budget, those that it begins with.
        budget: forward rows of a sequence at most, f(x) included.
        seed: of the orders.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G], summing to f(x) - f(x') exactly (units of f).

    Raises:
        InputError: ``samples`` is below 4 or not even, or the budget below four staircases.

    Source: arXiv:1705.07874; pairs: arXiv:2104.12199.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> Shapley()(product, x, torch.zeros_like(x)).scores
    tensor([[[3., 3.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        stochastic=True,
        cost="S * (N - 1) + 2 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset(AXIOMS),
        groups="players",
    )

    def labels(self, game: Game) -> list[Tensor]:
        """Return no parts: players come in in any order."""
        return [self.alone(count) for count in game.counts]

    def alone(self, count: int) -> Tensor:
        """Return no parts of n players, [0, n]."""
        return torch.zeros(0, count, dtype=torch.int64)

    def rows_of_all(self, labels: Tensor) -> int:
        """Return 2^n."""
        return 1 << labels.shape[1]

    def all_passed(self, labels: Tensor) -> Tensor:
        """Return all subsets, [2^n, n] bool."""
        return all_subsets(labels.shape[1])

    def exact(self, labels: Tensor, value: Tensor) -> Solution:
        """Return the mean of what each player adds, over all orders."""
        return semivalues(value, shapley_weights(labels.shape[1]), value[0])

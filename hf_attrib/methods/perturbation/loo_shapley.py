"""The mean of leave-one-out and Shapley values, with sums that are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.hyperparameters import at_least, even, hyperparameter
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Solution
from hf_attrib.methods.perturbation.shapley import added, orders, stairs
from hf_attrib.methods.perturbation.values import all_subsets, semivalues, shapley_weights

__all__ = ["LooShapley"]

#: Staircases where nothing is said, and players whose subsets are all run instead: 64 rows.
_STAIRS, _FEW = 2, 6
#: Groups that are played where the caller names none.
_MOST = 128
#: Weights of leave-one-out, from the one that is wanted to one that always fits.
_WEIGHTS = (0.5, 0.25, 0.125, 0.0625, 0.0)
#: What only combinations explain is shared as long as no score changes by more than this.
_SHARED = 0.5


@dataclass(frozen=True)
class LooShapley(Perturbation, name="loo_shapley"):
    r"""What each input adds to f, both where the prompt stands and on the way to it.

    .. math:: A_{t,i} = g_{t,i} + R_t \frac{|g_{t,i}|}{\sum_j |g_{t,j}|}, \quad
        g_{t,i} = \lambda_t (v_t(N) - v_t(N \setminus i)) + (1 - \lambda_t)\,\phi_{t,i}, \quad
        R_t = f_t(x) - f_t(x') - \sum_i g_{t,i}

    Leaving one input out predicts best what happens when a few are taken away, but finds nothing
    where the same fact is said twice, and its scores sum to nothing. Shapley values
    :math:`\phi`, here along staircases, find both copies and sum to f(x) - f(x'). This is their
    mean, :math:`\lambda = 1/2`. What it misses of the sum, R, is what only combinations of inputs
    explain; it is shared in proportion to the scores, whose signs and order stay. Where R is more
    than half of them together, :math:`\lambda` is halved until it is not. All subsets are run, and
    nothing is drawn, where that takes no more rows, or where there are up to 6 players and
    ``samples`` are not given.

    Args:
        samples: S, staircases, in pairs of which one is the reverse of the other; by default 2.
        seed: of their orders.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G], summing to f(x) - f(x') exactly (units of f).

    Raises:
        InputError: ``samples`` is below 2 or not even.

    Source: leave-one-out: arXiv:1612.08220; Shapley values: arXiv:1705.07874.

    >>> from hf_attrib.field import FunctionField
    >>> either = FunctionField(lambda z: z.amax(1), targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [2.0]]]])
    >>> LooShapley()(either, x, torch.zeros_like(x)).scores
    tensor([[[1., 1.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        stochastic=True,
        cost="S * (N - 2) + N + 2 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset(AXIOMS) - {"linearity"},
        groups="players",
    )
    samples: int | None = hyperparameter(None, "Samples S; by default the method's own.", even(2))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    @property
    def most_players(self) -> int:
        """How many groups are played where the caller names none."""
        return _MOST

    def pairs(self, count: int) -> int:
        """Return how many pairs of staircases are run; 0 where all subsets are.

        Args:
            count: n players.
        """
        samples = self.samples or _STAIRS
        few = self.samples is None and count <= _FEW
        return 0 if few or 2**count <= samples * (count - 2) + count + 2 else samples // 2

    def subsets(self, count: int) -> Tensor:
        """Return the stairs, and all but each player; or all subsets."""
        pairs = self.pairs(count)
        if not pairs:
            return all_subsets(count)
        one_less = ~torch.eye(count, dtype=torch.bool)
        return torch.cat([stairs(orders(count, 0, pairs, self.seed)), one_less])

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the mean of both values, completed."""
        count = subsets.shape[1]
        pairs = self.pairs(count)
        if not pairs:
            shapley = semivalues(value, shapley_weights(count), value[0])
            last = 2**count - 1
            lost = value[last] - value[[last - 2**player for player in range(count)]]
            return _joined(shapley, lost, value[last])
        whole = value[count]  # the top of the first staircase
        gains = added(orders(count, 0, pairs, self.seed), value[:-count])
        return _joined(_mean(gains, value[0]), whole - value[-count:], whole)


def _mean(gains: Tensor, start: Tensor) -> Solution:
    """Return the mean of gains along staircases [P, 2, n, T], with one error for all players.

    So few staircases tell little of each player, but enough of all together; a staircase and its
    reverse are taken for two that were drawn one by one, which is on the safe side.
    """
    each = gains.flatten(0, 1)
    error = (each.var(0).mean(0) / len(each)).sqrt()
    return Solution(each.mean(0), start, error.expand(each.shape[1:]))


def _joined(shapley: Solution, lost: Tensor, whole: Tensor) -> Solution:
    """Return the mean of Shapley values and of what is lost without each player, completed.

    Args:
        shapley: scores [n, T] and their errors.
        lost: v(N) - v(N without each), [n, T].
        whole: v(N), [T].
    """
    assert shapley.start_value is not None
    assert shapley.standard_error is not None
    change = whole - shapley.start_value
    weights = torch.tensor(_WEIGHTS, dtype=lost.dtype)[:, None, None]
    both = weights * lost + (1 - weights) * shapley.scores  # [W, n, T]
    size = both.abs().sum(1, keepdim=True)
    share = (change - both.sum(1, keepdim=True)) / size.clamp_min(torch.finfo(size.dtype).tiny)
    fits = (share.abs() <= _SHARED) | (weights == 0)
    first = fits.long().argmax(0, keepdim=True)  # [1, 1, T]
    chosen = both.gather(0, first.expand(1, *lost.shape))[0]
    share, weight = share.gather(0, first)[0], weights.expand_as(share).gather(0, first)[0]
    error = (1 - weight) * (1 + share * chosen.sign()) * shapley.standard_error
    return Solution(chosen + share * chosen.abs(), shapley.start_value, error)

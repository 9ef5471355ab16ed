"""Shapley values by staircases. Shapley 1953; Castro, Gómez, Tejada 2009."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Cost, Decomposition, Field
from hf_attrib.hyperparameters import at_least, even, hyperparameter
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Game, Solution
from hf_attrib.methods.perturbation.staircases import added, mean_over, orders, stairs
from hf_attrib.methods.perturbation.values import all_subsets, semivalues, shapley_weights

__all__ = ["Shapley"]

#: Staircases where nothing is said, and players whose subsets are all run instead.
_STAIRS, _FEW = 8, 10
#: Half the width of an interval, in standard errors.
_WIDE = 2.0

_OPEN = "the order of some scores is open, as their intervals overlap when the rows are spent"


@dataclass(frozen=True)
class Shapley(Perturbation, name="shapley"):
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
    samples: int | None = hyperparameter(None, "Samples S; by default the method's own.", even(4))
    budget: int | None = hyperparameter(None, "Forward rows at most.", at_least(2))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    @property
    def claims(self) -> Claims:
        """What holds; when to stop is decided by f, which is not linear."""
        made = super().claims
        if self.budget is None:
            return made
        return replace(made, axioms=made.axioms - {"linearity"}, cost="budget at most")

    def pairs(self, count: int) -> int:
        """Return how many pairs of staircases are run first; 0 where all subsets are.

        Args:
            count: n players.

        Raises:
            InputError: the budget is below two pairs.
        """
        stairs = self.samples or _STAIRS
        few = self.samples is None and self.budget is None and count <= _FEW
        rows = stairs * (count - 1) + 2
        if few or 2**count <= max(rows if self.budget is None else 0, self.budget or 0):
            return 0
        pairs = stairs // 2
        if self.budget is not None:
            pairs = min(pairs, (self.budget - 2) // (2 * (count - 1)))
            if pairs < 2:
                raise InputError(
                    f"budget is {self.budget}; four staircases of {count} players, the fewest that "
                    f"tell an error, take {4 * count - 2} rows."
                )
        return pairs

    def subsets(self, count: int) -> Tensor:
        """Return the stairs of the first staircases, or all subsets."""
        pairs = self.pairs(count)
        return stairs(orders(count, 0, pairs, self.seed)) if pairs else all_subsets(count)

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the mean of what each player adds, over the first staircases or exactly."""
        count = subsets.shape[1]
        pairs = self.pairs(count)
        if not pairs:
            return semivalues(value, shapley_weights(count), value[0])
        return mean_over(added(orders(count, 0, pairs, self.seed), value), value[0])

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        least = Cost(values=self.rows(inputs))
        if self.budget is None or not inputs or not self.pairs(inputs):
            return least.exactly()
        return least, Cost(values=max(least.values, self.budget - 1))

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Run staircases, and more of them while the order of scores is open."""
        if self.budget is None:
            return super().__call__(field, x, baseline)
        game = Game(field, x, baseline, self.mode)
        walks = [_Walk(self, n, self.budget) for n in game.counts]
        while any(len(walk.asked) for walk in walks):
            found = game.values([walk.asked for walk in walks])
            for walk, value, rows in zip(walks, found, game.rows, strict=True):
                walk.take(value, rows)
        return game.decomposition([walk.solution() for walk in walks], _OPEN)


class _Walk:
    """The staircases of one sequence so far.

    Attributes:
        asked: subsets to be run next, [R, n]; none when it is done.
    """

    def __init__(self, method: Shapley, count: int, budget: int) -> None:
        self.method, self.count, self.budget = method, count, budget
        self.next = method.pairs(count) if count else 0
        self.asked = method.subsets(count) if count else torch.ones(1, 0, dtype=torch.bool)
        self.start, self.pairs = torch.zeros(0), torch.zeros(0)
        self.exact: Solution | None = None

    def take(self, value: Tensor, rows: int) -> None:
        """Take the values of what was asked for, and say what is next."""
        if not len(self.asked):
            return
        if not self.next:
            self.exact = self.method.result(self.asked, value)
            self.asked = self.asked[:0]
            return
        done = len(self.pairs)
        more = added(orders(self.count, done, self.next, self.method.seed), value)
        self.start, self.pairs = value[0], torch.cat([self.pairs, more]) if done else more
        # Rows that are known need not be paid for again, but how many is not known before.
        self.next = min(2 - len(self.pairs) % 2, (self.budget - 1 - rows) // (2 * self.count - 2))
        if self.next < 1 or not _open(mean_over(self.pairs, self.start)).any():
            self.asked = self.asked[:0]
        else:
            self.asked = stairs(orders(self.count, len(self.pairs), self.next, self.method.seed))

    def solution(self) -> Solution:
        """Return the mean over staircases, and which targets' orders are open."""
        found = self.exact or mean_over(self.pairs, self.start)
        return replace(found, undecided=_open(found))


def _open(found: Solution) -> Tensor:
    """Return the targets of which intervals of scores that are next in rank overlap, [T] bool."""
    error = found.standard_error
    assert error is not None
    score, order = found.scores.sort(0)
    wide = _WIDE * error.gather(0, order)
    return (score.diff(dim=0) < wide[1:] + wide[:-1]).any(0)

"""Values by staircases: all that their orders pass, or drawn ones until scores are ranked.

Shapley and Owen values differ in nothing but the orders in which players may come in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Cost, Decomposition, Field
from hf_attrib.hyperparameters import at_least, even, hyperparameter
from hf_attrib.methods.base import Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Game, Solution, distinct
from hf_attrib.methods.perturbation.staircases import added, mean_over, orders_within, stairs

__all__ = ["Staircases"]

#: Staircases where nothing is said, and players of whom nothing is drawn then.
_STAIRS, _FEW = 8, 10
#: Half the width of an interval, in standard errors.
_WIDE = 2.0

_OPEN = "the order of some scores is open, as their intervals overlap when the rows are spent"


@dataclass(frozen=True)
class Staircases(Perturbation, ABC):
    """A method of what players add along orders in which the members of each part stay together.

    A subclass says which parts there are, as labels [L, n] of n players, coarsest first, and what
    values come to where nothing is drawn.

    Args:
        samples: S, orders; by default 8. With a budget, those that it begins with.
        budget: forward rows of a sequence at most, f(x) included.
        seed: of the orders.
    """

    samples: int | None = hyperparameter(None, "Samples S; by default the method's own.", even(4))
    budget: int | None = hyperparameter(None, "Forward rows at most.", at_least(2))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    @abstractmethod
    def labels(self, game: Game) -> list[Tensor]:
        """Return the parts of the players of each sequence, [L, n]."""

    @abstractmethod
    def alone(self, count: int) -> Tensor:
        """Return the parts of n players who belong to nothing, [L, n]."""

    @abstractmethod
    def rows_of_all(self, labels: Tensor) -> int:
        """Return how many rows :meth:`all_passed` has."""

    @abstractmethod
    def all_passed(self, labels: Tensor) -> Tensor:
        """Return all subsets that an order may pass, that of nobody first, [R, n] bool."""

    @abstractmethod
    def exact(self, labels: Tensor, value: Tensor) -> Solution:
        """Return what the values of all these come to, [R, T]."""

    @property
    def claims(self) -> Claims:
        """What holds; when to stop is decided by f, which is not linear."""
        made = super().claims
        if self.budget is None:
            return made
        return replace(made, axioms=made.axioms - {"linearity"}, cost="budget at most")

    def pairs(self, labels: Tensor) -> int:
        """Return how many pairs of staircases are run first; 0 where nothing is drawn.

        Args:
            labels: the parts of n players, [L, n].

        Raises:
            InputError: the budget is below two pairs.
        """
        count, samples = labels.shape[1], self.samples or _STAIRS
        every, budget = self.rows_of_all(labels), self.budget
        if budget is None:
            few = self.samples is None and count <= _FEW
            return 0 if few or every <= samples * (count - 1) + 2 else samples // 2
        if every <= budget:
            return 0
        pairs = min(samples // 2, (budget - 2) // (2 * (count - 1)))
        if pairs < 2:
            fewest = 4 * count - 2
            needed = f"all subsets take {every}" if every < fewest else "give as many"
            raise InputError(
                f"budget is {budget}; four staircases of {count} players, the fewest that "
                f"tell an error, take {fewest} rows; {needed}."
            )
        return pairs

    def subsets(self, count: int) -> Tensor:
        """Return what is asked for first, if no players belong together."""
        return self.asked_of(self.alone(count))

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the mean of what each player adds, over these staircases or exactly."""
        return self.solved(self.alone(subsets.shape[1]), value)

    def asked_of(self, labels: Tensor) -> Tensor:
        """Return the stairs of the first staircases, or all subsets that an order may pass."""
        if not labels.shape[1]:
            return torch.ones(1, 0, dtype=torch.bool)
        if pairs := self.pairs(labels):
            return stairs(orders_within(labels, 0, pairs, self.seed))
        return self.all_passed(labels)

    def solved(self, labels: Tensor, value: Tensor) -> Solution:
        """Return the mean of what each player adds, along these staircases or over all orders."""
        if not labels.shape[1]:
            return self.result(torch.ones(1, 0, dtype=torch.bool), value)
        if pairs := self.pairs(labels):
            return mean_over(added(orders_within(labels, 0, pairs, self.seed), value), value[0])
        return self.exact(labels, value)

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most, if no players belong together."""
        return self.cost_of(self.alone(inputs))

    def cost_of(self, labels: Tensor) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most, of the players of a sequence."""
        asked = distinct(self.asked_of(labels))
        least = Cost(values=len(asked) - int(asked.all(1).any()))
        if self.budget is None or not labels.shape[1] or not self.pairs(labels):
            return least.exactly()
        return least, Cost(values=max(least.values, self.budget - 1))

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Run staircases, and with a budget more of them while the order of scores is open."""
        game = Game(field, x, baseline, self.mode)
        every = self.labels(game)
        if self.budget is None:
            values = game.values([self.asked_of(labels) for labels in every])
            solved = [self.solved(*own) for own in zip(every, values, strict=True)]
            return game.decomposition(solved)
        walks = [_Walk(self, labels, self.budget) for labels in every]
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

    def __init__(self, method: Staircases, labels: Tensor, budget: int) -> None:
        self.method, self.labels, self.budget = method, labels, budget
        self.next = method.pairs(labels) if labels.shape[1] else 0
        self.asked = method.asked_of(labels)
        self.start, self.pairs = torch.zeros(0), torch.zeros(0)
        self.exact: Solution | None = None

    def take(self, value: Tensor, rows: int) -> None:
        """Take the values of what was asked for, and say what is next."""
        if not len(self.asked):
            return
        if not self.next:
            self.exact = self.method.solved(self.labels, value)
            self.asked = self.asked[:0]
            return
        done, steps = len(self.pairs), 2 * (self.labels.shape[1] - 1)
        more = added(self._orders(done), value)
        self.start, self.pairs = value[0], torch.cat([self.pairs, more]) if done else more
        # Rows that are known need not be paid for again, but how many is not known before.
        self.next = min(2 - len(self.pairs) % 2, (self.budget - 1 - rows) // steps)
        if self.next < 1 or not _open(mean_over(self.pairs, self.start)).any():
            self.asked = self.asked[:0]
        else:
            self.asked = stairs(self._orders(len(self.pairs)))

    def solution(self) -> Solution:
        """Return the mean over staircases, and which targets' orders are open."""
        found = self.exact or mean_over(self.pairs, self.start)
        return replace(found, undecided=_open(found))

    def _orders(self, first: int) -> Tensor:
        """Return the next pairs of orders, from one of a number on."""
        return orders_within(self.labels, first, self.next, self.method.seed)


def _open(found: Solution) -> Tensor:
    """Return the targets of which intervals of scores that are next in rank overlap, [T] bool."""
    error = found.standard_error
    assert error is not None
    score, order = found.scores.sort(0)
    wide = _WIDE * error.gather(0, order)
    return (score.diff(dim=0) < wide[1:] + wide[:-1]).any(0)

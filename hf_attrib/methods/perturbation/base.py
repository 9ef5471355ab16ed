"""What methods that play a game share: the players, the subsets they ask for, their cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hf_attrib.field import MODES, Cost, Decomposition, Field
from hf_attrib.hyperparameters import hyperparameter, one_of
from hf_attrib.methods.base import Claims, Method
from hf_attrib.methods.perturbation.game import Game, Solution, distinct, players

__all__ = ["Perturbation", "all_subsets"]


def all_subsets(count: int) -> Tensor:
    """Return every subset of n players, [2^n, n] bool; row r has those whose bit of r is set."""
    return (torch.arange(2**count)[:, None] >> torch.arange(count)) % 2 == 1


@dataclass(frozen=True)
class Perturbation(Method, ABC):
    """A method that takes players away and looks at f, forward alone.

    A subclass says which subsets it asks for, and what their values come to. Subsets depend on the
    seed and the number of players, and on nothing else, so that a sequence has the same scores
    whatever it is batched with.

    Args:
        mode: how inputs are taken away, of :data:`hf_attrib.field.MODES`.
    """

    mode: str = hyperparameter(
        "embed", "How inputs are taken away: embed, token, attention or drop.", one_of(MODES)
    )

    @property
    def claims(self) -> Claims:
        """What the method claims; only in mode ``"embed"`` is there a reference x'."""
        made = self.CLAIMS
        if self.mode == "embed":
            return made
        identity = made.identity and made.identity.replace("f(x')", "f(nothing)")
        baseline = made.baseline if self.mode == "token" else None
        return replace(made, identity=identity, baseline=baseline)

    @abstractmethod
    def subsets(self, count: int) -> Tensor:
        """Return the subsets of n players that are asked for first, [R, n] bool.

        Args:
            count: n, at least 1.
        """

    @abstractmethod
    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return what their values come to.

        Args:
            subsets: as asked for, [R, n].
            value: of them, [R, T], in float64.
        """

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=self.rows(inputs)).exactly()

    def rows(self, count: int) -> int:
        """Return how many rows n players take, f(x) aside."""
        asked = distinct(self.subsets(count)) if count else torch.ones(1, 0)
        return len(asked) - int(asked.all(1).any())

    def moving(self, field: Field, x: Tensor, baseline: Tensor) -> int:
        """Return how many players there are."""
        return int(players(field, x, baseline, self.mode).sum())

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Play the game of each sequence."""
        game = Game(field, x, baseline, self.mode)
        asked = [_asked(self, n) for n in game.counts]
        values = game.values(asked)
        return game.decomposition(
            [
                self.solve(subsets, value) if subsets.shape[1] else nobody(value, self.claims)
                for subsets, value in zip(asked, values, strict=True)
            ]
        )


def _asked(method: Perturbation, count: int) -> Tensor:
    return method.subsets(count) if count else torch.ones(1, 0, dtype=torch.bool)


def nobody(value: Tensor, claims: Claims) -> Solution:
    """Return what a game without players comes to, of which f [1, T] is known.

    Args:
        value: f of nothing taken away.
        claims: which say whether there is a start, and errors.
    """
    none = torch.zeros(0, value.shape[1], dtype=torch.float64)
    return Solution(
        none,
        None if claims.identity is None else value[0],
        none if claims.stochastic else None,
    )

"""What methods that play a game share: the players, the subsets they ask for, their cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hf_attrib.baselines import STAND_IN
from hf_attrib.field import MODES, Cost, Decomposition, Field
from hf_attrib.hyperparameters import hyperparameter, one_of
from hf_attrib.methods.base import Claims, Method
from hf_attrib.methods.perturbation.game import Game, Solution, distinct, players

__all__ = ["Ablating", "Perturbation"]


def _claims_in(mode: str, made: Claims) -> Claims:
    """Return claims in a mode of ablation: but for ``"embed"`` there is no reference x'.

    Args:
        mode: of :data:`hf_attrib.field.MODES`.
        made: what is claimed in mode ``"embed"``.
    """
    if mode == "embed":
        return made
    identity = made.identity and made.identity.replace("f(x')", "f(nothing)")
    baseline = STAND_IN if mode == "token" else None
    return replace(made, identity=identity, baseline=baseline)


@dataclass(frozen=True)
class Ablating(Method, ABC):
    """A method of scores or of pairs that plays the game of f without some of its inputs.

    Args:
        mode: how inputs are taken away, of :data:`hf_attrib.field.MODES`.
    """

    mode: str = hyperparameter(
        "embed", "How inputs are taken away: embed, token, attention or drop.", one_of(MODES)
    )

    @property
    def claims(self) -> Claims:
        """What the method claims; only in mode ``"embed"`` is there a reference x'."""
        return _claims_in(self.mode, self.CLAIMS)

    def moving(self, field: Field, x: Tensor, baseline: Tensor) -> int:
        """Return how many players there are."""
        return int(players(field, x, baseline, self.mode).sum())


@dataclass(frozen=True)
class Perturbation(Ablating, ABC):
    """A method that takes players away and looks at f, forward alone.

    A subclass says which subsets it asks for, and what their values come to. Subsets depend on the
    seed and the number of players, and on nothing else, so that a sequence has the same scores
    whatever it is batched with.
    """

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

    def asked(self, game: Game) -> list[tuple[Tensor, Tensor]]:
        """Return the subsets that are asked for of each sequence, and their values."""
        subsets = [
            self.subsets(n) if n else torch.ones(1, 0, dtype=torch.bool) for n in game.counts
        ]
        return list(zip(subsets, game.values(subsets), strict=True))

    def result(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return what the values of a sequence come to, which may have no players."""
        if subsets.shape[1]:
            return self.solve(subsets, value)
        none = torch.zeros(0, value.shape[1], dtype=torch.float64)
        start = None if self.claims.identity is None else value[0]
        return Solution(none, start, none if self.claims.stochastic else None)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Play the game of each sequence."""
        game = Game(field, x, baseline, self.mode)
        return game.decomposition([self.result(*asked) for asked in self.asked(game)])

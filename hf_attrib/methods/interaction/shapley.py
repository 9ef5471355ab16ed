"""Interactions of players of a game: all subsets, or lattices of drawn orders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Cost, Field
from hf_attrib.hyperparameters import at_least, even, hyperparameter
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.interaction.base import Interaction, PairScores, row_sums
from hf_attrib.methods.perturbation.base import Ablating
from hf_attrib.methods.perturbation.game import Game, distinct, readable
from hf_attrib.methods.perturbation.staircases import orders
from hf_attrib.methods.perturbation.values import (
    all_subsets,
    pair_values,
    semivalues,
    shapley_weights,
)

__all__ = ["ShapleyInteractions", "ShapleyTaylor"]

#: Players whose subsets are all run, at most; and those that are made where none are named.
_MOST, _UNNAMED = 10, 8


@dataclass(frozen=True, eq=False)
class _Solution:
    """What a game of one sequence comes to, in float64 on the CPU.

    Args:
        scores: of pairs of its n players, main effects on the diagonal, [n, n, T].
        attribution: of its players, [n, T].
        standard_error: of the scores, [n, n, T], where orders are drawn.
    """

    scores: Tensor
    attribution: Tensor
    standard_error: Tensor | None = None


@dataclass(frozen=True)
class _PairGame(Interaction, Ablating, ABC):
    """Interactions of the players of a game, forward alone."""

    @property
    def most_players(self) -> int | None:
        """How many groups are played where the caller names none."""
        return _UNNAMED

    def subsets(self, count: int) -> Tensor:
        """Return the subsets of n players that are asked for, [R, n] bool.

        Args:
            count: n.

        Raises:
            InputError: there are too many players.
        """
        if count > _MOST:
            raise InputError(
                f"{self.name} runs all subsets, and {count} groups have {2**count:,}, each a row; "
                f"join the inputs to {_MOST} groups at most by groups= (as 'sentence', 'turn' or "
                f"parts of your own){self.advice(count)}."
            )
        return all_subsets(count)

    def advice(self, count: int) -> str:
        """Return what else could be done about so many players, for a message."""
        return ""

    @abstractmethod
    def solve(self, count: int, value: Tensor) -> _Solution:
        """Return what the values of what was asked for of n players come to.

        Args:
            count: n, at least 1.
            value: of the subsets, [R, T], float64.
        """

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        asked = distinct(self.subsets(inputs)) if inputs else torch.ones(1, 0)
        return Cost(values=len(asked) - int(asked.all(1).any())).exactly()

    def __call__(
        self, field: Field, x: Tensor, baseline: Tensor, only: Tensor | None = None
    ) -> PairScores:
        """Play the game of each sequence."""
        game = Game(field, x, baseline, self.mode)
        values = game.values([self.subsets(n) for n in game.counts])
        none = torch.zeros(0, 0, field.targets, dtype=torch.float64)
        solved = [
            self.solve(n, value) if n else _Solution(none, none[0], none)
            for n, value in zip(game.counts, values, strict=True)
        ]
        return _placed(game, solved, torch.stack([value[0] for value in values]))


@dataclass(frozen=True)
class ShapleyTaylor(_PairGame, name="shapley_taylor"):
    r"""What each player does alone, and what each pair does together beyond that, of order 2.

    .. math:: A_{t,ii} = v_t(\{i\}) - v_t(\emptyset), \quad
        A_{t,ij} = \frac{2}{n} \sum_{S \subseteq N \setminus \{i,j\}} \binom{n-1}{|S|}^{-1}
        \delta_{ij} v_t(S)

    :math:`\delta_{ij} v(S) = v(S \cup \{i,j\}) - v(S \cup \{i\}) - v(S \cup \{j\}) + v(S)`, and
    v(S) is f with the players S alone. Main effects and pairs, each pair once, sum to f(x) - f(x')
    exactly; the main effect of a player with half of its pairs is its Shapley value. What three
    players and more do together is shared among their pairs.

    All subsets of up to 10 players are run. With ``samples``, orders of the players are drawn
    instead: each has a pair's :math:`\delta_{ij} v` behind those that come before both, whose mean
    is the score. Sums are exact for each order, and so however few there are. Orders come in pairs,
    one the reverse of the other; standard errors are over these pairs.

    Args:
        samples: S, orders that are drawn; by default all subsets are run.
        seed: of the orders.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G, G], symmetric, of which main effects and pairs sum to f(x) - f(x') exactly
        (units of f).

    Raises:
        InputError: there are more than 10 players and no ``samples``, or these are below 4 or odd.

    Source: arXiv:1902.05622.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1] + z[:, 0], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> ShapleyTaylor()(product, x, torch.zeros_like(x)).scores
    tensor([[[[2., 6.],
              [6., 0.]]]], dtype=torch.float64)
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        cost="2^N forward rows, 0 backward rows; S * N * (N + 1) / 2 + 2 with samples",
        axioms=frozenset(AXIOMS),
        groups="players",
    )
    samples: int | None = hyperparameter(None, "Orders S; by default all subsets.", even(4))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    @property
    def most_players(self) -> int | None:
        """How many groups are played where the caller names none; any number of drawn orders."""
        return None if self.samples else _UNNAMED

    def advice(self, count: int) -> str:
        """Return how many rows drawn orders take."""
        return f", or pass samples=8 to draw orders, {4 * count * (count + 1) + 2:,} rows at most"

    def subsets(self, count: int) -> Tensor:
        """Return all subsets, or of each order those that come first, with each other player."""
        if not self.samples:
            return super().subsets(count)
        place = self._orders(count).argsort(-1)  # of each player
        # [O, k, m, n]: the first k players, and the one that comes m-th.
        step = torch.arange(count)
        first = place[:, None, None] < step[:, None, None]
        lattice = (first | (place[:, None, None] == step[:, None])).flatten(0, 2)
        return torch.cat([torch.zeros(1, count, dtype=torch.bool), lattice])

    def solve(self, count: int, value: Tensor) -> _Solution:
        """Return exact scores, or their means over orders."""
        if self.samples:
            return self._drawn(count, value)
        weights = [2 / (count * comb(count - 1, size)) for size in range(count - 1)]
        scores = pair_values(value, torch.tensor(weights, dtype=torch.float64))
        alone = value[[2**player for player in range(count)]] - value[0]
        scores.diagonal().copy_(alone.T)
        return _Solution(scores, semivalues(value, shapley_weights(count)).scores)

    def _orders(self, count: int) -> Tensor:
        return orders(count, 0, (self.samples or 0) // 2, self.seed).flatten(0, 1)

    def _drawn(self, count: int, value: Tensor) -> _Solution:
        """Return means over orders, and their errors over pairs of these."""
        order, start = self._orders(count), value[0]
        lattice = value[1:].reshape(len(order), count, count, -1)  # v of the first k, and the m-th
        with_next = torch.cat([lattice[:, 1:], lattice[:, -1:]], 1)  # and the k-th one, too
        own = lattice.diagonal(dim1=1, dim2=2).movedim(-1, 1)[:, :, None]
        before = torch.cat([start.expand(len(order), 1, 1, -1), own[:, :-1]], 1)
        gain = with_next - own - lattice + before
        later = torch.ones(count, count).triu(1).bool()[..., None]
        gain = gain.masked_fill(~later, 0)
        place, every = order.argsort(-1), torch.arange(len(order))[:, None, None]
        gain = (gain + gain.transpose(1, 2))[every, place[:, :, None], place[:, None]]
        pairs = gain.unflatten(0, (-1, 2)).mean(1)
        scores = pairs.mean(0)
        alone = torch.stack([lattice[0, 0, int(place[0, player])] for player in range(count)])
        scores.diagonal().copy_((alone - start).T)
        shares = row_sums(scores.movedim(-1, 0)).T
        return _Solution(scores, shares, pairs.std(0) / len(pairs) ** 0.5)


@dataclass(frozen=True)
class ShapleyInteractions(_PairGame, name="shapley_interactions"):
    r"""The mean, over subsets of the others, of what a pair does together; and Shapley values.

    .. math:: A_{t,ii} = \phi_{t,i}, \quad A_{t,ij} = \sum_{S \subseteq N \setminus \{i,j\}}
        \frac{|S|!\,(n - |S| - 2)!}{(n-1)!}\, \delta_{ij} v_t(S)

    With :math:`\delta_{ij} v(S)` as for :class:`ShapleyTaylor`, this is the Shapley interaction
    index, whose first order is the Shapley value :math:`\phi`. Main effects alone sum to f(x) -
    f(x'); together with the pairs they sum to nothing. The index of a pair tells what the players
    do together in the mean over all that the others may do, without a share of what larger sets do.

    Args:
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G, G], symmetric, without an identity (units of f).

    Raises:
        InputError: there are more than 10 players.

    Source: Grabisch, Roubens 1999, doi:10.1007/s001820050125.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1] + z[:, 0], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> ShapleyInteractions()(product, x, torch.zeros_like(x)).scores
    tensor([[[[5., 6.],
              [6., 3.]]]], dtype=torch.float64)
    """

    CLAIMS: ClassVar[Claims] = Claims(
        cost="2^N forward rows, 0 backward rows",
        axioms=frozenset(AXIOMS) - {"completeness"},
        groups="players",
    )

    def solve(self, count: int, value: Tensor) -> _Solution:
        """Return exact scores."""
        weights = [1 / ((count - 1) * comb(count - 2, size)) for size in range(count - 1)]
        scores = pair_values(value, torch.tensor(weights, dtype=torch.float64))
        shapley = semivalues(value, shapley_weights(count)).scores
        scores.diagonal().copy_(shapley.T)
        return _Solution(scores, shapley)


def _placed(game: Game, solved: Sequence[_Solution], start: Tensor) -> PairScores:
    """Return what players have as what groups have; what a target does not read has 0.

    Args:
        game: of B sequences.
        solved: what each of them came to.
        start: f without any player, [B, T].
    """
    read = readable(game.field).double()
    shape = (*read.shape, read.shape[2])
    scores, error = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    shares = torch.zeros(read.shape, dtype=torch.float64)
    for b, (own, found) in enumerate(zip(game.players, solved, strict=True)):
        scores[b][:, own[:, None], own] = found.scores.movedim(-1, 0)
        shares[b][:, own] = found.attribution.T
        if found.standard_error is not None:
            error[b][:, own[:, None], own] = found.standard_error.movedim(-1, 0)
    both = read[..., None] * read[..., None, :]
    drawn = any(found.standard_error is not None for found in solved)
    return PairScores(
        scores * both, start, standard_error=error * both if drawn else None,
        attribution=shares * read,
    )  # fmt: skip

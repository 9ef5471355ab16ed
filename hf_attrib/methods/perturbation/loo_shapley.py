"""The mean of leave-one-out and of Shapley values in reading order, with sums that are exact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Cost, Decomposition, Field
from hf_attrib.hyperparameters import at_least, even, hyperparameter
from hf_attrib.integration import generator
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Game, Solution, distinct
from hf_attrib.methods.perturbation.staircases import added, stairs
from hf_attrib.methods.perturbation.values import all_subsets, semivalues, shapley_weights

__all__ = ["LooShapley"]

#: Staircases where nothing is said, and players whose subsets are all run instead: 64 rows.
_STAIRS, _FEW = 2, 6
#: Groups that are played where the caller names none.
_MOST = 128
#: What only combinations explain is shared as long as no score changes by more than this.
_SHARED = 0.9
#: How often the weight of leave-one-out is halved for that, before there is none of it.
_HALVED = 3


@dataclass(frozen=True)
class LooShapley(Perturbation, name="loo_shapley"):
    r"""What each input adds to f, both where the prompt stands and on the way to it.

    .. math:: A_{t,i} = g_{t,i} + R_t \frac{|g_{t,i}|}{\sum_j |g_{t,j}|}, \quad
        g_{t,i} = \tfrac13 (\ell^{embed}_{t,i} + \ell^{drop}_{t,i} + \phi_{t,i}), \quad
        R_t = f_t(x) - f_t(x') - \sum_i g_{t,i}

    :math:`\ell` is what f loses without one input, once as it is replaced by the reference and once
    as it is cut out of the sequence, so that what only one way of leaving out does is not taken for
    the model's reasons. That predicts best what happens when a few inputs are taken away, but finds
    nothing where the same fact is said twice, and sums to nothing.

    :math:`\phi` is what each input adds as inputs come in one after another. Sentences come in in
    all orders, as for Shapley values, and within a sentence inputs come in as they are read, since
    words mean little before those that they follow. Both copies of a fact then have their share,
    and scores sum to f(x) - f(x'). Two orders are run. In both the last sentence comes in first, as
    it is what asks or is continued, and without it no fact would be worth anything; the others
    follow as they are read, and backwards. Of two sentences both orders are run, and of a single
    one its halves take their place. ``samples`` asks for more. Groups that the caller names, other
    than words, are each their own sentence, so that up to 6 of them have their Shapley values over
    all subsets.

    What g misses of the sum, R, is what only combinations of inputs explain; it is shared in
    proportion to the scores, whose signs and order stay. Where R is more than nine tenths of them
    together, the weight of :math:`\ell`, 2/3, is halved until it is not. What cannot be cut out has
    :math:`\ell^{embed}` with the weight of both: the inputs of a function, those that another
    method moved, and all that a target is predicted from. In another ``mode`` than ``"embed"`` that
    mode takes inputs away throughout.

    In 16 bits eight rows more tell what rounding does to f, and how far all scores of a target may
    be off for it; without, sums would hide it, as they are exact whatever the scores are.

    Args:
        samples: S, orders of the sentences, in pairs of which one is the reverse of the other; by
            default 2. Those after the first pair are drawn.
        seed: of these.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G], summing to f(x) - f(x') exactly (units of f).

    Raises:
        InputError: ``samples`` is below 2 or not even.

    Source: leave-one-out: arXiv:1612.08220; Shapley values: arXiv:1705.07874; in a given order:
    arXiv:1910.06358.

    >>> from hf_attrib.field import FunctionField
    >>> either = FunctionField(lambda z: z.amax(1), targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [2.0]]]])
    >>> LooShapley()(either, x, torch.zeros_like(x)).scores
    tensor([[[1., 1.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        stochastic=True,
        cost="S * (N - 1) + 2 * N forward rows, 0 backward rows; 2^N + N for few groups",
        axioms=frozenset(AXIOMS) - {"linearity"},
        groups="players",
    )
    samples: int | None = hyperparameter(None, "Samples S; by default the method's own.", even(2))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    @property
    def most_players(self) -> int:
        """How many groups are played where the caller names none."""
        return _MOST

    def subsets(self, count: int) -> Tensor:
        """Return what is asked for if each player is a sentence of its own."""
        return self._subsets(torch.arange(count))

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return what values come to if nothing was cut out."""
        count = subsets.shape[1]
        return self._solve(torch.arange(count), value, torch.zeros(count).bool(), value[:0])

    def cost_at(self, field: Field, x: Tensor, baseline: Tensor, targets: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most: which sentences there are decides."""
        game = Game(field, x, baseline, self.mode)
        (sentence,) = game.sentences
        asked, (cut,) = distinct(self._subsets(sentence)), self._cut(game)
        rows = len(asked) - int(asked.all(1).any()) + int(cut.sum()) + game.rounding_rows
        return Cost(values=rows).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Play the game of each sequence, and leave out by dropping besides."""
        game = Game(field, x, baseline, self.mode)
        values = game.values([self._subsets(sentence) for sentence in game.sentences])
        cut = self._cut(game)
        dropped = [torch.zeros(0)] * len(cut)
        if any(map(torch.any, cut)):
            asked = [_one_less(len(own))[own] for own in cut]
            dropped = game.dropping().values(asked)
        parts = zip(game.sentences, values, cut, dropped, strict=True)
        found = game.decomposition([self._solve(*own) for own in parts])
        rounding = game.rounding()
        if rounding is None:
            return found
        # Each score is a mean of differences that together are rounded about as f itself is. A
        # deviation that eight rows show is below 1.8 times as large in 95 % of cases (chi-square).
        count = torch.tensor(game.counts)[:, None]
        return replace(found, bound=(1.8 * rounding * count).to(x))

    def _cut(self, game: Game) -> list[Tensor]:
        """Return which players are left out by dropping as well, [n] bool of each sequence."""
        asked = [_one_less(count) for count in game.counts]
        return [able & (self.mode == "embed") for able in game.cuttable(asked)]

    def _all(self, sentence: Tensor) -> bool:
        """Whether all subsets are run: of few players, each of which is its own sentence."""
        few = self.samples is None and len(sentence) <= _FEW
        return few and len(sentence.unique()) == len(sentence)

    def _subsets(self, sentence: Tensor) -> Tensor:
        """Return the stairs, and all but each player; or all subsets."""
        count = len(sentence)
        if not count or self._all(sentence):
            return all_subsets(count)
        return torch.cat([stairs(self._orders(sentence)), _one_less(count)])

    def _orders(self, sentence: Tensor) -> Tensor:
        """Return pairs of orders of n players, [P, 2, n]: who comes first, second, ..."""
        number = _units(sentence)
        count = int(number.max()) + 1
        read = torch.arange(count)
        # Of two, the last one first is their order backwards.
        pairs = [((read + 1) % count if count > 2 else read, -read)]
        for pair in range(1, (self.samples or _STAIRS) // 2):
            rank = torch.randperm(count, generator=generator(self.seed, "sentences", pair))
            pairs.append((rank, -rank))
        # A stable sort leaves those of a sentence in reading order.
        orders = [rank[number].argsort(stable=True) for pair in pairs for rank in pair]
        return torch.stack(orders).reshape(len(pairs), 2, -1)

    def _solve(self, sentence: Tensor, value: Tensor, cut: Tensor, dropped: Tensor) -> Solution:
        """Return the mean of what is lost and what is added, completed.

        Args:
            sentence: of each of n players, [n].
            value: of the subsets, [R, T].
            cut: which players were left out by dropping as well, [n] bool.
            dropped: f without each of these, [cut, T].
        """
        count = len(sentence)
        if not count:
            return self.result(torch.ones(1, 0, dtype=torch.bool), value)
        if self._all(sentence):
            shapley = semivalues(value, shapley_weights(count), value[0])
            whole = value[-1]
            alone = value[[2**count - 1 - 2**player for player in range(count)]]
        else:
            gains = added(self._orders(sentence), value[:-count])
            whole, alone = value[count], value[-count:]  # the top of the first staircase
            drawn = int(_units(sentence).max()) > 1  # of two units there are no other orders
            shapley = Solution(gains.mean((0, 1)), value[0], _error(gains) * drawn)
        left = alone.clone()
        if cut.any():
            left[cut] = (alone[cut] + dropped) / 2
        return _joined(shapley, whole - left, whole)


def _units(sentence: Tensor) -> Tensor:
    """Return the number of the sentence of each of n players, or of its half of the only one."""
    count = len(sentence)
    if len(sentence.unique()) == 1:
        sentence = (torch.arange(count) >= count // 2).long()
    number: Tensor = sentence.unique(return_inverse=True)[1]
    return number


def _one_less(count: int) -> Tensor:
    """Return all players but each, [n, n] bool."""
    return ~torch.eye(count, dtype=torch.bool)


def _error(gains: Tensor) -> Tensor:
    """Return the standard error of the mean of gains [P, 2, n, T] along staircases, [n, T].

    Of a single pair the two are taken for drawn one by one. So few tell little of one player, and
    may agree on it by chance; so half of what all players together tell is added, in squares. That
    covers what many staircases come to about as often as a normal error would.
    """
    drawn = gains.mean(1) if len(gains) > 1 else gains[0]
    own = drawn.var(0)
    return ((own + own.mean(0) / 4) / len(drawn)).sqrt()


def _joined(shapley: Solution, lost: Tensor, whole: Tensor) -> Solution:
    """Return the mean of Shapley values and of what is lost without each player, completed.

    Args:
        shapley: scores [n, T] and their errors.
        lost: what f loses without each, [n, T].
        whole: v(N), [T].
    """
    assert shapley.start_value is not None
    assert shapley.standard_error is not None
    change = whole - shapley.start_value
    weights = torch.tensor([*(2 / 3 / 2**k for k in range(_HALVED + 1)), 0.0], dtype=lost.dtype)
    weights = weights[:, None, None]
    both = weights * lost + (1 - weights) * shapley.scores  # [W, n, T]
    size = both.abs().sum(1, keepdim=True)
    share = (change - both.sum(1, keepdim=True)) / size.clamp_min(torch.finfo(size.dtype).tiny)
    fits = (share.abs() <= _SHARED) | (weights == 0)
    first = fits.long().argmax(0, keepdim=True)  # [1, 1, T]
    chosen = both.gather(0, first.expand(1, *lost.shape))[0]
    share, weight = share.gather(0, first)[0], weights.expand_as(share).gather(0, first)[0]
    error = (1 - weight) * (1 + share * chosen.sign()) * shapley.standard_error
    return Solution(chosen + share * chosen.abs(), shapley.start_value, error)

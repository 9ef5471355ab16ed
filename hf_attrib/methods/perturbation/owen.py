"""Owen values: Shapley values where documents, sentences, words come in whole. Owen 1977."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Cost, Field
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.game import Game, Solution
from hf_attrib.methods.perturbation.staircases import parts_of
from hf_attrib.methods.perturbation.values import all_subsets, semivalues, shapley_weights
from hf_attrib.methods.perturbation.walks import Staircases

__all__ = ["Owen"]


@dataclass(frozen=True)
class Owen(Staircases, name="owen"):
    r"""What each input adds to f, in the mean over orders in which sentences come in as a whole.

    .. math:: A_{t,i} = \frac{1}{|\Pi|} \sum_{\pi \in \Pi} v_t(\pi_{\le i}) - v_t(\pi_{< i})

    v(S) is f with the players S alone, and :math:`\pi_{\le i}` are those that come in up to i.
    :math:`\Pi` are the orders in which nothing comes between the tokens of a word, nor between the
    words of a sentence, nor between the sentences of a document or message, where a prompt has
    these: documents come in in any order, and so do the sentences of each, the words of each
    sentence, and the tokens of each word. So f is asked about whole documents and parts of one, and
    seldom about scraps of all of them, which a model never reads. In the mean over all these
    orders, scores of a document sum to its Shapley value in the game whose players are documents,
    and scores of a sentence to its Owen value in the game whose players are sentences.

    S orders are drawn, 8 unless ``samples`` says otherwise, in pairs as for ``shapley``; scores sum
    to f(x) - f(x') exactly, however few there are, and standard errors are over pairs. Sums over
    documents are then what documents add along these orders. Nothing is drawn, and values are
    exact, where all subsets that such orders pass are no more rows, or where there are up to 10
    players and ``samples`` and ``budget`` are not given. With a ``budget``, staircases go on until
    no intervals of two standard errors of scores next to each other in rank overlap.

    Groups that the caller names, other than words, are each their own sentence. Of these,
    sentences, lines and paragraphs still stay together in documents and messages; without any of
    those, and of other groups, these are Shapley values.

    Args:
        samples: S, orders; by default 8. With a budget, those that it begins with.
        budget: forward rows of a sequence at most, f(x) included.
        seed: of the orders.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G], summing to f(x) - f(x') exactly (units of f).

    Raises:
        InputError: ``samples`` is below 4 or not even, or the budget below four staircases.

    Source: Owen 1977, doi:10.1007/978-3-642-45494-3_7; by orders: arXiv:1705.07874.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> Owen()(product, x, torch.zeros_like(x)).scores
    tensor([[[3., 3.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        stochastic=True,
        cost="S * (N - 1) + 2 forward rows, 0 backward rows; up to 2^N for few N",
        axioms=frozenset(AXIOMS),
        groups="players",
    )

    def labels(self, game: Game) -> list[Tensor]:
        """Return the document, the sentence and the word of the n players of each, [3, n]."""
        levels = zip(game.parts, game.sentences, game.words, strict=True)
        return [torch.stack(own) for own in levels]

    def alone(self, count: int) -> Tensor:
        """Return labels of n players, each a sentence of its own, [1, n]."""
        return torch.arange(count)[None]

    def rows_of_all(self, labels: Tensor) -> int:
        """Return how many subsets all stages have."""
        return _rows(torch.arange(labels.shape[1]), labels)

    def all_passed(self, labels: Tensor) -> Tensor:
        """Return all subsets that an order may pass, stage by stage."""
        return torch.cat([stage.subsets.flatten(0, 1) for stage in _stages(labels)])

    def exact(self, labels: Tensor, value: Tensor) -> Solution:
        """Return the mean of what each player adds, over all orders."""
        start, scores = value[0], torch.zeros(labels.shape[1], value.shape[1], dtype=value.dtype)
        for stage in _stages(labels):
            here, value = value.tensor_split([stage.subsets.shape[:2].numel()])
            mean = torch.tensordot(
                stage.weight, here.reshape(*stage.subsets.shape[:2], -1), dims=([0], [0])
            )
            of_parts = semivalues(mean, shapley_weights(len(stage.parts))).scores
            for part, score in zip(stage.parts, of_parts, strict=True):
                if len(part) == 1:
                    scores[part] = score
        return Solution(scores, start, torch.zeros_like(scores))

    def cost_at(self, field: Field, x: Tensor, baseline: Tensor, targets: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most: which sentences there are decides."""
        (labels,) = self.labels(Game(field, x, baseline, self.mode))
        return self.cost_of(labels)


@dataclass(frozen=True, eq=False)
class _Stage:
    """The parts of one sentence, say, come in in all orders, whatever came in before it.

    Args:
        parts: players of each of m parts.
        weight: of what may have come in before, [C].
        subsets: these with each subset of the parts, [C, 2^m, n] bool.
    """

    parts: list[Tensor]
    weight: Tensor
    subsets: Tensor


def _divided(players: Tensor, labels: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the parts of some players and what these are labelled with, of two parts at least.

    A single sentence, or a sentence of one word, is no part to be put in order.
    """
    parts, rest = parts_of(players, labels), labels[1:]
    while len(parts) == 1 < len(players):
        parts, rest = parts_of(players, rest), rest[1:]
    return parts, rest


def _rows(players: Tensor, labels: Tensor, before: int = 1) -> int:
    """Return how many subsets the stages of some players have that are in no stage around them.

    Those with none or all of the parts of a stage are in that of what it divides.

    Args:
        players: their numbers, [k].
        labels: of each of n players, [L, n].
        before: in how many ways others may have come in.
    """
    parts, rest = _divided(players, labels)
    within = before << (len(parts) - 1)
    more = sum(_rows(part, rest, within) - 2 * within for part in parts if len(part) > 1)
    return 2 * within + more


def _stages(labels: Tensor) -> Iterator[_Stage]:
    """Yield all stages of n players, the first that of the sentences; labels are [L, n]."""
    count = labels.shape[1]
    nobody = torch.zeros(1, count, dtype=torch.bool)
    yield from _inside(torch.arange(count), labels, nobody, torch.ones(1, dtype=torch.float64))


def _inside(players: Tensor, labels: Tensor, before: Tensor, weight: Tensor) -> Iterator[_Stage]:
    """Yield the stages of some players after each of C sets of others, [C, n], of weights [C]."""
    parts, rest = _divided(players, labels)
    members = torch.zeros(len(parts), labels.shape[1], dtype=torch.bool)
    for flags, part in zip(members, parts, strict=True):
        flags[part] = True
    chosen = all_subsets(len(parts))
    present = before[:, None] | (chosen.double() @ members.double() > 0)
    yield _Stage(parts, weight, present)
    shares = shapley_weights(len(parts))
    for number, part in enumerate(parts):
        if len(part) > 1:
            others = ~chosen[:, number]
            more = weight[:, None] * shares[chosen[others].sum(1)]
            yield from _inside(part, rest, present[:, others].flatten(0, 1), more.flatten())

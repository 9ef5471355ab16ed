"""A field of why this answer and not that one: a sum of one sequence less that of another."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from hf_attrib.field.attention import Attended
from hf_attrib.field.base import Field
from hf_attrib.field.decomposition import Linearisation, Pushforward
from hf_attrib.field.groups import Groups, Targets
from hf_attrib.field.hidden import Layered
from hf_attrib.field.space import Space
from hf_attrib.targets import Target

__all__ = ["ForkField"]


class ForkField(Field):
    r"""Differences :math:`F_b - F_{B+b}` of a field of 2B sequences, which share what moves.

    The second of a pair stands where the first does wherever inputs move, and as it is elsewhere.
    Whatever is run, is run for both: a row takes two passes.

    Args:
        both: a field of 2B sequences, those that are subtracted behind the others.
        x: their inputs, [2B, 1, N, D].
        space: the embedding space around the first B of them; by default that of both.
        groups: what scores are added up to; by default each input.
        known: the difference at the inputs of the space, [B, T], if it was run before.
    """

    def __init__(
        self,
        both: Field,
        x: Tensor,
        space: Space | None = None,
        groups: Groups | None = None,
        known: Tensor | None = None,
    ) -> None:
        table, half = both.target_table, both.sequences // 2
        super().__init__(
            both.movable[:half],
            Targets(
                table.valid[:half],
                torch.maximum(*table.reach.split(half)),
                torch.add(*table.tokens.split(half)),
                passes=2 * table.passes,
                answers=2 * table.answers,
            ),
            both.runner,
            both.progress,
            space=both._space if space is None else space,
            groups=groups,
            direction_cost=both.direction_cost,
            resolution=both.resolution,
            precision=both.precision,
            known=known,
        )
        self.both = both
        self.x = x
        self.forward_rows = torch.add(*both.forward_rows.split(half))

    def aimed(self, target: str | Target, ids: Tensor | None = None) -> ForkField:
        """Return a field of another scalar of the same logits; its rows count as this one's.

        Args:
            target: as for any field.
            ids: of the tokens of both, [B, 2T], as :meth:`rivals` returns them.
        """
        other = copy(self)
        own = None if ids is None else torch.cat(ids.chunk(2, 1))
        other.both = self.both.aimed(target, own)
        other.resolution, other.known = other.both.resolution, None
        return other

    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides those of both at x [B, 1, N, D], [B, 2T, count]."""
        every = torch.arange(self.sequences)
        points = torch.cat([x[:, 0], self._beside(x[:, 0], every)])[:, None]
        self.forward_rows += 2
        return torch.cat(self.both.rivals(points, count).split(self.sequences), 1)

    def rounded(self, points: Tensor) -> Tensor:
        """Return points as the model sees them, in its own precision."""
        return self.both.rounded(points)

    def survives(self, kept: Tensor, sequence: Tensor) -> Tensor:
        """Return whether both of a pair have something to be predicted from, [R]."""
        other = self.both.survives(kept, sequence + self.sequences)
        return self.both.survives(kept, sequence) & other

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return differences, [R, C]; one of each pair is run after the other."""
        value = self.both.evaluate(points, sequence, target)
        beside = self._beside(points, sequence)
        return value - self.both.evaluate(beside, sequence + self.sequences, target)

    def evaluate_without(
        self,
        kept: Tensor,
        sequence: Tensor,
        target: Tensor,
        mode: str,
        stand_in: int | Tensor | None,
    ) -> Tensor:
        """Return differences without some inputs, [R, C]."""
        asked = target, mode, stand_in
        other = self.both.evaluate_without(kept, sequence + self.sequences, *asked)
        return self.both.evaluate_without(kept, sequence, *asked) - other

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return differences and their pullback, which takes one of each."""
        own = self.both.linearise(points, sequence, target)
        beside = self._beside(points, sequence)
        other = self.both.linearise(beside, sequence + self.sequences, target)

        def pullback(weights: Tensor) -> Tensor:
            return own.pullback(weights) - other.pullback(weights)

        return Linearisation(own.value - other.value, pullback)

    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Return differences and their pushforward, which takes one of each."""
        own = self.both.pushforward(points, sequence, target)
        beside = self._beside(points, sequence)
        other = self.both.pushforward(beside, sequence + self.sequences, target)

        def along(rows: Tensor, direction: Tensor) -> Tensor:
            return own.along(rows, direction) - other.along(rows, direction)

        return Pushforward(own.value - other.value, along)

    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Return the states of a hidden layer of both, [R, 2, ...]."""
        own = self.both.layered(points, sequence, target)
        beside = self._beside(points, sequence)
        other = self.both.layered(beside, sequence + self.sequences, target)

        def weigh(weights: Tensor) -> Tensor:
            return torch.stack([own.weigh(weights), -other.weigh(weights)], 1)

        def pull(weights: Tensor) -> Tensor:
            return own.pull(weights[:, 0]) + other.pull(weights[:, 1])

        return Layered(weigh, pull)

    def attended(self, points: Tensor, sequence: Tensor, target: Tensor) -> Attended:
        """Return the attention of both, of which the second lowers the difference."""
        own = self.both.attended(points, sequence, target)
        beside = self._beside(points, sequence)
        other = self.both.attended(beside, sequence + self.sequences, target)
        lowering = tuple(one.reweighed(torch.neg) for one in other.passes)
        return Attended(own.value - other.value, own.passes + lowering)

    def _beside(self, points: Tensor, sequence: Tensor) -> Tensor:
        """Return points [R, N, D] of the second of each pair."""
        moves = self.movable[sequence][..., None].to(points.device)
        own = self.x[(sequence + self.sequences).to(self.x.device), 0].to(points)
        return torch.where(moves, points, own)

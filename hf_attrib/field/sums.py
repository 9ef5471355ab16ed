"""A field whose targets are sums of another's: spans of the response, one backward pass each."""

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

__all__ = ["SpanField"]


class SpanField(Field):
    """Sums of a field's targets.

    Args:
        tokens: a field with a target for each of T generated tokens.
        members: which of them each of S spans adds up, [B, S, T] bool, on the CPU.
        space: the embedding space around the inputs; by default that of the tokens.
        groups: what scores are added up to; by default each input.
        known: F at the inputs of the space, [B, S], if it was run before.
    """

    def __init__(
        self,
        tokens: Field,
        members: Tensor,
        space: Space | None = None,
        groups: Groups | None = None,
        known: Tensor | None = None,
    ) -> None:
        reach = (members * tokens.target_table.reach[:, None]).amax(-1)  # that of the last token
        of = tokens.target_table
        spans = Targets(
            members.any(-1), reach, members.sum(-1), passes=of.passes, answers=of.answers
        )
        super().__init__(
            tokens.movable,
            spans,
            tokens.runner,
            tokens.progress,
            space=tokens._space if space is None else space,
            groups=groups,
            direction_cost=tokens.direction_cost,
            resolution=tokens.resolution,
            precision=tokens.precision,
            known=known,
        )
        self.tokens = tokens
        self.members = members
        # What it runs counts as run by the tokens' field.
        self.forward_rows = tokens.forward_rows
        self.backward_rows = tokens.backward_rows
        self.directional_rows = tokens.directional_rows

    def aimed(self, target: str | Target, ids: Tensor | None = None) -> Field:
        """Return sums of another scalar of the tokens' logits; ids are of each token, [B, T]."""
        other = copy(self)
        other.tokens = self.tokens.aimed(target, ids)
        other.resolution, other.known = other.tokens.resolution, None
        return other

    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides each token at x [B, 1, N, D], [B, T, count]."""
        return self.tokens.rivals(x, count)

    def rounded(self, points: Tensor) -> Tensor:
        """Return points as the model sees them, in its own precision."""
        return self.tokens.rounded(points)

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F of the spans asked for, [R, C]."""
        value = self.tokens.evaluate(points, sequence, self._tokens(sequence, target))
        return self._summed(value, sequence, target)

    def survives(self, kept: Tensor, sequence: Tensor) -> Tensor:
        """Return whether each token has something to be predicted from, [R]."""
        return self.tokens.survives(kept, sequence)

    def evaluate_without(
        self,
        kept: Tensor,
        sequence: Tensor,
        target: Tensor,
        mode: str,
        stand_in: int | Tensor | None,
    ) -> Tensor:
        """Return F of the spans asked for, without some inputs, [R, C]."""
        tokens = self._tokens(sequence, target)
        value = self.tokens.evaluate_without(kept, sequence, tokens, mode, stand_in)
        return self._summed(value, sequence, target)

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return F of the spans asked for and its pullback."""
        linear = self.tokens.linearise(points, sequence, self._tokens(sequence, target))

        def pullback(weights: Tensor) -> Tensor:
            by_token = torch.einsum("rc,rct->rt", weights, self._members(sequence, target))
            return linear.pullback(by_token)

        return Linearisation(self._summed(linear.value, sequence, target), pullback)

    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Return F of the spans asked for and its pushforward."""
        by_token = self.tokens.pushforward(points, sequence, self._tokens(sequence, target))
        members = self._members(sequence, target)

        def along(rows: Tensor, direction: Tensor) -> Tensor:
            gained = by_token.along(rows, direction)
            return torch.einsum("rt,rct->rc", gained, members[rows].to(gained))

        return Pushforward(self._summed(by_token.value, sequence, target), along)

    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Return the states of a hidden layer on the way to the spans asked for."""
        found = self.tokens.layered(points, sequence, self._tokens(sequence, target))
        members = self._members(sequence, target)

        def weigh(weights: Tensor) -> Tensor:
            return found.weigh(torch.einsum("rc,rct->rt", weights.to(members), members))

        return Layered(weigh, found.pull)

    def attended(self, points: Tensor, sequence: Tensor, target: Tensor) -> Attended:
        """Return the attention that leads to the spans asked for."""
        found = self.tokens.attended(points, sequence, self._tokens(sequence, target))
        members = self._members(sequence, target)

        def by_token(weights: Tensor) -> Tensor:
            return torch.einsum("rc,rct->rt", weights.to(members), members)

        passes = tuple(one.reweighed(by_token) for one in found.passes)
        return Attended(self._summed(found.value, sequence, target), passes)

    def _summed(self, value: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        return torch.einsum("rt,rct->rc", value, self._members(sequence, target).to(value))

    def _used(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return which tokens some row's spans have, at least one, [U]."""
        used = self.members[sequence[:, None], target].flatten(0, 1).any(0).nonzero()[:, 0]
        return used if len(used) else torch.zeros(1, dtype=torch.int64)

    def _tokens(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return the same for each row, [R, U]."""
        return self._used(sequence, target).expand(len(sequence), -1)

    def _members(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return these tokens of each row's spans as weights, [R, C, U]."""
        members = self.members[sequence[:, None], target]
        return members[..., self._used(sequence, target)].float()

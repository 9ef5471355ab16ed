"""A field whose targets are sums of another's: spans of the response, one backward pass each."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from hf_attrib.field.base import Field
from hf_attrib.field.decomposition import Linearisation, Pushforward
from hf_attrib.field.gradients import Asked, Contraction
from hf_attrib.field.hidden import Layered
from hf_attrib.targets import Target

__all__ = ["SpanField"]


class SpanField(Field):
    """Sums of a field's targets.

    Args:
        tokens: a field with a target for each of T generated tokens.
        members: which of them each of S spans adds up, [B, S, T] bool, on the CPU.
    """

    def __init__(self, tokens: Field, members: Tensor) -> None:
        spans = members.shape[1]
        super().__init__(tokens.sequences, spans, tokens.movable, tokens.runner, tokens.progress)
        self.tokens = tokens
        self.members = members
        self.forward_rows = tokens.forward_rows
        self.backward_rows = tokens.backward_rows
        self.directional_rows = tokens.directional_rows
        self.resolution, self.precision = tokens.resolution, tokens.precision
        self.direction_cost, self.passes = tokens.direction_cost, tokens.passes

    def aimed(self, target: str | Target, ids: Tensor | None = None) -> Field:
        """Return sums of another scalar of the tokens' logits; ids are of each token, [B, T]."""
        other = copy(self)
        other.tokens = self.tokens.aimed(target, ids)
        other.resolution = other.tokens.resolution
        return other

    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides each token at x [B, 1, N, D], [B, T, count]."""
        return self.tokens.rivals(x, count)

    def rounded(self, points: Tensor) -> Tensor:
        """Return points as the model sees them, in its own precision."""
        return self.tokens.rounded(points)

    def value(self, points: Tensor) -> Tensor:
        """Return F at points [K, B, S or 1, N, D], [K, B, S]."""
        before = self.forward_rows.clone()
        value = super().value(points)
        self._count_passes(before)
        return value

    def _differentiate(self, asked: Asked, contract: Contraction) -> tuple[Tensor, Tensor]:
        before = self.forward_rows.clone()
        found = super()._differentiate(asked, contract)
        self._count_passes(before)
        return found

    def _count_passes(self, before: Tensor) -> None:
        """Count as many rows more as tokens take passes of their own."""
        self.forward_rows += (self.tokens.passes - 1) * (self.forward_rows - before)

    def valid(self) -> Tensor:
        """Return which spans are no padding of the batch, [B, S] bool."""
        return self.members.any(-1)

    def reads(self) -> Tensor:
        """Return which inputs any token of each span can depend on, [B, S, N]."""
        reads = self.tokens.reads().expand(*self.members.shape[::2], -1)
        return torch.einsum("bst,btn->bsn", self.members.float(), reads.float()) > 0

    def effort(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return what a pass costs for each span: as much as for its last token, [R, C]."""
        every = torch.arange(self.tokens.targets)
        of_token = self.tokens.effort(sequence, every.expand(len(sequence), -1))
        return (self.members[sequence[:, None], target] * of_token[:, None]).amax(-1)

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F of the spans asked for, [R, C]."""
        value = self.tokens.evaluate(points, sequence, self._tokens(sequence, target))
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
        return replace(found, value=self._summed(found.value, sequence, target))

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

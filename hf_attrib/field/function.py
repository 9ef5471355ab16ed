"""A field without a model, for tests, doctests and toy problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.execution import RowRunner
from hf_attrib.field.attention import Attended, AttentionPass, Maps
from hf_attrib.field.base import Field
from hf_attrib.field.decomposition import Linearisation, Pushforward
from hf_attrib.field.directions import NEVER, DirectionCost, derivative
from hf_attrib.field.groups import Groups, Targets
from hf_attrib.field.hidden import Layered
from hf_attrib.field.space import Space
from hf_attrib.targets import TARGETS, Target, likeliest_others
from hf_attrib.targets import target as target_of

__all__ = ["FunctionField"]


class FunctionField(Field):
    """A field made of a plain function.

    Args:
        function: maps embeddings [R, N, D] to targets [R, T], differentiably and row by row.
        targets: T.
        positions: N.
        row_budget: rows run at once.
        space: what lies around the input, for methods that draw from it.
        hidden: maps embeddings [R, N, D] to states of which the function is then a function.
        attention: maps embeddings [R, N, D] to the targets and to maps of attention, [R, H, N, N]
            a layer, that these were found by; the last input predicts all of them.
        groups: what scores that are linear in gradients are added up to; by default each input.
        direction_cost: of a pass along a direction; by default there is none.

    >>> square = FunctionField(lambda z: (z**2).sum((-1, -2))[:, None], targets=1, positions=2)
    >>> square(torch.ones(1, 1, 1, 2, 3)).gradient.shape
    torch.Size([1, 1, 1, 2, 3])
    """

    logits: Callable[[Tensor], Tensor] | None = None
    ids: Tensor

    @classmethod
    def of_logits(
        cls, logits: Callable[[Tensor], Tensor], ids: Sequence[int], positions: int, **options: Any
    ) -> FunctionField:
        """Return the field of the log-probabilities of T tokens, which can be aimed at others.

        Args:
            logits: maps embeddings [R, N, D] to logits [R, T, V].
            ids: of the T tokens.
            positions: N.
            **options: further arguments of the class.
        """
        score = partial(_scored, logits, TARGETS["log_prob"], torch.tensor([ids]))
        made = cls(score, len(ids), positions, **options)
        made.logits, made.ids = logits, torch.tensor([ids])
        return made

    def aimed(self, target: str | Target, ids: Tensor | None = None) -> FunctionField:
        """Return a field of another scalar of the same logits; its rows count as this one's."""
        if self.logits is None:
            raise InputError("a field of a plain function has no logits to aim at")
        other, tokens = copy(self), self.ids if ids is None else ids
        other.known = None
        other.function = partial(_scored, self.logits, target_of(target), tokens)
        other.ids = tokens
        return other

    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides the targets' at x [B, 1, N, D], [B, T, count]."""
        if self.logits is None:
            raise InputError("a field of a plain function has no logits, so tokens have no rivals")
        return likeliest_others(self.logits(x[:, 0]), self.ids, count)

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        targets: int,
        positions: int,
        row_budget: int = 8,
        space: Space | None = None,
        hidden: Callable[[Tensor], Tensor] | None = None,
        *,
        attention: Callable[[Tensor], tuple[Tensor, tuple[Tensor, ...]]] | None = None,
        groups: Groups | None = None,
        direction_cost: DirectionCost = NEVER,
    ) -> None:
        valid = torch.ones(1, targets, dtype=torch.bool)
        super().__init__(
            torch.ones(1, positions, dtype=torch.bool),
            Targets(valid, positions * valid.long(), valid.long()),
            RowRunner(row_budget),
            space=space,
            groups=groups,
            direction_cost=direction_cost,
            precision=torch.finfo(torch.float64).eps,
        )
        self.function = function if hidden is None else lambda z: function(hidden(z))
        self.hidden, self._after, self._attention = hidden, function, attention

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return the function's targets."""
        with torch.no_grad():
            return self.function(points).gather(1, target)

    def evaluate_without(
        self,
        kept: Tensor,
        sequence: Tensor,
        target: Tensor,
        mode: str,
        stand_in: int | Tensor | None,
    ) -> Tensor:
        """Refuse: a function has no tokens and no attention.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"a plain function has no tokens to take away by {mode!r}; take mode 'embed'."
        )

    def survives(self, kept: Tensor, sequence: Tensor) -> Tensor:
        """Say no of each row, [R]: nothing can be cut out of a function's inputs."""
        return torch.zeros(len(kept), dtype=torch.bool)

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return the function's targets and their gradients."""
        with torch.enable_grad():
            leaf = points.detach().clone().requires_grad_()
            value = self.function(leaf).gather(1, target)

        def pullback(weights: Tensor) -> Tensor:
            return torch.autograd.grad(value, leaf, weights.to(value), retain_graph=True)[0]

        return Linearisation(value.detach(), pullback)

    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Return the hidden states."""
        if self.hidden is None:
            raise InputError(
                "a field of a plain function has no hidden layer; take an attack without one."
            )
        with torch.enable_grad():
            leaf = points.detach().clone().requires_grad_()
            states = self.hidden(leaf)
            return Layered.of(leaf, states, self._after(states).gather(1, target))

    def attended(self, points: Tensor, sequence: Tensor, target: Tensor) -> Attended:
        """Return the attention that the function was made with."""
        if self._attention is None:
            raise InputError(
                "a field of a plain function has no attention; take a method that follows none, or "
                "make the field with attention=."
            )
        with torch.enable_grad():
            value, maps = self._attention(points.detach().clone().requires_grad_())
            value = value.gather(1, target)

        def gradient(weights: Tensor) -> Maps:
            found = torch.autograd.grad(value, maps, weights.to(value), retain_graph=True)
            return Maps((), found, ())

        def places(weights: Tensor) -> Tensor:
            last = torch.arange(points.shape[1]) == points.shape[1] - 1
            return (last & (weights != 0).any(1, keepdim=True)).float()

        detached = Maps((), tuple(one.detach() for one in maps), ())
        return Attended(value.detach(), (AttentionPass(detached, gradient, places),))

    def rounded(self, points: Tensor) -> Tensor:
        """Return points as they are: a function computes in their precision."""
        return points

    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Return the function's targets and their derivatives along directions."""

        def along(rows: Tensor, direction: Tensor) -> Tensor:
            here = rows.to(points.device)
            return derivative(self.function, points[here], direction).gather(1, target[rows])

        return Pushforward(self.evaluate(points, sequence, target), along)


def _scored(
    logits: Callable[[Tensor], Tensor], target: Target, ids: Tensor, points: Tensor
) -> Tensor:
    """Return a scalar of the logits at points [R, N, D], [R, T]."""
    return target(logits(points), ids.expand(len(points), -1), None)

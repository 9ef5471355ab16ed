"""Fields: the target and its gradient as functions of the embeddings, for B sequences at once.

A method sees a field and nothing else of the model. Axes: K path points, B sequences, T targets
(generated tokens), N input positions, D embedding width. A **row** is one sequence run forward;
a **backward row** is one (sequence, target) pair run backward; a **directional row** is one
(sequence, column) pair run forward with its derivative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import InputError, MemoryLimitError
from hf_attrib.execution import Progress, RowRunner, silent
from hf_attrib.field.decomposition import Linearisation, Pushforward, Sample
from hf_attrib.field.directions import NEVER, Columns, DirectionCost, cheaper, either, follow
from hf_attrib.field.gradients import (
    Asked,
    Contraction,
    Locate,
    Pairs,
    cheapest_blocks,
    differentiate,
    dot,
    flattened,
)
from hf_attrib.field.hidden import Layered
from hf_attrib.field.space import Space
from hf_attrib.targets import Target

__all__ = ["Field", "Path"]

#: Maps k positions in [0, 1] to points, [k, B, T or 1, N, D], and to the velocity there, of a
#: shape that broadcasts to the points'. A T axis of size 1: all targets share the path.
Path: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


class Field(ABC):
    """F and its gradient for B sequences with T targets each.

    Args:
        sequences: B.
        targets: T.
        movable: where the input may move, [B, N] bool; the gradient is 0 elsewhere.
        runner: runs rows, some at once.
        progress: called with (nodes done, nodes in all) along a path.

    Attributes:
        space: the embedding space; whoever makes the field puts it there.
        resolution: change of F that is too small to matter.
        precision: relative rounding error of F.
        direction_cost: of a pass along a direction.
        passes: forward passes that a sum of all targets takes.
        columns: what scores that are linear in gradients are added up to; by default each input.
    """

    space: Space
    resolution: float = 1e-3
    precision: float = torch.finfo(torch.float32).eps
    direction_cost: DirectionCost = NEVER
    passes: int = 1

    def __init__(
        self,
        sequences: int,
        targets: int,
        movable: Tensor,
        runner: RowRunner,
        progress: Progress = silent,
    ) -> None:
        self.sequences = sequences
        self.targets = targets
        self.movable = movable
        self.runner = runner
        self.progress = progress
        self.forward_rows = torch.zeros(sequences, dtype=torch.int64)
        self.backward_rows = torch.zeros(sequences, dtype=torch.int64)
        self.directional_rows = torch.zeros(sequences, dtype=torch.int64)
        self.columns = Columns.single(movable)

    @abstractmethod
    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F without a gradient.

        Args:
            points: embeddings, [R, N, D].
            sequence: which of the B sequences each row belongs to, [R], on the CPU.
            target: which of its T targets to evaluate, [R, C], on the CPU.

        Returns:
            F, [R, C].
        """

    @abstractmethod
    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return F and its pullback; arguments as for :meth:`evaluate`."""

    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Return F and its pushforward; arguments as for :meth:`evaluate`.

        Raises:
            NotImplementedError: there is none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no derivatives along directions")

    def effort(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return what a pass costs for each target, up to a factor, [R, C]."""
        return torch.ones(target.shape)

    def valid(self) -> Tensor:
        """Return which targets are no padding of the batch, [B, T] bool."""
        return torch.ones(self.sequences, self.targets, dtype=torch.bool)

    def blocks(self, pairs: Pairs) -> Iterable[Tensor]:
        """Return columns of pairs that share a forward pass; together, all of them."""
        return cheapest_blocks(self.effort(pairs.sequence, pairs.target).amax(0), pairs.wanted)

    def reads(self) -> Tensor:
        """Return which inputs a target can depend on, broadcastable to [B, T, N], bool."""
        return torch.ones(1, 1, 1, dtype=torch.bool)

    def aimed(self, target: str | Target, ids: Tensor | None = None) -> Field:
        """Return a field of another scalar of the same logits; its rows count as this one's.

        Args:
            target: of :data:`hf_attrib.targets.TARGETS`, by name, or one of its own.
            ids: of the tokens it is about, [B, T], on the CPU; by default the generated ones.
        """
        raise InputError(f"{type(self).__name__} knows no logits, so it cannot be aimed")

    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides the targets' at x [B, 1, N, D], [B, T, count]."""
        raise InputError(f"{type(self).__name__} knows no logits, so tokens have no rivals")

    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Return the states of a hidden layer; arguments as for :meth:`evaluate`."""
        raise InputError(f"{type(self).__name__} has no hidden layer; take an attack without one.")

    def rounded(self, points: Tensor) -> Tensor:
        """Return points as the model sees them, in its own precision."""
        return points

    def value(self, points: Tensor) -> Tensor:
        """Return F at points [K, B, T or 1, N, D], [K, B, T]."""
        rows, sequence, target = flattened(points, self.sequences, self.targets)

        def compute(part: Tensor) -> tuple[Tensor, ...]:
            return (self.evaluate(rows[part.to(rows.device)], sequence[part], target[part]),)

        (value,) = self.runner.map(len(rows), compute)
        self.forward_rows += len(rows) // self.sequences
        return self._by_target(value, points)

    def __call__(self, points: Tensor) -> Sample:
        """Return F and its whole gradient at points [K, B, T or 1, N, D]."""
        return self._sample(points, torch.zeros_like(points[:1]), lambda gradient, _: gradient)

    def at(self, points: Tensor, velocity: Tensor, contract: Contraction = dot) -> Sample:
        """Return F, [1, B, T], and its contracted gradient, [1, B, T, N], at [B, T or 1, N, D]."""
        return self._sample(points[None], velocity[None], contract)

    def along(self, path: Path, nodes: Tensor, contract: Contraction = dot) -> Iterator[Sample]:
        """Yield F and its contracted gradient at successive nodes of a path, chunk by chunk.

        Args:
            path: the curve.
            nodes: positions on it, [K].
            contract: what to keep of the gradient.

        Yields:
            value [k, B, T] and gradient [k, B, T, N], with the k adding up to K.
        """
        done = 0
        for chunk in self._chunks(nodes):
            yield self._sample(*path(chunk), contract)
            done += len(chunk)
            self.progress(done, len(nodes))

    def values(self, path: Path, nodes: Tensor) -> Tensor:
        """Return F at nodes [K] of a path, forward only, [K, B, T]."""
        return torch.cat([self.value(path(chunk)[0]) for chunk in self._chunks(nodes)])

    def _chunks(self, nodes: Tensor) -> Iterable[Tensor]:
        chunks: tuple[Tensor, ...] = nodes.split(max(1, self.runner.window // self.sequences))
        return chunks

    def _sample(self, points: Tensor, velocity: Tensor, contract: Contraction) -> Sample:
        """Sample points [k, B, T or 1, N, D], whatever their number, within the row budget."""
        rows, sequence, target = flattened(points, self.sequences, self.targets)
        velocity = velocity.expand(points.shape).flatten(0, 2)
        valid = self.valid()[sequence].gather(1, target)

        def locate(part: Tensor) -> tuple[Tensor, Tensor]:
            here = part.to(rows.device)
            return rows[here], velocity[here]

        asked = Asked(locate, sequence, target, torch.ones_like(valid), valid)
        value, gradient = self._differentiate(asked, contract)
        return Sample(self._by_target(value, points), self._by_target(gradient, points))

    def pairs(
        self, locate: Locate, sequence: Tensor, needed: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return F, and its contracted gradient, for some (row, target) pairs.

        Args:
            locate: maps numbers of rows, [r], to their points and velocities, [r, N, D] each.
            sequence: which of the B sequences each row belongs to, [R], on the CPU.
            needed: targets whose F is asked for, [R, T] bool, on the CPU.
            wanted: those whose gradient is, too, [R, T] bool, on the CPU.

        Returns:
            F [R, T] and gradients [R, T, G], where they were asked for.
        """
        every = torch.arange(self.targets).expand(len(wanted), -1)
        return self._differentiate(Asked(locate, sequence, every, needed, wanted), dot)

    def _differentiate(self, asked: Asked, contract: Contraction) -> tuple[Tensor, Tensor]:
        """Return F [R, C] and contracted gradients [R, C, ...] of rows, and count them."""
        sequence, linear = asked.sequence, contract is dot

        def along(part: Tensor) -> tuple[Tensor, ...]:
            found = follow(self.pushforward, asked.at(part), self.columns, self.runner.limit)
            return found.value, found.gradient, found.forward

        def back(part: Tensor) -> tuple[Tensor, ...]:
            some = asked.at(part)
            found = differentiate(self.linearise, some, self.blocks(some), self.movable, contract)
            add_up = self.columns.add_up if linear else lambda by_input, _: by_input
            return found.value, add_up(found.gradient, some.sequence), found.forward

        effort = self.effort(sequence, asked.target)
        way = cheaper(asked, effort, self.columns, self.direction_cost) & linear
        try:
            value, gradient, forward = either(self.runner, way, along, back)
        except (NotImplementedError, MemoryLimitError):
            if not way.any():
                raise
            self.direction_cost = NEVER  # an operation lacks them, or one is too large alone
            return self._differentiate(asked, contract)
        self.forward_rows.index_add_(0, sequence, forward)
        self.backward_rows.index_add_(0, sequence, asked.wanted.sum(1) * ~way)
        self.directional_rows.index_add_(0, sequence, self.columns.moving.sum(1)[sequence] * way)
        return value, gradient

    def _by_target(self, by_row: Tensor, points: Tensor) -> Tensor:
        """Bring [K * B * (T or 1), T or 1, ...] to [K, B, T, ...]."""
        return by_row.reshape(*points.shape[:2], self.targets, *by_row.shape[2:])

"""Fields: the target and its gradient as functions of the embeddings, for B sequences at once.

A method sees a field and nothing else of the model. Axes: K path points, B sequences, T targets
(generated tokens), N input positions, G groups of inputs, D embedding width. A **row** is one
sequence run forward; a **backward row** is one (sequence, target) pair run backward; a
**directional row** is one (sequence, group) pair run forward with its derivative.

What methods call is implemented once, here. What knows how F is computed is abstract:
:meth:`Field.evaluate`, :meth:`Field.linearise` and others work on rows, :meth:`Field.aimed` and
:meth:`Field.rivals` on the logits behind F.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from hf_attrib.errors import InputError, MemoryLimitError
from hf_attrib.execution import Progress, RowRunner, silent
from hf_attrib.field.ablation import ablated_rows
from hf_attrib.field.attention import Attended
from hf_attrib.field.decomposition import Linearisation, Pushforward, Sample
from hf_attrib.field.directions import NEVER, DirectionCost, cheaper, either, follow
from hf_attrib.field.gradients import (
    Answer,
    Contraction,
    Linearise,
    Path,
    Query,
    RowBatch,
    cheapest_blocks,
    dot,
    flattened,
    pulled,
)
from hf_attrib.field.groups import Groups, Targets
from hf_attrib.field.hidden import Layered
from hf_attrib.field.space import Space
from hf_attrib.targets import Target

__all__ = ["Field"]


class Field(ABC):
    """F and its gradient for B sequences with T targets each.

    Args:
        movable: where the input may move, [B, N] bool; the gradient is 0 elsewhere.
        target_table: which targets there are, and what they read.
        runner: runs rows, some at once.
        progress: called with (done, in all): of path nodes, or of targets where each places its
            own nodes.
        space: the embedding space around the inputs, for methods that draw from it.
        groups: what scores that are linear in gradients are added up to; by default each input.
        direction_cost: of a pass along a direction.
        resolution: change of F that is too small to matter.
        precision: relative rounding error of F.
        spent: forward rows of each sequence that were run before the field was made.
        known: F at the inputs of the space, [B, T], if it was run before.

    Attributes:
        sequences: B; and targets: T.
        forward_rows: rows run so far, [B], added to in place, since fields may share them; and so
            for the other two kinds.
    """

    def __init__(
        self,
        movable: Tensor,
        target_table: Targets,
        runner: RowRunner,
        progress: Progress = silent,
        *,
        space: Space | None = None,
        groups: Groups | None = None,
        direction_cost: DirectionCost = NEVER,
        resolution: float = 1e-3,
        precision: float = torch.finfo(torch.float32).eps,
        spent: int = 0,
        known: Tensor | None = None,
    ) -> None:
        self.movable = movable
        self.target_table = target_table
        self.sequences, self.targets = target_table.valid.shape
        self.runner = runner
        self.progress = progress
        self._space = space
        self.known = known
        self.groups = Groups.single(movable) if groups is None else groups
        self.direction_cost = direction_cost
        self.resolution = resolution
        self.precision = precision
        self.forward_rows = torch.full((self.sequences,), spent)
        self.backward_rows = torch.zeros(self.sequences, dtype=torch.int64)
        self.directional_rows = torch.zeros(self.sequences, dtype=torch.int64)

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

    @abstractmethod
    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Return F and its pushforward; arguments as for :meth:`evaluate`.

        Raises:
            NotImplementedError: there is none.
        """

    @abstractmethod
    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Return the states of a hidden layer; arguments as for :meth:`evaluate`.

        Raises:
            HFAttribError: there is no such layer.
        """

    @abstractmethod
    def attended(self, points: Tensor, sequence: Tensor, target: Tensor) -> Attended:
        """Return the attention that leads to F; arguments as for :meth:`evaluate`.

        Raises:
            HFAttribError: there is none, or none that can be read.
        """

    @abstractmethod
    def aimed(self, target: str | Target, ids: Tensor | None = None) -> Field:
        """Return a field of another scalar of the same logits; its rows count as this one's.

        Args:
            target: of :data:`hf_attrib.targets.TARGETS`, by name, or one of its own.
            ids: of the tokens it is about, [B, T], on the CPU; by default the generated ones.

        Raises:
            InputError: F is no function of logits.
        """

    @abstractmethod
    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides the targets' at x [B, 1, N, D], [B, T, count].

        Raises:
            InputError: F is no function of logits.
        """

    @abstractmethod
    def rounded(self, points: Tensor) -> Tensor:
        """Return points as the model sees them, in its own precision."""

    @abstractmethod
    def evaluate_without(
        self,
        kept: Tensor,
        sequence: Tensor,
        target: Tensor,
        mode: str,
        stand_in: int | Tensor | None,
    ) -> Tensor:
        """Return F of the inputs as they are, but for those taken away, [R, C].

        Args:
            kept: which inputs stay, [R, N] bool, on the CPU.
            sequence: which of the B sequences each row belongs to, [R], on the CPU.
            target: which of its T targets to evaluate, [R, C], on the CPU.
            mode: of :data:`hf_attrib.field.MODES`, but for ``"embed"``.
            stand_in: the id that takes their place in mode ``"token"``, or one for each, [R, N].

        Raises:
            HFAttribError: inputs cannot be taken away so.
        """

    @abstractmethod
    def survives(self, kept: Tensor, sequence: Tensor) -> Tensor:
        """Return whether each target has something to be predicted from, the rest cut out, [R].

        Args:
            kept: which inputs stay, [R, N] bool, on the CPU.
            sequence: which of the B sequences each row belongs to, [R], on the CPU.
        """

    @property
    def inputs(self) -> Tensor | None:
        """The inputs x that the field's space is around, [B, 1, N, D], if it has one."""
        return None if self._space is None else self._space.inputs

    @property
    def space(self) -> Space:
        """The embedding space around the inputs.

        Raises:
            InputError: this field was made without one.
        """
        if self._space is None:
            raise InputError("this field has no embedding space to draw from; make it with one.")
        return self._space

    def valid(self) -> Tensor:
        """Return which targets are no padding of the batch, [B, T] bool."""
        return self.target_table.valid

    def reads(self) -> Tensor:
        """Return which inputs each target can depend on, [B, T, N] bool."""
        return torch.arange(self.movable.shape[1]) < self.target_table.reach[..., None]

    def effort(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return what a pass costs for each target, up to a factor, [R, C]."""
        return self.target_table.reach[sequence].gather(1, target)

    def blocks(self, rows: Query | RowBatch) -> tuple[Tensor, ...]:
        """Return target entries of rows that share a forward pass; together, all of them."""
        if not self.target_table.together:
            return tuple(torch.arange(rows.target.shape[1])[:, None])
        return cheapest_blocks(self.effort(rows.sequence, rows.target).amax(0), rows.wanted)

    def forgo_directions(self) -> None:
        """Take pullbacks from now on, whatever directions would cost."""
        self.direction_cost = NEVER

    @contextmanager
    def reporting(self, progress: Progress) -> Iterator[None]:
        """Report progress to another listener inside the context."""
        before, self.progress = self.progress, progress
        try:
            yield
        finally:
            self.progress = before

    def count(self, forward: int, backward: int) -> None:
        """Count rows of each sequence that were run for the field by another."""
        self.forward_rows += forward * self.target_table.answers
        self.backward_rows += backward * self.target_table.answers

    def value(self, points: Tensor) -> Tensor:
        """Return F at points [K, B, T or 1, N, D], [K, B, T]."""
        points = self._own(points)
        rows, sequence, target = flattened(points, self.sequences, self.targets)

        def compute(part: Tensor) -> tuple[Tensor, ...]:
            return (self.evaluate(rows[part.to(rows.device)], sequence[part], target[part]),)

        (value,) = self.runner.map(len(rows), compute)
        self.forward_rows += len(rows) // self.sequences * self._passes_of_a_row
        return value.reshape(len(points), self.sequences, self.targets)

    def __call__(self, points: Tensor) -> Sample:
        """Return F and its whole gradient at points [K, B, T or 1, N, D]."""
        query = self._query(points, torch.zeros_like(points[:1]))
        return self._sample(*self.gradients(query, lambda gradient, _: gradient), len(points))

    def at(
        self,
        points: Tensor,
        velocity: Tensor,
        contract: Contraction = dot,
        linearise: Linearise | None = None,
    ) -> Sample:
        """Return F, [1, B, T], and its contracted gradient, [1, B, T, G], at [B, T or 1, N, D].

        Args:
            points: where.
            velocity: what gradients are contracted with.
            contract: what to keep of the gradient.
            linearise: gives F and its pullback, if that goes by other rules than the gradient's.
        """
        query = self._query(points[None], velocity[None])
        return self._sample(*self.gradients(query, contract, linearise), 1)

    def along(self, path: Path, nodes: Tensor, contract: Contraction = dot) -> Iterator[Sample]:
        """Yield F [k, B, T] and its contracted gradient [k, B, T, G] along a path, chunk by chunk.

        Args:
            path: the curve.
            nodes: positions on it, [K].
            contract: what to keep of the gradient.
        """
        done = 0
        for chunk in self._chunks(nodes):
            found = self.gradients(self._query(*path(chunk)), contract)
            yield self._sample(*found, len(chunk))
            done += len(chunk)
            self.progress(done, len(nodes))

    def values(self, path: Path, nodes: Tensor) -> Tensor:
        """Return F at nodes [K] of a path, forward only, [K, B, T]."""
        return torch.cat([self.value(path(chunk)[0]) for chunk in self._chunks(nodes)])

    def ablated(self, keep: Tensor, mode: str = "embed") -> Tensor:
        """Return F with groups of inputs taken away, all T targets at once, [K, B, T].

        An input that may not move stays, whatever is asked of its group.

        Args:
            keep: which groups stay, [K, B or 1, G] bool.
            mode: how the others are taken away, of :data:`hf_attrib.field.MODES`.

        Raises:
            InputError: there is no such mode, or not here; or ``keep`` has another shape or type.
        """
        keep = self.groups.checked(keep)
        sequence = torch.arange(self.sequences).expand(len(keep), -1)
        value = ablated_rows(self, keep.flatten(0, 1), sequence.flatten(), mode)
        return value.reshape(len(keep), self.sequences, self.targets)

    def gradients(
        self, query: Query, contract: Contraction = dot, linearise: Linearise | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return F [R, C] and contracted gradients of rows, and count what was run.

        Rows for which derivatives along groups of inputs cost less than pullbacks take those.

        Args:
            query: what is asked for.
            contract: what to keep of a gradient.
            linearise: gives F and its pullback, if that goes by other rules than the gradient's.

        Returns:
            F [R, C] and gradients [R, C, G] (or [R, C, ...] of another contraction), where they
            were asked for.
        """
        way = torch.zeros(len(query), dtype=torch.bool)
        # Only the inner product is linear along groups: another contraction keeps the N inputs.
        if contract is dot and linearise is None:
            effort = self.effort(query.sequence, query.target)
            way = cheaper(query, effort, self.groups, self.direction_cost)
        back = partial(pulled, self, query, contract, linearise or self.linearise)
        if not way.any():
            found = self.runner.map(len(query), back)
        else:
            along = partial(self._pushed_along, query)
            try:
                found = either(self.runner, way, along, back)
            except (NotImplementedError, MemoryLimitError):
                self.forgo_directions()  # an operation lacks them, or one is too large alone
                return self.gradients(query, contract)
        value, gradient, forward = found
        answers, directions = self.target_table.answers, self.groups.moving.sum(1)[query.sequence]
        self.forward_rows.index_add_(0, query.sequence, forward * self._passes_of_a_row)
        self.backward_rows.index_add_(0, query.sequence, query.wanted.sum(1) * ~way * answers)
        self.directional_rows.index_add_(0, query.sequence, directions * way * answers)
        return value, gradient

    def _pushed_along(self, query: Query, rows: Tensor) -> Answer:
        return follow(self.pushforward, query.at(rows), self.groups, self.runner.limit)

    @property
    def _passes_of_a_row(self) -> int:
        """Forward passes of a row: where each target has its own, a row is for one of them."""
        return self.target_table.passes if self.target_table.together else 1

    def _own(self, points: Tensor) -> Tensor:
        """Return points [K, B, T or 1, N, D], one for each target where none share a pass."""
        shared = self.target_table.together or points.shape[2] > 1
        return points if shared else points.expand(-1, -1, self.targets, -1, -1)

    def _chunks(self, nodes: Tensor) -> Iterable[Tensor]:
        chunks: tuple[Tensor, ...] = nodes.split(max(1, self.runner.window // self.sequences))
        return chunks

    def _query(self, points: Tensor, velocity: Tensor) -> Query:
        """Ask for all targets at points [k, B, T or 1, N, D], whatever their number."""
        return Query.of(self._own(points), velocity, self.valid())

    def _sample(self, value: Tensor, gradient: Tensor, count: int) -> Sample:
        """Bring what rows found at so many points, [k * B * (T or 1), T or 1], to [k, B, T]."""
        shape = count, self.sequences, self.targets
        return Sample(value.reshape(shape), gradient.reshape(*shape, *gradient.shape[2:]))

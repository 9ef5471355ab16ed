"""Fields: the target and its gradient as functions of the embeddings, for B sequences at once.

A method sees a field and nothing else of the model. Axes: K path points, B sequences, T targets
(generated tokens), N input positions, D embedding width. A **row** is one sequence run forward;
a **backward row** is one (sequence, target) pair run backward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.decomposition import Decomposition, Linearisation, Sample
from hf_attrib.paths import Path, constant
from hf_attrib.quadrature import Rule
from hf_attrib.space import Space

__all__ = [
    "Contraction",
    "Decomposition",
    "Field",
    "Linearisation",
    "Progress",
    "Sample",
    "silent",
]

#: Maps a gradient [R, N, D] and a velocity, broadcastable to it, to what a method keeps of them,
#: usually [R, N]. It is applied at once, so that no K x T x N x D tensor ever exists.
Contraction: TypeAlias = Callable[[Tensor, Tensor], Tensor]

#: Called with (nodes done, nodes in all) along a path.
Progress: TypeAlias = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Report no progress."""


def dot(gradient: Tensor, velocity: Tensor) -> Tensor:
    """Return the inner product over the embedding width, [..., N]."""
    return (gradient * velocity).sum(-1)


class Field(ABC):
    """F and its gradient for B sequences with T targets each.

    Args:
        sequences: B.
        targets: T.
        movable: where the input may move, [B, N] bool; the gradient is 0 elsewhere.
        row_budget: rows run at once.
        progress: called with (nodes done, nodes in all) along a path.

    Attributes:
        space: the embedding space; whoever makes the field puts it there.
        resolution: change of F that is too small to matter.
        precision: relative rounding error of F.
    """

    space: Space
    resolution: float = 1e-3
    precision: float = torch.finfo(torch.float32).eps

    def __init__(
        self,
        sequences: int,
        targets: int,
        movable: Tensor,
        row_budget: int,
        progress: Progress = silent,
    ) -> None:
        self.sequences = sequences
        self.targets = targets
        self.movable = movable
        self.row_budget = row_budget
        self.progress = progress
        self.forward_rows = torch.zeros(sequences, dtype=torch.int64)
        self.backward_rows = torch.zeros(sequences, dtype=torch.int64)

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

    def valid(self) -> Tensor:
        """Return which targets are no padding of the batch, [B, T] bool."""
        return torch.ones(self.sequences, self.targets, dtype=torch.bool)

    def reads(self) -> Tensor:
        """Return which inputs a target can depend on, broadcastable to [B, T, N], bool."""
        return torch.ones(1, 1, 1, dtype=torch.bool)

    def value(self, points: Tensor) -> Tensor:
        """Return F at points [K, B, T or 1, N, D], [K, B, T]."""
        rows, sequence, target = self._rows(points)
        chunks = [
            self.evaluate(rows[part], sequence[part], target[part]) for part in self._parts(rows)
        ]
        self.forward_rows += len(rows) // self.sequences
        return self._by_target(torch.cat(chunks), points)

    def __call__(self, points: Tensor) -> Sample:
        """Return F and its whole gradient at points [K, B, T or 1, N, D]."""
        return self._sample(points, torch.zeros_like(points[:1]), lambda gradient, _: gradient)

    def at(self, points: Tensor, velocity: Tensor, contract: Contraction = dot) -> Sample:
        """Return F, [1, B, T], and its contracted gradient, [1, B, T, N], at [B, T or 1, N, D]."""
        path = constant(points, velocity)
        return next(self.along(path, torch.zeros(1, dtype=torch.float64), contract))

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
        chunks: tuple[Tensor, ...] = nodes.split(max(1, self.row_budget // self.sequences))
        return chunks

    def line_integral(self, path: Path, rule: Rule) -> Decomposition:
        r"""Return :math:`\sum_k w_k \langle \nabla F(z(\alpha_k)), z'(\alpha_k) \rangle_D`.

        The scores decompose F(path end) - F(path start), exactly in the limit of fine rules.
        """
        total, done = torch.zeros(()), 0
        for sample in self.along(path, rule.nodes):
            weights = rule.weights[done : done + len(sample.gradient)].to(sample.gradient)
            total = total.to(weights) + torch.einsum("k,kbtn->btn", weights, sample.gradient)
            done += len(weights)
        start, _ = path(torch.zeros(1, dtype=torch.float64))
        return Decomposition(total, self.value(start)[0])

    def _sample(self, points: Tensor, velocity: Tensor, contract: Contraction) -> Sample:
        """Sample points [k, B, T or 1, N, D], whatever their number, within the row budget."""
        rows, sequence, target = self._rows(points)
        velocity = velocity.expand(points.shape).flatten(0, 2)
        values, gradients = [], []
        for part in self._parts(rows):
            linear = self.linearise(rows[part], sequence[part], target[part])
            fixed = ~self.movable[sequence[part]][..., None].to(rows.device)
            ones = torch.eye(target.shape[1])[:, None].expand(-1, *target[part].shape)
            by_target = (linear.pullback(one).masked_fill(fixed, 0) for one in ones)
            columns = [contract(gradient, velocity[part]) for gradient in by_target]
            values.append(linear.value)
            gradients.append(torch.stack(columns, 1))
        self.forward_rows += len(rows) // self.sequences
        self.backward_rows += target.numel() // self.sequences
        return Sample(
            self._by_target(torch.cat(values), points),
            self._by_target(torch.cat(gradients), points),
        )

    def pairs(
        self, points: Tensor, sequence: Tensor, wanted: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return F, and its contracted gradient for some (row, target) pairs.

        Args:
            points: rows of embeddings, [R, N, D], within the row budget.
            sequence: which of the B sequences each row belongs to, [R], on the CPU.
            wanted: targets whose gradient is asked for, [R, T] bool, on the CPU.
            velocity: [R, N, D].

        Returns:
            F [R, T] and gradients [R, T, N], 0 where not asked for.
        """
        count, every = wanted.sum(1), torch.arange(self.targets).expand(len(wanted), -1)
        linear = self.linearise(points, sequence, every)
        fixed = ~self.movable[sequence][..., None].to(points.device)
        order = wanted.int().argsort(dim=1, descending=True, stable=True)
        found = torch.zeros(*wanted.shape, points.shape[1]).to(points)
        for turn in range(int(count.max())):
            rows = (count > turn).nonzero()[:, 0]
            weights = torch.zeros(wanted.shape)
            weights[rows, order[rows, turn]] = 1
            gradient = linear.pullback(weights).masked_fill(fixed, 0)
            found[rows, order[rows, turn]] = dot(gradient, velocity)[rows]
        self.forward_rows += torch.bincount(sequence, minlength=self.sequences)
        self.backward_rows += torch.bincount(sequence, count.double(), self.sequences).long()
        return linear.value, found

    def _rows(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flatten points [K, B, T or 1, N, D] to rows [R, N, D] with their owners."""
        count, sequences, own = points.shape[:3]
        if sequences != self.sequences or own not in (1, self.targets):
            raise ValueError(
                f"points are {tuple(points.shape)}, expected [K, B, T or 1, N, D] with "
                f"B = {self.sequences} and T = {self.targets}"
            )
        grid = (count, sequences, own)
        sequence = torch.arange(sequences)[None, :, None].expand(grid).flatten()
        if own == 1:
            target = torch.arange(self.targets).expand(len(sequence), -1)
        else:
            target = torch.arange(own).expand(grid).reshape(-1, 1)
        return points.flatten(0, 2), sequence, target

    def _parts(self, rows: Tensor) -> Iterator[slice]:
        return (slice(i, i + self.row_budget) for i in range(0, len(rows), self.row_budget))

    def _by_target(self, by_row: Tensor, points: Tensor) -> Tensor:
        """Bring [K * B * (T or 1), T or 1, ...] to [K, B, T, ...]."""
        return by_row.reshape(*points.shape[:2], self.targets, *by_row.shape[2:])

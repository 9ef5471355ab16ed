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
from hf_attrib.pairs import Contraction, Pairs, differentiate, dot
from hf_attrib.paths import Path, constant
from hf_attrib.quadrature import Rule
from hf_attrib.rows import RowRunner
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

#: Maps numbers of rows, [r], to their points and velocities, [r, N, D] each.
Locate: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]

#: Called with (nodes done, nodes in all) along a path.
Progress: TypeAlias = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Report no progress."""


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
    """

    space: Space
    resolution: float = 1e-3
    precision: float = torch.finfo(torch.float32).eps

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

    def blocks(self, pairs: Pairs) -> Iterable[Tensor]:
        """Return columns of pairs that share a forward pass; together, all of them."""
        return [torch.arange(pairs.target.shape[1])]

    def reads(self) -> Tensor:
        """Return which inputs a target can depend on, broadcastable to [B, T, N], bool."""
        return torch.ones(1, 1, 1, dtype=torch.bool)

    def value(self, points: Tensor) -> Tensor:
        """Return F at points [K, B, T or 1, N, D], [K, B, T]."""
        rows, sequence, target = self._rows(points)

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
        chunks: tuple[Tensor, ...] = nodes.split(max(1, self.runner.window // self.sequences))
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
        every = torch.ones(target.shape, dtype=torch.bool)

        def pairs(part: Tensor) -> Pairs:
            here = part.to(rows.device)
            where = sequence[part], target[part], every[part], every[part]
            return Pairs(rows[here], velocity[here], *where)

        value, gradient = self._differentiate(pairs, sequence, every, contract)
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
            F [R, T] and gradients [R, T, N], where they were asked for.
        """
        every = torch.arange(self.targets).expand(len(wanted), -1)

        def pairs(part: Tensor) -> Pairs:
            where = sequence[part], every[part], needed[part], wanted[part]
            return Pairs(*locate(part), *where)

        return self._differentiate(pairs, sequence, wanted, dot)

    def _differentiate(
        self,
        pairs: Callable[[Tensor], Pairs],
        sequence: Tensor,
        wanted: Tensor,
        contract: Contraction,
    ) -> tuple[Tensor, Tensor]:
        """Return F [R, C] and contracted gradients [R, C, ...] of rows, and count them."""

        def compute(part: Tensor) -> tuple[Tensor, ...]:
            some = pairs(part)
            found = differentiate(self.linearise, some, self.blocks(some), self.movable, contract)
            return found.value, found.gradient, found.forward

        value, gradient, forward = self.runner.map(len(sequence), compute)
        self.forward_rows.index_add_(0, sequence, forward)
        self.backward_rows.index_add_(0, sequence, wanted.sum(1))
        return value, gradient

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

    def _by_target(self, by_row: Tensor, points: Tensor) -> Tensor:
        """Bring [K * B * (T or 1), T or 1, ...] to [K, B, T, ...]."""
        return by_row.reshape(*points.shape[:2], self.targets, *by_row.shape[2:])

"""Meshes: the nodes of each target, what is known there, and quadrature between them.

A *walk* is the path of a sequence, which all its targets share or which one target has for itself.
It consists of *pieces*, with a corner between each and the next. A *node* is a place on a piece,
and a *mesh* is all the nodes on which one target integrates along its walk. :class:`Nodes` is the
table of f and its gradients, so that a node that several targets or meshes have is run once.

Between two nodes the integrand is taken for the polynomial through the nodes nearby (after
P. E. Gill and G. F. Miller, An algorithm for the integration of unequally spaced data, 1972). On
even nodes every weight but those near the ends is the same, as in the trapezoid rule, which
converges fastest for integrands that rise and fall within the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hf_attrib.field import Field, Path, Query
from hf_attrib.integration.rules import gauss_legendre

__all__ = ["Mesh", "Node", "Nodes", "Positions", "Stencils", "stencils"]

#: Positions of the nodes on one piece, in order.
Positions = tuple[float, ...]

#: The integral is that of polynomials through so many nodes, and the coarser one that it is
#: compared with takes fewer. With 4 or 6 of them, or a spline, the first hardly differs.
_FINE, _COARSE = 6, 4
#: Gauss rules by their number of nodes; one of q is exact for polynomials through 2q nodes.
_GAUSS = {count: gauss_legendre(count) for count in (1, 2, 3)}


class Node(NamedTuple):
    """A place where f and its gradient are found.

    Args:
        walk: number of the walk.
        piece: number of the piece.
        position: where on the piece, in [0, 1].
    """

    walk: int
    piece: int
    position: float


@dataclass(frozen=True)
class Mesh:
    """The nodes of one target on one walk; no interval is over twice as long as the next.

    Polynomials through nodes that crowd on one side of an interval would swing on the other.

    Args:
        walk: number of the walk.
        target: of its sequence.
        positions: of nodes on each piece of the walk; none on pieces that do not move.
    """

    walk: int
    target: int
    positions: tuple[Positions, ...]

    def __len__(self) -> int:
        return sum(map(len, self.positions))

    def nodes(self) -> list[Node]:
        """Return its nodes, in order."""
        return [node for piece in range(len(self.positions)) for node in self.on(piece)]

    def on(self, piece: int) -> list[Node]:
        """Return its nodes on one piece, in order."""
        return [Node(self.walk, piece, position) for position in self.positions[piece]]

    def lengths(self) -> Tensor:
        """Return the lengths of its intervals, [I]."""
        return torch.cat([_positions(at).diff() for at in self.positions])

    def halved(self, intervals: Iterable[int]) -> Mesh:
        """Halve some intervals, and others until none is over twice as long as the next."""
        chosen, first, positions = sorted(intervals), 0, []
        for at in self.positions:
            count = max(0, len(at) - 1)
            here = [k - first for k in chosen if first <= k < first + count]
            positions.append(_balanced(_split(at, here)) if here else at)
            first += count
        return Mesh(self.walk, self.target, tuple(positions))


def _split(at: Positions, intervals: Iterable[int]) -> Positions:
    return tuple(sorted([*at, *((at[k] + at[k + 1]) / 2 for k in intervals)]))


def _balanced(at: Positions) -> Positions:
    """Halve intervals that are over twice as long as one next to them, until there are none."""
    while True:
        length = [b - a for a, b in pairwise(at)]
        around = (length[max(0, k - 1) : k + 2] for k in range(len(length)))
        long = [k for k, some in enumerate(around) if length[k] > 2 * min(some)]
        if not long:
            return at
        at = _split(at, long)


class Nodes:
    """A table of f and its contracted gradients, one row for each node.

    An entry is run for the targets that have the node in their mesh, and for no others. Gradients
    are kept in the precision in which they came.

    Args:
        field: F and its gradient.
        pieces: of the path, one after another; each begins where the one before it ends. Walks are
            numbered by sequence, and by target where each target has a path of its own.

    Attributes:
        walks: how many walks there are, B or B * T.
        like: a tensor of the type and on the device of the path's points.
    """

    def __init__(self, field: Field, pieces: Sequence[Path]) -> None:
        self.field = field
        self._pieces = pieces
        self._values: dict[tuple[Node, int], float] = {}
        self._gradients: dict[tuple[Node, int], Tensor] = {}
        ends = torch.tensor([0, 1], dtype=torch.float64)
        moving = []
        for path in pieces:
            points, velocity = path(ends)
            # Velocities that are the same all along, or for all targets, come once.
            moving.append((velocity != 0).flatten(3).any(3).expand(points.shape[:3]).cpu())
        self.like = points.new_zeros(())
        self._own = points.shape[2]  # walks of a sequence: one, or T
        self._moving = torch.stack(moving).flatten(2)  # at both ends, [pieces, 2, walks]
        self.walks = self._moving.shape[2]

    def sequence(self, walk: int) -> int:
        """Return the sequence that a walk belongs to."""
        return walk // self._own

    def targets(self, walk: int) -> list[int]:
        """Return the targets of a walk, without those that only pad the batch."""
        valid = self.field.valid()[self.sequence(walk)].nonzero()[:, 0].tolist()
        return valid if self._own == 1 else [t for t in valid if t == walk % self._own]

    def moves(self, walk: int) -> list[bool]:
        """Tell on which pieces a walk moves."""
        moves: list[bool] = self._moving[:, :, walk].any(1).tolist()
        return moves

    def values(self, nodes: Sequence[Node], targets: Sequence[int]) -> Tensor:
        """Return f at K nodes for some targets, [K, T], float64."""
        found = [[self._values[node, target] for target in targets] for node in nodes]
        return torch.tensor(found, dtype=torch.float64)

    def gradients(self, nodes: Sequence[Node], targets: Sequence[int]) -> Tensor:
        """Return contracted gradients of groups at K nodes for some targets, [K, T, G]."""
        found = torch.stack([self._gradients[node, target] for node in nodes for target in targets])
        return found.view(len(nodes), len(targets), -1)

    def run(self, meshes: Iterable[Mesh]) -> None:
        """Find f and its gradients at the nodes of meshes where they are not known yet."""
        for nodes, targets in self._batches(meshes):
            sequence = torch.tensor([self.sequence(node.walk) for node in nodes])
            lacking = torch.zeros(len(nodes), self.field.targets, dtype=torch.bool)
            for row, some in enumerate(targets):
                lacking[row, some] = True
            moving = torch.tensor([self._moves_at(node) for node in nodes])
            every = torch.arange(self.field.targets).expand(lacking.shape)
            located, wanted = partial(self._located, nodes), lacking & moving[:, None]
            found = self.field.gradients(Query(located, sequence, every, lacking, wanted))
            value, gradient = (tensor.cpu() for tensor in found)
            for row, (node, some) in enumerate(zip(nodes, targets, strict=True)):
                keys = [(node, target) for target in some]
                self._values.update(zip(keys, value[row, some].tolist(), strict=True))
                # Indexing copies: gradients of targets that did not ask are let go.
                self._gradients.update(zip(keys, gradient[row, some], strict=True))

    def _batches(self, meshes: Iterable[Mesh]) -> Iterator[tuple[list[Node], list[list[int]]]]:
        """Yield nodes and the targets that lack them, as many at once as may be prepared."""
        lacking: dict[Node, list[int]] = {}
        for mesh in meshes:
            for node in mesh.nodes():
                if (node, mesh.target) not in self._values:
                    lacking.setdefault(node, []).append(mesh.target)

        # Rows that run together cost as many pullbacks as the one with the most targets, so their
        # numbers of targets differ by less than a factor of two.
        def busy(node: Node) -> int:
            return len(lacking[node]).bit_length()

        window = self.field.runner.window  # results come with room for all T targets
        for _, alike in groupby(sorted(lacking, key=busy), key=busy):
            nodes = list(alike)
            for first in range(0, len(nodes), window):
                some = nodes[first : first + window]
                yield some, [lacking[node] for node in some]

    def _moves_at(self, node: Node) -> bool:
        """Tell whether the gradient counts at a node: not where a piece sets out from rest."""
        return node.position > 0 or bool(self._moving[node.piece, 0, node.walk])

    def _located(self, nodes: Sequence[Node], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return where some of the nodes lie and the velocities there, [R, N, D] each."""
        found = [self._point(nodes[row]) for row in rows.tolist()]
        points, velocity = zip(*found, strict=True)
        return torch.stack(points), torch.stack(velocity)

    def _point(self, node: Node) -> tuple[Tensor, Tensor]:
        """Return where a node lies and the velocity there, [N, D] each."""
        points, velocity = self._pieces[node.piece](
            torch.tensor([node.position], dtype=torch.float64)
        )
        sequence, own = divmod(node.walk, self._own)
        return points[0, sequence, own], velocity.expand(points.shape)[0, sequence, own]


class Stencils(NamedTuple):
    """How the integral over each of I intervals is made of the integrand at the m nodes around it.

    Args:
        nodes: numbers of these nodes, [I, m].
        fine: weights of the integral, [I, m], float64.
        difference: weights of its difference from a coarser one, [I, m], float64.
    """

    nodes: Tensor
    fine: Tensor
    difference: Tensor

    def weights(self) -> Tensor:
        """Return the weights of K = I + 1 nodes in the integral over all intervals, [K]."""
        weights = self.fine.new_zeros(len(self.fine) + 1)
        return weights.index_add_(0, self.nodes.flatten(), self.fine.flatten())


@lru_cache(maxsize=8)  # targets begin with the same nodes
def stencils(positions: Positions) -> Stencils:
    """Return the stencils of the intervals between positions.

    The finer polynomials, of degree 5 where there are 6 nodes, have as many nodes on either side of
    the interval. The coarser ones, of degree 3, have all but one on the same side: of two that are
    both centred, neither would see that the integrand jumps within the interval.
    """
    at = _positions(positions)
    interval = torch.arange(len(at) - 1)
    nodes, fine = _interpolatory(at, interval - _FINE // 2 + 1, _FINE)
    ahead = interval + _COARSE <= len(at)  # or else behind
    fewer, coarse = _interpolatory(
        at, torch.where(ahead, interval, interval - _COARSE + 2), _COARSE
    )
    where = nodes[:, :, None] == fewer[:, None]  # the coarser go through some of the same nodes
    return Stencils(nodes, fine, fine - (where * coarse[:, None]).sum(-1))


def _interpolatory(at: Tensor, start: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return nodes for each interval, [I, m], and weights exact for polynomials through them."""
    count = min(count, len(at))
    nodes = start.clamp(0, len(at) - count)[:, None] + torch.arange(count)
    x, length = at[nodes], at.diff()
    rule = _GAUSS[-(-count // 2)]  # exact for what is integrated
    inside = at[:-1, None] + length[:, None] * rule.nodes  # [I, q]
    other = ~torch.eye(count, dtype=torch.bool)
    above = torch.where(other, (inside[:, :, None] - x[:, None])[:, :, None], 1).prod(-1)
    below = torch.where(other, x[:, :, None] - x[:, None], 1).prod(-1)
    return nodes, length[:, None] * torch.einsum("q,iqm->im", rule.weights, above) / below


def _positions(at: Positions) -> Tensor:
    return torch.tensor(at, dtype=torch.float64)

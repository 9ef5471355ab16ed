"""Values of f and its contracted gradients at nodes of paths, each found once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from hf_attrib.field import Field, Path, Query
from hf_attrib.integration.mesh import Mesh, Node

__all__ = ["Nodes"]


class Nodes:
    """f and contracted gradients [N] of targets at the nodes of each walk.

    A node is run for the targets that have it in their mesh, and for no others; gradients are kept
    in the precision in which they came.

    Each sequence has one walk for all its targets, or each of its targets one of its own; walk
    w belongs to sequence w // (walks of a sequence).

    Args:
        field: F and its gradient.
        pieces: of the path, one after another; each begins where the one before it ends.
    """

    def __init__(self, field: Field, pieces: Sequence[Path]) -> None:
        self.field = field
        self.pieces = pieces
        self._values: dict[tuple[Node, int], float] = {}
        self._gradients: dict[tuple[Node, int], Tensor] = {}
        self.like = torch.zeros(())
        ends = torch.tensor([0, 1], dtype=torch.float64)
        # Velocities that are the same all along come once.
        moving = [(path(ends)[1] != 0).flatten(3).any(3).expand(2, -1, -1) for path in pieces]
        #: How many walks a sequence has: one, or T.
        self.own = moving[0].shape[2]
        self._moving = torch.stack(moving).flatten(2).cpu()  # [pieces, 2, walks]

    def starts(self) -> Tensor:
        """Return where gradients do not count, [pieces, walks]: a walk sets out from rest."""
        return ~self._moving[:, 0]

    def stands(self) -> Tensor:
        """Return which pieces take a walk nowhere, [pieces, walks]."""
        return ~self._moving.any(1)

    def targets(self, walk: int) -> Tensor:
        """Return the targets of a walk, [T] bool."""
        sequence, own = divmod(walk, self.own)
        targets = self.field.valid()[sequence]
        return targets & (torch.arange(len(targets)) == own) if self.own > 1 else targets

    def value(self, node: Node, target: int) -> float:
        """Return f at a node."""
        return self._values[node, target]

    def gradient(self, node: Node, target: int) -> Tensor:
        """Return the contracted gradient at a node, [N]."""
        return self._gradients[node, target]

    def require(self, meshes: Iterable[Mesh]) -> None:
        """Run the nodes of meshes that have not been run for their targets."""
        wanted: dict[Node, list[int]] = {}
        for mesh in meshes:
            for node in mesh.nodes():
                if (node, mesh.target) not in self._values:
                    wanted.setdefault(node, []).append(mesh.target)

        # Rows that run together cost as many pullbacks as the one with the most targets, so those
        # with up to twice as many stay apart.
        def busy(node: Node) -> int:
            return len(wanted[node]).bit_length()

        window = self.field.runner.window  # results come with room for all T targets
        for _, alike in groupby(sorted(wanted, key=busy), key=busy):
            nodes = list(alike)
            for first in range(0, len(nodes), window):
                some = nodes[first : first + window]
                self._run(some, [wanted[node] for node in some])

    def _run(self, nodes: Sequence[Node], targets: Sequence[Sequence[int]]) -> None:
        def locate(rows: Tensor) -> tuple[Tensor, Tensor]:
            found = [self._point(nodes[row]) for row in rows.tolist()]
            points, velocity = zip(*found, strict=True)
            return torch.stack(points), torch.stack(velocity)

        starts, stands = self.starts(), self.stands()
        idle = [
            bool(stands[n.piece, n.walk] | (starts[n.piece, n.walk] & (n.position == 0)))
            for n in nodes
        ]
        sequence = torch.tensor([node.walk // self.own for node in nodes])
        lacking = torch.zeros(len(nodes), self.field.targets, dtype=torch.bool)
        for row, some in enumerate(targets):
            lacking[row, some] = True
        every = torch.arange(self.field.targets).expand(lacking.shape)
        wanted = lacking & ~torch.tensor(idle)[:, None]
        found = self.field.gradients(Query(locate, sequence, every, lacking, wanted))
        self.like = found[0]  # whose type and device results are brought back to
        value, gradient = (tensor.cpu() for tensor in found)
        for row, (node, some) in enumerate(zip(nodes, targets, strict=True)):
            keys = [(node, target) for target in some]
            self._values.update(zip(keys, value[row, some].tolist(), strict=True))
            # Indexing copies: those of other targets are let go.
            self._gradients.update(zip(keys, gradient[row, some], strict=True))

    def _point(self, node: Node) -> tuple[Tensor, Tensor]:
        """Return where a node lies and the velocity there, [N, D] each."""
        points, velocity = self.pieces[node.piece](torch.tensor([node.position]).double())
        sequence, own = divmod(node.walk, self.own)
        return points[0, sequence, own], velocity.expand(points.shape)[0, sequence, own]

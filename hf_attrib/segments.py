"""Stretches of paths and the nodes on them: what is known there, integrals, and how far off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from hf_attrib.field import Field
from hf_attrib.paths import Path

__all__ = ["Node", "Nodes", "Segment"]

#: Boole's rule and the composite Simpson rule on five nodes of a segment of length 1.
_BOOLE = torch.tensor([7, 32, 12, 32, 7], dtype=torch.float64) / 90
_SIMPSON = torch.tensor([1, 4, 2, 4, 1], dtype=torch.float64) / 12
_RULES = torch.stack([_BOOLE, _SIMPSON])
_QUARTERS = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)

#: Rounding takes about this share of what it may at most.
_TYPICAL = 0.25


class Node(NamedTuple):
    """A place where gradients are taken: on which walk, on which piece of its path, and where."""

    walk: int
    piece: int
    position: float


@dataclass
class Segment:
    """A stretch of a piece of one walk's path, and the targets that integrate over it as a whole.

    Args:
        walk: number of the walk.
        piece: of its path.
        start: where it begins on the piece.
        length: how long it is.
        targets: those it is a leaf for, [T] bool.
        error: the larger of residual and disagreement, [T].
        excess: the same beyond what rounding explains, [T].
    """

    walk: int
    piece: int
    start: float
    length: float
    targets: Tensor
    error: Tensor = field(default_factory=lambda: torch.zeros(()))
    excess: Tensor = field(default_factory=lambda: torch.zeros(()))

    def nodes(self) -> list[Node]:
        """Return its five nodes."""
        places = (self.start + self.length * q for q in _QUARTERS.tolist())
        return [Node(self.walk, self.piece, place) for place in places]

    def halves(self, targets: Tensor) -> list[Segment]:
        """Return its halves, for some of its targets."""
        half = self.length / 2
        starts = (self.start, self.start + half)
        return [Segment(self.walk, self.piece, start, half, targets) for start in starts]


class Nodes:
    """Values [T] and contracted gradients [K, N] at the nodes of each walk, found once.

    Of T targets a node knows those K that integrate over a segment it belongs to, and keeps their
    gradients in the precision in which they came.

    Each sequence has one walk for all its targets, or each of its targets one of its own; walk
    w belongs to sequence w // (walks of a sequence).

    Args:
        field: F and its gradient.
        pieces: of the path, one after another; each begins where the one before it ends.
    """

    def __init__(self, field: Field, pieces: Sequence[Path]) -> None:
        self.field = field
        self.pieces = pieces
        self.values: dict[Node, Tensor] = {}
        self.known: dict[Node, Tensor] = {}
        self._gradients: dict[Node, Tensor] = {}
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

    def require(self, segments: Iterable[Segment]) -> None:
        """Run the nodes of segments for the targets that lack a gradient there."""
        wanted: dict[Node, Tensor] = {}
        for segment in segments:
            for node in segment.nodes():
                none = torch.zeros_like(segment.targets)
                lacking = segment.targets & ~self.known.get(node, none)
                if lacking.any():
                    wanted[node] = wanted.get(node, none) | lacking
        self.run(wanted)

    def run(self, wanted: dict[Node, Tensor]) -> None:
        """Run nodes for some of their targets, [T] bool."""

        # Rows that run together cost as many pullbacks as the one with the most targets, so those
        # with up to twice as many stay apart.
        def busy(node: Node) -> int:
            return int(wanted[node].sum()).bit_length()

        window = self.field.runner.window  # results come with room for all T targets
        for _, alike in groupby(sorted(wanted, key=busy), key=busy):
            nodes = list(alike)
            for first in range(0, len(nodes), window):
                some = nodes[first : first + window]
                self._run(some, torch.stack([wanted[node] for node in some]))

    def _run(self, nodes: Sequence[Node], lacking: Tensor) -> None:
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
        wanted = lacking & ~torch.tensor(idle)[:, None]
        found = self.field.pairs(locate, sequence, lacking, wanted)
        self.like = found[0]  # whose type and device results are brought back to
        value, gradient = (tensor.cpu() for tensor in found)
        for row, node in enumerate(nodes):
            self._keep(node, lacking[row], value[row].double(), gradient[row])

    def _keep(self, node: Node, targets: Tensor, value: Tensor, gradient: Tensor) -> None:
        """Keep what was found [T] for targets that the node did not know."""
        gradient = gradient[targets]
        if node in self.known:
            before, targets = self.known[node], self.known[node] | targets
            value = torch.where(before, self.values[node], value)
            both = gradient.new_empty(int(targets.sum()), gradient.shape[1])
            both[before[targets]], both[~before[targets]] = self._gradients[node], gradient
            gradient = both
        self.values[node], self.known[node], self._gradients[node] = value, targets, gradient

    def _point(self, node: Node) -> tuple[Tensor, Tensor]:
        """Return where a node lies and the velocity there, [N, D] each."""
        points, velocity = self.pieces[node.piece](torch.tensor([node.position]).double())
        sequence, own = divmod(node.walk, self.own)
        return points[0, sequence, own], velocity.expand(points.shape)[0, sequence, own]

    def integral(self, segment: Segment) -> Tensor:
        """Return Q of a segment for each of its targets, [K, N]."""
        return self._integrals(segment, _RULES[:1])[0]

    def _integrals(self, segment: Segment, rules: Tensor) -> Tensor:
        """Return what each rule makes of a segment for each of its targets, [rules, K, N]."""
        gradients = []
        for node in segment.nodes():
            known, gradient = self.known[node], self._gradients[node]
            every = torch.equal(known, segment.targets)
            gradients.append(gradient if every else gradient[segment.targets[known]])
        found = torch.einsum("rq,qkn->rkn", rules, torch.stack(gradients).double())
        return segment.length * found

    def measure(self, segment: Segment) -> None:
        """Tell how far off the integral over a segment is."""
        integral, simpson = self._integrals(segment, _RULES)
        first, *_, last = (self.values[node][segment.targets] for node in segment.nodes())
        residual = (integral.sum(-1) - (last - first)).abs()
        disagreement = (integral - simpson).abs().sum(-1)
        # What rounding explains, of f and of the sums, no halving mends.
        rounding = self.field.precision * integral.abs().sum(-1)
        of_f = _TYPICAL * self.field.precision * (first.abs() + last.abs())
        excess = torch.maximum(residual - rounding - of_f, disagreement - rounding).clamp_min(0)
        segment.excess, segment.error = torch.zeros(2, len(segment.targets), dtype=torch.float64)
        segment.excess[segment.targets] = excess
        segment.error[segment.targets] = torch.maximum(residual, disagreement)

    def spent(self, walk: int) -> Tensor:
        """Return how many gradients each target of a walk has had, [T]."""
        known = [mask for node, mask in self.known.items() if node.walk == walk]
        return torch.stack(known).sum(0)

r"""Path integrals that certify themselves.

Along a path the scores of a segment must sum to the change of f over it, and that change is known
exactly from the values at its ends. The quadrature below places gradients where it pays:

1. Each segment has five equispaced nodes, of which Boole's rule takes its integral Q and two
   Simpson rules their difference; nodes are kept when a segment is halved, so that halving costs
   four new gradients.
2. Two numbers tell how far a segment is off: the *residual*
   :math:`|\sum_n Q_n - \Delta f|`, which is exact but can cancel between tokens, and the
   *disagreement* :math:`\sum_n |Q_n - S_n|` with the finer Simpson sum, which cannot.
3. Of each target the worst segments are halved until the larger of the two, summed over its
   segments, is below the tolerance, or its gradients are spent. A gradient is paid for pairs of
   a point and a target that is still open there, and for no others.

A path may come in pieces, with a corner between each and the next; segments end at corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_attrib.decomposition import Decomposition, Rows
from hf_attrib.field import Field
from hf_attrib.paths import Path
from hf_attrib.segments import Node, Nodes, Segment

__all__ = ["Budget", "first_nodes", "integrate"]

#: Segments to start from, unless the path has more pieces.
_SEGMENTS = 4
#: Halving stops for a target once what it leaves alone is this share of its tolerance.
_SPARE = 0.5
#: Errors of rows were below half this many times the sums over their segments in all cases but one
#: that ``benchmarks/quadrature.py`` has measured.
_SAFETY = 10.0
#: Segments shorter than this are rounding, or a jump of f.
_SHORTEST = 2.0**-20


def first_nodes(pieces: int = 1) -> int:
    """Return how many nodes every target has; those where segments of a piece meet count once.

    Args:
        pieces: of the path.
    """
    return pieces * (4 * _segments(pieces) + 1)


def _segments(pieces: int) -> int:
    """Return how many segments to start from on each piece."""
    return -(-_SEGMENTS // pieces)


@dataclass(frozen=True)
class Budget:
    """When to stop.

    Args:
        tolerance: relative error to reach.
        points: gradients to spend on each target, at most.
    """

    tolerance: float
    points: int

    def rows(self, targets: int) -> tuple[Rows, Rows]:
        """Return what a path of one piece runs, one for all targets.

        At least the first nodes; at most all, none of them shared.
        """
        first = first_nodes()
        # Where the path sets out from rest, the first node needs no gradient.
        least = Rows(values=1, gradients=first - 1)
        return least, Rows(gradients=first, own=targets * (self.points - first))


def integrate(field: Field, pieces: Sequence[Path], budget: Budget) -> Decomposition:
    r"""Return :math:`\int \langle \nabla F(z(\alpha)), z'(\alpha) \rangle_D\,d\alpha`.

    Args:
        field: F and its gradient.
        pieces: of a path, one after another; all targets of a sequence share it, or each has its
            own.
        budget: when to stop.

    Returns:
        scores [B, T, N], F at the start of the path [B, T], and a bound on
        :math:`\sum_n |A_n - \hat A_n|`, [B, T], in units of F.
    """
    nodes = Nodes(field, pieces)
    ends = _ends(nodes)
    leaves = _first_leaves(nodes)
    fresh = leaves
    while fresh:
        nodes.require(fresh)
        for segment in fresh:
            nodes.measure(segment)
        fresh = []
        for walk, (start, end) in ends.items():
            own = [leaf for leaf in leaves if leaf.walk == walk]
            if own:
                change = (nodes.values[end] - nodes.values[start]).abs()
                fresh += _halved(own, nodes, budget, change)
        halved = {(s.walk, t) for s in fresh for t in s.targets.nonzero()[:, 0].tolist()}
        total = field.sequences * field.targets
        field.progress(total - len(halved), total)
        leaves = [leaf for leaf in leaves if leaf.targets.any()] + fresh
    return _sum(leaves, nodes, ends)


def _ends(nodes: Nodes) -> dict[int, tuple[Node, Node]]:
    """Return the first and the last node of each walk."""
    found = {}
    for walk, moving in enumerate((~nodes.stands()).T):
        pieces = moving.nonzero()[:, 0].tolist() or [0]
        found[walk] = Node(walk, pieces[0], 0.0), Node(walk, pieces[-1], 1.0)
    return found


def _first_leaves(nodes: Nodes) -> list[Segment]:
    """Return equal segments of all pieces on which walks move."""
    moves = ~nodes.stands()
    # By the pieces of each walk, and not by those of the longest that it is batched with.
    counts = [_segments(pieces) for pieces in moves.sum(0).clamp_min(1).tolist()]
    return [
        Segment(walk, piece, k / counts[walk], 1 / counts[walk], nodes.targets(walk))
        for piece, walk in moves.nonzero().tolist()
        if nodes.targets(walk).any()  # and not for the padding of a batch
        for k in range(counts[walk])
    ]


def _halved(
    leaves: Sequence[Segment], nodes: Nodes, budget: Budget, change: Tensor
) -> list[Segment]:
    """Halve the worst leaves of one walk for each target whose error is too large.

    Args:
        leaves: of the walk.
        nodes: where gradients are known.
        budget: when to stop.
        change: of f over the walk, [T].
    """
    owned = torch.stack([leaf.targets for leaf in leaves])  # [S, T]
    error = torch.stack([leaf.excess for leaf in leaves]).masked_fill(~owned, 0)
    limit = budget.tolerance * change.clamp_min(nodes.field.resolution)
    total = error.sum(0)
    worst, order = error.sort(dim=0, descending=True)
    left = total - worst.cumsum(0) + worst  # before each is halved
    affordable = (budget.points - nodes.spent(leaves[0].walk)) // 4
    rank = torch.arange(len(leaves))[:, None]
    chosen = (left > _SPARE * limit) & (total > limit) & (rank < affordable) & (worst > 0)
    halve = torch.zeros_like(owned).scatter(0, order, chosen)
    halve &= torch.tensor([leaf.length > _SHORTEST for leaf in leaves])[:, None]
    fresh = []
    for leaf, targets in zip(leaves, halve, strict=True):
        if targets.any():
            leaf.targets = leaf.targets & ~targets
            fresh += leaf.halves(targets)
    return fresh


def _sum(
    leaves: Sequence[Segment], nodes: Nodes, ends: dict[int, tuple[Node, Node]]
) -> Decomposition:
    """Add up the leaves of each target's walk."""
    still = {start: nodes.targets(w) for w, (start, _) in ends.items() if start not in nodes.known}
    nodes.run(still)  # F is known at the start of the others
    field = nodes.field
    columns = field.columns.moving.shape[1]
    scores = torch.zeros(field.sequences, field.targets, columns, dtype=torch.float64)
    bound, reference = torch.zeros_like(scores[..., 0]), torch.zeros_like(scores[..., 0])
    for walk, (start, _) in ends.items():
        here = nodes.targets(walk)
        reference[walk // nodes.own, here] = nodes.values[start][here]
    for leaf in leaves:
        sequence = leaf.walk // nodes.own
        scores[sequence, leaf.targets] += nodes.integral(leaf)
        bound[sequence] += leaf.error * leaf.targets
    like = nodes.like
    return Decomposition(scores.to(like), reference.to(like), bound=_SAFETY * bound.to(like))

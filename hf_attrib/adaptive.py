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
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from hf_attrib.decomposition import Decomposition, Rows
from hf_attrib.field import Field
from hf_attrib.paths import Path

__all__ = ["FIRST_NODES", "Budget", "integrate"]

#: Boole's rule and the composite Simpson rule on five nodes of a segment of length 1.
_BOOLE = torch.tensor([7, 32, 12, 32, 7], dtype=torch.float64) / 90
_SIMPSON = torch.tensor([1, 4, 2, 4, 1], dtype=torch.float64) / 12
_QUARTERS = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)

#: Segments to start from.
_SEGMENTS = 4
#: Nodes that every target has, those where segments meet counted once.
FIRST_NODES = 4 * _SEGMENTS + 1
#: Halving stops for a target once what it leaves alone is this share of its tolerance.
_SPARE = 0.5
#: Errors of rows were below half this many times the sums over their segments in all cases but one
#: that ``benchmarks/quadrature.py`` has measured.
_SAFETY = 10.0
#: Rounding takes about this share of what it may at most.
_TYPICAL = 0.25
#: Segments shorter than this are rounding, or a jump of f.
_SHORTEST = 2.0**-20


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
        """Return what is run at least: the first nodes; and at most: all, none of them shared."""
        more = targets * (self.points - FIRST_NODES)
        # Where the path sets out from rest, the first node needs no gradient.
        return Rows(values=1, gradients=FIRST_NODES - 1), Rows(gradients=FIRST_NODES, own=more)


@dataclass
class _Segment:
    """A stretch of one sequence's path, and the targets that integrate over it as a whole.

    Args:
        sequence: b.
        start: where it begins.
        length: how long it is.
        targets: those it is a leaf for, [T] bool.
        integral: Q, [T, N]; of other targets, anything.
        error: the larger of residual and disagreement, [T].
        excess: the same beyond what rounding explains, [T].
    """

    sequence: int
    start: float
    length: float
    targets: Tensor
    integral: Tensor = field(default_factory=lambda: torch.zeros(()))
    error: Tensor = field(default_factory=lambda: torch.zeros(()))
    excess: Tensor = field(default_factory=lambda: torch.zeros(()))

    def nodes(self) -> list[float]:
        """Return its five nodes."""
        return [self.start + self.length * q for q in _QUARTERS.tolist()]

    def halves(self, targets: Tensor) -> list[_Segment]:
        """Return its halves, for some of its targets."""
        half = self.length / 2
        return [_Segment(self.sequence, self.start + k * half, half, targets) for k in (0, 1)]


class _Nodes:
    """Values [T] and contracted gradients [T, N] at the nodes of each sequence, found once."""

    def __init__(self, field: Field, path: Path) -> None:
        self.field = field
        self.path = path
        self.values: dict[tuple[int, float], Tensor] = {}
        self.gradients: dict[tuple[int, float], Tensor] = {}
        self.known: dict[tuple[int, float], Tensor] = {}
        self.like = torch.zeros(())
        # Where a path sets out from rest its gradient does not count, even if it is not finite.
        _, velocity = path(torch.zeros(1, dtype=torch.float64))
        self.rests = ~(velocity != 0).flatten(2).any(2)[0].cpu().expand(field.sequences)

    def require(self, segments: Iterable[_Segment]) -> None:
        """Run the nodes of segments for the targets that lack a gradient there."""
        wanted: dict[tuple[int, float], Tensor] = {}
        for segment in segments:
            for node in segment.nodes():
                key = (segment.sequence, node)
                none = torch.zeros_like(segment.targets)
                lacking = segment.targets & ~self.known.get(key, none)
                if lacking.any():
                    wanted[key] = wanted.get(key, none) | lacking

        # Rows that run together cost as many pullbacks as the one with the most targets, so those
        # with up to twice as many stay apart.
        def busy(key: tuple[int, float]) -> int:
            return int(wanted[key].sum()).bit_length()

        for _, alike in groupby(sorted(wanted, key=busy), key=busy):
            keys = list(alike)
            self._run(keys, torch.stack([wanted[key] for key in keys]))

    def _run(self, keys: Sequence[tuple[int, float]], lacking: Tensor) -> None:
        nodes = torch.tensor([node for _, node in keys], dtype=torch.float64)
        sequence = torch.tensor([b for b, _ in keys])

        def locate(rows: Tensor) -> tuple[Tensor, Tensor]:
            points, velocity = self.path(nodes[rows])
            own = torch.arange(len(rows)), sequence[rows], 0
            return points[own], velocity.expand(points.shape)[own]

        wanted = lacking & ~(self.rests[sequence] & (nodes == 0))[:, None]
        found = self.field.pairs(locate, sequence, lacking, wanted)
        self.like = found[0]  # whose type and device results are brought back to
        value, gradient = (tensor.double().cpu() for tensor in found)
        for row, key in enumerate(keys):
            here = lacking[row]
            if key in self.known:
                self.values[key] = torch.where(here, value[row], self.values[key])
                self.gradients[key] = torch.where(here[:, None], gradient[row], self.gradients[key])
                self.known[key] = here | self.known[key]
            else:
                self.values[key], self.gradients[key] = value[row], gradient[row]
                self.known[key] = here

    def measure(self, segment: _Segment) -> None:
        """Integrate over a segment and tell how far off that is."""
        keys = [(segment.sequence, node) for node in segment.nodes()]
        gradients = torch.stack([self.gradients[key] for key in keys])  # [5, T, N]
        segment.integral = segment.length * torch.einsum("q,qtn->tn", _BOOLE, gradients)
        simpson = segment.length * torch.einsum("q,qtn->tn", _SIMPSON, gradients)
        start, end = self.values[keys[0]], self.values[keys[4]]
        residual = (segment.integral.sum(-1) - (end - start)).abs()
        disagreement = (segment.integral - simpson).abs().sum(-1)
        # What rounding explains, of f and of the sums, no halving mends.
        rounding = self.field.precision * segment.integral.abs().sum(-1)
        of_f = _TYPICAL * self.field.precision * (start.abs() + end.abs())
        excess = torch.maximum(residual - rounding - of_f, disagreement - rounding).clamp_min(0)
        # Of other targets the values are unknown.
        segment.excess = excess.where(segment.targets, 0)
        segment.error = torch.maximum(residual, disagreement).where(segment.targets, 0)

    def spent(self, sequence: int) -> Tensor:
        """Return how many gradients each target of a sequence has had, [T]."""
        known = [mask for (b, _), mask in self.known.items() if b == sequence]
        return torch.stack(known).sum(0)


def integrate(field: Field, path: Path, budget: Budget) -> Decomposition:
    r"""Return :math:`\int_0^1 \langle \nabla F(z(\alpha)), z'(\alpha) \rangle_D\,d\alpha`.

    Args:
        field: F and its gradient.
        path: one for all targets of a sequence.
        budget: when to stop.

    Returns:
        scores [B, T, N], F at the start of the path [B, T], and a bound on
        :math:`\sum_n |A_n - \hat A_n|`, [B, T], in units of F.
    """
    nodes = _Nodes(field, path)
    leaves = [
        _Segment(b, k / _SEGMENTS, 1 / _SEGMENTS, targets)
        for b, targets in enumerate(field.valid())
        for k in range(_SEGMENTS)
    ]
    fresh = leaves
    while fresh:
        nodes.require(fresh)
        for segment in fresh:
            nodes.measure(segment)
        fresh = []
        for b in range(field.sequences):
            fresh += _halved([leaf for leaf in leaves if leaf.sequence == b], nodes, budget)
        halved = {(s.sequence, t) for s in fresh for t in s.targets.nonzero()[:, 0].tolist()}
        total = field.sequences * field.targets
        field.progress(total - len(halved), total)
        leaves = [leaf for leaf in leaves if leaf.targets.any()] + fresh
    return _sum(leaves, nodes, field)


def _halved(leaves: Sequence[_Segment], nodes: _Nodes, budget: Budget) -> list[_Segment]:
    """Halve the worst leaves of one sequence for each target whose error is too large."""
    b = leaves[0].sequence
    owned = torch.stack([leaf.targets for leaf in leaves])  # [S, T]
    error = torch.stack([leaf.excess for leaf in leaves]).masked_fill(~owned, 0)
    start, end = nodes.values[b, 0.0], nodes.values[b, 1.0]
    limit = budget.tolerance * (end - start).abs().clamp_min(nodes.field.resolution)
    total = error.sum(0)
    worst, order = error.sort(dim=0, descending=True)
    left = total - worst.cumsum(0) + worst  # before each is halved
    affordable = (budget.points - nodes.spent(b)) // 4
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


def _sum(leaves: Sequence[_Segment], nodes: _Nodes, field: Field) -> Decomposition:
    """Add up the leaves of each sequence and target."""
    scores = torch.zeros(field.sequences, *leaves[0].integral.shape, dtype=torch.float64)
    bound = torch.zeros(scores.shape[:2], dtype=torch.float64)
    for leaf in leaves:
        scores[leaf.sequence] += leaf.integral * leaf.targets[:, None]
        bound[leaf.sequence] += leaf.error * leaf.targets
    reference = torch.stack([nodes.values[b, 0.0] for b in range(field.sequences)])
    like = nodes.like
    return Decomposition(scores.to(like), reference.to(like), bound=_SAFETY * bound.to(like))

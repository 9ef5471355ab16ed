r"""Path integrals that certify themselves.

Along a path the scores of an interval must sum to the change of f over it, and that change is known
exactly from the values at its ends. The quadrature below places gradients where it pays:

1. Each target has nodes of its own, from which polynomials through neighbouring nodes make the
   integral :math:`Q_i` over each interval between two of them (:mod:`hf_attrib.integration.mesh`).
2. Two numbers tell how far an integral is off: the *residual*
   :math:`|\sum_n Q_{i,n} - \Delta_i f|`, which is exact but can cancel between tokens, and the
   *disagreement* :math:`\sum_n |Q_{i,n} - C_{i,n}|` with coarser polynomials, which cannot.
3. The worst intervals are halved until the larger of the two, taken of a few neighbouring intervals
   together and summed over these panels, is below the tolerance, the gradients are spent, or all
   that is left may be rounding and more nodes do not mend it. A gradient is paid for pairs of a
   point and a target that is still open there, and for no others.

A path may come in pieces, with a corner between each and the next; polynomials end at corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_attrib.field import Cost, Decomposition, Field, Path
from hf_attrib.integration.mesh import Mesh, Node, stencils
from hf_attrib.integration.nodes import Nodes
from hf_attrib.integration.residuals import Residuals

__all__ = ["Budget", "first_nodes", "integrate"]

#: Intervals to start from, unless the path has more pieces, and on a piece at least.
_INTERVALS, _FEWEST = 16, 4
#: Halving stops for a target once what it leaves alone is this share of its tolerance.
_SPARE = 0.7
#: Errors of rows were below this many times those of their intervals, summed without any sign, in
#: all cases but one that ``benchmarks/quadrature.py`` has measured.
_SAFETY = 1.6
#: Intervals shorter than this are rounding, or a jump of f.
_SHORTEST = 2.0**-22


def first_nodes(pieces: int = 1) -> int:
    """Return how many nodes every target has; those where pieces meet count twice.

    Args:
        pieces: of the path.
    """
    return pieces * (_intervals(pieces) + 1)


def _intervals(pieces: int) -> int:
    """Return how many intervals to start from on each piece."""
    return _FEWEST * -(-_INTERVALS // (_FEWEST * pieces))


@dataclass(frozen=True)
class Budget:
    """When to stop.

    Args:
        tolerance: relative error to reach.
        points: gradients to spend on each target, at most.
    """

    tolerance: float
    points: int

    def cost(self, targets: int) -> tuple[Cost, Cost]:
        """Return what a path of one piece runs, one for all targets.

        At least the first nodes; at most all, none of them shared.
        """
        first = first_nodes()
        # Where the path sets out from rest, the first node needs no gradient.
        least = Cost(values=1, gradients=first - 1)
        return least, Cost(gradients=first, own=targets * (self.points - first))


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
    shape = field.sequences, field.targets, field.columns.moving.shape[1]
    scores = torch.zeros(shape, dtype=torch.float64)
    bound, reference = torch.zeros_like(scores[..., 0]), torch.zeros_like(scores[..., 0])
    meshes, residuals = _first_meshes(nodes), Residuals(nodes)
    while meshes:
        nodes.require(meshes)
        residuals.update(meshes)
        finer = []
        for mesh in meshes:
            halved = _halved(mesh, residuals, budget)
            if halved is not None:
                finer.append(halved)
                continue
            place = mesh.walk // nodes.own, mesh.target
            scores[place] = _integral(mesh, nodes)
            bound[place] = _SAFETY * residuals.pop(mesh)
            reference[place] = nodes.value(mesh.nodes()[0], mesh.target)
        total = field.sequences * field.targets
        field.progress(total - len(finer), total)
        meshes = finer
    like = nodes.like
    return Decomposition(scores.to(like), reference.to(like), bound=bound.to(like))


def _first_meshes(nodes: Nodes) -> list[Mesh]:
    """Return even nodes on all pieces on which walks move, for each of their targets."""
    meshes = []
    for walk, moves in enumerate((~nodes.stands()).T.tolist()):
        # By the pieces of each walk, and not by those of the longest that it is batched with.
        count = _intervals(max(1, sum(moves)))
        even = tuple(k / count for k in range(count + 1))
        positions = tuple(even if move else () for move in moves)
        if not any(moves):  # f is asked for all the same
            positions = ((0.0,), *positions[1:])
        targets = nodes.targets(walk).nonzero()[:, 0].tolist()  # no padding of a batch
        meshes += [Mesh(walk, target, positions) for target in targets]
    return meshes


def _halved(mesh: Mesh, residuals: Residuals, budget: Budget) -> Mesh | None:
    """Return a mesh with its worst intervals halved, if its error is too large and it can be."""
    nodes, at = residuals.nodes, mesh.nodes()
    change = abs(nodes.value(at[-1], mesh.target) - nodes.value(at[0], mesh.target))
    limit = budget.tolerance * max(change, nodes.field.resolution)
    excess = residuals.excess(mesh)
    total = excess.sum()
    if not total > limit or residuals.stuck(mesh, excess, limit):
        return None
    worst, order = excess.sort(descending=True)
    left = total - worst.cumsum(0) + worst  # before each is halved
    long = mesh.lengths()[order] > _SHORTEST
    chosen = order[(left > _SPARE * limit) & (worst > 0) & long].tolist()
    while chosen:
        halved = mesh.halved(chosen)
        if len(halved) <= budget.points:
            return halved
        chosen = chosen[: len(chosen) // 2]
    return None


def _integral(mesh: Mesh, nodes: Nodes) -> Tensor:
    """Return the scores that a mesh makes, [N]."""
    scores = torch.zeros(nodes.field.columns.moving.shape[1], dtype=torch.float64)
    for piece, at in enumerate(mesh.positions):
        if len(at) < 2:
            continue
        around = stencils(at)
        weights = torch.zeros(len(at), dtype=torch.float64)
        weights.index_add_(0, around.nodes.flatten(), around.fine.flatten())
        for position, weight in zip(at, weights.tolist(), strict=True):
            gradient = nodes.gradient(Node(mesh.walk, piece, position), mesh.target)
            scores.add_(gradient, alpha=weight)
    return scores

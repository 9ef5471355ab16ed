r"""Path integrals that place their own nodes and tell how far off they are.

Along a path the scores of an interval must sum to the change of f over it, and that change is known
exactly from the values at its ends. The quadrature below places gradients where it pays:

1. Each target has a mesh of its own (:mod:`hf_attrib.integration.mesh`). Polynomials through
   neighbouring nodes make the integral :math:`Q_i` over each interval between two of them.
2. Two numbers tell how far an integral is off: the *residual*
   :math:`|\sum_n Q_{i,n} - \Delta_i f|`, which is exact but can cancel between inputs, and the
   *disagreement* :math:`\sum_n |Q_{i,n} - C_{i,n}|` with coarser polynomials, which cannot. The
   larger of the two is the error of the interval, and what rounding explains of it is no reason to
   halve; :mod:`hf_attrib.integration.residuals` tells the two apart, and may be skipped.
3. The worst intervals are halved, until what is left of their errors is below the tolerance, the
   gradients are spent, or all that is left may be rounding and more nodes do not mend it. A
   gradient is paid for pairs of a node and a target that is still open there, and for no others.

``docs/quadrature.md`` says why it is done so, what else was tried and what it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_attrib.field import Cost, Decomposition, Field, Part, Path
from hf_attrib.integration.mesh import Mesh, Nodes, stencils
from hf_attrib.integration.residuals import Residuals

__all__ = ["ROW_TOLERANCE", "Budget", "first_nodes", "integrate"]

#: A row has converged if its bound is at most so many times the tolerance of its sum. Errors are
#: mostly a tenth of their bounds.
ROW_TOLERANCE = 8.0

#: Intervals to start from on the whole path, and on each of its pieces at least.
_INTERVALS, _FEWEST = 16, 4
#: A round halves the worst intervals, until those that it leaves alone have no more than this share
#: of the tolerance together. The rest is for the halves.
_SPARE = 0.7
#: Intervals shorter than this are rounding, or a jump of f.
_SHORTEST = 2.0**-22


def first_nodes(pieces: int = 1) -> int:
    """Return how many nodes every target has before any interval is halved.

    Nodes where two pieces meet count twice, since the path has two velocities there.

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
        nodes: gradients to spend on each target, at most.
    """

    tolerance: float
    nodes: int

    def cost(self, targets: int) -> tuple[Cost, Cost]:
        """Return what a path of one piece runs, one for all targets.

        At least the first nodes; at most all, none of them shared.
        """
        first = first_nodes()
        # Where the path sets out from rest, the first node needs no gradient.
        least = Cost(values=1, gradients=first - 1)
        return least, Cost(gradients=first, own=targets * (self.nodes - first))


def integrate(field: Field, pieces: Sequence[Path], budget: Budget) -> Decomposition:
    r"""Return :math:`\int \langle \nabla F(z(\alpha)), z'(\alpha) \rangle_D\,d\alpha`.

    Args:
        field: F and its gradient.
        pieces: of a path, one after another; all targets of a sequence share it, or each has its
            own.
        budget: when to stop.

    Returns:
        scores of groups [B, T, G], which are the inputs unless the field adds some up; F at the
        start of the path [B, T]; and a bound on :math:`\sum_n |A_n - \hat A_n|`, [B, T], in units
        of F.
    """
    nodes = Nodes(field, pieces)
    shape = field.sequences, field.targets, field.groups.moving.shape[1]
    scores = torch.zeros(shape, dtype=torch.float64)
    bound, start_value = torch.zeros_like(scores[..., 0]), torch.zeros_like(scores[..., 0])
    done = torch.zeros_like(bound, dtype=torch.bool)
    meshes, residuals = _first_meshes(nodes), Residuals(nodes)
    total, like = len(meshes), nodes.like

    def decomposition() -> Decomposition:
        found = (part.to(like) for part in (scores, start_value, bound))
        return Decomposition(next(found), next(found), bound=next(found))

    try:
        while meshes:
            nodes.run(meshes)
            residuals.measure(meshes)
            finer = []
            for mesh in meshes:
                halved = _halved(mesh, nodes, residuals, budget)
                if halved is not None:
                    finer.append(halved)
                    continue
                place = nodes.sequence(mesh.walk), mesh.target
                scores[place] = _integral(mesh, nodes)
                bound[place] = residuals.pop(mesh)
                start_value[place] = nodes.values(mesh.nodes()[:1], [mesh.target])
                done[place] = True
            field.progress(int(done.sum()), total)
            meshes = finer
    except BaseException as stop:
        if not isinstance(stop, Exception):
            with suppress(AttributeError, TypeError):  # it may hold nothing
                stop.part = Part(decomposition(), done)  # type: ignore[attr-defined]
        raise
    return decomposition()


def _first_meshes(nodes: Nodes) -> list[Mesh]:
    """Return even nodes on all pieces on which walks move, for each of their targets."""
    meshes = []
    for walk in range(nodes.walks):
        moves = nodes.moves(walk)
        # By the pieces of each walk, and not by those of the longest that it is batched with.
        count = _intervals(max(1, sum(moves)))
        even = tuple(k / count for k in range(count + 1))
        positions = tuple(even if move else () for move in moves)
        if not any(moves):  # f is asked for all the same
            positions = ((0.0,), *positions[1:])
        meshes += [Mesh(walk, target, positions) for target in nodes.targets(walk)]
    return meshes


def _halved(mesh: Mesh, nodes: Nodes, residuals: Residuals, budget: Budget) -> Mesh | None:
    """Return a mesh with its worst intervals halved, or nothing if its target is done."""
    at = mesh.nodes()
    start, end = nodes.values([at[0], at[-1]], [mesh.target]).flatten().tolist()
    limit = budget.tolerance * max(abs(end - start), nodes.field.resolution)
    excess = residuals.excess(mesh)
    total = excess.sum()
    # The sum is within its tolerance, and so is the row as far as its bound can tell. What is not a
    # number ends, too.
    uncertain = residuals.bound(mesh) > ROW_TOLERANCE * limit and total > 0
    if not (total > limit or uncertain) or residuals.stuck(mesh, limit):
        return None
    limit = min(limit, float(total) / 2)  # of what is left to mend, where only the row is uncertain
    worst, order = excess.sort(descending=True)
    left = total - worst.cumsum(0) + worst  # before each is halved
    long = mesh.lengths()[order] > _SHORTEST
    chosen = order[(left > _SPARE * limit) & (worst > 0) & long].tolist()
    while chosen:
        halved = mesh.halved(chosen)
        if len(halved) <= budget.nodes:
            return halved
        chosen = chosen[: len(chosen) // 2]
    return None


def _integral(mesh: Mesh, nodes: Nodes) -> Tensor:
    """Return the scores that a mesh makes, [G]."""
    scores = torch.zeros(nodes.field.groups.moving.shape[1], dtype=torch.float64)
    for piece, positions in enumerate(mesh.positions):
        if len(positions) < 2:
            continue
        gradients = nodes.gradients(mesh.on(piece), [mesh.target])[:, 0]
        weights = stencils(positions).weights().tolist()
        for weight, gradient in zip(weights, gradients, strict=True):
            scores.add_(gradient, alpha=weight)
    return scores

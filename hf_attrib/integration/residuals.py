"""How far off integrals over the intervals of meshes are: residuals and disagreements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_attrib.integration.mesh import Mesh, Node, Positions, Stencils, panels, stencils
from hf_attrib.integration.nodes import Nodes

__all__ = ["Residuals"]

#: Gradients, of nodes by targets by columns, that are integrated at once.
_AT_ONCE = 2**14
#: Rounding takes about this share of what it may at most.
_TYPICAL = 0.25
#: Of the difference from a one-sided polynomial, about this much is the error of a centred one.
_CENTRED = 0.4
#: A residual over this many times disagreement and rounding is of something between the nodes,
#: which no error of a neighbour makes good.
_UNSEEN = 4
#: Rounding may be so many times what the type says: logits are larger than f, and layers add to it.
_AT_MOST = 8
#: A target that rounding may keep from its tolerance ends with so many times the intervals of its
#: best mesh, or more.
_ENOUGH = 2


class _Piece(NamedTuple):
    """Errors of one target on one piece of its walk.

    Args:
        positions: of the nodes that they were found on.
        error: the larger of residual and disagreement, [I].
        excess: the same by panel, beyond what rounding explains, shared out to intervals, [I].
        sure: excess of all intervals beyond what rounding explains at the very most.
    """

    positions: Positions
    error: Tensor
    excess: Tensor
    sure: float


class _Best(NamedTuple):
    """The smallest excess that any mesh of a target has had, and with how many intervals."""

    excess: float
    intervals: int


class Residuals:
    """Errors of the meshes of all targets, found anew where a mesh has become finer.

    Args:
        nodes: where f and its gradients are known.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._pieces: dict[tuple[int, int, int], _Piece] = {}
        self._best: dict[tuple[int, int], _Best] = {}

    def update(self, meshes: Iterable[Mesh]) -> None:
        """Find the errors of meshes whose nodes have been run."""
        alike: dict[tuple[int, int, Positions], list[int]] = {}
        for mesh in meshes:
            for piece, at in enumerate(mesh.positions):
                known = self._pieces.get((mesh.walk, mesh.target, piece))
                if len(at) > 1 and (known is None or known.positions != at):
                    alike.setdefault((mesh.walk, piece, at), []).append(mesh.target)
        for (walk, piece, at), targets in alike.items():
            some = max(1, _AT_ONCE // (len(at) * self.nodes.field.groups.moving.shape[1]))
            for first in range(0, len(targets), some):
                self._measure(walk, piece, at, targets[first : first + some])

    def excess(self, mesh: Mesh) -> Tensor:
        """Return the error of each interval of a mesh beyond what rounding explains, [I]."""
        none = torch.zeros(0, dtype=torch.float64)
        return torch.cat([none, *(piece.excess for piece in self._of(mesh))])

    def stuck(self, mesh: Mesh, excess: Tensor, limit: float) -> bool:
        """Tell whether halving has mended nothing lately, and rounding may be the only reason.

        Args:
            mesh: the newest of its target; all of them are asked about, so that the best is known.
            excess: of its intervals, [I].
            limit: what their sum may be.
        """
        key, now = (mesh.walk, mesh.target), _Best(float(excess.sum()), len(excess))
        best = self._best[key] = min(self._best.get(key, now), now)
        sure = sum(piece.sure for piece in self._of(mesh))
        return sure <= limit and len(excess) >= _ENOUGH * best.intervals

    def pop(self, mesh: Mesh) -> float:
        """Return the errors of the intervals of a mesh, added up, and forget them."""
        total = sum(float(piece.error.sum()) for piece in self._of(mesh))
        self._best.pop((mesh.walk, mesh.target), None)
        for piece in range(len(mesh.positions)):
            self._pieces.pop((mesh.walk, mesh.target, piece), None)
        return total

    def _of(self, mesh: Mesh) -> list[_Piece]:
        keys = [(mesh.walk, mesh.target, piece) for piece in range(len(mesh.positions))]
        return [self._pieces[key] for key in keys if key in self._pieces]

    def _measure(self, walk: int, piece: int, at: Positions, targets: Sequence[int]) -> None:
        """Find the errors of targets with the same nodes on a piece."""
        nodes = [Node(walk, piece, position) for position in at]
        value = [[self.nodes.value(node, target) for target in targets] for node in nodes]
        gradients = [self.nodes.gradient(node, target) for node in nodes for target in targets]
        error, excess, sure = _errors(
            at,
            torch.tensor(value, dtype=torch.float64),
            torch.stack(gradients).unflatten(0, (len(nodes), len(targets))),
            self.nodes.field.precision,
        )
        for column, target in enumerate(targets):
            own = error[:, column].clone(), excess[:, column].clone(), float(sure[column])
            self._pieces[walk, target, piece] = _Piece(at, *own)


def _errors(
    at: Positions, value: Tensor, gradient: Tensor, precision: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return errors and excess of intervals, [I, T], and what of it is sure, [T].

    Args:
        at: positions of K nodes.
        value: f at them, [K, T].
        gradient: contracted gradients at them, [K, T, N].
        precision: relative rounding error.
    """
    around, panel = stencils(at), panels(at)
    total, size, apart = torch.zeros(3, len(panel), value.shape[1], dtype=torch.float64)
    apart_in_panel = _added(apart, panel)
    columns = max(1, _AT_ONCE // gradient[:, :, 0].numel())
    for some in gradient.split(columns, dim=2):  # of a long input
        integral, difference = _integrals(around, some.double())
        total += integral.sum(-1)
        size += integral.abs().sum(-1)
        apart += difference.abs().sum(-1)
        apart_in_panel += _added(difference, panel).abs().sum(-1)
    residual = total - value.diff(dim=0)
    error = torch.maximum(residual.abs(), apart)
    of_sums = precision * _added(size, panel)
    of_f = precision * (value[1:].abs() + value[:-1].abs())

    def beyond(times: float) -> Tensor:
        """Return the errors of panels, [P, T], beyond so many times the rounding of the type."""
        # Of f at the ends of a panel alone, what is between them cancels; and a residual that may
        # be rounding is none.
        ends = times * _added(of_f, panel) / panel.bincount()[:, None]
        off = _added(residual, panel).abs() - times * of_sums
        off = (off - _TYPICAL * ends) * (off > ends)
        differs = _CENTRED * apart_in_panel - _TYPICAL * times * of_sums
        unseen = _added((residual.abs() - _UNSEEN * (apart + times * of_f)).clamp_min(0), panel)
        return torch.stack([off, differs, unseen]).amax(0).clamp_min(0)

    worst = beyond(1)  # what rounding explains no halving mends
    share = worst / _added(error, panel).clamp_min(torch.finfo(torch.float64).tiny)
    return error, share[panel] * error, beyond(_AT_MOST).sum(0)


def _integrals(around: Stencils, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integral over each interval, [I, ...], and its difference from a coarser one."""
    integral = gradient.new_zeros(len(around.nodes), *gradient.shape[1:])
    difference = torch.zeros_like(integral)
    for node, fine, apart in zip(*(part.T for part in around), strict=True):
        here = gradient[node]
        integral.addcmul_(fine[:, None, None], here)
        difference.addcmul_(apart[:, None, None], here)
    return integral, difference


def _added(by_interval: Tensor, panel: Tensor) -> Tensor:
    """Add up intervals [I, ...] by panel, [P, ...]."""
    found = by_interval.new_zeros(int(panel.max()) + 1, *by_interval.shape[1:])
    return found.index_add_(0, panel, by_interval)

"""How far off the integrals over the intervals of meshes are, and what of it is rounding.

Whoever reads :mod:`hf_attrib.integration.adaptive` may take this file for granted:
:class:`Residuals` gives the *excess* of each interval, which is what halving it can be hoped to
mend, and a *bound* on the errors of all intervals together. Both are made of the *error* of each,
the larger of residual and disagreement. The excess leaves out what rounding of f explains, and the
bound does not. ``_Measurement`` has the
formulas, and ``docs/quadrature.md`` has the reasons in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from hf_attrib.integration.mesh import Mesh, Node, Nodes, Positions, Stencils, stencils

__all__ = ["Residuals", "panels"]

#: Contracted gradients, of nodes by targets by groups, that are integrated at once: copies of them
#: in float64 would otherwise take more memory than what is kept.
_GRADIENTS_AT_ONCE = 2**14
#: Intervals of a panel, at most. Panels of one halve on where errors cancel and nothing is left to
#: gain; panels of eight spend a tenth of the gradients less and leave wider bounds.
_INTERVALS_OF_A_PANEL = 4
#: A number is rounded by at most half of its precision, but in root mean square by 0.14 to 0.29 of
#: it, as the number lies just below a power of two or just above.
_TYPICAL_ROUNDING = 0.25
#: The error of centred polynomials as a share of their difference from one-sided ones. On
#: integrands 1 / (1 + exp(-x / w)) it is 0.2 to 0.6 if w is an interval or half of one, and smaller
#: if w is larger. On steeper ones it can be over 1, and there residuals tell of it.
_ERROR_OF_DISAGREEMENT = 0.4
#: A residual is laid to something narrow between two nodes where it is so many times disagreement
#: and rounding: ten times what that share lets one expect. No error of a neighbour cancels it.
_TIMES_UNSEEN = 4
#: Rounding of f may be so many times what its type says, since logits are larger than their
#: differences and every layer adds to it. Tests make it four times as large.
_TIMES_ROUNDED_AT_MOST = 8
#: So many times the error of the worst interval is added to those of all panels for the bound.
#: Where the integrand is resolved no interval stands out. Where it is not, as a rule in one place,
#: errors are up to four times what residual and disagreement say there: mostly in the first
#: interval, where f can move most and both polynomials reach to the same side.
_TIMES_THE_WORST = 3
#: A target that rounding may keep from its tolerance ends with so many times the intervals of its
#: best mesh. As many halve each interval once, which mends errors of an integrand that is smooth.
_TIMES_THE_BEST_MESH = 2


class _Errors(NamedTuple):
    """Errors of one target on one piece of its walk.

    Args:
        positions: of the nodes that they were found on.
        bound: on the error of all scores together.
        excess: what of the errors of its panel no rounding explains, shared out to intervals, [I].
        sure: excess of all intervals that is left if rounding is as large as it may be at most.
    """

    positions: Positions
    bound: float
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
        self._nodes = nodes
        self._known: dict[tuple[int, int, int], _Errors] = {}
        self._excess: dict[tuple[int, int], Tensor] = {}
        self._best: dict[tuple[int, int], _Best] = {}

    def measure(self, meshes: Iterable[Mesh]) -> None:
        """Find the errors of meshes whose nodes have been run."""
        meshes = list(meshes)
        alike: dict[tuple[int, int, Positions], list[int]] = {}
        for mesh in meshes:
            for piece, positions in enumerate(mesh.positions):
                known = self._known.get((mesh.walk, mesh.target, piece))
                if len(positions) > 1 and (known is None or known.positions != positions):
                    alike.setdefault((mesh.walk, piece, positions), []).append(mesh.target)
        for (walk, piece, positions), targets in alike.items():
            groups = self._nodes.field.groups.moving.shape[1]
            some = max(1, _GRADIENTS_AT_ONCE // (len(positions) * groups))
            for first in range(0, len(targets), some):
                self._measure(walk, piece, positions, targets[first : first + some])
        none = torch.zeros(0, dtype=torch.float64)
        for mesh in meshes:
            key = mesh.walk, mesh.target
            excess = torch.cat([none, *(errors.excess for errors in self._of(mesh))])
            now = _Best(float(excess.sum()), len(excess))
            self._excess[key], self._best[key] = excess, min(self._best.get(key, now), now)

    def excess(self, mesh: Mesh) -> Tensor:
        """Return the error of each interval that halving may mend, [I]."""
        return self._excess[mesh.walk, mesh.target]

    def stuck(self, mesh: Mesh, limit: float) -> bool:
        """Tell whether halving has mended nothing lately, and rounding may be the only reason.

        Args:
            mesh: the newest of its target.
            limit: what the excess of all its intervals may be.
        """
        sure = sum(errors.sure for errors in self._of(mesh))
        fewest = _TIMES_THE_BEST_MESH * self._best[mesh.walk, mesh.target].intervals
        return sure <= limit and len(self.excess(mesh)) >= fewest

    def bound(self, mesh: Mesh) -> float:
        """Return a bound on the errors of all scores of a mesh together."""
        return sum(errors.bound for errors in self._of(mesh))

    def pop(self, mesh: Mesh) -> float:
        """Return the same bound, and forget the mesh."""
        total = self.bound(mesh)
        del self._excess[mesh.walk, mesh.target], self._best[mesh.walk, mesh.target]
        for piece in range(len(mesh.positions)):
            self._known.pop((mesh.walk, mesh.target, piece), None)
        return total

    def _of(self, mesh: Mesh) -> list[_Errors]:
        """Return the errors of a mesh on the pieces where it has intervals."""
        keys = [(mesh.walk, mesh.target, piece) for piece in range(len(mesh.positions))]
        return [self._known[key] for key in keys if key in self._known]

    def _measure(self, walk: int, piece: int, positions: Positions, targets: Sequence[int]) -> None:
        """Find the errors of targets with the same nodes on a piece."""
        nodes = [Node(walk, piece, position) for position in positions]
        found = _measurement(
            positions,
            self._nodes.values(nodes, targets),
            self._nodes.gradients(nodes, targets),
            self._nodes.field.precision,
        )
        bound, excess = found.bound(), found.excess()
        sure = found.beyond_rounding(_TIMES_ROUNDED_AT_MOST).sum(0)
        for column, target in enumerate(targets):
            own = float(bound[column]), excess[:, column].clone(), float(sure[column])
            self._known[walk, target, piece] = _Errors(positions, *own)


class _Measurement(NamedTuple):
    r"""What was measured on the intervals i and panels P of a piece, for T targets.

    Of the integral :math:`Q_{i,n}` of group n over an interval and its difference
    :math:`D_{i,n}` from a coarser one,

    .. math:: r_i = \sum_n Q_{i,n} - \Delta_i f, \qquad a_i = \sum_n |D_{i,n}|, \qquad
        a_P = \sum_n \Big|\sum_{i \in P} D_{i,n}\Big|.

    The residual :math:`r_i` holds the error of the integral and the rounding of both its terms;
    the disagreements hold the error of the coarser integral and the rounding of one.

    Args:
        panel: the panel of each interval, [I].
        residual: :math:`r_i`, [I, T].
        disagreement: :math:`a_i`, [I, T].
        of_panel: :math:`a_P`, [P, T].
        rounding: of f at the two ends of an interval by its type, [I, T].
        rounding_of_sums: of the integrals over a panel, added up without signs, [P, T].
    """

    panel: Tensor
    residual: Tensor
    disagreement: Tensor
    of_panel: Tensor
    rounding: Tensor
    rounding_of_sums: Tensor

    def error(self) -> Tensor:
        """Return the larger of residual and disagreement, [I, T]."""
        return torch.maximum(self.residual.abs(), self.disagreement)

    def bound(self) -> Tensor:
        r"""Return a bound on the errors of all groups together, [T].

        .. math:: \sum_P \max\Big(\Big|\sum_{i \in P} r_i\Big|, a_P,
            \sum_{i \in P} \max(|r_i| - 4 a_i, 0)\Big) + 3 \max_i \max(|r_i|, a_i)

        The third of each panel is what the polynomials have not seen, and cancels with nothing.
        Rounding is in all of them: it is an error, be it one that no halving mends.
        """
        off = _added(self.residual, self.panel).abs()
        unseen = (self.residual.abs() - _TIMES_UNSEEN * self.disagreement).clamp_min(0)
        of_panels = torch.stack([off, self.of_panel, _added(unseen, self.panel)]).amax(0)
        return of_panels.sum(0) + _TIMES_THE_WORST * self.error().amax(0)

    def excess(self) -> Tensor:
        """Return the errors of panels beyond rounding by the type, by interval, [I, T].

        Each interval has the share of its panel that it has of the errors there.
        """
        error = self.error()
        tiny = torch.finfo(error.dtype).tiny
        share = self.beyond_rounding(1) / _added(error, self.panel).clamp_min(tiny)
        return share[self.panel] * error

    def beyond_rounding(self, times: float) -> Tensor:
        r"""Return the errors of panels that no rounding of so many times the type explains, [P, T].

        It is the largest of three. With the rounding of sums :math:`s` and of f at both ends of the
        panel :math:`e`, and a quarter for what rounding mostly is of what it can be,

        - the residual of the panel, in which errors of neighbours cancel and so does f between
          them: :math:`|\sum_i r_i| - s - e/4`, or 0 if that of f alone may be all of it,
          :math:`|\sum_i r_i| - s \le e`;
        - the error that the disagreement speaks for, without f: :math:`0.4\,a_P - s/4`;
        - what the polynomials have not seen: the residuals of single intervals as far as they are
          over four times their disagreement and rounding.
        """
        rounding_of_sums = times * self.rounding_of_sums
        intervals = self.panel.bincount()[:, None]
        at_ends = times * _added(self.rounding, self.panel) / intervals
        off = _added(self.residual, self.panel).abs() - rounding_of_sums
        off = (off - _TYPICAL_ROUNDING * at_ends) * (off > at_ends)
        differs = _ERROR_OF_DISAGREEMENT * self.of_panel - _TYPICAL_ROUNDING * rounding_of_sums
        seen = _TIMES_UNSEEN * (self.disagreement + times * self.rounding)
        unseen = _added((self.residual.abs() - seen).clamp_min(0), self.panel)
        return torch.stack([off, differs, unseen]).amax(0).clamp_min(0)


def _measurement(
    positions: Positions, value: Tensor, gradient: Tensor, precision: float
) -> _Measurement:
    """Measure the intervals of a piece.

    Args:
        positions: of K nodes.
        value: f at them, [K, T].
        gradient: contracted gradients at them, [K, T, G].
        precision: relative distance between two numbers of f's type.
    """
    around, panel = stencils(positions), panels(positions)
    total, size, disagreement = torch.zeros(3, len(panel), value.shape[1], dtype=torch.float64)
    of_panel = _added(disagreement, panel)
    groups = max(1, _GRADIENTS_AT_ONCE // gradient[:, :, 0].numel())
    for some in gradient.split(groups, dim=2):  # of a long input
        integral, difference = _integrals(around, some.double())
        total += integral.sum(-1)
        size += integral.abs().sum(-1)
        disagreement += difference.abs().sum(-1)
        of_panel += _added(difference, panel).abs().sum(-1)
    return _Measurement(
        panel,
        total - value.diff(dim=0),
        disagreement,
        of_panel,
        precision * (value[1:].abs() + value[:-1].abs()),
        precision * _added(size, panel),
    )


def _integrals(around: Stencils, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integral over each interval, [I, ...], and its difference from a coarser one."""
    integral = gradient.new_zeros(len(around.nodes), *gradient.shape[1:])
    difference = torch.zeros_like(integral)
    for node, fine, apart in zip(*(part.T for part in around), strict=True):
        here = gradient[node]
        integral.addcmul_(fine[:, None, None], here)
        difference.addcmul_(apart[:, None, None], here)
    return integral, difference


@lru_cache(maxsize=8)  # targets begin with the same nodes
def panels(positions: Positions) -> Tensor:
    """Return which panel each interval belongs to, [I].

    Errors of neighbours cancel where the integrand is resolved, so they are added up with their
    signs. A panel is of up to four intervals of the same length that halving has made of one.
    """
    at = torch.tensor(positions, dtype=torch.float64)
    width = _INTERVALS_OF_A_PANEL * at.diff()
    place = torch.stack([width, torch.floor(at[:-1] / width)])
    numbers: Tensor = place.unique(dim=1, return_inverse=True)[1]
    return numbers


def _added(by_interval: Tensor, panel: Tensor) -> Tensor:
    """Add up intervals [I, ...] by panel, [P, ...]."""
    found = by_interval.new_zeros(int(panel.max()) + 1, *by_interval.shape[1:])
    return found.index_add_(0, panel, by_interval)

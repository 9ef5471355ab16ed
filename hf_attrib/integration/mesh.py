"""Meshes: the nodes on which one target integrates, and quadrature on nodes that are not even.

Between two nodes the integrand is taken for the polynomial through the nodes nearby (after
P. E. Gill and G. F. Miller, An algorithm for the integration of unequally spaced data, 1972). On
even nodes every weight but those near the ends is the same, as in the trapezoid rule, which
converges fastest for integrands that rise and fall within the path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hf_attrib.integration.rules import gauss_legendre

__all__ = ["Mesh", "Node", "Positions", "Stencils", "panels", "stencils"]

#: Of nodes on a piece of a path, in order.
Positions = tuple[float, ...]

#: How many nodes the polynomials go through.
_FINE, _COARSE = 6, 4
#: Neighbouring intervals of the same length whose errors are added up with their signs.
_PANEL = 4
_GAUSS = {count: gauss_legendre(count) for count in (1, 2, 3)}


class Node(NamedTuple):
    """A place where gradients are taken: on which walk, on which piece of its path, and where."""

    walk: int
    piece: int
    position: float


@dataclass(frozen=True)
class Mesh:
    """The nodes of one target on one walk; no interval is over twice as long as the next.

    Args:
        walk: number of the walk.
        target: of its sequence.
        positions: of nodes on each piece of the path; none where the walk stands.
    """

    walk: int
    target: int
    positions: tuple[Positions, ...]

    def __len__(self) -> int:
        return sum(map(len, self.positions))

    def nodes(self) -> list[Node]:
        """Return its nodes, in order."""
        return [Node(self.walk, p, x) for p, at in enumerate(self.positions) for x in at]

    def lengths(self) -> Tensor:
        """Return the lengths of its intervals, [I]."""
        return torch.cat([_positions(at).diff() for at in self.positions])

    def halved(self, intervals: Iterable[int]) -> Mesh:
        """Halve some intervals, and others until none is over twice as long as the next."""
        chosen, first, positions = sorted(intervals), 0, []
        for at in self.positions:
            count = max(0, len(at) - 1)
            here = [k - first for k in chosen if first <= k < first + count]
            positions.append(_graded(_split(at, here)) if here else at)
            first += count
        return Mesh(self.walk, self.target, tuple(positions))


def _split(at: Positions, intervals: Iterable[int]) -> Positions:
    return tuple(sorted([*at, *((at[k] + at[k + 1]) / 2 for k in intervals)]))


def _graded(at: Positions) -> Positions:
    """Halve intervals that are over twice as long as one next to them, until there are none."""
    while True:
        length = [b - a for a, b in pairwise(at)]
        around = (length[max(0, k - 1) : k + 2] for k in range(len(length)))
        long = [k for k, some in enumerate(around) if length[k] > 2 * min(some)]
        if not long:
            return at
        at = _split(at, long)


class Stencils(NamedTuple):
    """How the integral over each of I intervals is made of the integrand at the nodes around it.

    Args:
        nodes: which, [I, m].
        fine: weights of the integral, [I, m], float64.
        difference: weights of its difference from a coarser one, [I, m], float64.
    """

    nodes: Tensor
    fine: Tensor
    difference: Tensor


@lru_cache(maxsize=8)  # targets begin with the same nodes
def stencils(positions: Positions) -> Stencils:
    """Return the stencils of the intervals between positions.

    The finer polynomials, of degree 5 where there are 6 nodes, lie around the interval. The coarser
    ones, of degree 3, lie on one side of it: of two that are both centred, neither would see that
    the integrand jumps within the interval.
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


@lru_cache(maxsize=8)
def panels(positions: Positions) -> Tensor:
    """Return which panel each interval belongs to, [I].

    Errors of neighbours cancel where the integrand is resolved. A panel is of up to four intervals
    of the same length that halving has made of one.
    """
    at = _positions(positions)
    width = _PANEL * at.diff()
    place = torch.stack([width, torch.floor(at[:-1] / width)])
    numbers: Tensor = place.unique(dim=1, return_inverse=True)[1]
    return numbers


def _positions(at: Positions) -> Tensor:
    return torch.tensor(at, dtype=torch.float64)

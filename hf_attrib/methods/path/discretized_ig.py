"""Discretized integrated gradients. Sanyal, Ren 2021, arXiv:2108.13654."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Decomposition, Field, Table
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.integration import (
    MOST_GAUSS_NODES,
    composite,
    gauss_legendre,
    line_integral,
    monotone,
    polyline,
)
from hf_attrib.methods.base import AXIOMS, Claims, Cost, Method

__all__ = ["DiscretizedIG"]

#: Chains made at once; each looks at hundreds of candidates.
_TOGETHER = 16


@dataclass(frozen=True)
class DiscretizedIG(Method, name="discretized_ig"):
    r"""Integrated gradients along a chain of words, so that the path stays near real inputs.

    From a token's word, the next word is the unused one of the nearest ``neighbours``, the
    baseline's own aside, that is moved least by making it monotone, the nearest of equals: a
    coordinate that is not between the baseline and the present word takes a ``words``-th of the
    way to the baseline instead. The path runs from x' through the words, made monotone one after
    another, to x; all tokens take each step together.

    .. math:: A_{t,n} = \sum_k \sum_d \int_{z^k}^{z^{k+1}}
        \frac{\partial f_t}{\partial x_{nd}}\,dx_{nd}

    Args:
        words: anchors between x' and x.
        neighbours: candidates for the next word.
        nodes: Gauss–Legendre nodes on each of the words + 1 segments (the paper's sum has 1, at
            the left end).

    Returns:
        scores [B, T, N], summing to f(x) - f(x') as the nodes grow (units of f).

    Raises:
        InputError: a field is not positive, or too large.

    Source: arXiv:2108.13654, strategy "greedy".
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        cost="nodes * (words + 1) + 2 forward rows, nodes * (words + 1) * T backward rows",
        axioms=frozenset(AXIOMS),
        groups="joined",
    )
    words: int = hyperparameter(30, "Anchor words of a path.", at_least(1))
    neighbours: int = hyperparameter(500, "Candidates for the next word.", at_least(1))
    nodes: int = hyperparameter(3, "Nodes between two words.", at_least(1, MOST_GAUSS_NODES))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=1, gradients=self.nodes * (self.words + 1)).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute along the chains of words."""
        anchors = x.expand(self.words, *x.shape).clone()
        moves = (x != baseline).any(-1)
        for side, table in enumerate(field.space.tables):
            own = moves & (field.space.table_of == side).to(moves.device)
            pairs = zip(x[own].split(_TOGETHER), baseline[own].split(_TOGETHER), strict=True)
            chains = [self._chains(table, a, b) for a, b in pairs if len(a)]
            if chains:
                anchors[:, own] = torch.cat(chains, 1)
        points = torch.cat([baseline[None], anchors.flip(0), x[None]])
        rule = composite(gauss_legendre(self.nodes), len(points) - 1)
        return line_integral(field, polyline(points), rule)

    def _chains(self, table: Table, x: Tensor, baseline: Tensor) -> Tensor:
        """Return anchors from words x [M, D] on towards their baselines, [words, M, D]."""
        word, anchors, used = x, [x], table.nearest(x, 1)
        for _ in range(self.words):
            ids = table.nearest(word, self.neighbours + used.shape[1] + 1)
            candidates = table.embed(ids.flatten()).to(x).reshape(*ids.shape, -1)
            free = ~(ids[..., None] == used[:, None]).any(-1)
            free &= (candidates != baseline[:, None]).any(-1)  # the end is no word on the way
            free &= free.cumsum(1) <= self.neighbours
            moved = monotone(candidates, word[:, None], baseline[:, None], self.words)
            cost = (candidates - moved).norm(dim=-1).masked_fill(~free, torch.inf)
            best = cost.argmin(1, keepdim=True)
            nearest = candidates.take_along_dim(best[..., None], 1)[:, 0]
            # Where no word is left, the chain goes to its end.
            word = torch.where(free.any(1, keepdim=True), nearest, baseline)
            used = torch.cat([used, ids.gather(1, best)], 1)
            anchors.append(monotone(word, anchors[-1], baseline, self.words))
        return torch.stack(anchors[1:])

r"""Rules for :math:`\int_0^1 g(\alpha)\,d\alpha \approx \sum_k w_k\, g(\alpha_k)`.

Every rule integrates constants exactly, :math:`\sum_k w_k = 1`. Libraries whose weights sum to
:math:`1 \pm 1/K` are wrong by that factor on a linear model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "RULES",
    "STEP_RULES",
    "Rule",
    "composite",
    "gauss_legendre",
    "graded_gauss_legendre",
    "midpoint",
    "reverse",
    "trapezoid",
]

MOST_GAUSS_NODES = 2000


@dataclass(frozen=True, eq=False)
class Rule:
    """Nodes in [0, 1] and weights of a quadrature rule.

    Args:
        nodes: positions on the path, [K], float64.
        weights: their weights, [K], float64.
    """

    nodes: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.nodes)


def midpoint(steps: int) -> Rule:
    """Return the composite midpoint rule; error O(K^-2).

    >>> midpoint(2).nodes.tolist()
    [0.25, 0.75]
    """
    nodes = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    return Rule(nodes, torch.full_like(nodes, 1 / steps))


def trapezoid(steps: int) -> Rule:
    """Return the composite trapezoid rule on ``steps`` nodes, both ends included; error O(K^-2).

    The node at 0 sits on the baseline itself, where the gradient of a normalised model can be
    huge: see :func:`graded_gauss_legendre`.
    """
    if steps < 2:
        raise ValueError(f"the trapezoid rule needs both ends: steps is {steps}, expected >= 2")
    nodes = torch.linspace(0, 1, steps, dtype=torch.float64)
    weights = torch.full_like(nodes, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return Rule(nodes, weights)


def gauss_legendre(steps: int) -> Rule:
    """Return the Gauss–Legendre rule: exact for polynomials of degree 2K - 1.

    Finding its nodes takes K x K memory; :data:`MOST_GAUSS_NODES` bounds K.

    >>> round(float(gauss_legendre(3).weights.sum()), 12)
    1.0
    """
    if steps > MOST_GAUSS_NODES:
        raise ValueError(f"a Gauss–Legendre rule of {steps} nodes; at most {MOST_GAUSS_NODES}")
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return Rule(torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2))


def graded_gauss_legendre(steps: int) -> Rule:
    r"""Return Gauss–Legendre in u with :math:`\alpha = u^2`, :math:`d\alpha = 2u\,du`.

    For paths that start at the zero embedding: RMSNorm is scale invariant, so f depends on
    :math:`\log\alpha` there and its gradient is a spike at 0 that evenly spread nodes miss.
    """
    plain = gauss_legendre(steps)
    return Rule(plain.nodes**2, 2 * plain.nodes * plain.weights)


def composite(rule: Rule, segments: int) -> Rule:
    """Return a rule repeated on so many equal segments of [0, 1].

    >>> composite(midpoint(1), 2).nodes.tolist()
    [0.25, 0.75]
    """
    starts = torch.arange(segments, dtype=torch.float64)[:, None]
    nodes = ((starts + rule.nodes) / segments).flatten()
    return Rule(nodes, rule.weights.repeat(segments) / segments)


def reverse(rule: Rule) -> Rule:
    """Return a rule for the same path run from its end."""
    return Rule(1 - rule.nodes, rule.weights)


def _rule(nodes: list[float], weights: list[float]) -> Rule:
    return Rule(*(torch.tensor(numbers, dtype=torch.float64) for numbers in (nodes, weights)))


#: Rules for single steps of a walk, which may be few and short.
STEP_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "left": _rule([0], [1]),
        "midpoint": _rule([0.5], [1]),
        "trapezoid": _rule([0, 1], [0.5, 0.5]),
        "simpson": _rule([0, 0.5, 1], [1 / 6, 4 / 6, 1 / 6]),
        "gauss_legendre": gauss_legendre(3),
    }
)

RULES: Mapping[str, Callable[[int], Rule]] = MappingProxyType(
    {
        "gauss_legendre": gauss_legendre,
        "graded_gauss_legendre": graded_gauss_legendre,
        "midpoint": midpoint,
        "trapezoid": trapezoid,
    }
)

r"""Rules for :math:`\int (-\ln\alpha)\, g(\alpha)\,d\alpha`, over [0, 1] and over parts of it.

That is what a double integral of :math:`g(\alpha\beta)` over the unit square comes to.
"""

from __future__ import annotations

import numpy as np
import torch

from hf_attrib.integration.rules import Rule, gauss_legendre

__all__ = ["CELL_NODES", "MOST_LOG_NODES", "gauss_log", "log_cell"]

MOST_LOG_NODES = 512
#: Nodes of a part, and those that its weights are found with.
CELL_NODES, _FINE = 4, 24


def gauss_log(steps: int) -> Rule:
    r"""Return the Gauss rule of the weight :math:`-\ln\alpha`: exact up to degree 2K - 1.

    Weights sum to 1, the integral of that weight. Its polynomials come from Stieltjes' procedure on
    a fine rule (Gautschi 2004, *Orthogonal polynomials*, section 2.2).

    >>> rule = gauss_log(3)
    >>> [round(float((rule.weights * rule.nodes**k).sum()), 12) for k in (0, 1, 5)]
    [1.0, 0.25, 0.027777777778]
    """
    if steps > MOST_LOG_NODES:
        raise ValueError(f"a Gauss rule of {steps} nodes; at most {MOST_LOG_NODES}")
    # With alpha = u^4 the weight, -16 u^3 ln u du, is smooth enough for Gauss-Legendre.
    u, weight = np.polynomial.legendre.leggauss(4 * steps + 60)
    u, weight = (u + 1) / 2, weight / 2
    nodes, weight = u**4, -16 * u**3 * np.log(u) * weight
    now, before, norm = np.ones_like(nodes), np.zeros_like(nodes), 1.0
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    for k in range(steps):
        # Normalised as they go, or they would vanish.
        norm = float(np.sqrt(weight @ now**2))
        now, beside[k] = now / norm, norm
        diagonal[k] = weight @ (nodes * now**2)
        now, before = (nodes - diagonal[k]) * now - norm * before, now
    values, vectors = np.linalg.eigh(
        np.diag(diagonal) + np.diag(beside[1:], 1) + np.diag(beside[1:], -1)
    )
    return Rule(torch.from_numpy(values), torch.from_numpy(beside[0] ** 2 * vectors[0] ** 2))


def log_cell(start: float, stop: float) -> Rule:
    """Return the rule of the same weight on a part of [0, 1]: exact for polynomials of degree 3.

    Args:
        start: 0, or at least the length of the part, where the weight is smooth.
        stop: up to 1.

    >>> rule = log_cell(0.25, 0.5)
    >>> round(float((rule.weights * rule.nodes).sum()), 9)
    0.090196699
    """
    length, nodes = stop - start, gauss_legendre(CELL_NODES).nodes
    fine = gauss_legendre(_FINE)
    weight = -torch.log(start + length * fine.nodes) * fine.weights
    where = fine.nodes
    if not start:  # -ln(length * s) = -ln(length) - ln(s), of which the latter has its own rule
        log = gauss_log(_FINE)
        weight = torch.cat([-np.log(length) * fine.weights, log.weights])
        where = torch.cat([fine.nodes, log.nodes])
    powers = torch.arange(CELL_NODES)[:, None]
    moments = (weight * where**powers).sum(1)
    return Rule(start + length * nodes, length * torch.linalg.solve(nodes**powers, moments))

"""Path integrals by rules with fixed nodes; those that place their own are in ``adaptive``."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_attrib.field import Decomposition, Field, Path
from hf_attrib.integration.rules import Rule

__all__ = ["line_integral", "polyline_integral"]


def line_integral(
    field: Field, path: Path, rule: Rule, start: Tensor | None = None
) -> Decomposition:
    r"""Return :math:`\sum_k w_k \langle \nabla F(z(\alpha_k)), z'(\alpha_k) \rangle_D`.

    The scores decompose F(path end) - F(path start), exactly in the limit of fine rules.

    Args:
        field: F and its gradient.
        path: the curve.
        rule: K nodes and weights.
        start: where it starts, [B, T or 1, N, D], if that is not at 0.
    """
    total, done = torch.zeros(()), 0
    for sample in field.along(path, rule.nodes):
        weights = rule.weights[done : done + len(sample.gradient)].to(sample.gradient)
        total = total.to(weights) + torch.einsum("k,kbtn->btn", weights, sample.gradient)
        done += len(weights)
    first = path(torch.zeros(1, dtype=torch.float64))[0] if start is None else start[None]
    return Decomposition(total, field.value(first)[0])


def polyline_integral(field: Field, points: Tensor, rule: Rule) -> Decomposition:
    """Return the same sum along the segments between successive points, by a rule on each.

    Nodes may be the ends of segments, although two velocities meet there, since each node belongs
    to one segment.

    Args:
        field: F and its gradient.
        points: [S + 1, B, T or 1, N, D].
        rule: nodes and weights on each segment.
    """
    segments, nodes = len(points) - 1, len(rule)

    def place(numbers: Tensor) -> tuple[Tensor, Tensor]:
        # By number and not by position: where segments meet there are two velocities.
        segment = (numbers // nodes).to(points.device)
        start, end = points[segment], points[segment + 1]
        share = rule.nodes[numbers % nodes].to(points).reshape(-1, *[1] * (points.dim() - 1))
        return (1 - share) * start + share * end, end - start

    every = Rule(torch.arange(segments * nodes), rule.weights.repeat(segments))
    return line_integral(field, place, every, points[0])

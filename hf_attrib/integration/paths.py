"""Curves through embedding space that a walk follows from a reference input to the input."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_attrib.field import Path

__all__ = ["graded", "monotone", "polyline", "straight"]


def straight(start: Tensor, end: Tensor) -> Path:
    r"""Return the segment :math:`x' + \alpha (x - x')` with velocity :math:`x - x'`.

    Args:
        start: x', [B, T or 1, N, D].
        end: x, of the same shape.
    """
    velocity = end - start

    def path(alpha: Tensor) -> tuple[Tensor, Tensor]:
        alpha = alpha.to(end).reshape(-1, *[1] * end.dim())
        # The convex combination returns exactly x at alpha = 1; x' + alpha v would not.
        return (1 - alpha) * start + alpha * end, velocity[None]

    return path


def graded(path: Path, power: int) -> Path:
    r"""Return a path run as :math:`\alpha = u^p`, which lingers at its start.

    For paths that start at the zero embedding: RMSNorm is scale invariant, so f depends on
    :math:`\log\alpha` there.
    """

    def slow(u: Tensor) -> tuple[Tensor, Tensor]:
        points, velocity = path(u**power)
        pace = (power * u ** (power - 1)).to(points).reshape(-1, *[1] * (points.dim() - 1))
        return points, velocity * pace

    return slow


def polyline(points: Tensor) -> Path:
    """Return the path through successive points, each segment taking an equal part of [0, 1].

    Args:
        points: [S + 1, B, T or 1, N, D].
    """
    segments = len(points) - 1

    def path(alpha: Tensor) -> tuple[Tensor, Tensor]:
        segment = (alpha * segments).long().clamp_max(segments - 1)
        within = (alpha * segments - segment).to(points).reshape(-1, *[1] * (points.dim() - 1))
        segment = segment.to(points.device)
        start, end = points[segment], points[segment + 1]
        return (1 - within) * start + within * end, (end - start) * segments

    return path


def monotone(points: Tensor, present: Tensor, goal: Tensor, steps: int) -> Tensor:
    """Return points whose coordinates all lie between present and goal.

    A coordinate that does not is replaced by one that is a ``steps``-th of the way from present to
    goal (arXiv:2108.13654, section 3).

    Args:
        points: [..., D].
        present: where the path is, broadcastable to the points.
        goal: where the path ends, broadcastable to the points.
        steps: number of equal steps from present to goal.
    """
    low, high = torch.minimum(present, goal), torch.maximum(present, goal)
    return torch.where((low <= points) & (points <= high), points, present.lerp(goal, 1 / steps))

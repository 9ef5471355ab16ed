"""Curves through embedding space that a walk follows from a reference input to the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

__all__ = ["Path", "constant", "straight"]

#: Maps k positions in [0, 1] to points, [k, B, T or 1, N, D], and to the velocity there, of a
#: shape that broadcasts to the points'. A T axis of size 1: all targets share the path.
Path: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


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


def constant(points: Tensor, velocity: Tensor) -> Path:
    """Return a path that stays where it is, for methods that look at single points.

    Args:
        points: [B, T or 1, N, D].
        velocity: what the gradient there is to be contracted with, broadcastable to the points.
    """

    def path(alpha: Tensor) -> tuple[Tensor, Tensor]:
        return points.expand(len(alpha), *points.shape), velocity[None]

    return path

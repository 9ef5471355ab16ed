"""The ball around an input that an attack stays in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Ball", "length", "tiny"]


@dataclass(frozen=True, eq=False)
class Ball:
    r"""Where an attack may go: :math:`\|z - x\| \le r`.

    Args:
        x: its centre, [B, W, N, D].
        radius: r, broadcastable to x: in the largest coordinate, or in length over N and D.
        euclidean: which of the two.
    """

    x: Tensor
    radius: Tensor
    euclidean: bool = False

    def project(self, z: Tensor) -> Tensor:
        """Return the nearest point of the ball."""
        away = z - self.x
        if not self.euclidean:
            return self.x + away.clamp(-self.radius, self.radius)
        size = length(away)
        return self.x + away * (self.radius / size.clamp_min(tiny(size))).clamp_max(1)

    def unit(self, direction: Tensor) -> Tensor:
        """Return the longest step along a direction of size 1: its signs, or itself at length 1."""
        if not self.euclidean:
            return direction.sign()
        size = length(direction)
        return direction / size.clamp_min(tiny(size))


def length(z: Tensor) -> Tensor:
    """Return the length of vectors [..., N, D], [..., 1, 1], whose squares may be too small."""
    largest = z.abs().amax((-2, -1), keepdim=True).clamp_min(tiny(z))
    return largest * (z / largest).square().sum((-2, -1), keepdim=True).sqrt()


def tiny(like: Tensor) -> float:
    """Return the smallest number to divide by."""
    return float(torch.finfo(like.dtype).tiny)

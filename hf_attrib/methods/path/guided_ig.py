"""Guided integrated gradients. Kapishnikov et al. 2021, arXiv:2106.09788."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.methods.base import AXIOMS, Claims, Cost, Method

__all__ = ["GuidedIG"]


@dataclass(frozen=True)
class GuidedIG(Method, name="guided_ig"):
    r"""Path integral along a walk that moves the coordinates of least gradient first.

    After step s of S the walk has covered the share s / S of the L1 distance from x' to x. Each
    step moves the fraction of coordinates with the smallest :math:`|\partial f_t / \partial x|`,
    then the next fraction, as far as needed; none may leave the straight line by more than
    ``distance``. Every target has a walk of its own.

    .. math:: A_{t,n} = \sum_s \sum_d (z^{s+1}_{nd} - z^s_{nd})
        \tfrac12 \Big(\frac{\partial f_t}{\partial x_{nd}}(z^s) +
        \frac{\partial f_t}{\partial x_{nd}}(z^{s+1})\Big)

    The published sum takes the gradient at :math:`z^s` alone; the mean of both ends costs nothing
    more and converges one order faster.

    Args:
        steps: S.
        fraction: of the coordinates that differ between x' and x, moved together.
        distance: from the straight line, in shares of its length; 1 leaves the walk free.

    Returns:
        scores [B, T, N], summing to f(x) - f(x') as S grows (units of f).

    Raises:
        InputError: a field is out of range.

    Source: arXiv:2106.09788.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        cost="T * (K + 1) + 1 forward rows, T * (K + 1) backward rows",
        axioms=frozenset(AXIOMS) - {"linearity"},
        whole_gradients=14,
    )
    steps: int = hyperparameter(200, "Steps of the walk.", at_least(1))
    fraction: float = hyperparameter(0.25, "Coordinates moved together.", positive)
    distance: float = hyperparameter(0.02, "Largest distance from the line.", positive)

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.fraction, self.distance) > 1:
            raise InputError("fraction and distance are shares; expected at most 1.")

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(own=targets * (self.steps + 1)).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk all targets side by side."""
        start = baseline.expand(field.sequences, field.targets, *x.shape[2:])
        z, total = start, torch.zeros_like(start[..., 0])
        here = first = field(z[None])
        for step in range(1, self.steps + 1):
            ahead = self._advance(z, here.gradient[0], start, x, step / self.steps)
            there = field(ahead[None])
            total = total + ((ahead - z) * (here.gradient[0] + there.gradient[0]) / 2).sum(-1)
            z, here = ahead, there
            field.progress(step, self.steps)
        return Decomposition(total, first.value[0])

    def _advance(self, z: Tensor, g: Tensor, start: Tensor, x: Tensor, alpha: float) -> Tensor:
        """Return the next point of the walk, which has covered the share alpha of the distance."""
        low, high = (
            torch.lerp(start, x.expand_as(start), min(max(a, 0.0), 1.0))
            for a in (alpha - self.distance, alpha + self.distance)
        )
        behind = (z - start).abs() < (low - start).abs()
        z = torch.where(behind, low, z)
        left = (x - z).abs().flatten(2).sum(-1)
        need = left - (1 - alpha) * (x - start).abs().flatten(2).sum(-1)
        room = (high - z).abs()
        order = g.abs().masked_fill(room == 0, torch.inf).flatten(2).argsort(stable=True, dim=-1)
        moving = (x != start).flatten(2).sum(-1, keepdim=True)
        share = torch.zeros_like(room.flatten(2))
        share.scatter_(-1, order, self._shares(room.flatten(2).gather(-1, order), need, moving))
        return torch.lerp(z, high, share.reshape(z.shape))

    def _shares(self, room: Tensor, need: Tensor, moving: Tensor) -> Tensor:
        """Return how far sorted coordinates go: groups fill up in turn until ``need`` is met."""
        size = (self.fraction * (moving - 1).clamp_min(0).double()).floor().long() + 1
        group = torch.arange(room.shape[-1], device=room.device) // size
        filled = torch.zeros_like(room).scatter_add_(-1, group, room)
        before = filled.cumsum(-1) - filled
        share = (need[..., None] - before) / filled.clamp_min(torch.finfo(room.dtype).tiny)
        return share.clamp(0, 1).gather(-1, group)

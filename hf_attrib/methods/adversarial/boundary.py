"""The nearest points at which tokens gain or lose the lead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hf_attrib.attacks import Objective
from hf_attrib.field import Cost, Field
from hf_attrib.methods.adversarial.gradient_steps import GradientSteps

__all__ = ["Boundary", "boundary", "boundary_cost"]

#: Radii that are searched one after another, in embedding scales.
_RADII = (0.1, 0.25, 0.5, 1.0)

_MISSED = (
    f"the lead does not change within a radius of {_RADII[-1]:g} embedding scales; the point that "
    "came nearest to that stands for the boundary"
)
_BEHIND = "the token is not the likeliest at its place; its boundary is where it becomes that"


@dataclass(frozen=True, eq=False)
class Boundary:
    """Where the lead of each target changes.

    Args:
        points: [B, T, N, D].
        distance: of each from x, [B, T]: its length in that of a vector of typical coordinates.
        notes: reservations, and which targets each is about, [B, T] bool, on the CPU.
    """

    points: Tensor
    distance: Tensor
    notes: dict[str, Tensor]


def boundary_cost(targets: int, steps: int, bisections: int) -> tuple[Cost, Cost]:
    """Return the cost of a search at least and at most.

    Args:
        targets: T.
        steps: of each walk.
        bisections: of the segment that the lead changes on.
    """
    each = Cost(values=1, own_values=targets * bisections)
    least = Cost(own=targets * min(2, steps), own_values=targets)
    whole = Cost(own=targets * steps, own_values=targets)
    return each + least, each + whole.times(len(_RADII))


def boundary(field: Field, x: Tensor, steps: int, bisections: int) -> Boundary:
    """Search balls of growing radius along the gradient of the margin, and bisect the way there.

    Args:
        field: of tokens, which can be aimed at their margins.
        x: embeddings, [B, 1, N, D].
        steps: of the walk in each ball.
        bisections: of the segment from x to where the lead has changed.
    """
    search = _Search(field, x, steps)
    lead = search.margin.value(x[None])[0]
    search.side = torch.where(lead > 0, 1.0, -1.0).to(lead)
    valid = field.valid().to(lead.device)
    end, left = search.start, lead.abs() * valid
    for done, radius in enumerate(_RADII):
        if not (left > 0).any():
            break
        there, margin = search.walk(radius, left > 0)
        nearer = margin < left
        end = torch.where(nearer[..., None, None], there, end)
        left = torch.where(nearer, margin, left)
        field.progress(done + 1, len(_RADII))
    share = search.crossing(end, lead.abs(), left, bisections)
    points = field.rounded(torch.lerp(search.start, end, share))
    moves = (field.movable[..., None] * field.space.scale)[:, None].to(x)
    unit = moves.expand(-1, -1, -1, x.shape[-1]).square().sum((-2, -1)).sqrt()
    distance = (points - search.start).square().sum((-2, -1)).sqrt() / unit
    behind = (lead <= 0) & valid
    return Boundary(points, distance, {_MISSED: (left > 0).cpu(), _BEHIND: behind.cpu()})


class _Search:
    """Walks of one walker for each target, towards where its lead changes.

    Args:
        field: of tokens, which can be aimed at their margins.
        x: embeddings, [B, 1, N, D].
        steps: of a walk.
    """

    def __init__(self, field: Field, x: Tensor, steps: int) -> None:
        self.margin = field.aimed("margin")
        self.start = x.expand(-1, field.targets, -1, -1)
        self.steps = steps
        self.side = torch.ones(x.shape[0], field.targets).to(x)

    def walk(self, radius: float, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Return where walkers end, and by how much they still are where they were, [B, T].

        Args:
            radius: of the ball, in embedding scales.
            alive: which walkers set out, [B, T] bool.
        """
        rule = GradientSteps(radius, self.steps, by_length=True)
        climb = rule.climb(Objective.of_each(self.margin), self.start)
        for _ in range(self.steps):
            here, seen = climb.here, self.margin(climb.here[None])
            alive = alive & (self.side * seen.value[0] > 0)
            if not alive.any():
                break
            there = climb.advance(-self.side[..., None, None] * seen.gradient[0])
            climb.here = torch.where(alive[..., None, None], there, here)
        return climb.here, self.side * self.margin.value(climb.here[None])[0]

    def crossing(self, end: Tensor, before: Tensor, after: Tensor, bisections: int) -> Tensor:
        """Return at which share of the way to the end the lead changes, [B, T, 1, 1].

        Args:
            end: where walkers ended, [B, T, N, D].
            before: by how much the lead is what it was at x, [B, T].
            after: the same at the end; above 0 where it has not changed.
            bisections: how many, before the chord's root is taken.
        """
        low, high = torch.zeros_like(before), torch.ones_like(before)
        crossed = after <= 0
        for _ in range(bisections):
            middle = (low + high) / 2
            point = torch.lerp(self.start, end, middle[..., None, None].to(self.start))
            margin = self.side * self.margin.value(point[None])[0]
            inside = margin > 0
            low, before = torch.where(inside, middle, low), torch.where(inside, margin, before)
            high, after = torch.where(inside, high, middle), torch.where(inside, after, margin)
        tiny = torch.finfo(before.dtype).tiny
        root = low + (high - low) * before / (before - after).clamp_min(tiny)
        return torch.where(crossed, root, 1)[..., None, None].to(self.start)

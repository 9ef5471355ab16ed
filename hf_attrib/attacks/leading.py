"""When a walk has reached its end: other tokens lead."""

from __future__ import annotations

from torch import Tensor

from hf_attrib.field import Field

__all__ = ["WhileLeading"]


class WhileLeading:
    """Tells which walkers go on: those with a token that led at x and still does.

    A token that did not lead at x has nothing to lose, and its walker goes on.

    Args:
        field: of tokens, which can be aimed at their margins.
    """

    def __init__(self, field: Field) -> None:
        self.margin = field.aimed("margin")
        self.valid = field.valid()
        self.led: Tensor | None = None

    def __call__(self, points: Tensor) -> Tensor:
        """Return which walkers at points [B, W, N, D] go on, [B, W] bool; asked first at x."""
        leads = (self.margin.value(points[None])[0] > 0).cpu()
        if self.led is None:
            self.led = leads
        still = self.valid & (leads | ~self.led)
        return still if points.shape[1] > 1 else still.any(1, keepdim=True)

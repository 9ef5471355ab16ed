"""Walks to other tokens, and when they have arrived: other tokens lead."""

from __future__ import annotations

from torch import Tensor

from hf_attrib.attacks import GoesOn, Objective
from hf_attrib.field import Field

__all__ = ["WhileLeading", "until_they_lead", "walks_to"]


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


def walks_to(field: Field, ids: Tensor, each: bool) -> list[Objective]:
    """Return objectives that are the log-probabilities of other tokens.

    Args:
        field: of tokens, which can be aimed at others.
        ids: of C other tokens for each, [B, T, C].
        each: whether each target has a walker, or all share one.

    Returns:
        one objective for each of the C.
    """
    make = Objective.of_each if each else Objective.shared
    return [make(field.aimed("log_prob", one), 1.0) for one in ids.unbind(-1)]


def until_they_lead(field: Field, ids: Tensor) -> GoesOn:
    """Return what tells which walkers, one for each target, go on: those whose token is behind.

    Args:
        field: of tokens, which can be aimed at others.
        ids: of the tokens that are walked to, [B, T].
    """
    margin = field.aimed("margin", ids)
    return lambda points: (margin.value(points[None])[0] <= 0).cpu() & field.valid()

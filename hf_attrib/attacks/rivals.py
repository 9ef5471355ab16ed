"""Objectives of walks that lead to other tokens."""

from __future__ import annotations

from torch import Tensor

from hf_attrib.attacks.base import GoesOn
from hf_attrib.attacks.climb import Objective
from hf_attrib.field import Field

__all__ = ["until_they_lead", "walks_to"]


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

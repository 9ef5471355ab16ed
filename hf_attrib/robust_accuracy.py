"""Which share of tokens and answers withstands an attack, by its radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_attrib.errors import InputError
from hf_attrib.robustness import Robustness

__all__ = ["RobustAccuracy", "robust_accuracy"]

#: Radii of a curve, unless they are given.
_RADII = 21


@dataclass(frozen=True)
class RobustAccuracy:
    """What withstands an attack within each radius.

    Args:
        radii: in embedding scales, rising.
        tokens: share of the generated tokens that no attack within the radius flipped.
        answers: share of the answers of which it flipped no token.
    """

    radii: tuple[float, ...]
    tokens: tuple[float, ...]
    answers: tuple[float, ...]

    def __rich__(self) -> Any:
        """Show as a table wherever rich prints."""
        from hf_attrib.render import CurveView

        return CurveView(self)


def robust_accuracy(
    results: Robustness | Sequence[Robustness], radii: Sequence[float] | None = None
) -> RobustAccuracy:
    """Return which share of tokens, and of whole answers, withstood an attack within each radius.

    Args:
        results: of one or many prompts, by the same attack.
        radii: in embedding scales; by default 21 from 0 to the largest that was tried.

    Raises:
        InputError: there is no result, results of several attacks, or a radius beyond those tried.
    """
    several = [results] if isinstance(results, Robustness) else list(results)
    if not several:
        raise InputError("there is no result; give at least one.")
    runs = [r.run for r in several]
    fields = [str(sorted(run.attack_fields.items())) for run in runs]
    ways = {(r.attack, own, r.norm, r.baseline) for r, own in zip(runs, fields, strict=True)}
    if len(ways) > 1:
        raise InputError("the results are of several attacks; give those of one.")
    largest = min(result.run.eps for result in several)
    even = [largest * i / (_RADII - 1) for i in range(_RADII)]
    chosen = sorted(even if radii is None else map(float, radii))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] <= largest * (1 + 1e-9):
        raise InputError(
            f"radii are {chosen!s:.80}; expected some from 0 to {largest:g}, the largest tried."
        )
    held = [torch.stack([result.radius > r for r in chosen]) for result in several]  # [R, T] each
    tokens, answers = torch.cat(held, 1), torch.stack([one.all(1) for one in held], 1)
    shares = (tuple(each.double().mean(1).tolist()) for each in (tokens, answers))
    return RobustAccuracy(tuple(chosen), *shares)

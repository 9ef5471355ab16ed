"""What is known of the numbers of each target: whether they are right, and if not, what is wrong.

Two things can be: the *sum* of a row of scores, which must be f(x) - f(x') and says so exactly, and
the *row* itself, in which errors of two scores can cancel. A method that bounds the error of rows
speaks of both, and one that does not speaks of the sum alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from hf_attrib.integration import ROW_TOLERANCE

if TYPE_CHECKING:
    from hf_attrib.results.attribution import Attribution

__all__ = ["Status", "statuses"]

#: What is known of a target's numbers; the change is f(x) - f(x'):
#:
#: - "converged": the scores sum to the change, and the bound on their errors is small against it;
#: - "sum converged": the scores sum to the change, and the method has no bound on their errors;
#: - "below resolution": the change is below the target's resolution, and the scores are right
#:   against that and not against the change, so that there is nothing to share out;
#: - "row uncertain": the scores sum to the change, and by their bound errors that cancel may be too
#:   large;
#: - "not converged": the scores miss the change;
#: - "no identity": the method states none, so that nothing can be missed.
Status: TypeAlias = Literal[
    "converged",
    "sum converged",
    "below resolution",
    "row uncertain",
    "not converged",
    "no identity",
]


def statuses(result: Attribution) -> tuple[Status, ...]:
    """Return what is known of each target, as :attr:`Attribution.status` says.

    Args:
        result: the attribution.
    """
    run, bound = result.run, result.error_bound
    if run.identity is None:
        none: Status = "no identity"
        return (none,) * len(result.rows)
    change = (result.value - result.reference_value).double()
    missed = (result.scores.double().sum(-1) - change).abs()
    of_row = torch.zeros_like(missed) if bound is None else bound.double() / ROW_TOLERANCE
    errors = torch.stack([missed, of_row])

    def tolerable(size: Tensor) -> list[list[bool]]:
        """Tell of each target whether the errors of sum and row are, against some size."""
        found: list[list[bool]] = (errors <= run.tolerance * size).T.tolist()
        return found

    size = change.abs()
    exact, coarse = tolerable(size), tolerable(size.clamp_min(run.resolution))
    pairs = zip(exact, coarse, strict=True)
    return tuple(_status(*pair, is_bounded=bound is not None) for pair in pairs)


def _status(exact: list[bool], coarse: list[bool], *, is_bounded: bool) -> Status:
    """Return what is known of one target.

    Args:
        exact: whether the errors of sum and row are tolerable against the change.
        coarse: whether they are against the change or the resolution, whichever is larger.
        is_bounded: whether the error of the row is known.
    """
    if all(exact):
        return "converged" if is_bounded else "sum converged"
    if all(coarse):
        return "below resolution"
    return "row uncertain" if coarse[0] else "not converged"

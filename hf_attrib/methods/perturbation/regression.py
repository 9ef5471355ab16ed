"""Least squares of f on who plays, and the errors of what it finds."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_attrib.errors import InputError

__all__ = ["check_enough", "effective", "least_squares", "uniform"]

#: Subsets for each player that a regression takes at least: with fewer, its error cannot be told.
_LEAST = 3


def check_enough(samples: int, count: int) -> None:
    """Refuse a regression on fewer subsets than tell the players apart.

    Raises:
        InputError: there are fewer than three for each player.
    """
    least = _LEAST * count
    if samples < least:
        raise InputError(
            f"samples is {samples}; a regression on {count} players takes at least {least}. Join "
            "inputs (groups='word'), or take shapley, which does with fewer."
        )


def effective(weight: Tensor) -> float:
    r"""Return how many rows of one weight tell as much, :math:`(\sum w)^2 / \sum w^2` (Kish)."""
    return float(weight.sum().square() / weight.square().sum())


def uniform(count: int, rows: int, draw: torch.Generator) -> Tensor:
    """Return subsets in which each player is by a fair coin, [R, n] bool."""
    return torch.rand(rows, count, generator=draw, dtype=torch.float32) < 0.5


def least_squares(
    rows: Tensor,
    value: Tensor,
    weight: Tensor | None = None,
    penalty: Tensor | None = None,
    certain: int = 0,
) -> tuple[Tensor, Tensor]:
    r"""Return the coefficients of a regression, and their standard errors by the jackknife.

    What the coefficients would be without one row is known from all of them: they change by
    :math:`(X^\top W X)^{-1} x_r w_r e_r / (1 - h_r)`, where e is the residual and h the leverage.

    Args:
        rows: X, [R, P] in float64.
        value: y of T targets, [R, T].
        weight: W, [R]; by default all rows count alike.
        penalty: on the square of each coefficient, [P]; by default none.
        certain: how many of the first rows come in every draw, and so bring no error with them.

    Returns:
        coefficients [P, T], the smallest of those that fit equally well; and their errors [P, T].
    """
    weight = torch.ones(len(rows), dtype=torch.float64) if weight is None else weight
    gram = rows.T @ (weight[:, None] * rows)
    if penalty is not None:
        gram = gram + torch.diag(penalty)
    influence = rows @ torch.linalg.pinv(gram, hermitian=True) * weight[:, None]  # [R, P]
    found = influence.T @ value
    leverage = (influence * rows).sum(1, keepdim=True)
    left = (value - rows @ found) / (1 - leverage).clamp_min(1e-9)
    left, influence = left[certain:], influence[certain:]
    count = len(left)
    square = influence.square().T @ left.square() - (influence.T @ left).square() / count
    return found, (square.clamp_min(0) * (count - 1) / count).sqrt()

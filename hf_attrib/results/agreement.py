"""How alike two lists of scores are: in their order, in direction, in what is strongest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True)
class Agreement:
    """How alike two lists of scores are; entries that are 0 in both do not count.

    Args:
        spearman: rank correlation, -1 to 1; NaN for fewer than two entries or constant ones.
        kendall: rank correlation by pairs, tau-b, of the same range.
        cosine: of the angle between the two, -1 to 1; the only one that depends on more than order.
        overlap: part of the k strongest entries, by magnitude, that both have in common, 0 to 1.
    """

    spearman: float
    kendall: float
    cosine: float
    overlap: float


def agreement(a: Tensor, b: Tensor, k: int) -> Agreement:
    """Compare two lists of scores; all is NaN if a score is not finite.

    Args:
        a: [N].
        b: [N].
        k: how many of the strongest entries to look at.
    """
    either = (a != 0) | (b != 0)
    a, b = a[either], b[either]
    if not bool((a.isfinite() & b.isfinite()).all()):
        return Agreement(math.nan, math.nan, math.nan, math.nan)
    varied = min((len(x.unique()) for x in (a, b)), default=0) > 1
    from scipy import stats  # takes a while, and is needed here only

    x, y = a.numpy(), b.numpy()
    length = float(a.norm() * b.norm())
    strongest = [_strongest(scores, k) for scores in (a, b)]
    most = max(map(len, strongest))
    return Agreement(
        spearman=float(stats.spearmanr(x, y).statistic) if varied else math.nan,
        kendall=float(stats.kendalltau(x, y).statistic) if varied else math.nan,
        cosine=max(-1.0, min(float(a @ b) / length, 1.0)) if length else math.nan,
        overlap=len(strongest[0] & strongest[1]) / most if most else math.nan,
    )


def _strongest(scores: Tensor, k: int) -> set[int]:
    order = scores.abs().argsort(descending=True, stable=True)[:k]
    return {i for i in order.tolist() if scores[i]}

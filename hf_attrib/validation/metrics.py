"""Metrics of faithfulness as formulas: of values of subsets and of scores, without a model.

Everywhere s(S) is a score of the answer with the units S kept, n the number of units, and an order
lists units from the highest score to the lowest. What cannot be said is NaN: never 0, never
infinite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Flags",
    "aopc",
    "area",
    "comprehensiveness",
    "confidence_drop",
    "confidence_increase",
    "counts_at",
    "curve_counts",
    "infidelity",
    "infidelity_scaled",
    "kendall",
    "kept",
    "lds",
    "lds_ceiling",
    "log_odds",
    "max_sensitivity",
    "mean_fall",
    "normalised",
    "pearson",
    "ranked",
    "removed",
    "soft_retention",
    "sufficiency",
]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Points of a curve, unless there are so few units that each is one.
_POINTS, _EXACT = 11, 12
#: Beyond these a normalised score is an outlier of its denominator.
_CLIP = (-1.0, 2.0)


def ranked(scores: Array) -> NDArray[np.int64]:
    """Return units from the highest score [n] to the lowest; of equal ones the first comes first.

    >>> ranked(np.array([0.0, 2.0, -1.0, 2.0])).tolist()
    [1, 3, 0, 2]
    """
    return np.argsort(-scores, kind="stable")


def removed(order: NDArray[np.int64], counts: NDArray[np.int64]) -> Flags:
    """Return which units stay when the first so many of an order are taken away, [K, n]."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return np.asarray(place[None] >= counts[:, None])


def kept(order: NDArray[np.int64], counts: NDArray[np.int64]) -> Flags:
    """Return which units stay when the first so many of an order alone are kept, [K, n]."""
    return ~removed(order, counts)


def counts_at(shares: tuple[float, ...], units: int) -> NDArray[np.int64]:
    """Return how many of n units shares of them are: rounded, one at least.

    >>> counts_at((0.05, 0.1, 0.2, 0.3, 0.5), 12).tolist()
    [1, 1, 2, 4, 6]
    """
    return np.maximum(1, np.floor(np.asarray(shares) * units + 0.5).astype(np.int64))


def curve_counts(units: int) -> NDArray[np.int64]:
    """Return after how many of n units a curve has its points: each, or at about every tenth.

    As many come before the middle as after it, so that an order and its reverse share their rows.

    >>> curve_counts(3).tolist()
    [0, 1, 2, 3]
    >>> curve_counts(40).tolist()
    [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40]
    """
    steps = units + 1 if units <= _EXACT else _POINTS + units % 2
    return np.rint(np.linspace(0, units, steps)).astype(np.int64)


def normalised(values: Array, full: float, empty: float, least: float = 0.1) -> Array:
    r"""Return :math:`(s - s_\emptyset) / (s_\mathrm{full} - s_\emptyset)`, clipped to [-1, 2].

    Args:
        values: s.
        full: s of all units.
        empty: s of none.
        least: size of the denominator below which it says nothing, so that all is NaN.
    """
    change = full - empty
    if not abs(change) >= least:  # NaN included
        return np.full_like(values, np.nan)
    return np.clip((values - empty) / change, *_CLIP)


def area(counts: NDArray[np.int64], values: Array) -> float:
    """Return the area under a curve over the share of the units, by trapezoids.

    >>> area(np.array([0, 1, 2]), np.array([1.0, 0.5, 0.0]))
    0.5
    """
    steps = np.diff(counts / counts[-1])
    return float(steps @ (values[1:] + values[:-1]) / 2)


def mean_fall(full: float, values: Array) -> float:
    """Return how much lower than s(all) values are, on average."""
    return float(full - values.mean())


def comprehensiveness(without: Array) -> float:
    """Return 1 - s(all without the top q), normalised s, on average over q.

    DeYoung et al. 2020, arXiv:1911.03429, who take probabilities as they are.
    """
    return float((1 - without).mean())


def sufficiency(top: Array) -> float:
    """Return 1 - s(the top q alone), on average over q; see :func:`comprehensiveness`."""
    return float((1 - top).mean())


def aopc(full: float, curve: Array) -> float:
    r"""Return the area over a deletion curve, :math:`\frac1{K+1}\sum_k s(x) - s(x_k)`.

    Samek et al. 2017, arXiv:1509.06321.

    Args:
        full: s of all units.
        curve: s along the curve, from s(all) on, [K + 1].
    """
    return float((full - curve).mean())


def log_odds(full: float, without: float) -> float:
    """Return log s(all without the top units) - log s(all), of two log-probabilities."""
    return float(without - full)


def infidelity(attributed: Array, falls: Array) -> float:
    r"""Return :math:`E_m[(\sum_{i \in m} a_i - (f(x) - f(x \setminus m)))^2]`.

    Yeh et al. 2019, arXiv:1901.09392, with binary perturbations.

    Args:
        attributed: sums of the scores of the units m that were taken away, [R].
        falls: what that took from f, [R].
    """
    return float(np.square(attributed - falls).mean())


def infidelity_scaled(attributed: Array, falls: Array) -> float:
    r"""Return the infidelity of the scores times the :math:`\beta` that makes it least.

    Args:
        attributed: as for :func:`infidelity`.
        falls: likewise.
    """
    square = float(np.square(attributed).mean())
    beta = float((attributed * falls).mean()) / square if square > 0 else 0.0
    return infidelity(beta * attributed, falls)


def lds(predicted: Array, values: Array) -> float:
    """Return Spearman's correlation of sums of scores with s, over random subsets: the LDS.

    The linear datamodelling score, Park et al. 2023, arXiv:2303.14186.

    Args:
        predicted: sums of the scores of the units that stay, [R].
        values: s of them, [R].
    """
    from scipy import stats  # takes a while, and is needed here and for tau only

    return pearson(stats.rankdata(predicted), stats.rankdata(values))


def lds_ceiling(keep: Flags, values: Array) -> float:
    """Return the LDS of the additive scores that fit these very subsets best.

    Args:
        keep: which units stay, [R, n].
        values: s of them, [R].

    Returns:
        the LDS, or NaN where there are no more subsets than coefficients, so that any s would fit.
    """
    design = np.column_stack([np.ones(len(keep)), keep])
    if len(keep) <= design.shape[1]:
        return float("nan")
    if not np.isfinite(values).all():
        return float("nan")
    weights = np.linalg.lstsq(design, values, rcond=None)[0]
    # Digits that rounding leaves would order what is equal.
    size = max(1.0, float(np.abs(values).max()))
    return lds(np.round(design @ weights / size, 9), np.round(values / size, 9))


def pearson(a: Array, b: Array) -> float:
    """Return Pearson's correlation; NaN where one of the two does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else float("nan")


def kendall(a: Array, b: Array) -> float:
    r"""Return Kendall's :math:`\tau_b`; NaN where one of the two does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    from scipy import stats

    return float(stats.kendalltau(a, b).statistic)


def confidence_drop(full: float, top: float) -> float:
    """Return max(0, p(x) - p(top units)) / p(x), of log-probabilities.

    Chattopadhay et al. 2018, arXiv:1710.11063, who call it average drop.
    """
    return float(np.maximum(0.0, -np.expm1(top - full)))


def confidence_increase(full: float, top: float) -> float:
    """Return 1 if the top units alone make the answer likelier than all units do, or else 0."""
    return float("nan") if np.isnan(top - full) else float(top > full)


def max_sensitivity(scores: Array, moved: Array) -> float:
    r"""Return :math:`\max_\xi \|\phi(x + \xi) - \phi(x)\| / \|\phi(x)\|`.

    Yeh et al. 2019, arXiv:1901.09392.

    Args:
        scores: :math:`\phi(x)`, [n].
        moved: those of inputs that were moved a little, [R, n].
    """
    size = float(np.linalg.norm(scores))
    return float(np.linalg.norm(moved - scores, axis=-1).max()) / size if size else float("nan")


def soft_retention(scores: Array, share: float) -> Array:
    r"""Return the chance of each unit to be kept, in the order of scores, with a given mean.

    Scores are brought to [0, 1]; then :math:`a \pi / \bar a` if :math:`\pi \le \bar a`, or else
    :math:`1 - (1 - a)(1 - \pi) / (1 - \bar a)`. Comparing methods at one mean takes from soft
    metrics what they give to large scores (arXiv:2601.03089).

    Args:
        scores: of the units, [n].
        share: the mean :math:`\pi`, from 0 to 1.
    """
    spread = np.ptp(scores)
    if spread == 0:
        return np.full_like(scores, share)
    between = (scores - scores.min()) / spread
    mean = between.mean()
    if share <= mean:
        return np.asarray(between * share / mean)
    return np.asarray(1 - (1 - between) * (1 - share) / (1 - mean))

"""Whether a number is more than chance: against random orders, and over prompts by resampling."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hf_attrib.validation.metrics import Array

__all__ = [
    "BEATS",
    "CHOSEN",
    "Interval",
    "beaten",
    "holm",
    "interval",
    "least_orders",
    "least_p_value",
    "least_prompts",
    "p_value",
    "p_value_of_mean",
]

#: Up to which p-value a method is said to beat random orders: over prompts, or on one of many; and
#: on the one that a method is chosen for.
BEATS, CHOSEN = 0.05, 0.1

#: Bootstrap samples, and the chance that an interval misses.
_SAMPLES, _MISSES = 2000, 0.05
#: Means of drawn orders, so many that a p-value stays small when it is adjusted.
_MEANS = 9999


class Interval(NamedTuple):
    """A mean over prompts, and where 95 % of those of resampled prompts lie."""

    mean: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        """Whether all of it is above 0."""
        return self.low > 0


def interval(values: Array, seed: int = 0) -> Interval:
    """Return the mean over prompts with its percentile bootstrap interval.

    Differences of two methods on the same prompts are paired by being given as such. Prompts
    without a value are left out; with fewer than two there is no interval.

    Args:
        values: one for each prompt, [P]; NaN where there is none.
        seed: of the resampling, which is the same for all that is compared.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:
        mean = float(values[0]) if len(values) else float("nan")
        return Interval(mean, float("nan"), float("nan"))
    draw = np.random.default_rng([seed, len(values)])
    means = values[draw.integers(len(values), size=(_SAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, (_MISSES / 2, 1 - _MISSES / 2))
    return Interval(float(values.mean()), float(low), float(high))


def p_value(value: float, random: Array) -> float:
    r"""Return :math:`(1 + \#\{\mathrm{random} \ge \mathrm{value}\}) / (M + 1)`.

    Args:
        value: of a method, higher being better.
        random: of M random orders, [M].
    """
    random = random[np.isfinite(random)]
    if not np.isfinite(value) or not len(random):
        return float("nan")
    return float((1 + (random >= value).sum()) / (len(random) + 1))


def p_value_of_mean(values: Array, random: Array, seed: int = 0) -> float:
    """Return the chance that orders drawn at random have as high a mean over prompts.

    If an order knew nothing, it could be any of the M + 1 of its prompt. Means with one of these
    for each prompt are what it is compared with: all of them where they are no more than 10,000,
    which makes the test exact, and otherwise 9,999 that are drawn.

    Args:
        values: of a method for each prompt, [P], higher being better; NaN where there is none.
        random: of M random orders of each prompt, [P, M].
        seed: of what is drawn.
    """
    known = np.isfinite(values) & np.isfinite(random).any(1)
    if not known.any():
        return float("nan")
    rows = zip(values[known], random[known], strict=True)
    every = [np.append(row[np.isfinite(row)], value) for value, row in rows]
    least = values[known].sum()
    # Sums of the same numbers in another order differ in their last digits.
    least -= 1e-9 * max(1.0, abs(least))
    if math.prod(map(len, every)) <= _MEANS + 1:
        total = np.zeros(1)
        for one in every:
            total = np.add.outer(total, one).ravel()
        return float((total >= least).mean())
    draw, total = np.random.default_rng(seed), np.zeros(_MEANS)
    for one in every:
        total += one[draw.integers(len(one), size=_MEANS)]
    return float((1 + (total >= least).sum()) / (_MEANS + 1))


def holm(p_values: Array) -> Array:
    """Return p-values that are adjusted for how many there are; NaN stays.

    That any of those that chance made is up to a level then has at most its chance. Holm 1979.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    found = np.full_like(p_values, np.nan)
    order = np.argsort(p_values)[: int(np.isfinite(p_values).sum())]
    raised = p_values[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(1, np.maximum.accumulate(raised))
    return found


def least_orders(level: float, tests: int = 1) -> int:
    """Return how many random orders it takes that a p-value of a prompt can be as low as a level.

    The lowest one, that of a method which beats them all, is 1 / (M + 1).

    Args:
        level: :data:`BEATS` or :data:`CHOSEN`.
        tests: how many p-values it is adjusted for, with itself.

    >>> least_orders(BEATS), least_orders(CHOSEN), least_orders(CHOSEN, 5)
    (19, 9, 49)
    """
    return math.ceil(tests / level - 1e-9) - 1


def least_p_value(prompts: int, orders: int) -> float:
    """Return the lowest p-value of a mean that there can be, of one that beats all orders.

    Args:
        prompts: P.
        orders: M random ones of each.

    >>> least_p_value(1, 19), least_p_value(9, 19)
    (0.05, 0.0001)
    """
    return float(max((orders + 1.0) ** -prompts, 1 / (_MEANS + 1)))


def least_prompts(orders: int, tests: int) -> int | None:
    """Return how many prompts it takes that an adjusted p-value can be up to :data:`BEATS`.

    Args:
        orders: M random ones of each prompt.
        tests: how many p-values there are.

    Returns:
        ``None`` where no number of prompts would do, as so many numbers are compared at once.

    >>> least_prompts(20, 1), least_prompts(20, 10), least_prompts(20, 600)
    (1, 2, None)
    """
    some = range(1, 1 + math.ceil(math.log(_MEANS + 1, orders + 1)))
    return next((p for p in some if tests * least_p_value(p, orders) <= BEATS), None)


def beaten(value: float, random: Array) -> float:
    """Return the share of random orders that a value is above; half of those it equals.

    Args:
        value: of a method, higher being better.
        random: of M random orders, [M].
    """
    random = random[np.isfinite(random)]
    if not np.isfinite(value) or not len(random):
        return float("nan")
    return float((random < value).mean() + (random == value).mean() / 2)

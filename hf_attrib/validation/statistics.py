"""Whether a number is more than chance: against random orders, and over prompts by resampling."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hf_attrib.validation.metrics import Array

__all__ = ["BEATS", "CHOSEN", "Interval", "beaten", "interval", "least_orders", "p_value"]

#: Up to which p-value a method is said to beat random orders on a prompt: of many prompts, and of
#: the one that a method is chosen for.
BEATS, CHOSEN = 0.05, 0.1

#: Bootstrap samples, and the chance that an interval misses.
_SAMPLES, _MISSES = 2000, 0.05


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


def least_orders(level: float) -> int:
    """Return how many random orders it takes that a p-value can be as low as a level.

    The lowest one, that of a method which beats them all, is 1 / (M + 1).

    Args:
        level: :data:`BEATS` or :data:`CHOSEN`.

    >>> least_orders(BEATS), least_orders(CHOSEN)
    (19, 9)
    """
    return math.ceil(1 / level) - 1


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

"""Which metrics there are: each a function of what was scored and of the values of subsets.

A metric asks for values by calling a function of subsets. Called with one that writes down what it
is asked, it tells which subsets have to be run: what several metrics, methods and controls ask for
is run once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hf_attrib.hyperparameters import names_among
from hf_attrib.validation import metrics as formulas
from hf_attrib.validation.metrics import Array, Flags

__all__ = ["DEFAULT_METRICS", "METRICS", "Exhibit", "Metric", "Values", "curves", "named"]

#: Maps subsets [R, n] to s of each, [R].
Values: TypeAlias = Callable[[Flags], Array]

#: Shares of the units that are taken away, by the headline and by ERASER's metrics.
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
_ERASER = (0.01, 0.05, 0.1, 0.2, 0.5)
_TOP, _HALF = (0.2,), (0.5,)
#: Mean shares of the units that soft metrics keep, and random subsets of each.
_KEPT, _DRAWS = (0.2, 0.4, 0.6, 0.8), 8


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What is judged: scores of n units that may be taken away.

    Args:
        scores: of each, [n]; they are brought to the unit of s.
        subsets: random subsets for metrics that ask for such, [R, n].
        ordinal: whether only the order of the scores means something, as of a control.
    """

    scores: Array
    subsets: Flags
    ordinal: bool = False

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Units from the highest score to the lowest, [n]."""
        return formulas.ranked(self.scores)

    @property
    def units(self) -> int:
        """How many there are, n."""
        return len(self.scores)

    @property
    def ends(self) -> Flags:
        """All units, and none, [2, n]."""
        return np.array([[True], [False]]).repeat(self.units, 1)

    def without_top(self, shares: tuple[float, ...]) -> Flags:
        """Return all units but the highest of them."""
        return formulas.removed(self.order, formulas.counts_at(shares, self.units))

    def without_bottom(self, shares: tuple[float, ...]) -> Flags:
        """Return all units but the lowest of them."""
        return formulas.removed(self.order[::-1], formulas.counts_at(shares, self.units))

    def top(self, shares: tuple[float, ...]) -> Flags:
        """Return the highest units alone."""
        return ~self.without_top(shares)

    def soft(self, scores: Array) -> Flags:
        """Return random subsets that keep units the likelier the higher their scores, [R, n].

        They are drawn by the same numbers for all scores, so that methods differ by these alone.
        """
        shared = np.random.default_rng(self.units).random((_DRAWS, self.units))
        return np.concatenate([shared < formulas.soft_retention(scores, s) for s in _KEPT])


@dataclass(frozen=True)
class Metric:
    """One number that says how well scores predict what the model does without units.

    Args:
        of: returns it.
        better: ``"higher"``, ``"lower"`` or, where it is no merit, ``""``.
        about: what it is, in a sentence.
        sizes: whether it takes the sizes of scores, which an order alone has not.
        probability: whether s must be a log-probability.
    """

    of: Callable[[Exhibit, Values], float]
    better: str
    about: str
    sizes: bool = False
    probability: bool = False

    @property
    def sign(self) -> int:
        """What makes it a number of which more is better, 1 or -1; 0 if it is no merit."""
        return {"higher": 1, "lower": -1}.get(self.better, 0)

    def __call__(self, exhibit: Exhibit, values: Values) -> float:
        """Return the number, or NaN where it cannot be said."""
        if self.sizes and exhibit.ordinal:
            return float("nan")
        return self.of(exhibit, values)


def curves(exhibit: Exhibit, values: Values) -> tuple[NDArray[np.int64], Array, Array]:
    """Return after how many units the curves have points, and normalised deletion and insertion."""
    counts = formulas.curve_counts(exhibit.units)
    full, empty = values(exhibit.ends)
    deletion, insertion = (
        formulas.normalised(values(subsets(exhibit.order, counts)), full, empty)
        for subsets in (formulas.removed, formulas.kept)
    )
    return counts, deletion, insertion


def _deletion(exhibit: Exhibit, values: Values) -> float:
    counts, deletion, _ = curves(exhibit, values)
    return formulas.area(counts, deletion)


def _insertion(exhibit: Exhibit, values: Values) -> float:
    counts, _, insertion = curves(exhibit, values)
    return formulas.area(counts, insertion)


def _excess(exhibit: Exhibit, values: Values) -> float:
    return _insertion(exhibit, values) + _deletion(exhibit, values) - 1


def _full(exhibit: Exhibit, values: Values) -> float:
    return float(values(exhibit.ends[:1])[0])


def _morf(exhibit: Exhibit, values: Values) -> float:
    return formulas.mean_fall(_full(exhibit, values), values(exhibit.without_top(_SHARES)))


def _lerf(exhibit: Exhibit, values: Values) -> float:
    return formulas.mean_fall(_full(exhibit, values), values(exhibit.without_bottom(_SHARES)))


def _morf_lerf(exhibit: Exhibit, values: Values) -> float:
    return _morf(exhibit, values) - _lerf(exhibit, values)


def _normalised(subsets: Flags, exhibit: Exhibit, values: Values) -> Array:
    full, empty = values(exhibit.ends)
    return formulas.normalised(values(subsets), full, empty)


def _comprehensiveness(exhibit: Exhibit, values: Values) -> float:
    without = _normalised(exhibit.without_top(_ERASER), exhibit, values)
    return formulas.comprehensiveness(without)


def _sufficiency(exhibit: Exhibit, values: Values) -> float:
    return formulas.sufficiency(_normalised(exhibit.top(_ERASER), exhibit, values))


def _aopc(exhibit: Exhibit, values: Values) -> float:
    counts = formulas.curve_counts(exhibit.units)
    curve = values(formulas.removed(exhibit.order, counts[:-1]))
    return formulas.aopc(_full(exhibit, values), curve)


def _log_odds(exhibit: Exhibit, values: Values) -> float:
    (without,) = values(exhibit.without_top(_TOP))
    return formulas.log_odds(_full(exhibit, values), float(without))


def _explained(exhibit: Exhibit, values: Values) -> tuple[Array, Array]:
    """Return sums of scores of what random subsets lack, and what that took from s."""
    falls = _full(exhibit, values) - values(exhibit.subsets)
    return ~exhibit.subsets @ exhibit.scores, falls


def _lds(exhibit: Exhibit, values: Values) -> float:
    return formulas.lds(exhibit.subsets @ exhibit.scores, values(exhibit.subsets))


def _lds_ceiling(exhibit: Exhibit, values: Values) -> float:
    return formulas.lds_ceiling(exhibit.subsets, values(exhibit.subsets))


def _soft(sign: int, exhibit: Exhibit, values: Values) -> float:
    """Return the mean normalised s of units kept by their scores, or by these turned round."""
    kept = _normalised(exhibit.soft(sign * exhibit.scores), exhibit, values)
    known = kept[np.isfinite(kept)]  # a way to take units away may not take all of them
    return float(known.mean()) if len(known) else float("nan")


def _leave_one_out(exhibit: Exhibit, values: Values) -> Array:
    return _full(exhibit, values) - values(~np.eye(exhibit.units, dtype=np.bool_))


def _confidence(exhibit: Exhibit, values: Values) -> tuple[float, float]:
    (top,) = values(exhibit.top(_HALF))
    return _full(exhibit, values), float(top)


_TENTHS = f"over {', '.join(f'{100 * share:g}' for share in _SHARES)} % of the units"

#: The metrics by name. Those called normalised are in units of s(all) - s(none).
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "morf_lerf": Metric(
            _morf_lerf,
            "higher",
            f"fall of s as the highest units go, less that as the lowest go, {_TENTHS}",
        ),
        "morf": Metric(_morf, "higher", f"fall of s as the highest units go, {_TENTHS}"),
        "lerf": Metric(_lerf, "lower", f"fall of s as the lowest units go, {_TENTHS}"),
        "deletion": Metric(
            _deletion, "lower", "normalised area under s as the highest units go first"
        ),
        "insertion": Metric(
            _insertion, "higher", "normalised area under s as the highest units come first"
        ),
        "excess": Metric(
            _excess,
            "",
            "insertion + deletion - 1: above 0 units stand in for one another, below they need "
            "one another",
        ),
        "comprehensiveness": Metric(
            _comprehensiveness, "higher", "normalised fall of s without the top 1 to 50 %"
        ),
        "sufficiency": Metric(
            _sufficiency, "lower", "normalised fall of s with the top 1 to 50 % alone"
        ),
        "aopc": Metric(_aopc, "higher", "mean fall of s along the deletion curve"),
        "log_odds": Metric(
            _log_odds,
            "lower",
            "log-probability without the top 20 %, less that with all",
            probability=True,
        ),
        "infidelity": Metric(
            lambda e, s: formulas.infidelity(*_explained(e, s)),
            "lower",
            "mean square of what scores say of random subsets, less what these do",
            sizes=True,
        ),
        "infidelity_scaled": Metric(
            lambda e, s: formulas.infidelity_scaled(*_explained(e, s)),
            "lower",
            "infidelity of the scores times the factor that suits them best",
            sizes=True,
        ),
        "lds": Metric(_lds, "higher", "rank correlation of sums of scores with s, random subsets"),
        "lds_ceiling": Metric(
            _lds_ceiling, "", "the same of the additive scores that fit these subsets best"
        ),
        "loo_kendall": Metric(
            lambda e, s: formulas.kendall(e.scores, _leave_one_out(e, s)),
            "higher",
            "Kendall's tau with what leaving out each unit takes from s",
        ),
        "loo_pearson": Metric(
            lambda e, s: formulas.pearson(e.scores, _leave_one_out(e, s)),
            "higher",
            "Pearson's correlation with what leaving out each unit takes from s",
            sizes=True,
        ),
        "soft_sufficiency": Metric(
            lambda e, s: _soft(1, e, s),
            "higher",
            "mean normalised s as units are kept by chance, the likelier the higher their scores, "
            f"{', '.join(f'{100 * share:g}' for share in _KEPT)} % of them on average",
            sizes=True,
        ),
        "soft_comprehensiveness": Metric(
            lambda e, s: 1 - _soft(-1, e, s),
            "higher",
            "1 less the same as units are kept the likelier the lower their scores",
            sizes=True,
        ),
        "confidence_drop": Metric(
            lambda e, s: formulas.confidence_drop(*_confidence(e, s)),
            "lower",
            "share of the probability that the top half of the units alone lacks",
            probability=True,
        ),
        "confidence_increase": Metric(
            lambda e, s: formulas.confidence_increase(*_confidence(e, s)),
            "higher",
            "how often the top half of the units alone makes the answer likelier",
            probability=True,
        ),
    }
)  # fmt: skip

#: Those that are measured when none are named: the headline first.
DEFAULT_METRICS = ("morf_lerf", "deletion", "insertion", "excess", "lds")


def named(names: object) -> tuple[str, ...]:
    """Return names of metrics, each known and once.

    Args:
        names: one name or several; ``"all"`` stands for all that are not named before it.

    Raises:
        InputError: there is none of that name, or none is named.
    """
    given = names_among("metric", names, ("all", *METRICS))
    return tuple(dict.fromkeys(n for name in given for n in (METRICS if name == "all" else [name])))

"""The frozen result of an evaluation: methods, metrics, prompts, and what chance would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.results import Result, figure
from hf_attrib.results.tables import data_frame
from hf_attrib.validation.metrics import Array
from hf_attrib.validation.statistics import (
    BEATS,
    Interval,
    beaten,
    holm,
    interval,
    least_orders,
    least_p_value,
    p_value,
    p_value_of_mean,
)
from hf_attrib.validation.suite import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["Contestant", "Evaluation", "EvaluationRun", "JudgedPrompt", "Judgement"]


@dataclass(frozen=True)
class EvaluationRun:
    """How methods were judged.

    Args:
        score: what s is, the mean over the generated tokens of an answer: ``"log_prob"``.
        unit: what is taken away: ``"token"``, ``"word"`` and so on; or ``"given"`` parts.
        operators: O ways to take units away.
        metrics: K of them, by name.
        controls: C orders that know nothing of the model, by name.
        random_orders: how many of these, the first ones, are random.
        per_token: whether each generated token had an order of its own.
        subsets: how many random subsets there were, for metrics that take such.
        seed: of random orders and subsets.
        attribute_to: ``"prompt"`` or ``"all"``.
        movable: which tokens could be taken away: ``"content"``, ``"all"`` or ``"given"``.
        model: name or path of the model.
        model_revision: commit of the model, where known.
        dtype: floating point type of the model.
        versions: versions of the packages that matter.
        notes: what a reader must know.
    """

    score: str
    unit: str
    operators: tuple[str, ...]
    metrics: tuple[str, ...]
    controls: tuple[str, ...]
    random_orders: int
    per_token: bool
    subsets: int
    seed: int
    attribute_to: str
    movable: str
    model: str
    model_revision: str | None
    dtype: str
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contestant:
    """A method that was judged.

    Args:
        label: what it is called.
        written: the method with its hyperparameters.
        signed: whether its scores have signs; those without are ranked as they are.
        own_operator: the way of taking inputs away that it uses itself, if there is one.
    """

    label: str
    written: str
    signed: bool
    own_operator: str | None


@dataclass(frozen=True)
class JudgedPrompt:
    """A prompt that methods were judged on.

    Args:
        text: of the prompt.
        response: of the answer.
        units: how many could be taken away.
        generated: how many tokens the answer has.
    """

    text: str
    response: str
    units: int
    generated: int


class Judgement(NamedTuple):
    """What one metric says of one method under one operator, over all prompts."""

    method: str
    operator: str
    metric: str
    #: Whether the method takes inputs away by this very operator, which favours it.
    own: bool
    mean: Interval
    #: By how much better it is than random orders are on average; better is above 0.
    over_random: Interval
    #: Chance that orders drawn at random do as well on average; and that adjusted for all the
    #: methods, operators and metrics of the summary (Holm).
    p_value: float
    adjusted_p_value: float
    #: Whether it beats random orders: whether the adjusted p-value is up to 0.05. ``None`` where
    #: there are too few prompts that it could be, and where there is no p-value.
    beats_random: bool | None
    #: Share of random orders that it beats.
    wins: float
    #: Share of prompts on which it beats random orders, up to p = 0.05; NaN where there are too few
    #: orders for that.
    significant: float
    #: The method that comes next; and by how much better this one is.
    next: str | None
    over_next: Interval
    #: Prompts that have a number, and those that have none.
    prompts: int
    dropped: int


@dataclass(frozen=True, eq=False)
class Evaluation(Result):
    """How well M methods, and C orders that know nothing, predict what the model does.

    All tensors are float64; NaN stands where a number cannot be said, as of a prompt whose answer
    hardly depends on it.

    Args:
        values: of each metric, [P, M, O, K].
        controls: of each control, [P, C, O, K].
        curves: normalised deletion and insertion of each method at every tenth of the units,
            [P, M, O, 2, 11]; NaN where no metric asked for them.
        random_curves: their mean over random orders, [P, O, 2, 11].
        seconds: that explaining took, [P, M].
        forward_rows: sequences run forward by each method, [P, M].
        backward_rows: (sequence, target) pairs run backward, [P, M].
        gap: relative completeness gap, a mean over tokens, [P, M]; NaN where there is none.
        methods: the M methods.
        prompts: the P prompts.
        run: how they were judged.
    """

    values: Tensor
    controls: Tensor
    curves: Tensor
    random_curves: Tensor
    seconds: Tensor
    forward_rows: Tensor
    backward_rows: Tensor
    gap: Tensor
    methods: tuple[Contestant, ...]
    prompts: tuple[JudgedPrompt, ...]
    run: EvaluationRun = field(repr=False)

    def __post_init__(self) -> None:
        prompts, methods = len(self.prompts), len(self.methods)
        if not prompts or not methods:
            raise ValueError("there are no prompts, or no methods")
        if unknown := [name for name in self.run.metrics if name not in METRICS]:
            raise ValueError(f"metric {unknown[0]!r} is unknown")
        if not 0 < self.run.random_orders <= len(self.run.controls):
            raise ValueError("random_orders is not the number of the first controls")
        cells = len(self.run.operators), len(self.run.metrics)
        each = prompts, methods
        shapes = {
            "values": (*each, *cells),
            "controls": (prompts, len(self.run.controls), *cells),
            "curves": (*each, cells[0], 2, 11),
            "random_curves": (prompts, cells[0], 2, 11),
            **dict.fromkeys(("seconds", "forward_rows", "backward_rows", "gap"), each),
        }
        for name, shape in shapes.items():
            given = tuple(getattr(self, name).shape)
            if given != shape:
                raise ValueError(f"{name} is {given}, expected {shape}")

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the M methods are called."""
        return tuple(method.label for method in self.methods)

    def of(self, method: str, metric: str = "morf_lerf", operator: str | None = None) -> Tensor:
        """Return one metric of one method for each prompt, [P].

        Args:
            method: its label; or that of a control.
            metric: its name.
            operator: by default the first one.

        Raises:
            InputError: there is none of this name.
        """
        operator = self.run.operators[0] if operator is None else operator
        known = (*self.labels, *self.run.controls)
        places = []
        for what, name, names in (
            ("method", method, known),
            ("operator", operator, self.run.operators),
            ("metric", metric, self.run.metrics),
        ):
            if name not in names:
                raise InputError(
                    f"{what} {name!r:.80} was not judged; expected one of {', '.join(names)}."
                )
            places.append(names.index(name))
        both = torch.cat([self.values, self.controls], 1)
        return both[:, places[0], places[1], places[2]]

    @cached_property
    def p_values(self) -> Tensor:
        """Chance that a random order does as well, of each prompt, [P, M, O, K].

        NaN of metrics that are no merit, and of those that take more than an order.
        """
        return self._against_random(p_value)

    @cached_property
    def wins(self) -> Tensor:
        """Share of the random orders that are beaten, for each prompt, [P, M, O, K]."""
        return self._against_random(beaten)

    def _against_random(self, compared: Any) -> Tensor:
        found = torch.full_like(self.values, torch.nan)
        for k, sign in enumerate(self._signs):
            if not sign:
                continue
            values = sign * self.values[..., k].numpy()
            random = sign * self.controls[:, : self.run.random_orders, :, k].numpy()
            for p, m, o in np.ndindex(values.shape):
                found[p, m, o, k] = compared(values[p, m, o], random[p, :, o])
        return found

    @property
    def _signs(self) -> list[int]:
        return [METRICS[name].sign for name in self.run.metrics]

    def random_means(self) -> Tensor:
        """Return the mean of each metric over random orders, for each prompt, [P, O, K]."""
        return self.controls[:, : self.run.random_orders].nanmean(1)

    @cached_property
    def summary(self) -> tuple[Judgement, ...]:
        """Each metric of each method under each operator, over prompts; the best come first."""
        found: list[Judgement] = []
        for o, operator in enumerate(self.run.operators):
            for k, metric in enumerate(self.run.metrics):
                found += self._judgements(o, operator, k, metric)
        adjusted = holm(np.array([judged.p_value for judged in found]))
        tests, orders = int(np.isfinite(adjusted).sum()), self.run.random_orders
        told = []
        for judged, p in zip(found, adjusted, strict=True):
            beats = bool(p <= BEATS)
            # Not even a method that beats all orders would be known to.
            few = tests * least_p_value(judged.prompts, orders) > BEATS and not beats
            beats_random = None if few or np.isnan(p) else beats
            told.append(judged._replace(adjusted_p_value=float(p), beats_random=beats_random))
        return tuple(told)

    def _judgements(self, o: int, operator: str, k: int, metric: str) -> list[Judgement]:
        sign = self._signs[k]
        values: Array = self.values[:, :, o, k].numpy()
        random: Array = self.random_means()[:, o, k].numpy()
        orders: Array = self.controls[:, : self.run.random_orders, o, k].numpy()
        means = [interval(values[:, m]) for m in range(len(self.methods))]
        known = [m for m in range(len(means)) if np.isfinite(means[m].mean)]
        order = sorted(known, key=lambda m: -sign * means[m].mean)
        order += [m for m in range(len(means)) if m not in known]
        found, nothing = [], np.full(1, np.nan)
        for place, m in enumerate(order):
            after = order[place + 1] if place + 1 < len(known) and sign else None
            ahead = nothing if after is None else values[:, m] - values[:, after]
            got = int(np.isfinite(values[:, m]).sum())
            p_values = self.p_values[:, m, o, k]
            finite = p_values[p_values.isfinite()]
            tell = len(finite) > 0 and self.run.random_orders >= least_orders(BEATS)
            beats = float((finite <= BEATS).double().mean()) if tell else float("nan")
            found.append(
                Judgement(
                    method=self.labels[m],
                    operator=operator,
                    metric=metric,
                    own=self.methods[m].own_operator == operator,
                    mean=means[m],
                    over_random=interval(sign * (values[:, m] - random) if sign else nothing),
                    p_value=p_value_of_mean(sign * values[:, m], sign * orders)
                    if sign
                    else math.nan,
                    adjusted_p_value=math.nan,  # by all of the summary
                    beats_random=None,  # likewise
                    wins=float(self.wins[:, m, o, k].nanmean()),
                    significant=beats,
                    next=None if after is None else self.labels[after],
                    over_next=interval(sign * ahead),
                    prompts=got,
                    dropped=len(self) - got,
                )
            )
        return found

    def table(self) -> list[dict[str, Any]]:
        """Return :attr:`summary` as plain records, for CSV and data frames, with costs."""
        costs = {
            label: {
                "seconds": float(self.seconds[:, m].mean()),
                "forward_rows": float(self.forward_rows[:, m].double().mean()),
                "backward_rows": float(self.backward_rows[:, m].double().mean()),
                "gap": float(self.gap[:, m].nanmean()),
            }
            for m, label in enumerate(self.labels)
        }
        found = []
        for row in self.summary:
            plain: dict[str, Any] = {}
            for name, value in row._asdict().items():
                if isinstance(value, Interval):
                    ends = ("low", "high") if name == "mean" else (f"{name}_low", f"{name}_high")
                    plain |= dict(zip((name, *ends), value, strict=True))
                else:
                    plain[name] = value
            found.append(
                plain | {"unit": self.run.unit, "score": self.run.score} | costs[row.method]
            )
        return found

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a record for each number: of a prompt, method or control, operator and metric."""
        both = torch.cat([self.values, self.controls], 1).tolist()
        chances, found = self.p_values.tolist(), []
        labels = (*self.labels, *self.run.controls)
        for p, m, o, k in np.ndindex(len(self), len(labels), *self.values.shape[2:]):
            own = m < len(self.methods)
            found.append(
                {
                    "prompt": p,
                    "method": labels[m],
                    "control": not own,
                    "operator": self.run.operators[o],
                    "metric": self.run.metrics[k],
                    "value": both[p][m][o][k],
                    "p_value": chances[p][m][o][k] if own else None,
                }
            )
        return found

    def to_dataframe(self) -> DataFrame:
        """Return :meth:`to_rows` as a pandas data frame (``pip install hf_attrib[table]``)."""
        return data_frame(self.to_rows())

    def plot(self) -> Figure:
        """Return a matplotlib figure of deletion and insertion, for each operator.

        Raises:
            InputError: matplotlib is not installed (``pip install hf_attrib[plot]``), or no metric
                asked for curves.
        """
        drawn: Figure = figure(self)
        return drawn

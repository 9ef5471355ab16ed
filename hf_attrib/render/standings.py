"""What every view of an evaluation says: who predicts best, and the cells of its tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_attrib.render import phrases
from hf_attrib.validation import METRICS, OPERATORS, Evaluation, Judgement
from hf_attrib.validation.statistics import (
    BEATS,
    Interval,
    least_orders,
    least_p_value,
    least_prompts,
)

__all__ = [
    "Row",
    "about",
    "costs",
    "curve_rows",
    "legend",
    "notes",
    "rows",
    "title",
    "verdict",
    "written",
]

#: What the mean over random orders is called.
_RANDOM = "random order"


@dataclass(frozen=True)
class Row:
    """One line of the table of an operator.

    Args:
        label: of a method or control.
        control: whether it knows nothing of the model.
        own: whether the method takes inputs away in this way itself.
        headline: of the first metric, with its interval.
        against: how it stands against random orders on that metric.
        others: of the other metrics, means alone.
        best: which of the other metrics are the best of all methods.
    """

    label: str
    control: bool
    own: bool
    headline: str
    against: str
    others: tuple[str, ...]
    best: tuple[bool, ...]


def title(result: Evaluation) -> str:
    """Return what the page is about."""
    return f"Methods on {phrases.line(result.run.model)}"


def about(result: Evaluation) -> list[str]:
    """Return how methods were judged: prompts, unit, score."""
    run = result.run
    parts = [
        phrases.count(len(result), "prompt"),
        f"unit {run.unit}",
        f"score {run.score}, the mean over the tokens of an answer"
        if not run.per_token
        else f"score {run.score} of each token, with an order of its own",
        f"{run.random_orders} random orders",
    ]
    if run.attribute_to != "prompt":
        parts.append(f"taken away: {run.attribute_to}")
    if run.movable != "content":
        parts.append(f"movable {run.movable}")
    return [phrases.line(part) for part in parts]


def verdict(result: Evaluation, operator: str) -> str:
    """Return in a sentence who predicts best when units go in one way.

    Args:
        result: the evaluation.
        operator: the way.
    """
    metric = result.run.metrics[0]
    every = [j for j in result.summary if (j.operator, j.metric) == (operator, metric)]
    first = every[0]
    if not METRICS[metric].better or math.isnan(first.mean.mean):
        return f"{operator}: {metric} ranks no method"
    name = phrases.line(first.method)
    if first.beats_random is None:
        return f"{operator}: {name} comes first; {_undecided(result, first)}"
    chance = f"adjusted p = {first.adjusted_p_value:.2g}"
    if not first.beats_random:
        others = [phrases.line(j.method) for j in every if j.beats_random]
        said = f"{', '.join(others)} beat it" if others else "no method beats random here"
        return f"{operator}: {said}; {name} comes first ({chance})"
    ahead = ""
    if first.next is not None:
        sure = "ahead of" if first.over_next.above else "not surely ahead of"
        ahead = f", {sure} {phrases.line(first.next)}"
    return (
        f"{operator}: {name} predicts best by {metric}, beats {100 * first.wins:.0f} % of random "
        f"orders ({chance}){ahead}{_better_blind(result, operator, first)}"
    )


def _undecided(result: Evaluation, first: Judgement) -> str:
    """Say why it cannot be told whether a method beats random orders."""
    orders = result.run.random_orders
    tests = sum(math.isfinite(j.p_value) for j in result.summary)
    if math.isnan(first.p_value):
        return "it could not be compared with random orders"
    needed = least_prompts(orders, tests)
    least = min(1.0, tests * least_p_value(first.prompts, orders))
    takes = "fewer methods, operators and metrics" if needed is None else f"{needed} prompts"
    return (
        f"whether it beats random cannot be told from {phrases.count(first.prompts, 'prompt')} "
        f"with {phrases.count(orders, 'random order')}, as no adjusted p of {tests} is below "
        f"{least:.2g}; it takes {takes} at least"
    )


def _better_blind(result: Evaluation, operator: str, first: Judgement) -> str:
    """Name a control that does better than the best method, as it may where place is all."""
    o, sign = result.run.operators.index(operator), METRICS[first.metric].sign
    known = result.controls[:, :, o, 0].nanmean(0) * sign
    fixed = range(result.run.random_orders, len(result.run.controls))
    best = max(fixed, key=lambda place: float(known[place]), default=None)
    if best is None or not float(known[best]) > sign * first.mean.mean:
        return ""
    name = phrases.line(result.run.controls[best])
    return f"; but the order {name}, which knows nothing of the model, does better"


def rows(result: Evaluation, operator: str) -> list[Row]:
    """Return the table of one operator: methods from the best to the worst, then controls.

    Args:
        result: the evaluation.
        operator: which way to take units away.
    """
    metrics = result.run.metrics
    of = {(j.method, j.metric): j for j in result.summary if j.operator == operator}
    first = [j for j in result.summary if (j.operator, j.metric) == (operator, metrics[0])]
    leads = {}
    for metric in metrics:  # the first one that has a number
        some = [j for j in result.summary if (j.operator, j.metric) == (operator, metric)]
        leads[metric] = some[0].method if METRICS[metric].better else None
    found = [
        Row(
            label=phrases.line(j.method),
            control=False,
            own=j.own,
            headline=written(j.mean),
            against=_against(j),
            others=tuple(_number(of[j.method, m].mean.mean) for m in metrics[1:]),
            best=tuple(leads[m] == j.method for m in metrics[1:]),
        )
        for j in first
    ]
    return found + _controls(result, operator)


def _controls(result: Evaluation, operator: str) -> list[Row]:
    run, o = result.run, result.run.operators.index(operator)
    fixed = run.controls[run.random_orders :]
    means = {_RANDOM: result.random_means()[:, o]}
    for place, label in enumerate(fixed, run.random_orders):
        means[label] = result.controls[:, place, o]
    return [
        Row(
            label=phrases.line(label),
            control=True,
            own=False,
            headline=_number(float(values[:, 0].nanmean())),
            against="",
            others=tuple(_number(float(mean)) for mean in values.nanmean(0)[1:]),
            best=(False,) * (len(run.metrics) - 1),
        )
        for label, values in means.items()
    ]


def _against(judged: Judgement) -> str:
    if math.isnan(judged.wins):
        return ""
    return f"{100 * judged.wins:.0f} %"


def written(interval: Interval) -> str:
    """Write a mean with its interval, where there is one."""
    if math.isnan(interval.low):
        return _number(interval.mean)
    return f"{_number(interval.mean)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}" if abs(value) >= 100 else f"{value:.2f}"


def costs(result: Evaluation) -> list[tuple[str, ...]]:
    """Return for each method its label, seconds, rows of each kind and gap, means over prompts."""
    found: list[tuple[str, ...]] = []
    for m, method in enumerate(result.methods):
        kinds = result.forward_rows[:, m], result.backward_rows[:, m]
        counts = [float(kind.double().mean()) for kind in kinds]
        gap = float(result.gap[:, m].nanmean())
        found.append(
            (
                phrases.line(method.label),
                f"{float(result.seconds[:, m].mean()):.3g}",
                *(f"{count:,.0f}" if count else "" for count in counts),
                "" if math.isnan(gap) else phrases.gap(gap),
                phrases.line(method.written) + ("" if method.signed else "; without signs"),
            )
        )
    return found


def notes(result: Evaluation) -> list[str]:
    """Return what a reader must know: which prompts have no numbers, and what cannot be told."""
    found, total = [], phrases.count(len(result), "prompt")
    few = sum(prompt.units < 2 for prompt in result.prompts)
    if few:
        found.append(f"{few} of {total} left out, as fewer than two units may be taken away")
    lost: dict[tuple[str, int], list[str]] = {}
    for operator in result.run.operators:
        for metric in result.run.metrics:
            of = [j for j in result.summary if (j.operator, j.metric) == (operator, metric)]
            lost.setdefault((operator, max(j.dropped for j in of) - few), []).append(metric)
    found += [
        f"{', '.join(metrics)} by {operator}: {count} of {total} left out, as s hardly depends on "
        "their units, or nothing would be left to read"
        for (operator, count), metrics in lost.items()
        if count > 0
    ]
    if result.run.random_orders < least_orders(BEATS):
        found.append(f"on a single prompt {_too_few(result)}")
    return found + list(result.run.notes)


def _too_few(result: Evaluation) -> str:
    orders = phrases.count(result.run.random_orders, "random order")
    return (
        f"no method can be said to beat random with {orders}, as p is never below "
        f"{1 / (result.run.random_orders + 1):.2g}; it takes {least_orders(BEATS)} at least"
    )


def legend(result: Evaluation) -> list[tuple[str, str]]:
    """Return what each metric and operator is."""
    sides = {"higher": "; higher is better", "lower": "; lower is better", "": ""}
    found = [(n, METRICS[n].about + sides[METRICS[n].better]) for n in result.run.metrics]
    found.append(("vs random", "share of random orders that a method beats on the first metric"))
    found += [(name, f"units go: {OPERATORS[name]}") for name in result.run.operators]
    if any(j.own for j in result.summary):
        found.append(("*", "the method takes inputs away in this way itself, which favours it"))
    return found


def curve_rows(result: Evaluation, operator: str) -> list[tuple[str, Sequence[Sequence[float]]]]:
    """Return for methods, and random orders last, deletion and insertion at every tenth.

    Args:
        result: the evaluation.
        operator: which way to take units away.

    Returns:
        nothing if no curves were asked for.
    """
    o = result.run.operators.index(operator)
    found = [(m.label, result.curves[:, i, o].nanmean(0)) for i, m in enumerate(result.methods)]
    found.append((_RANDOM, result.random_curves[:, o].nanmean(0)))
    return [
        (phrases.line(label), mean.tolist())
        for label, mean in found
        if np.isfinite(mean.numpy()).all()
    ]

"""From answers to findings: all methods explain, then all subsets run, each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hf_attrib.engine import Case, Engine, Plan, Question, ReadyBatch
from hf_attrib.execution import ALONE, Processes, Progress, silent
from hf_attrib.field import MODES, Decomposition, Field, ablated_rows
from hf_attrib.hyperparameters import at_least, names_among
from hf_attrib.methods import Claims, Method
from hf_attrib.model import ordinary_ids
from hf_attrib.targets import target as target_named
from hf_attrib.text import Grouping
from hf_attrib.validation import controls
from hf_attrib.validation.entrants import Entrant, Explained
from hf_attrib.validation.metrics import Array, Flags
from hf_attrib.validation.suite import DEFAULT_METRICS, METRICS, Exhibit, Values, curves, named

__all__ = [
    "OPERATORS",
    "QUANTILES",
    "Finding",
    "Judged",
    "Settings",
    "exhibited",
    "findings",
    "rarities",
    "subset_question",
    "units_of",
]

#: Ways to take units away, by name: those of methods, and one that no method uses itself. A token's
#: place is taken by a token, since nothing else is text (Kim et al. 2020, arXiv:2010.13984).
OPERATORS: Mapping[str, str] = MappingProxyType(
    {**MODES, "random": "their ids are those of other tokens, drawn once for each prompt"}
)

#: Shares of the units at which the curves of a finding are told.
QUANTILES = tuple(i / 10 for i in range(11))
#: Prompts that are explained before they are judged: a run that ends early loses no more.
_TOGETHER = 4


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Args:
        metrics: of :data:`METRICS`, by name.
        operators: ways to take units away, of :data:`OPERATORS`.
        per_token: whether each generated token has an order and values of its own, at T times the
            rows; otherwise there is one for the answer, from its summed scores.
        random_orders: how many random orders every method is compared with.
        subsets: how many random subsets metrics that need such have.
        seed: of both, and of the tokens that take the place of others.

    Raises:
        InputError: one of them is unknown, or no number that makes sense.
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    operators: tuple[str, ...] = ("drop", "token")
    per_token: bool = False
    random_orders: int = 20
    subsets: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", named(self.metrics))
        object.__setattr__(self, "operators", names_among("operator", self.operators, OPERATORS))
        for name, fewest in (("random_orders", 1), ("subsets", 2), ("seed", 0)):
            at_least(fewest)(name, getattr(self, name))


@dataclass(frozen=True, eq=False)
class Finding:
    """What was found of one order for one prompt.

    Args:
        values: of each metric under each operator, [O, K]; NaN where it cannot be said.
        curves: normalised deletion and insertion at :data:`QUANTILES`, [O, 2, 11]; NaN where no
            metric asked for them.
        explained: how the order came about; ``None`` of controls.
    """

    values: Array
    curves: Array
    explained: Explained | None = None


@dataclass(frozen=True)
class _Subsets(Method):
    """What the engine is asked for when values of subsets of units are all that is wanted."""

    CLAIMS: ClassVar[Claims] = Claims("", frozenset(), groups="players")

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Refuse: values come from the field."""
        raise NotImplementedError


def subset_question(
    target: str, attribute_to: str, movable: str | Sequence[bool], groups: Grouping | None
) -> Question:
    """Return the question for values of subsets; arguments as for ``explain``."""
    scalar = target_named(target)
    return Question(_Subsets(), scalar, None, None, attribute_to, movable, None, groups)


def units_of(case: Case) -> Tensor:
    """Return which groups of a case may be taken away, [n]."""
    moves = [bool(case.moves[span.start : span.stop].any()) for span in case.groups]
    return torch.tensor(moves).nonzero()[:, 0]


def rarities(plan: Plan) -> list[Array]:
    """Return how rare the units of each case are among those of all prompts, [n]."""
    pieces = [[case.inputs.piece(span) for span in case.groups] for case in plan.cases]
    seen = controls.counted(pieces)
    return [
        controls.rarity(own, seen)[units_of(case).numpy()]
        for own, case in zip(pieces, plan.cases, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Judged:
    """One prompt: its units that may be taken away, and what is judged of it.

    Args:
        case: of the plan.
        units: which of its groups may be taken away, [n].
        exhibits: for each entrant or control by label: one, or one for each generated token.
        explained: by label, of entrants.
    """

    case: Case
    units: Tensor
    exhibits: Mapping[str, Sequence[Exhibit]]
    explained: Mapping[str, Explained]

    def asked(self, names: Sequence[str]) -> dict[bytes, Flags]:
        """Return the subsets that metrics ask for, each once."""
        found: dict[bytes, Flags] = {}

        def write_down(subsets: Flags) -> Array:
            found.update((subset.tobytes(), subset) for subset in subsets)
            return np.full(len(subsets), np.nan)

        for some in self.exhibits.values():
            for exhibit in some:
                for name in names:
                    METRICS[name](exhibit, write_down)
        return found

    def possible(self, subsets: Flags) -> Tensor:
        """Return which subsets leave something to predict from where the rest is cut out, [R]."""
        stays = _with_units(self, subsets)
        held = ~self.case.moves
        sequence, first = self.case.sequence, len(self.case.sequence.prompt)
        whole = torch.ones(len(stays), len(held), dtype=torch.bool)
        for unit, span in enumerate(self.case.groups):
            whole[:, span.start : span.stop] = stays[:, unit : unit + 1]
        whole |= held
        left = whole[:, :first].any(1)
        if len(sequence.start):
            left &= whole[:, first : first + len(sequence.start)].any(1)
        return left


def _with_units(judged: Judged, subsets: Flags) -> Tensor:
    """Return which of all G groups stay, of subsets of those that may be taken away, [R, G]."""
    every = torch.ones(len(subsets), len(judged.case.groups), dtype=torch.bool)
    every[:, judged.units] = torch.from_numpy(subsets)
    return every


def findings(
    engine: Engine,
    plan: Plan,
    entrants: Sequence[Entrant],
    settings: Settings,
    known: Callable[[int, str], bool] = lambda place, label: False,
    progress: Progress = silent,
    processes: Processes = ALONE,
) -> Iterator[tuple[int, str, Finding]]:
    """Yield the place of a prompt, the label of a method or control, and what was found.

    Args:
        engine: of the model, which is isolated.
        plan: what is judged: :func:`subset_question` of each prompt.
        entrants: the methods.
        settings: what is measured.
        known: whether a method or control at a place need not run.
        progress: called with (done, in all) of prompts that a method explained, or that all
            methods were judged on under an operator.
        processes: those that share the rows to run.
    """
    rare, labels = rarities(plan), controls.control_names(settings.random_orders)
    shares = len(settings.operators)
    turns, done = len(plan.cases) * (len(entrants) + shares), 0
    for start in range(0, len(plan.cases), _TOGETHER):
        places = range(start, min(start + _TOGETHER, len(plan.cases)))
        explained: dict[int, dict[str, Explained]] = {place: {} for place in places}
        for entrant in entrants:
            lacking = [place for place in places if not known(place, entrant.label)]
            done += len(places) - len(lacking)
            said = entrant.explained(engine, plan, lacking, processes)
            for place, found in zip(lacking, said, strict=True):
                explained[place][entrant.label] = found
                done += 1
                progress(done, turns)
        for place in places:
            own = [label for label in labels if not known(place, label)]
            judged = exhibited(plan.cases[place], explained[place], rare[place], settings, own)

            def tick(share: int, before: int = done) -> None:
                progress(before + share, turns)

            told = _measured(engine, plan, judged, settings, processes, tick)
            yield from ((place, label, finding) for label, finding in told.items())
            done += shares
            progress(done, turns)


def exhibited(
    case: Case,
    explained: Mapping[str, Explained],
    rare: Array,
    settings: Settings,
    labels: Sequence[str] | None = None,
) -> Judged:
    """Say what is judged of a prompt: what methods say, and controls.

    Args:
        case: of the plan.
        explained: what methods say, by label.
        rare: how rare its units are, [n].
        settings: what is measured.
        labels: of the controls that are judged; by default all of them.
    """
    units = units_of(case)
    draw = controls.drawn_for(settings.seed, case.sequence.prompt.ids.tolist())
    own = controls.control_scores(rare, settings.random_orders, draw)
    names = controls.control_names(settings.random_orders)
    labels = names if labels is None else labels
    subsets = controls.random_subsets(len(units), settings.subsets, draw)
    exhibits = {
        label: [Exhibit(scores, subsets, ordinal=True)]
        for label, scores in zip(names, own, strict=True)
        if label in labels
    }
    for label, found in explained.items():
        scores = found.scores[:, units.numpy()]
        by_token = settings.per_token and len(scores) > 1
        # s of the answer is a mean over its tokens; scores of rows, or of a lone one, are a sum.
        summed = scores.sum(0, keepdims=True) / len(case.targets)
        exhibits[label] = [Exhibit(each, subsets) for each in (scores if by_token else summed)]
    return Judged(case, units, exhibits, explained)


def _measured(
    engine: Engine,
    plan: Plan,
    judged: Judged,
    settings: Settings,
    processes: Processes,
    tick: Callable[[int], None],
) -> dict[str, Finding]:
    """Run the subsets that are asked for of a prompt, and return what was found by label."""
    if not judged.exhibits or len(judged.units) < 2:
        return {label: _nothing(settings, judged.explained.get(label)) for label in judged.exhibits}
    asked = judged.asked(settings.metrics)
    values: dict[str, dict[bytes, Array]] = {}
    others = None
    if "random" in settings.operators:
        others = ordinary_ids(engine.model, engine.tokenizer)
    for ready in engine.each(replace(plan, cases=(judged.case,)), processes):
        with ready.attempt():
            values = _run(ready, judged, asked, settings, tick, others)
        del ready  # with what it holds on the device
    return _told(judged, values, settings)


def _nothing(settings: Settings, explained: Explained | None) -> Finding:
    shape = len(settings.operators), len(settings.metrics)
    drawn = np.full((shape[0], 2, len(QUANTILES)), np.nan)
    return Finding(np.full(shape, np.nan), drawn, explained)


def _run(
    ready: ReadyBatch,
    judged: Judged,
    asked: Mapping[bytes, Flags],
    settings: Settings,
    tick: Callable[[int], None],
    others: Tensor | None,
) -> dict[str, dict[bytes, Array]]:
    """Return s of each subset, [T], by operator, of the one prompt of a batch."""
    case, question = judged.case, ready.plan.question
    tokens = ready.batch.places(0)[: len(case.inputs)]
    columns = torch.arange(len(case.groups)) if question.joins else tokens
    subsets = np.stack(list(asked.values()))
    keep = torch.ones(len(subsets), ready.field.groups.moving.shape[1], dtype=torch.bool)
    keep[:, columns] = _with_units(judged, subsets)
    # Rows of one length beside each other, since those that run together are padded.
    order = keep.sum(1).argsort(stable=True)
    allowed = order[judged.possible(subsets)[order]]
    found: dict[str, dict[bytes, Array]] = {}
    for share, operator in enumerate(settings.operators):
        tick(share)
        some = allowed if operator in ("drop", "attention") else order
        value = torch.full((len(keep), ready.field.targets), torch.nan, dtype=torch.float64)
        rows = ready.field, keep[some], torch.zeros_like(some)
        if operator == "random":
            assert others is not None  # as it is asked for
            drawn = _replaced(ready, others, settings.seed)
            run = ablated_rows(*rows, "token", stand_in=drawn)
        else:
            run = ablated_rows(*rows, operator)
        value[some] = run.double().cpu()
        found[operator] = dict(zip(asked, value[:, : len(case.targets)].numpy(), strict=True))
    return found


def _replaced(ready: ReadyBatch, ids: Tensor, seed: int) -> Tensor:
    """Return for each input of a prompt another token, drawn from some, [1, N].

    The draw depends on the seed and the tokens, so that all methods meet the same one.
    """
    places = ready.batch.places(0)
    own = torch.cat([ready.batch.encoder_ids[0], ready.batch.decoder_ids[0]]).cpu()[places]
    number = torch.searchsorted(ids, own).clamp_max(len(ids) - 1)
    known = ids[number] == own
    # Its own token is left out: the numbers from there on move up by one.
    draw = controls.drawn_for(seed, [len(own), *own.tolist()])
    drawn = torch.from_numpy(draw.integers(len(ids) - 1, size=len(own)))
    found = torch.zeros(1, ready.field.movable.shape[1], dtype=torch.int64)
    found[0, places] = ids[drawn + (known & (drawn >= number))]
    return found


def _told(
    judged: Judged, known: Mapping[str, Mapping[bytes, Array]], settings: Settings
) -> dict[str, Finding]:
    """Return what values of subsets say of each method and control."""

    def values_of(operator: str, token: int | None) -> Values:
        by_subset = known[operator]

        def values(subsets: Flags) -> Array:
            rows = np.stack([by_subset[subset.tobytes()] for subset in subsets])
            return np.asarray(rows.mean(1) if token is None else rows[:, token])

        return values

    tokens = range(len(judged.case.targets)) if settings.per_token else [None]
    found = {}
    for label, exhibits in judged.exhibits.items():
        each = [exhibits[0 if len(exhibits) == 1 or t is None else t] for t in tokens]
        numbers, drawn = [], []
        for operator in settings.operators:
            lookups = [partial(values_of(operator, t)) for t in tokens]
            pairs = list(zip(each, lookups, strict=True))
            numbers.append(
                [float(np.mean([METRICS[m](e, s) for e, s in pairs])) for m in settings.metrics]
            )
            drawn.append(np.mean([_curve(e, s, settings) for e, s in pairs], axis=0))
        own = judged.explained.get(label)
        found[label] = Finding(np.array(numbers), np.stack(drawn), own)
    return found


def _curve(exhibit: Exhibit, values: Values, settings: Settings) -> Array:
    """Return both curves at the quantiles, [2, 11], where their points have been run."""
    if not {"deletion", "insertion", "excess"} & set(settings.metrics):
        return np.full((2, len(QUANTILES)), np.nan)
    counts, *both = curves(exhibit, values)
    at = np.asarray(QUANTILES) * exhibit.units
    return np.stack([np.interp(at, counts, curve) for curve in both])

"""What judging would cost: rows of each method, and of the subsets that metrics ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from hf_attrib.engine import Answering, Case, Engine, Estimate, Plan
from hf_attrib.field import Cost, Decomposition, Field
from hf_attrib.methods import Claims, Method
from hf_attrib.model import isolated
from hf_attrib.results import Told
from hf_attrib.text import Requests, TokenSequence, settings_kept
from hf_attrib.validation.contest import Contest
from hf_attrib.validation.entrants import Entrant, Explained, entrants_of
from hf_attrib.validation.evaluation import Settings, exhibited, rarities, subset_question

__all__ = [
    "EvaluationEstimate",
    "Share",
    "evaluation_cost",
    "judging_cost",
    "method_cost",
    "weighed",
]

#: What a row with a derivative costs, in forward rows.
_DERIVATIVE = 2


class Share(NamedTuple):
    """What a method, or judging all of them, would cost on all prompts, as (least, most).

    Rows of scores from elsewhere are not counted.
    """

    label: str
    forward_rows: tuple[int, int]
    backward_rows: tuple[int, int]
    directional_rows: tuple[int, int]
    seconds: tuple[float, float]


@dataclass(frozen=True)
class EvaluationEstimate(Told):
    """What an evaluation would cost, as (least, most) where methods decide as they go.

    Args:
        prompts: how many there are.
        at_most: whether some answers stand for the longest that generation could write.
        methods: what explaining by each of them costs.
        judging: what the subsets cost that metrics ask for, under all operators.
    """

    prompts: int
    at_most: bool
    methods: tuple[Share, ...]
    judging: Share

    @property
    def total(self) -> Share:
        """All of it."""
        return _summed("in all", [*self.methods, self.judging])

    def __str__(self) -> str:
        heads = ("", "forward rows", "backward rows", "directions", "seconds")
        rows = [heads, *map(_cells, (*self.methods, self.judging, self.total))]
        widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
        limit = ", whose answers are at most what generation may write" * self.at_most
        table = [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        prompts = "1 prompt" if self.prompts == 1 else f"{self.prompts:,} prompts"
        return "\n".join([prompts + limit, *(line.rstrip() for line in table)])


def _cells(share: Share) -> tuple[str, ...]:
    rows = share.forward_rows, share.backward_rows, share.directional_rows
    counts = (" to ".join(f"{n:,}" for n in dict.fromkeys(ends)) for ends in rows)
    seconds = " to ".join(dict.fromkeys(f"{s:.2g}" for s in share.seconds))
    return share.label, *counts, f"about {seconds}"


def _summed(label: str, parts: Sequence[Share | Estimate]) -> Share:
    """Return the sum of costs."""

    def ends(name: str) -> Any:
        both = [getattr(part, name) for part in parts]
        return sum(least for least, _ in both), sum(most for _, most in both)

    return Share(label, *map(ends, Share._fields[1:]))


@dataclass(frozen=True)
class _Counted(Method):
    """Stands for values of so many subsets of one prompt.

    Args:
        least: how many there are at least, over all operators.
        most: at most.
    """

    CLAIMS: ClassVar[Claims] = Claims("", frozenset(), groups="players")
    least: int = 0
    most: int = 0

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=self.least), Cost(values=self.most)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Refuse: it is never run."""
        raise NotImplementedError


def weighed(estimate: Estimate) -> int:
    """Return how many rows are run at most, in forward rows; one with a derivative counts two."""
    derivatives = estimate.backward_rows[1] + estimate.directional_rows[1]
    return estimate.forward_rows[1] + _DERIVATIVE * derivatives


def method_cost(
    engine: Engine, entrant: Entrant, sequence: TokenSequence, at_most: bool = False
) -> Estimate | None:
    """Return what a method would cost on a prompt; a few rows are run.

    Args:
        engine: of the model, which is isolated.
        entrant: the method.
        sequence: the prompt with its answer.
        at_most: whether the answer stands for any that is no longer.

    Returns:
        ``None`` of scores from elsewhere, which run nothing that could be counted.

    Raises:
        InputError: a method does not say what it costs.
    """
    if entrant.question is None:
        return None
    return engine.estimate(entrant.question, sequence, at_most)


def judging_cost(
    engine: Engine,
    plan: Plan,
    place: int,
    methods: int,
    settings: Settings,
    at_most: bool = False,
) -> Estimate:
    """Return what the subsets of a prompt would cost that metrics ask for; a few rows are run.

    Args:
        engine: of the model, which is isolated.
        plan: what is judged, of all prompts.
        place: of the prompt.
        methods: how many there are.
        settings: what is measured.
        at_most: as for :func:`method_cost`.
    """
    case = plan.cases[place]
    least, most = _subsets(case, rarities(plan)[place], methods, settings)
    question = replace(plan.question, method=_Counted(least=least, most=most))
    return engine.estimate(question, case.sequence, at_most)


def _subsets(case: Case, rare: np.ndarray, methods: int, settings: Settings) -> tuple[int, int]:
    """Return how many subsets run at least and at most, over all operators.

    What controls ask for is known. The order of a method is not: it may be that of a control, or
    share no subset with any of them.
    """
    groups, targets = len(case.groups), len(case.targets)
    draw = np.random.default_rng(settings.seed)
    drawn = [Explained(draw.normal(size=(targets, groups)), 0.0) for _ in range(2)]
    controls = exhibited(case, {}, rare, settings)
    if len(controls.units) < 2:
        return 0, 0
    asked = controls.asked(settings.metrics)
    # Two methods whose orders have nothing in common ask for the same only where they must.
    alone = [
        exhibited(case, {"a": one}, rare, settings, ()).asked(settings.metrics) for one in drawn
    ]
    reverse = {"a": replace(drawn[0], scores=-drawn[0].scores)}
    alone.append(exhibited(case, reverse, rare, settings, ()).asked(settings.metrics))
    shared = set(alone[0]).intersection(*alone[1:])
    least = asked | {key: alone[0][key] for key in shared}
    own = max(len(each) for each in alone) - len(shared)
    found = [0, 0]
    for operator in settings.operators:
        possible = len(least)
        if operator in ("drop", "attention"):
            possible = int(controls.possible(np.stack(list(least.values()))).sum())
        found[0] += possible
        found[1] += min(2 ** min(len(controls.units), 62), len(least) + methods * own)
    return found[0], found[1]


def evaluation_cost(
    answering: Answering, requests: Requests, contest: Contest, generation: Mapping[str, Any]
) -> EvaluationEstimate:
    """Return what an evaluation would cost; a few rows of each method and prompt are run.

    Nothing is generated: an answer that did not come with its prompt is as long as it could be.

    Args:
        answering: of the model.
        requests: prompts, with responses or without.
        contest: what would be asked; what a file of it holds already is not subtracted.
        generation: arguments of ``generate``.

    Raises:
        InputError: a method does not say what it costs.
    """
    engine, settings = answering.engine, contest.settings
    entrants = entrants_of(contest.methods, len(requests.each), contest.common)
    question = subset_question(
        contest.target, contest.attribute_to, contest.movable, contest.groups
    )
    costs: list[list[Estimate]] = [[] for _ in entrants]
    judging = []
    with isolated(engine.model), settings_kept(engine.tokenizer):
        for entrant in entrants:
            if entrant.question is not None:
                engine.check(entrant.question, [])
        plan = answering.supposed(requests, question, generation)
        for place, request in enumerate(requests.each):
            sequence, at_most = plan.cases[place].sequence, not request.answered
            for own, entrant in zip(costs, entrants, strict=True):
                found = method_cost(engine, entrant, sequence, at_most)
                own += [] if found is None else [found]
            judging.append(judging_cost(engine, plan, place, len(entrants), settings, at_most))
    answering.warn([])
    return EvaluationEstimate(
        prompts=len(requests.each),
        at_most=any(not request.answered for request in requests.each),
        methods=tuple(_summed(e.label, own) for e, own in zip(entrants, costs, strict=True)),
        judging=_summed("judging", judging),
    )

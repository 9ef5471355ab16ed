"""From prompts and methods to an evaluation: what is asked, done before, and left to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_attrib.engine import Answering, Plan
from hf_attrib.engine.record import provenance
from hf_attrib.errors import InputError
from hf_attrib.execution import Foresight, Progress, silent
from hf_attrib.model import isolated
from hf_attrib.text import Grouping, Requests, settings_kept
from hf_attrib.validation.controls import RAREST, control_names
from hf_attrib.validation.entrants import Entrant, entrants_of
from hf_attrib.validation.evaluation import (
    Finding,
    Settings,
    findings,
    rarities,
    subset_question,
    units_of,
)
from hf_attrib.validation.ledger import Ledger, digest, key_of
from hf_attrib.validation.metrics import ranked
from hf_attrib.validation.result import Contestant, Evaluation, EvaluationRun, JudgedPrompt

__all__ = ["DEFAULT_METHODS", "Contest", "contested", "judged"]

#: Who is compared when nobody is named: one of each kind.
DEFAULT_METHODS = ("loo_shapley", "occlusion", "sequential_ig", "integrated_gradients", "saliency")


@dataclass(frozen=True, eq=False)
class Contest:
    """What is asked of an evaluation.

    Args:
        methods: who takes part, as :func:`entrants_of` takes them.
        settings: what is measured.
        target: what methods explain and s is the mean of.
        groups: what is taken away as one; tokens by default.
        attribute_to: as for ``explain``.
        movable: likewise.
        resume: a file to write findings to, and to take them from.
        progress: called with (done, in all).
    """

    methods: Any = DEFAULT_METHODS
    settings: Settings = field(default_factory=Settings)
    target: str = "log_prob"
    groups: Grouping | None = None
    attribute_to: str = "prompt"
    movable: str | Sequence[bool] = "content"
    resume: str | os.PathLike[str] | None = None
    progress: Progress = silent

    @property
    def common(self) -> dict[str, Any]:
        """What is asked of each method."""
        names = ("target", "groups", "attribute_to", "movable")
        return {name: getattr(self, name) for name in names}

    @property
    def unit(self) -> str:
        """What is taken away, in a word."""
        if self.groups is None:
            return "token"
        return self.groups if isinstance(self.groups, str) else "given"


def judged(
    answering: Answering,
    requests: Requests,
    contest: Contest,
    generation: Mapping[str, Any],
    narrowed: Callable[[Plan], Contest] | None = None,
) -> tuple[Evaluation, Callable[[int, str], Finding]]:
    """Return an evaluation, and what is known of the prompt at a place and a label.

    Args:
        answering: of the model.
        requests: prompts, with responses or without.
        contest: what is asked.
        generation: arguments of ``generate``.
        narrowed: returns what is asked of the answers, once there are any; of some methods, say.
    """
    engine = answering.engine
    entrants = entrants_of(contest.methods, len(requests.each), contest.common)
    taken = control_names(contest.settings.random_orders)
    if mistaken := [entrant.label for entrant in entrants if entrant.label in taken]:
        raise InputError(
            f"method {mistaken[0]!r:.80} is called as a control is; give it another name."
        )
    asked = contest.common
    question = subset_question(
        contest.target, contest.attribute_to, contest.movable, contest.groups
    )
    head = {
        **asdict(contest.settings),
        **{name: value if isinstance(value, str) else repr(value) for name, value in asked.items()},
        **{name: provenance(engine.model)[name] for name in ("model", "model_revision", "dtype")},
    }
    if contest.resume is not None and answering.processes.count > 1:
        raise InputError(
            f"resume came with {answering.processes.count} processes, which would all write to it; "
            "leave it out, or run one process."
        )
    ledger = Ledger(contest.resume, head)
    with answering.processes.together(), isolated(engine.model), settings_kept(engine.tokenizer):
        for entrant in entrants:
            if entrant.question is not None:
                engine.check(entrant.question, [])
        plan = answering.planned(requests, question, generation)
        if narrowed is not None:
            contest = narrowed(plan)
            entrants = entrants_of(contest.methods, len(requests.each), contest.common)
        _run(answering, plan, entrants, contest, ledger)
    name = _names(plan, entrants)
    found = _evaluation(engine.model, plan, entrants, contest, ledger)
    return found, lambda place, label: ledger[name(place, label)]


def contested(
    answering: Answering, requests: Requests, contest: Contest, generation: Mapping[str, Any]
) -> Evaluation:
    """Return how well methods predict what a model does without units of its prompts.

    Args:
        answering: of the model.
        requests: prompts, with responses or without.
        contest: what is asked.
        generation: arguments of ``generate``.
    """
    found, _ = judged(answering, requests, contest, generation)
    answering.warn([])
    return found


def _names(plan: Plan, entrants: Sequence[Entrant]) -> Callable[[int, str], tuple[str, str]]:
    """Return what tells a finding of a place and a label from all others of one question."""
    keys = [key_of(case.sequence) for case in plan.cases]
    written = {entrant.label: entrant.key for entrant in entrants}
    # Which words are rare depends on the other prompts.
    orders = [f"{RAREST}: {digest(ranked(rare).tolist())}" for rare in rarities(plan)]

    def name(place: int, label: str) -> tuple[str, str]:
        return keys[place], orders[place] if label == RAREST else written.get(label, label)

    return name


def _run(
    answering: Answering,
    plan: Plan,
    entrants: Sequence[Entrant],
    contest: Contest,
    ledger: Ledger,
) -> None:
    """Find what the ledger has not."""
    name = _names(plan, entrants)
    resumed = " With resume= what is found stays if it is interrupted."
    foresight = Foresight("turns of a method or of judging on a prompt", contest.progress, resumed)
    todo = findings(
        answering.engine,
        plan,
        entrants,
        contest.settings,
        lambda place, label: name(place, label) in ledger,
        foresight,
        answering.processes,
    )
    with foresight.speaking():
        for place, label, finding in todo:
            ledger.add(name(place, label), finding)


def _evaluation(
    model: Any, plan: Plan, entrants: Sequence[Entrant], contest: Contest, ledger: Ledger
) -> Evaluation:
    settings, name = contest.settings, _names(plan, entrants)
    places, labels = range(len(plan.cases)), [entrant.label for entrant in entrants]
    controls = control_names(settings.random_orders)

    def stacked(of: Callable[[Finding], Any], some: Sequence[str]) -> Tensor:
        found = [[of(ledger[name(place, label)]) for label in some] for place in places]
        return torch.from_numpy(np.asarray(found, dtype=np.float64))

    def cost(of: str) -> Tensor:
        return stacked(lambda finding: getattr(finding.explained, of), labels)

    random = stacked(lambda finding: finding.curves, controls[: settings.random_orders])
    run = EvaluationRun(
        score=contest.target,
        unit=contest.unit,
        operators=settings.operators,
        metrics=settings.metrics,
        controls=controls,
        random_orders=settings.random_orders,
        per_token=settings.per_token,
        subsets=settings.subsets,
        seed=settings.seed,
        **{n: plan.question.recorded()[n] for n in ("attribute_to", "movable")},
        **provenance(model),
    )
    return Evaluation(
        values=stacked(lambda finding: finding.values, labels),
        controls=stacked(lambda finding: finding.values, controls),
        curves=stacked(lambda finding: finding.curves, labels),
        random_curves=random.nanmean(1),
        seconds=cost("seconds"),
        forward_rows=cost("forward_rows").long(),
        backward_rows=cost("backward_rows").long(),
        gap=cost("gap"),
        methods=tuple(Contestant(e.label, e.written, e.signed, e.own_operator) for e in entrants),
        prompts=tuple(
            JudgedPrompt(
                case.sequence.prompt.text,
                case.sequence.response.text,
                len(units_of(case)),
                len(case.targets),
            )
            for case in plan.cases
        ),
        run=run,
    )

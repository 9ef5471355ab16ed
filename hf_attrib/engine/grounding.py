"""Attributions to documents, each with the table that says which of them the answer rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from hf_attrib.engine.case import Case
from hf_attrib.engine.engine import Engine
from hf_attrib.engine.interruption import noted
from hf_attrib.engine.options import DEFAULTS
from hf_attrib.engine.passages import PassageQuestion, about_passages, in_passages
from hf_attrib.engine.question import Plan, Question
from hf_attrib.errors import InputError, leave
from hf_attrib.execution import Processes
from hf_attrib.field import Cost
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.results import NO_CITATIONS, Attribution
from hf_attrib.text import Tokens

__all__ = ["grounded", "table_rows"]


def grounded(engine: Engine, plan: Plan, processes: Processes) -> Iterator[Attribution]:
    """Return the attributions of all sequences, each with the table of its documents.

    There is one where documents are the groups and the method runs forward alone: its rows would
    surprise whoever asked for a gradient. Nor is there one of an answer against another: its
    sentences are those of one.

    Args:
        engine: of the model, which is isolated.
        plan: what is asked of each sequence.
        processes: those that share the rows to run.
    """
    alone = all(case.fork is None for case in plan.cases)
    if not alone or not any(_asks(plan.question, case.sequence.prompt) for case in plan.cases):
        return engine.attribute(plan, processes)
    return _with_tables(engine, plan, processes)


def _with_tables(engine: Engine, plan: Plan, processes: Processes) -> Iterator[Attribution]:
    for place, case in enumerate(plan.cases):
        # Each to its end, so that the next one finds the model as it was.
        (found,) = engine.attribute(plan.part(place, place + 1), processes)
        try:
            whole = _with_table(engine, plan.question, case, found, processes)
        except BaseException as stop:
            if not isinstance(stop, Exception):
                leave(stop, [noted(found, "documents have no table yet")])
            raise
        yield whole


def table_rows(question: Question, contrasted: bool) -> Callable[[Tokens], tuple[Cost, Cost]]:
    """Return a function that says what the table of a prompt's documents takes, least and most.

    Args:
        question: what is asked of the prompt.
        contrasted: whether answers are explained against others.
    """

    def of(prompt: Tokens) -> tuple[Cost, Cost]:
        if contrasted or not _asks(question, prompt):
            return Cost().exactly()
        asked = _about(question, prompt)
        return Cost(values=len(asked.first)), Cost(values=asked.rows)

    return of


def _asks(question: Question, prompt: Tokens) -> bool:
    """Tell whether an attribution brings a table."""
    by_document = question.groups == "document" and bool(prompt.documents)
    return by_document and isinstance(question.method, Perturbation)


def _about(question: Question, prompt: Tokens) -> PassageQuestion:
    """Return what the table is asked for; it is ranked by the method, unless that is the default.

    The default has no scores among documents alone: it looks at what each is worth to the rest.
    """
    method, given = question.method, dict[str, Any]()
    assert isinstance(method, Perturbation)
    if method.name == DEFAULTS["method"]:
        given["mode"] = method.mode
    else:
        given["method"] = method
    given |= {"baseline": question.baseline, "movable": question.movable}
    count = len(prompt.documents)
    return about_passages({"groups": "document", "documents": count, **given})[0]


def _with_table(
    engine: Engine, question: Question, case: Case, found: Attribution, processes: Processes
) -> Attribution:
    """Add the table of a prompt's documents to its attribution, or say why there is none."""
    prompt = case.sequence.prompt
    if not _asks(question, prompt):
        return found
    try:
        asked = _about(question, prompt)
        engine.check(asked, [prompt])
        plan = engine.plan(asked, [case.sequence])
    except InputError as error:  # which is no fault of the question about all inputs
        note = f"{NO_CITATIONS}{error}"
        return replace(found, run=replace(found.run, notes=(*found.run.notes, note)))
    (table,) = in_passages(engine, plan, processes)
    more = [note for note in table.run.notes if note not in found.run.notes]
    if question.target.name != table.run.target:
        more.append(
            f"Documents and citations are about {table.run.target} in nats, and the scores above "
            f"them about the target {question.target.name}."
        )
    run = replace(
        found.run,
        notes=(*found.run.notes, *more),
        forward_rows=found.run.forward_rows + table.run.forward_rows,
        seconds=found.run.seconds + table.run.seconds,
    )
    return replace(found, run=run, passages=table)

"""What each command does; its name and its line of help are in :mod:`hf_attrib.cli.program`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from hf_attrib.cli import catalog
from hf_attrib.cli.dataset import Bar, KeptOptions, RunOptions, SourceOptions, asked
from hf_attrib.cli.evaluation import EvaluationOptions, PromptFile, TableOptions, write_tables
from hf_attrib.cli.files import check_distinct
from hf_attrib.cli.flags import flagged
from hf_attrib.cli.inputs import ComparisonOptions, DocumentOptions, PromptOptions, SavedResult
from hf_attrib.cli.options import (
    AnswerOptions,
    ModelOptions,
    QuestionOptions,
    SaveOptions,
    ViewOptions,
    baseline_of,
)
from hf_attrib.cli.output import Activity, emit, emit_whole, quiet, stoppable, stopped
from hf_attrib.cli.rag import (
    AskedOptions,
    CitationOutput,
    CitingOptions,
    PassageSources,
    check_count,
    check_streams,
    emit_passages,
)
from hf_attrib.cli.robustness import AttackOptions, OutputOptions
from hf_attrib.cli.streams import is_main, put
from hf_attrib.engine import Question
from hf_attrib.errors import InputError
from hf_attrib.execution import session
from hf_attrib.explainer import Explainer
from hf_attrib.model import load_model
from hf_attrib.results import FORMATS, Attribution
from hf_attrib.robustness import margin_question
from hf_attrib.runs import estimate_dataset, explain_dataset
from hf_attrib.text import Requests
from hf_attrib.validation import automatic_contest

__all__ = [
    "attacks",
    "compare",
    "dataset",
    "evaluate",
    "explain",
    "methods",
    "models",
    "rag",
    "robustness",
    "show",
]


#: What is left of work whose parts are done at its end.
_NOTHING = "nothing was finished."


@flagged
def explain(
    prompt: PromptOptions,
    beside: DocumentOptions,
    asking: QuestionOptions,
    answer: AnswerOptions,
    model: ModelOptions,
    save: SaveOptions,
    view: ViewOptions,
    **fields: Any,
) -> None:
    """Explain an answer, show the result and write it where asked to; or estimate what it costs."""
    check_distinct(save.json, view.svg, view.html, read=(prompt.file, beside.documents))
    if save.dry_run and any((save.json, view.svg, view.html)):
        raise InputError("--dry-run explains nothing, so there is nothing to write into a file.")
    # The file holds every token's score; what is only looked at may be joined at once.
    groups = view.group if save.json is None else None
    if beside.documents is not None:
        groups = groups or "document"
    if asking.automatic:
        work = _chosen(asking.contest(fields, groups), answer, save.dry_run)
    else:
        question = asking.question(asking.made_method(fields, answer.seed))
        asked = replace(question, groups=groups), asking.other_answer()
        work = _asked(*asked, answer, save.dry_run)
    generating = answer.response is None and not save.dry_run
    prepared = _prepared(
        lambda: (prompt.read(), beside.read()), model, answer.seed, "Explaining", generating
    )
    try:
        with prepared as (explainer, (text, documents), _, shown):
            result = work(explainer, text, documents, answer.generation() | shown)
    except KeyboardInterrupt as stop:
        for part in getattr(stop, "unfinished", ()):
            emit(part, view, save.json)
            stopped(part.run.notes[0])
        stopped(_NOTHING)
    if save.dry_run:
        put(f"{result}\n")
    else:
        emit(result, view, save.json)


def _asked(
    question: Question, contrast: str | None, answer: AnswerOptions, dry_run: bool
) -> Callable[..., Any]:
    """Return what explains a prompt by a method, or estimates what that costs."""

    def work(
        explainer: Explainer, text: Any, documents: dict[str, Any], generation: dict[str, Any]
    ) -> Any:
        answered = explainer.estimate_requests if dry_run else explainer.explain_requests
        given = {"response": answer.response, "contrast": contrast, **documents}
        requests = Requests.of(text, **given)
        return answered(requests, question, generation)[0]

    return work


def _chosen(asked: dict[str, Any], answer: AnswerOptions, dry_run: bool) -> Callable[..., Any]:
    """Return what explains a prompt by the method that predicts best, or estimates the contest."""
    contest, _, _ = automatic_contest(asked)
    measured = {name: getattr(contest.settings, name) for name in ("metrics", "random_orders")}

    def work(
        explainer: Explainer, text: Any, documents: dict[str, Any], generation: dict[str, Any]
    ) -> Any:
        if dry_run and documents:
            raise InputError("--dry-run tells no cost of --method auto with --documents.")
        if dry_run:
            told = {"responses": answer.response, **contest.common, **measured}
            return explainer.estimate_evaluation(text, contest.methods, **told, **generation)
        given = {**documents, **asked, **generation}
        return explainer.explain(text, response=answer.response, **given)

    return work


@flagged
def rag(
    model: ModelOptions,
    question: AskedOptions,
    sources: PassageSources,
    citing: CitingOptions,
    answer: AnswerOptions,
    output: CitationOutput,
) -> None:
    """Answer a question from documents, and show and write what each sentence rests on."""
    check_streams(question, sources)
    asked = citing.asked(answer.seed)

    def read() -> tuple[Any, dict[str, Any]]:
        given = question.question_file, *sources.paths()
        check_distinct(*output.files, output.html, read=given)
        return question.read(), sources.read(partial(check_count, asked))

    prepared = _prepared(read, model, answer.seed, "Citing", answer.response is None)
    with stoppable(_NOTHING), prepared as (explainer, (text, documents), _, shown):
        given = {**documents, **asked, **answer.generation(), **shown, "detail": citing.detail}
        result: Any = explainer.passages(text, response=answer.response, **given)
    emit_passages(result, output)


@flagged
def robustness(
    prompt: PromptOptions,
    attack: AttackOptions,
    answer: AnswerOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Search for the radii at which an attack changes an answer, and show and write them."""
    check_distinct(output.json, output.html, read=(prompt.file,))
    search = attack.search(answer.seed)
    baseline = baseline_of(attack.baseline)
    # Which checks itself, before the model is loaded.
    margin_question(search.attack, baseline, attack.attribute_to, attack.movable)
    generating = answer.response is None
    prepared = _prepared(prompt.read, model, answer.seed, "Attacking", generating)
    with stoppable(_NOTHING), prepared as (explainer, text, _, shown):
        result: Any = explainer.robustness(
            text,
            attack=search.attack,
            eps=search.eps,
            bisections=search.bisections,
            baseline=baseline,
            attribute_to=attack.attribute_to,
            movable=attack.movable,
            response=answer.response,
            **answer.generation(),
            **shown,
        )
    emit_whole(result, output.json, output.html)


@flagged
def evaluate(
    file: PromptFile, asking: EvaluationOptions, model: ModelOptions, output: TableOptions
) -> None:
    """Judge methods by what the model does without what they rank, and show and write it."""
    check_distinct(*(output.output or ()), output.resume, read=(file.file,))
    generating = file.read()[1] is None and not output.dry_run
    prepared = _prepared(file.read, model, asking.seed, "Explaining", generating)
    kept = _NOTHING if output.resume is None else f"{output.resume} goes on where it ended."
    with stoppable(kept), prepared as (explainer, (prompts, responses), activity, _):
        if output.dry_run:
            asked = {"responses": responses, **asking.asked()}
            put(f"{explainer.estimate_evaluation(prompts, asking.methods, **asked)}\n")
            return
        result = explainer.evaluate(
            prompts,
            asking.methods,
            responses=responses,
            resume=output.resume,
            progress=lambda done, total: activity.now("Judging", done, total),
            **asking.asked(),
        )
    try:
        emit_whole(result, None, None)
    finally:
        if is_main():
            write_tables(result, output)


@flagged
def dataset(
    source: SourceOptions,
    asking: QuestionOptions,
    kept: KeptOptions,
    model: ModelOptions,
    run: RunOptions,
    **fields: Any,
) -> None:
    """Explain the rows of a data set into a folder, or estimate what that costs."""
    given = asked(source, asking, kept, model, fields)
    place = source.source, source.folder
    if run.dry_run:
        with Activity(f"Measuring {model.model}"), quiet():
            estimate = estimate_dataset(*place, **given)
        put(f"{estimate}\n")
        return
    left = f"the same command goes on where {source.folder} ends."
    with stoppable(left), Bar() as bar, quiet():
        found = explain_dataset(*place, retry=run.retry, progress=bar.now, **given)
    put(f"{found}\n")


@contextmanager
def _prepared(
    read: Callable[[], Any], model: ModelOptions, seed: int | None, doing: str, generating: bool
) -> Iterator[tuple[Explainer, Any, Activity, dict[str, Any]]]:
    """Load the model, and read the prompt; meanwhile show what is being done.

    Last of what it yields are the arguments of ``generate`` that show the answer being written.
    """
    with session(cpu=model.device.startswith("cpu")) as processes:
        # Standard input can be read once; all processes explain what the first one read.
        text = json.loads(processes.texts(json.dumps(read() if is_main() else None))[0])
        with Activity(f"Loading {model.model}") as activity, quiet():
            loaded, tokenizer = load_model(model.model, **model.options())
            if seed is not None:
                torch.manual_seed(seed)
            activity.now("Generating" if generating else doing)
            explainer = Explainer(
                loaded,
                tokenizer,
                batch_size=model.batch_size,
                max_memory=model.max_memory,
                progress=lambda done, total: activity.now(doing, done, total),
                distributed=processes.count > 1,
            )
            alone = generating and processes.count == 1  # other processes would be asked otherwise
            yield explainer, text, activity, activity.streaming(explainer, doing) if alone else {}


@flagged
def show(saved: SavedResult, view: ViewOptions) -> None:
    """Show a result that is read from a file, of whichever kind it is."""
    check_distinct(view.svg, view.html, read=(saved.result,))
    result = saved.load()
    if isinstance(result, Attribution):
        emit(result, view, None)
    else:
        emit_whole(result, None, view.page_alone(f"a {FORMATS[type(result)].what}"))


@flagged
def compare(comparison: ComparisonOptions) -> None:
    """Compare two results that are read from files, and show the comparison."""
    emit_whole(comparison.compare(), None, comparison.html)


def methods() -> None:
    """Print the table of methods."""
    put(catalog.methods_table())


def attacks() -> None:
    """Print the table of attacks."""
    put(catalog.attacks_table())


def models() -> None:
    """Print the list of embedded models."""
    put(catalog.models_table())

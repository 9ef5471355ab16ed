"""The commands."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import torch
import typer

from hf_attrib import __version__
from hf_attrib.cli import catalog
from hf_attrib.cli.files import check_distinct
from hf_attrib.cli.flags import flagged
from hf_attrib.cli.inputs import Pair, Saved, Source
from hf_attrib.cli.options import Answer, Asked, ModelChoice, Record, View, baseline_of
from hf_attrib.cli.output import (
    PLAINER,
    Activity,
    complain,
    emit,
    emit_whole,
    put,
    quiet,
)
from hf_attrib.cli.robustness import Attacked, Outputs
from hf_attrib.errors import HFAttribError, InputError
from hf_attrib.execution import is_main, session
from hf_attrib.explainer import Explainer
from hf_attrib.model import load_model
from hf_attrib.results import FORMATS, Attribution
from hf_attrib.robustness import search_question

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: Typer's base class of usage errors, which has moved between its versions, and click's.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

#: Seconds that the first process has to complain: launchers end all when one has failed.
_GRACE = 2.0

_EXAMPLE = (
    "Example: hf-attrib explain \"Ada's key is red. Bob's key is blue. "
    "Q: What color is Bob's key? A:\""
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 2 for bad input, 130 if interrupted.

    Args:
        arguments: the words after the program's name; by default those it was called with.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAINER)  # not every terminal knows every character
    code: Any = 2
    try:
        code = app(arguments, standalone_mode=False)
    except _UsageError as error:
        complain(error.format_message())
    except HFAttribError as error:
        complain(str(error))
    except typer.Abort:
        code = 130
    if code and not is_main():
        time.sleep(_GRACE)
    sys.exit(code or 0)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", metavar="", help="Print the version."),
) -> None:
    """Explain which input tokens made a language model generate each output token."""
    if version:
        put(f"hf-attrib {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        put(context.get_help() + "\n")


@app.command(epilog=_EXAMPLE)
@flagged
def explain(
    source: Source,
    asked: Asked,
    answer: Answer,
    choice: ModelChoice,
    record: Record,
    view: View,
    **fields: Any,
) -> None:
    """Generate an answer to a prompt and show what each token of it came from."""
    check_distinct(record.json, view.svg, view.html)
    if record.dry_run and any((record.json, view.svg, view.html)):
        raise InputError("--dry-run explains nothing, so there is nothing to write into a file.")
    question = asked.question(asked.made_method(fields, answer.seed))
    generating = answer.response is None and not record.dry_run
    with _prepared(source, choice, answer, "Explaining", generating) as (explainer, prompt):
        run = explainer.estimate if record.dry_run else explainer.explain
        result: Any = run(
            prompt,
            method=question.method,
            target=question.target.name,
            contrast=question.contrast,
            baseline=question.baseline,
            attribute_to=question.attribute_to,
            movable=question.movable,
            spans=question.spans,
            # The file holds every token's score; what is only looked at may be joined at once.
            groups=view.group if record.json is None else None,
            **answer.options(),
        )
    if record.dry_run:
        put(f"{result}\n")
    else:
        emit(result, view, record.json)


@app.command(epilog=_EXAMPLE.replace("explain", "robustness"))
@flagged
def robustness(
    source: Source, attacked: Attacked, answer: Answer, choice: ModelChoice, outputs: Outputs
) -> None:
    """Find out how little an attack has to move a prompt to change each token of the answer."""
    search = attacked.search(answer.seed)
    baseline = baseline_of(attacked.baseline)
    # Which checks itself, before the model is loaded.
    search_question(search.attack, baseline, attacked.attribute_to, attacked.movable)
    generating = answer.response is None
    with _prepared(source, choice, answer, "Attacking", generating) as (explainer, prompt):
        result: Any = explainer.robustness(
            prompt,
            attack=search.attack,
            eps=search.eps,
            bisections=search.bisections,
            baseline=baseline,
            attribute_to=attacked.attribute_to,
            movable=attacked.movable,
            **answer.options(),
        )
    emit_whole(result, outputs.json, outputs.html)


@contextmanager
def _prepared(
    source: Source, choice: ModelChoice, answer: Answer, doing: str, generating: bool
) -> Iterator[tuple[Explainer, Any]]:
    """Load the model, and read the prompt; meanwhile show what is being done."""
    with session(cpu=choice.device.startswith("cpu")) as processes:
        # Standard input can be read once; all processes explain what the first one read.
        prompt = json.loads(processes.texts(json.dumps(source.read() if is_main() else None))[0])
        with Activity(f"Loading {choice.model}") as activity, quiet():
            model, tokenizer = load_model(choice.model, **choice.options())
            if answer.seed is not None:
                torch.manual_seed(answer.seed)
            activity.now("Generating" if generating else doing)
            yield (
                Explainer(
                    model,
                    tokenizer,
                    batch_size=choice.batch_size,
                    max_memory=choice.max_memory,
                    progress=lambda done, total: activity.now(doing, done, total),
                    distributed=processes.count > 1,
                ),
                prompt,
            )


@app.command()
@flagged
def show(saved: Saved, view: View) -> None:
    """Show a saved result."""
    result = saved.load()
    if isinstance(result, Attribution):
        emit(result, view, None)
    else:
        emit_whole(result, None, view.page_alone(f"a {FORMATS[type(result)].what}"))


@app.command()
@flagged
def compare(pair: Pair) -> None:
    """Show two saved results side by side, and how well they agree."""
    emit_whole(pair.compare(), None, pair.html)


@app.command()
def methods() -> None:
    """List the attribution methods."""
    put(catalog.methods_table())


@app.command()
def attacks() -> None:
    """List the attacks: rules that say where a method's path goes."""
    put(catalog.attacks_table())


@app.command()
def models() -> None:
    """List the embedded models."""
    put(catalog.models_table())

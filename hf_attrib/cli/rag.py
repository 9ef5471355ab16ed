"""The options of ``hf-attrib rag``, and what it prints and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from hf_attrib.cli.files import STDSTREAM, check_distinct, check_writable
from hf_attrib.cli.inputs import PromptOptions, json_lines
from hf_attrib.cli.options import seeded
from hf_attrib.cli.output import emit_text, rendered
from hf_attrib.cli.sources import located, read_texts
from hf_attrib.engine.citing import DETAILS
from hf_attrib.engine.passages import about_passages
from hf_attrib.errors import InputError
from hf_attrib.field.ablation import MODES
from hf_attrib.render.safe_text import visible
from hf_attrib.results import Passages, to_json
from hf_attrib.results.passages import STYLES
from hf_attrib.text import Documents, Messages

__all__ = [
    "AskedOptions",
    "CitationOutput",
    "CitingOptions",
    "PassageSources",
    "check_count",
    "check_streams",
    "emit_passages",
]


#: Rows that say anything of a document.
_LEAST_ROWS = 2
#: Documents at most: a pattern soon matches more than any model reads.
_MOST_DOCUMENTS = 1_000


@dataclass(frozen=True)
class AskedOptions:
    """The question that the documents answer."""

    panel: ClassVar[str] = "Question"

    question: Annotated[str | None, typer.Option(help="The question; - reads standard input.")] = (
        None
    )
    question_file: Annotated[Path | None, typer.Option(help="Read the question from a file.")] = (
        None
    )
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Send it as a user's message in the chat; a .json file holds all messages.",
        ),
    ] = False

    def __post_init__(self) -> None:
        if self.question is None and self.question_file is None:
            raise InputError("no question was given; pass --question or --question-file.")
        if self.question is not None and self.question_file is not None:
            raise InputError("--question and --question-file were both given; give one of them.")

    def read(self) -> str | Messages:
        """Return the question as text, or as messages for the chat template.

        Raises:
            InputError: it cannot be read, or is empty.
        """
        question = "-" if self.question_file == STDSTREAM else self.question
        file = None if self.question_file == STDSTREAM else self.question_file
        asked = PromptOptions(question, file, self.chat).read()
        last = {"role": "user", "content": asked} if isinstance(asked, str) else asked[-1]
        said = last.get("content")
        if last.get("role") == "user" and isinstance(said, str) and not said.strip():
            raise InputError("the question is empty; ask something.")
        return asked


@dataclass(frozen=True)
class PassageSources:
    """The documents, and how they stand in the prompt."""

    panel: ClassVar[str] = "Documents"

    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DOCUMENT]...", help="Documents, as for --document."),
    ] = None
    document: Annotated[
        list[str] | None,
        typer.Option(
            help="A text file; a folder, for the files in it; a quoted pattern, as 'notes/*.md'; "
            "or - for standard input. Give it again for each. The name of a file is its id, and "
            "its title in the prompt."
        ),
    ] = None
    documents: Annotated[
        Path | None,
        typer.Option(help="Documents, one JSON text or object with a text on each line."),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(help="How they stand in the prompt: '... {documents} ... {question}'."),
    ] = None
    placement: Annotated[
        str, typer.Option(help="auto; or template, to refuse a chat template without a place.")
    ] = "auto"

    def __post_init__(self) -> None:
        if not self.named and self.documents is None:
            raise InputError(
                "no documents were given; pass --document for each, or --documents FILE.jsonl."
            )
        if self.named and self.documents is not None:
            raise InputError("--document and --documents were both given; give one of them.")

    @property
    def named(self) -> tuple[str, ...]:
        """What was named as documents; a shell writes the files of a pattern behind the option."""
        return (*(self.document or ()), *(self.files or ()))

    def paths(self) -> list[Path]:
        """Return the files that are read.

        Raises:
            InputError: a folder or a pattern has none, or one is named twice.
        """
        return located(self.named) if self.documents is None else [self.documents]

    def read(self, check: Callable[[int], object]) -> dict[str, Any]:
        """Return the arguments of ``passages`` that say the same.

        Args:
            check: refuses a number of documents that is too large, before they are read.

        Raises:
            InputError: one cannot be read, is no text or empty, or there are none or too many.
        """
        if self.documents is None:
            paths = self.paths()
            check(len(paths))
            found: list[Any] = read_texts(paths)
        else:
            found = json_lines(self.documents)
        Documents.of(found, self.placement, self.template)  # which refuses what is none
        check(len(found))
        return {"documents": found, "template": self.template, "placement": self.placement}


@dataclass(frozen=True)
class CitingOptions:
    """What a citation takes, and how passages are ranked."""

    panel: ClassVar[str] = "What to cite"

    threshold: Annotated[
        float | None,
        typer.Option(
            help="Nats of log-odds that a sentence must lose without what it cites.",
            show_default="calibrated for the mode",
        ),
    ] = None
    mode: Annotated[
        str | None,
        typer.Option(
            help=f"How passages are taken away: {', '.join(MODES)}.", show_default="embed"
        ),
    ] = None
    budget: Annotated[
        int | None,
        typer.Option(help="Forward rows at most.", show_default="64, or 10 for each document"),
    ] = None
    detail: Annotated[
        str, typer.Option(help="passage; or sentence, to cite the sentences inside documents.")
    ] = "passage"
    method: Annotated[
        str | None,
        typer.Option(
            help="What ranks passages where not all subsets are run, as kernel_shap or "
            "'shapley(samples=8)'.",
            show_default="shapley",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < _LEAST_ROWS:
            raise InputError(
                f"--budget is {self.budget}; expected at least {_LEAST_ROWS} rows, one with the "
                "documents and one without."
            )
        if self.detail not in DETAILS:
            raise InputError(f"--detail is {self.detail!r:.80}; expected {' or '.join(DETAILS)}.")

    def asked(self, seed: int | None) -> dict[str, Any]:
        """Return the arguments of ``passages`` that say the same.

        Args:
            seed: of a method that draws random numbers, unless it is written with one.

        Raises:
            InputError: there is no such method.
        """
        named = ("threshold", "budget")
        asked = {name: getattr(self, name) for name in named if getattr(self, name) is not None}
        own = {} if self.mode is None else {"mode": self.mode}
        if self.method is not None:
            return asked | {"method": seeded(self.method, own, seed)}
        return asked | own | ({} if seed is None else {"seed": seed})


@dataclass(frozen=True)
class CitationOutput:
    """Where passages go, and whether the terminal shows citations alone."""

    panel: ClassVar[str] = "Output"

    json: Annotated[
        list[Path] | None,
        typer.Option(
            "--json",
            "--save",
            help="Save the result, for hf-attrib show; - prints it instead of the table.",
        ),
    ] = None
    html: Annotated[
        Path | None, typer.Option(help="Write a page to explore into this file, too.")
    ] = None
    citations: Annotated[
        str | None,
        typer.Option(
            help="Print citations alone: markers for the answer with [1] behind its sentences, or "
            f"JSON as {', '.join(style for style in STYLES if style != 'markers')} have it."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.citations is not None and self.citations not in STYLES:
            raise InputError(
                f"--citations is {self.citations!r:.80}; expected {', '.join(STYLES)}."
            )
        if self.citations is not None and self.prints_json:
            raise InputError("--citations and --json - both print; give one of them.")
        check_distinct(*self.files, self.html)
        for path in self.files:
            check_writable(path)
        if self.html is not None:
            check_writable(self.html)

    @property
    def prints_json(self) -> bool:
        """Whether the result is printed as it would be saved."""
        return STDSTREAM in (self.json or ())

    @property
    def files(self) -> list[Path]:
        """Where the result is saved."""
        return [path for path in self.json or () if path != STDSTREAM]


def check_count(asked: dict[str, Any], count: int) -> None:
    """Refuse, before a model is loaded, what could not be asked about so many documents.

    Args:
        asked: of :meth:`CitingOptions.asked`.
        count: of documents.

    Raises:
        InputError: there are too many, or the budget does not reach for them.
    """
    if count > _MOST_DOCUMENTS:
        raise InputError(
            f"there are {count:,} documents; expected at most {_MOST_DOCUMENTS:,}, so name those "
            "that a retrieval finds."
        )
    about_passages({**asked, "documents": count})


def check_streams(question: AskedOptions, sources: PassageSources) -> None:
    """Refuse to read standard input for two things.

    Raises:
        InputError: that was asked for.
    """
    if "-" in (question.question, str(question.question_file)) and "-" in sources.named:
        raise InputError(
            "standard input was asked for as the question and as a document; give a file for one."
        )


def emit_passages(result: Passages, output: CitationOutput) -> None:
    """Print passages, or their citations alone, and write them where asked to.

    Args:
        result: what was found.
        output: where it goes.

    Raises:
        InputError: it cannot be written.
    """
    saved = [(result.save, path) for path in output.files]
    emit_text(lambda: _printed(result, output), *saved, (result.to_html, output.html))


def _printed(result: Passages, output: CitationOutput) -> str:
    if output.prints_json:
        return to_json(result)
    if output.citations is None:
        return rendered(result)
    found = result.citations(output.citations)
    if isinstance(found, str):
        return f"{visible(found)}\n"
    # JSON's own escapes leave one control character as it is.
    return json.dumps(found, indent=2, allow_nan=False).replace("\x7f", "\\u007f") + "\n"

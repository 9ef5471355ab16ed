"""The options of ``hf-attrib evaluate``, and the file of prompts that it reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import typer

from hf_attrib.cli.files import check_distinct, check_writable
from hf_attrib.cli.options import check_positive
from hf_attrib.errors import InputError
from hf_attrib.results import to_json, write_atomically
from hf_attrib.targets import TARGETS
from hf_attrib.text.grouping import RULES
from hf_attrib.validation import (
    DEFAULT_METHODS,
    DEFAULT_METRICS,
    METRICS,
    OPERATORS,
    Evaluation,
    Settings,
)
from hf_attrib.validation.entrants import entrants_of

__all__ = ["EvaluationOptions", "PromptFile", "TableOptions", "write_tables"]


@dataclass(frozen=True)
class PromptFile:
    """The file of prompts, perhaps with the answers to judge by."""

    panel: ClassVar[str] = "Prompts"

    file: Annotated[
        Path,
        typer.Argument(
            help="Prompts: one a line; or .jsonl, each line an object with prompt (a text or "
            "messages) and perhaps response; or .json, a list of such."
        ),
    ]

    def read(self) -> tuple[list[Any], list[str] | None]:
        """Return the prompts, and the responses if they came with them.

        Raises:
            InputError: the file cannot be read, holds no prompts, or responses to some alone.
        """
        try:
            text = self.file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(f"cannot read {self.file}: {why}.") from None
        # Not at every break that Unicode knows: a text may hold some.
        numbered = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
        lines = [(number, line) for number, line in numbered if line.strip()]
        if self.file.suffix.lower() == ".json":
            entries = self._parsed(text, "")
        elif self.file.suffix.lower() == ".jsonl":
            entries = [self._parsed(line, f" in line {number}") for number, line in lines]
        else:
            entries = [{"prompt": line} for _, line in lines]
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{self.file} holds no prompts; expected one a line, at least.")
        for i, entry in enumerate(entries):
            self._check(entry, i)
        answers = [entry["response"] for entry in entries if entry.get("response") is not None]
        if answers and len(answers) < len(entries):
            raise InputError(
                f"{self.file} has {len(entries)} prompts and {len(answers)} responses; give one to "
                "each, or to none."
            )
        return [entry["prompt"] for entry in entries], answers or None

    def _parsed(self, text: str, where: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.file} is not JSON{where} ({error}).") from None

    def _check(self, entry: Any, place: int) -> None:
        own = entry if isinstance(entry, dict) else {}
        prompt, response = own.get("prompt"), own.get("response")
        if not isinstance(prompt, str | list) or not isinstance(response, str | None):
            raise InputError(
                f"prompt {place + 1} of {self.file} is {json.dumps(entry):.80}; expected an object "
                'like {"prompt": "...", "response": "..."}.'
            )


@dataclass(frozen=True)
class EvaluationOptions:
    """Who is judged, by what."""

    panel: ClassVar[str] = "What to judge"

    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One to judge, as 'smooth_grad(samples=8)'; give it again for each. If none is "
            f"named: {', '.join(DEFAULT_METHODS)}."
        ),
    ] = None
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help=f"all, or one of {', '.join(METRICS)}; give it again for each. If none is named: "
            f"{', '.join(DEFAULT_METRICS)}."
        ),
    ] = None
    operator: Annotated[
        list[str] | None,
        typer.Option(
            help=f"How units are taken away: {', '.join(OPERATORS)}; give it again for each. If "
            f"none is named: {', '.join(Settings().operators)}."
        ),
    ] = None
    target: Annotated[
        str,
        typer.Option(
            help=f"What methods explain and s is the mean of: of each generated token, "
            f"{', '.join(TARGETS)}."
        ),
    ] = "log_prob"
    groups: Annotated[
        str | None,
        typer.Option(help=f"What goes as one: {', '.join(RULES)}; a token unless you say."),
    ] = None
    attribute_to: Annotated[
        str, typer.Option(help="prompt; or all, to take away tokens generated before, too.")
    ] = "prompt"
    movable: Annotated[
        str, typer.Option(help="content; or all, to take away special and template tokens, too.")
    ] = "content"
    per_token: Annotated[
        bool,
        typer.Option("--per-token", help="Give each generated token an order of its own."),
    ] = False
    random_orders: Annotated[
        int, typer.Option(help="Random orders that every method is compared with.")
    ] = 20
    subsets: Annotated[
        int, typer.Option(help="Random subsets, for metrics that take such, as lds.")
    ] = Settings().subsets
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Generate at most this many tokens of each answer.")
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of random orders, subsets and sampling.")] = 0

    def __post_init__(self) -> None:
        if self.groups is not None and self.groups not in RULES:
            raise InputError(f"--groups is {self.groups!r}; expected {' or '.join(RULES)}.")
        check_positive("--max-new-tokens", self.max_new_tokens)
        entrants_of(self.methods, 0, self.common)  # which refuses what is misspelt
        Settings(**self.settings)

    @property
    def methods(self) -> list[str]:
        """Who is judged."""
        return self.method or list(DEFAULT_METHODS)

    @property
    def common(self) -> dict[str, Any]:
        """What is asked of each method."""
        names = ("target", "groups", "attribute_to", "movable")
        return {name: getattr(self, name) for name in names}

    @property
    def settings(self) -> dict[str, Any]:
        """What is measured, by the names of :class:`Settings`."""
        return {
            "metrics": self.metric or DEFAULT_METRICS,
            "operators": self.operator or Settings().operators,
            "per_token": self.per_token,
            "random_orders": self.random_orders,
            "subsets": self.subsets,
            "seed": self.seed,
        }

    def asked(self) -> dict[str, Any]:
        """Return the arguments of :meth:`hf_attrib.Explainer.evaluate`."""
        limit = self.max_new_tokens
        generation = {} if limit is None else {"max_new_tokens": limit}
        return {**self.settings, **self.common, **generation}


@dataclass(frozen=True)
class TableOptions:
    """Where an evaluation goes besides the terminal, and where it is taken up."""

    panel: ClassVar[str] = "Output"

    output: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write it into a file: .json, for hf-attrib show; .csv, the table; .html, a page. "
            "Give it again for each."
        ),
    ] = None
    resume: Annotated[
        Path | None,
        typer.Option(help="A .jsonl file of what is found; the same call goes on from it."),
    ] = None

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost, from a few rows, and stop.")
    ] = False

    def __post_init__(self) -> None:
        paths = self.output or []
        if self.dry_run and (paths or self.resume is not None):
            raise InputError("--dry-run judges nothing, so there is nothing to write into a file.")
        check_distinct(*paths, self.resume)
        for path in paths:
            if path.suffix.lower() not in _WRITERS:
                raise InputError(
                    f"--output is {path}; expected a name that ends in {' or '.join(_WRITERS)}."
                )
        for path in (*paths, *([] if self.resume is None else [self.resume])):
            check_writable(path)


def write_tables(result: Evaluation, output: TableOptions) -> None:
    """Write an evaluation into each file that was named.

    Args:
        result: the evaluation.
        output: names them.

    Raises:
        InputError: one cannot be written.
    """
    for path in output.output or []:
        try:
            write_atomically(path, _WRITERS[path.suffix.lower()](result))
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}.") from None


def _csv(result: Evaluation) -> str:
    rows, text = result.table(), io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


#: What is written into a file, by the end of its name.
_WRITERS: Mapping[str, Callable[[Evaluation], str]] = MappingProxyType(
    {".json": to_json, ".csv": _csv, ".html": Evaluation.to_html}
)

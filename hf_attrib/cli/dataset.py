"""The options of ``hf-attrib dataset``, and the bar that says how far it is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hf_attrib.cli.options import ModelOptions, QuestionOptions, check_positive
from hf_attrib.cli.streams import is_main
from hf_attrib.errors import InputError
from hf_attrib.text.grouping import RULES

__all__ = ["Bar", "KeptOptions", "RunOptions", "SourceOptions", "asked"]

#: Seconds over which the rate is taken, and from it the time that is left.
_RATED = 3600.0


@dataclass(frozen=True)
class SourceOptions:
    """Which rows are explained."""

    panel: ClassVar[str] = "Data set"

    source: Annotated[
        str, typer.Argument(help="A .jsonl, .csv or .parquet file, or a data set on the hub.")
    ]
    folder: Annotated[
        Path, typer.Argument(help="The folder of the run; the same command goes on from it.")
    ]
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Which column holds what, as prompt=question: prompt, messages, input_ids, "
            "documents, response, response_ids, contrast. Give it again for each."
        ),
    ] = None
    split: Annotated[str | None, typer.Option(help="Of a data set on the hub.")] = None
    limit: Annotated[int | None, typer.Option(help="Take at most so many rows.")] = None
    shard: Annotated[
        str, typer.Option(help="Take every n-th row from row i: i/n, i from 0 to n - 1.")
    ] = "0/1"

    def __post_init__(self) -> None:
        check_positive("--limit", self.limit)
        self.selection()
        self.columns()

    def selection(self) -> dict[str, Any]:
        """Return the arguments of ``explain_dataset`` that say which rows are taken."""
        first, _, count = self.shard.partition("/")
        whole = first.isdecimal() and count.isdecimal()
        if not whole or int(first) >= int(count):
            raise InputError(f"--shard is {self.shard!r}; expected i/n with i from 0 to n - 1.")
        shard = int(first), int(count)
        return {"split": self.split, "limit": self.limit, "shard": shard}

    def columns(self) -> dict[str, str]:
        """Return which column holds what."""
        found = {}
        for given in self.column or []:
            name, sign, column = given.partition("=")
            if not sign or not column:
                raise InputError(f"--column is {given!r}; expected one like prompt=question.")
            found[name] = column
        return found


@dataclass(frozen=True)
class KeptOptions:
    """What is kept of each row."""

    panel: ClassVar[str] = "What to explain"

    scores: Annotated[
        str,
        typer.Option(
            help="groups: of each sentence or document for the whole answer; tokens: of each token "
            "for each generated token."
        ),
    ] = "groups"
    group: Annotated[
        str | None, typer.Option(help=f"Score inputs joined otherwise: {', '.join(RULES)}.")
    ] = None
    results: Annotated[
        bool, typer.Option("--results", help="Keep whole results, for load_run(...).result(i).")
    ] = False
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Generate at most this many tokens of each answer.")
    ] = None

    def __post_init__(self) -> None:
        check_positive("--max-new-tokens", self.max_new_tokens)
        if self.group is not None and self.group not in RULES:
            raise InputError(f"--group is {self.group!r}; expected {' or '.join(RULES)}.")

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``Explain`` that say the same."""
        given = {"groups": self.group, "max_new_tokens": self.max_new_tokens}
        own = {name: value for name, value in given.items() if value is not None}
        return {"scores": self.scores, "results": self.results, **own}


@dataclass(frozen=True)
class RunOptions:
    """How the run goes."""

    panel: ClassVar[str] = "Output"

    retry: Annotated[bool, typer.Option("--retry", help="Run rows again that have failed.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost, from a few rows, and stop.")
    ] = False


def asked(
    source: SourceOptions,
    asking: QuestionOptions,
    kept: KeptOptions,
    model: ModelOptions,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the arguments of ``explain_dataset`` that options stand for.

    Args:
        source: which rows.
        asking: what is asked of them.
        kept: what is kept.
        model: which model, and where it runs.
        fields: of methods, as they were given.
    """
    given = asking.arguments()
    limits = {"batch_size": model.batch_size, "max_memory": model.max_memory}
    own = {"columns": source.columns(), **source.selection(), **model.options(), **limits}
    return {"model": model.model, **own, **kept.options(), **given, **fields}


class _Rate(TextColumn):
    """Rows per second, or per hour where that says more."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Return the rate, once there is one."""
        speed = task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.2g} rows/s" if speed >= 0.1 else f"{speed * 3600:.2g} rows/h")


class Bar:
    """Rows done, their rate and the time that is left, on standard error, if anyone watches."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("Explaining"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Rows of a large model take minutes, and a rate wants several of them.
            speed_estimate_period=_RATED,
            disable=not (is_main() and console.is_interactive and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def now(self, done: int, total: int) -> None:
        """Say how many rows are done."""
        self._bar.update(self._task, completed=done, total=total)

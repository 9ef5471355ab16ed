"""Where things go: the result alone to standard output, everything else to standard error."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.text import Text
from transformers import TextStreamer

from hf_attrib.cli.files import STDSTREAM
from hf_attrib.cli.streams import complain, is_main, put
from hf_attrib.errors import AttributionWarning, InputError
from hf_attrib.render import Heatmap, to_svg
from hf_attrib.render.safe_text import visible
from hf_attrib.results import Attribution, Result, to_json

if TYPE_CHECKING:
    from hf_attrib.cli.options import ViewOptions
    from hf_attrib.explainer import Explainer

__all__ = [
    "Activity",
    "emit",
    "emit_text",
    "emit_whole",
    "quiet",
    "rendered",
    "stoppable",
    "stopped",
]

#: Seconds after which a reader wonders whether anything happens.
_PATIENCE = 1.0
#: Characters of an answer that are shown while it is written: its end, beside a bar.
_TAIL = 40


def rendered(*parts: RenderableType) -> str:
    """Return parts as standard output can show them."""
    console = Console(highlight=False)
    to_terminal = console.is_terminal
    console.file = text = io.StringIO()  # only `put` may fail on what standard output does
    for part in parts:
        console.print(part, crop=False)
    lines = text.getvalue().split("\n")
    return "\n".join(lines if to_terminal else (line.rstrip() for line in lines))


def emit(result: Attribution, view: ViewOptions, json: Path | None) -> None:
    """Print a result as asked for, and save it where asked to: the file holds all of it.

    Raises:
        InputError: it cannot be written.
    """
    if not is_main():
        return
    shown = view.of(result)

    def printed() -> str:
        if json == STDSTREAM:
            return to_json(result)
        return rendered(Heatmap(shown, matrix=view.matrix))

    svg = (lambda path: to_svg(shown, path), view.svg)
    emit_text(printed, (result.save, json), svg, (shown.to_html, view.html))


def emit_whole(result: Result, json: Path | None, html: Path | None) -> None:
    """Print a result of any kind, and write it where asked to.

    Raises:
        InputError: it cannot be written, or saved at all.
    """

    def printed() -> str:
        return to_json(result) if json == STDSTREAM else rendered(result)

    emit_text(printed, (result.save, json), (result.to_html, html))


def emit_text(
    printed: Callable[[], str], *files: tuple[Callable[[Path], Any], Path | None]
) -> None:
    """Print a text, and write files whatever becomes of it: they hold what took long.

    Args:
        printed: makes the text.
        *files: what writes each, and where to; standard output and ``None`` are no files.

    Raises:
        InputError: one cannot be written.
    """
    if not is_main():
        return
    try:
        put(printed())
    finally:
        for write, path in files:
            if path is not None and path != STDSTREAM:
                _save(write, path)


def _save(write: Callable[[Path], Any], path: Path) -> None:
    try:
        write(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from None


class _Left(TextColumn):
    """How much is done, and about how long the rest takes, once that is known."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Return both."""
        if not task.total:
            return Text("")
        left = "" if task.time_remaining is None else f", about {task.time_remaining:,.0f} s left"
        return Text(f"{task.completed:,.0f} of {task.total:,.0f}{left}")


class Activity:
    """A bar on standard error for runs that take long, if anyone watches.

    Args:
        what: what is being done first.
    """

    def __init__(self, what: str) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            _Left(),
            console=console,
            transient=True,
            disable=not (is_main() and console.is_interactive and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task(visible(what), total=None)

    def __enter__(self) -> Activity:
        self._timer = threading.Timer(_PATIENCE, self._bar.start)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._bar.stop()

    def now(self, what: str, done: int = 0, total: int | None = None) -> None:
        """Say what is being done."""
        self._bar.update(self._task, description=what, completed=done, total=total)

    def streaming(self, explainer: Explainer, then: str) -> dict[str, Any]:
        """Return the arguments of ``generate`` that show an answer while it is written, if any can.

        Beams have no answer before all of it is written.

        Args:
            explainer: whose model writes.
            then: what is done afterwards.
        """
        beams = explainer.model.generation_config.num_beams or 1
        if self._bar.disable or explainer.tokenizer is None or beams > 1:
            return {}
        return {"streamer": _Answer(explainer.tokenizer, self.now, then)}


class _Answer(TextStreamer):  # type: ignore[misc]
    """Shows the end of an answer while a model writes it."""

    def __init__(self, tokenizer: Any, now: Callable[[str], None], then: str) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._now, self._then, self._written = now, then, ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Show what more was written."""
        self._written += text
        line = visible(" ".join(self._written.split()))
        self._now(self._then if stream_end else f"Generating: {line[-_TAIL:]}")


def stopped(left: str) -> NoReturn:
    """End the command as one that was interrupted, and say what is left of it.

    Args:
        left: of its work.
    """
    complain(left if left.startswith("interrupted") else f"interrupted: {left}")
    raise typer.Exit(130)


@contextmanager
def stoppable(left: str) -> Iterator[None]:
    """End the command with a word if it is interrupted inside.

    Args:
        left: of its work, then.
    """
    try:
        yield
    except KeyboardInterrupt:
        stopped(left)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries say besides errors; the heatmap itself shows our own warnings."""
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        warnings.simplefilter("ignore", AttributionWarning)
        yield

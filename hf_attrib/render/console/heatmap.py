"""The heatmap of an attribution, for any console rich can print to."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from hf_attrib.render import phrases
from hf_attrib.render.console.passages import USED, table_and_answer
from hf_attrib.render.console.prompt import prompt
from hf_attrib.render.console.rows import CRAMPED, generated, matrix
from hf_attrib.render.palette import Scale, depth_of
from hf_attrib.render.sheet import WRITTEN, Sheet, prepare, scale_line
from hf_attrib.results import Attribution

__all__ = ["Heatmap"]


class Heatmap:
    """An attribution as a rich renderable.

    Args:
        result: what to show.
        matrix: whether to add the score of every generated token for every input token.
    """

    def __init__(self, result: Attribution, *, matrix: bool = False) -> None:
        self.result = result
        self.matrix = matrix

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sheet = prepare(self.result, depth_of(console))
        yield _header(self.result)
        yield Text()
        yield from prompt(sheet)
        yield from generated(sheet, options.max_width)
        if self.matrix:
            yield from matrix(sheet, options.max_width)
        yield from _legend(sheet, options.max_width)
        if self.result.passages is not None:
            yield Text()
            yield from table_and_answer(self.result.passages, console, options)
            yield Text(USED, "dim")
        yield from _footer(self.result)


def _header(result: Attribution) -> Text:
    text = Text(phrases.line(result.run.model), "bold", overflow="fold")
    parts = (*phrases.why(result), *phrases.about(result.run))
    return Text.assemble(text, *(f" · {part}" for part in parts))


def _legend(sheet: Sheet, width: int) -> Iterator[RenderableType]:
    scales = {"total": sheet.total_scale}
    if sheet.token_scale.depth != "none" and len(sheet.rows) > 1:
        scales["per token"] = sheet.token_scale
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for _ in range(4):
        table.add_column(no_wrap=True)
    for name, scale in scales.items():
        _add_scale(table, name, scale)
    if width < CRAMPED:  # numbers that break to the next line are better than none
        yield from (scale_line(name, scale) for name, scale in scales.items())
    else:
        yield table
    for name, scale in scales.items():
        yield Text(f"{name}: {scale.words()}", "dim")
    if sheet.has_written and sheet.total_scale.depth != "none":
        yield Text(WRITTEN, "dim")
    yield Text(phrases.meaning(sheet.result), "dim")


def _add_scale(table: Table, name: str, scale: Scale) -> None:
    low = Text(scale.number(-scale.limit) if scale.signed else "", justify="right")
    table.add_row(Text(name, "dim"), low, scale.ramp(), Text(scale.number(scale.limit)))


def _footer(result: Attribution) -> Iterator[RenderableType]:
    yield Text()
    yield Text(f"{phrases.completeness(result)} · {phrases.cost(result.run)}", "dim")
    for warning in phrases.unconverged(result):
        yield Text(warning, "bold")
    for note in result.run.notes:
        yield Text(phrases.line(f"note: {note}"))
    for contender in phrases.contest(result.run):
        yield Text(contender, "dim")

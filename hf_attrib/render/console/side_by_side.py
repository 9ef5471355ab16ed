"""Two results side by side, and how well they agree, for any console rich can print to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text
from torch import Tensor

from hf_attrib.render import phrases
from hf_attrib.render.console.prompt import prompt
from hf_attrib.render.console.rows import strongest
from hf_attrib.render.palette import depth_of
from hf_attrib.render.sheet import WRITTEN, Sheet, prepare, scale_line, short
from hf_attrib.results import Agreement, Comparison

__all__ = ["SideBySide"]

#: Cells below which the two prompts stand one above the other.
_NARROW = 80
#: Cells below which tables that need more columns are stacked.
_STACKED = 60
#: Rows shown at most: those that differ most.
_ROWS = 12
_LABEL_CELLS = 14


class SideBySide:
    """A comparison as a rich renderable.

    Args:
        comparison: what to show.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        comparison, depth = self.comparison, depth_of(console)
        sheets = [prepare(result, depth) for result in comparison.results]
        common, own = phrases.shared([result.run for result in comparison.results])
        yield Text.assemble(("Comparison", "bold"), *(f" · {part}" for part in common))
        yield Text()
        panels = [
            Group(Text.assemble((name, "bold"), f"  {' · '.join(parts)}"), Text(), *_panel(sheet))
            for name, parts, sheet in zip("ab", own, sheets, strict=True)
        ]
        if options.max_width < _NARROW:
            for panel in panels:
                yield from (panel, Text())
        else:
            yield _halves(*panels)
            yield Text()
        yield from _numbers(comparison, options.max_width)
        yield from _rows(comparison, sheets, options.max_width)
        yield from _notes(comparison)


def _halves(left: RenderableType, right: RenderableType) -> Table:
    table = Table.grid(expand=True, padding=(0, 4, 0, 0), pad_edge=False)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    table.add_row(left, right)
    return table


def _panel(sheet: Sheet) -> Iterator[RenderableType]:
    yield from prompt(sheet)
    yield scale_line("total", sheet.total_scale)
    yield Text(f"total: {sheet.total_scale.words()}", "dim")
    if sheet.has_written and sheet.total_scale.depth != "none":
        yield Text(WRITTEN, "dim")
    yield Text(phrases.meaning(sheet.result), "dim")


def _numbers(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Yield the measures, side by side or, where that is too wide, one above the other."""
    measures, by_row = phrases.measures(comparison.k), comparison.by_row
    lines = [("total over the response", phrases.agreement(comparison.total))]
    if len(by_row) > 1:
        lines.append((f"median of {len(by_row)} rows", phrases.agreement(_median(by_row))))
    inputs = phrases.count(len(comparison.columns), "input")
    yield Text.assemble(("Agreement", "bold"), (f"  of {inputs}", "dim"))
    if width < _STACKED:
        for name, values in lines:
            yield Text(name, "dim")
            yield from map(Text, map("  {} {}".format, measures, values))
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("")
        for measure in measures:
            table.add_column(measure, justify="right", no_wrap=True)
        for name, values in lines:
            table.add_row(name, *values)
        yield table
    yield Text()


def _median(by_row: tuple[Agreement, ...]) -> Agreement:
    def middle(values: list[float]) -> float:
        known = sorted(value for value in values if not math.isnan(value))
        return (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else math.nan

    return Agreement(
        spearman=middle([one.spearman for one in by_row]),
        kendall=middle([one.kendall for one in by_row]),
        cosine=middle([one.cosine for one in by_row]),
        overlap=middle([one.overlap for one in by_row]),
    )


def _rows(comparison: Comparison, sheets: list[Sheet], width: int) -> Iterator[RenderableType]:
    """Yield the rows that differ most, each with its strongest inputs in both results."""
    order = _differences(comparison).argsort(descending=True, stable=True).tolist()
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(sheets[0].row, no_wrap=True)
    stacked = width < _STACKED
    if not stacked:
        table.add_column("Spearman", justify="right", no_wrap=True)
    for name in ("", "strongest") if stacked else ("strongest in a", "strongest in b"):
        table.add_column(name, no_wrap=True, ratio=1 if name else None)
    for t in order[:_ROWS]:
        piece = short(sheets[0].labels[t], min(_LABEL_CELLS, width // 5))
        piece.stylize("bold")
        chips = [strongest(sheet, t) for sheet in sheets]
        if stacked:
            table.add_row(piece, "a", chips[0])
            table.add_row("", "b", chips[1])
        else:
            table.add_row(piece, phrases.agreement(comparison.by_row[t])[0], *chips)
    title = f"Generated {sheets[0].row}s"
    yield Text.assemble((title, "bold"), ("  those that differ most first", "dim"))
    yield table
    if len(order) > _ROWS:
        yield Text(f"… {len(order) - _ROWS:,} more that differ less …", "dim")
    yield Text()


def _differences(comparison: Comparison) -> Tensor:
    """Return how much rows differ, [T], each result on its own scale: small rows count little."""
    a, b = (scores.nan_to_num(0, 0, 0) for scores in comparison.scores)
    sizes = [max(float(scores.abs().sum()), 1e-300) for scores in (a, b)]
    return (a / sizes[0] - b / sizes[1]).abs().sum(-1)


def _notes(comparison: Comparison) -> Iterator[RenderableType]:
    for name, result in zip("ab", comparison.results, strict=True):
        for warning in phrases.unconverged(result):
            yield Text(f"{name}: {warning}", "bold")
        for note in result.run.notes:
            yield Text(phrases.line(f"{name}: note: {note}"))
    for note in comparison.notes:
        yield Text(f"note: {note}.")

"""One row per generated token: its strongest inputs, or all of them as a matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from hf_attrib.render import phrases
from hf_attrib.render.palette import LEVELS, Scale, largest
from hf_attrib.render.sheet import Sheet, short
from hf_attrib.results import Status

__all__ = ["CRAMPED", "generated", "matrix", "strongest"]

#: Longer responses show the tokens of which most was there to explain.
LONGEST_RESPONSE = 40
_LABEL_CELLS = 14
_LEAST_CELLS = 4
#: Cells below which a generated token takes two lines.
CRAMPED = 36


def generated(sheet: Sheet, width: int) -> Iterator[RenderableType]:
    """Yield a table of generated tokens with their strongest inputs.

    Args:
        sheet: the prepared result.
        width: cells of the console.
    """
    result = sheet.result
    shown = _most_explained(sheet)
    complete = result.run.identity is not None
    gap, status = result.gap.tolist(), result.status
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(sheet.row, no_wrap=True)
    roomy = width >= CRAMPED
    if roomy:
        table.add_column("p", justify="right", no_wrap=True)
    table.add_column("strongest inputs", no_wrap=True, ratio=1)
    if complete and roomy:
        table.add_column("gap  ", justify="right", no_wrap=True)
    for t in shown:
        piece = short(sheet.labels[t], min(_LABEL_CELLS, width // 5))
        piece.stylize("bold")
        chance = phrases.probability(float(result.probability[t]))
        numbers = [_gap(gap[t], status[t])] if complete else []
        if roomy:
            table.add_row(piece, chance, strongest(sheet, t), *numbers)
        else:  # the numbers stand below the inputs, which would lose their names beside them
            table.add_row(piece, strongest(sheet, t))
            table.add_row("", Text("  ").join([Text(chance), *numbers]))
    yield Text(f"Generated {sheet.row}s", "bold")
    yield table
    if hidden := len(result.rows) - len(shown):
        yield Text(f"… {hidden:,} more generated {sheet.row}s, with less to explain …", "dim")
    yield Text()


def _most_explained(sheet: Sheet) -> list[int]:
    """Return the generated tokens to show, in order: those with the largest |f(x) - f(x')|."""
    result = sheet.result
    if len(result.rows) <= LONGEST_RESPONSE:
        return list(range(len(result.rows)))
    difference = (result.value - result.reference_value).abs()
    size = torch.where(difference.isfinite(), difference, result.scores.abs().sum(-1))
    return sorted(size.nan_to_num(0).topk(LONGEST_RESPONSE).indices.tolist())


def _gap(gap: float, status: Status) -> Text:
    text, mark = phrases.gap(gap), phrases.mark(status)
    return Text(f"{text} {mark}", "bold") if mark else Text(f"{text}  ", "dim")


def strongest(sheet: Sheet, t: int) -> RenderableType:
    """Return the inputs that matter for one row, as many as fit where they are drawn.

    Args:
        sheet: the prepared result.
        t: index of the row.
    """
    return _Chips(_chips(sheet, t), sheet.token_scale)


@dataclass(frozen=True)
class _Chip:
    piece: str
    score: float


def _chips(sheet: Sheet, t: int) -> list[_Chip]:
    """Return the inputs that matter for generated token t, odd scores first, then by strength."""
    row = sheet.rows[t]
    size = [abs(score) if math.isfinite(score) else math.inf for score in row]
    bound = LEVELS[0] * largest(row)
    worth = [i for i in range(len(row)) if size[i] > 0 and size[i] >= bound]
    worth.sort(key=lambda i: -size[i])
    return [_Chip(sheet.units[i].text, row[i]) for i in worth]


@dataclass(frozen=True)
class _Chips:
    """As many chips as fit the column, the first one in any case."""

    chips: Sequence[_Chip]
    scale: Scale

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text(no_wrap=True, overflow="ellipsis")
        for chip in self.chips:
            number = self.scale.number(chip.score)
            room = options.max_width - len(number) - 3
            if room < _LEAST_CELLS:  # what was meant matters more than its digits
                number = self.scale.mark(chip.score).strip()
                room = options.max_width - len(number) - 3
            text = Text.assemble(" ", short(chip.piece, min(_LABEL_CELLS, room)), f" {number} ")
            text.style = self.scale.style(chip.score)
            needed = cell_len(text.plain) + bool(line)
            if line and cell_len(line.plain) + needed > options.max_width:
                break
            # Joined even if it is the first, whose style must not go on behind it.
            line = Text(" ").join([line, text] if line else [text])
        line.truncate(options.max_width, overflow="ellipsis")
        yield line


def matrix(sheet: Sheet, width: int) -> Iterator[RenderableType]:
    """Yield the whole matrix, rows generated tokens, columns inputs, in panels that fit.

    Args:
        sheet: the prepared result.
        width: cells of the console.
    """
    scale = sheet.token_scale
    largest_shown = max(scale.limit, scale.strongest)
    cells = max(6, *(len(scale.number(sign * largest_shown)) for sign in (1, -1)))
    per_panel = max(1, (width - _LABEL_CELLS) // (cells + 1))
    rows = f"  rows generated {sheet.row}s, columns inputs"
    yield Text.assemble(("Matrix", "bold"), (rows, "dim"))
    for start in range(0, len(sheet.units), per_panel):
        columns = range(start, min(start + per_panel, len(sheet.units)))
        table = Table(box=None, pad_edge=False, padding=0, header_style="dim")
        table.add_column("", width=_LABEL_CELLS, no_wrap=True)
        for u in columns:
            head = short(sheet.units[u].text, cells)
            table.add_column(head, width=cells + 1, justify="right", no_wrap=True)
        for t, row in enumerate(sheet.rows):
            piece = short(sheet.labels[t], _LABEL_CELLS)
            table.add_row(piece, *(_cell(row[u], scale, cells) for u in columns))
        yield table
        yield Text()


def _cell(score: float, scale: Scale, cells: int) -> Text:
    if math.isfinite(score) and not scale.level(score):
        return Text("·", "dim")
    return Text.assemble(" ", (scale.number(score).rjust(cells), scale.style(score)))

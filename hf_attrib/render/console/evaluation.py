"""An evaluation of methods, for any console rich can print to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from hf_attrib.render import phrases, standings
from hf_attrib.render.console.heatmap import Heatmap
from hf_attrib.render.sheet import short
from hf_attrib.validation import Choice, Evaluation, Sanity

__all__ = ["ChoiceView", "CurvesView", "EvaluationView", "SanityView"]

_LABEL_CELLS = 34
#: Cells that a column of numbers takes; metrics that find no room are told below one another.
_CELLS = 12
_BARS = "▁▂▃▄▅▆▇█"
_MARKS = {"passed": "✓", "failed": "!", "undecided": "?", "no mark": ""}


class EvaluationView:
    """An evaluation as a rich renderable: a table for each way to take units away.

    Args:
        result: what to show.
    """

    def __init__(self, result: Evaluation) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result, width = self.result, options.max_width
        facts = (f" · {part}" for part in standings.about(result))
        yield Text.assemble(Text(standings.title(result), "bold", overflow="fold"), *facts)
        for operator in result.run.operators:
            yield Text()
            yield Text(standings.verdict(result, operator), "bold")
            yield from _tables(result, operator, width)
        yield from CurvesView(result).__rich_console__(console, options)
        yield Text()
        yield Text("Seconds and rows that explaining a prompt takes", "bold")
        yield _costs(result, width)
        yield Text()
        for name, about in standings.legend(result):
            yield Text(f"{name}: {about}", "dim")
        for note in standings.notes(result):
            yield Text(f"note: {note}")


class ChoiceView:
    """A chosen explanation as a rich renderable: why this method, what it says, the contest.

    Args:
        choice: what to show.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(phrases.line(self.choice.reason), "bold")
        yield Text()
        yield Heatmap(self.choice.attribution)
        yield Text()
        yield EvaluationView(self.choice.evaluation)


class SanityView:
    """Sanity checks as a rich renderable: a line for each check of each method.

    Args:
        result: what was found.
    """

    def __init__(self, result: Sanity) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self.result
        yield Text.assemble(
            Text(f"Sanity of methods on {phrases.line(result.model)}", "bold", overflow="fold"),
            f" · {phrases.count(result.prompts, 'prompt')}",
        )
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for head in ("method", "check", "", "value", "what it is"):
            table.add_column(head, no_wrap=head != "what it is")
        for each in result.checks:
            value = "" if math.isnan(each.value) else f"{each.value:.2g}"
            name = short(each.method, min(_LABEL_CELLS, max(10, options.max_width // 4)))
            mark = _MARKS[each.outcome]
            table.add_row(name, each.check, mark, value, phrases.line(each.about))
        yield table


class CurvesView:
    """Curves of deletion and insertion as bars, from no units touched to all of them.

    Args:
        result: whose curves.
    """

    def __init__(self, result: Evaluation) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for operator in self.result.run.operators:
            curves = standings.curve_rows(self.result, operator)
            if not curves:
                continue
            yield Text()
            yield Text(f"Normalised score as units go and come by {operator}", "bold")
            table = _table(["", "deletion", "insertion"])
            for label, (deletion, insertion) in curves:
                table.add_row(short(label, _LABEL_CELLS), _bars(deletion), _bars(insertion))
            yield table


def _bars(values: Sequence[float]) -> Text:
    """Draw numbers from 0 to 1 as bars; what is beyond is cut."""
    levels = (min(max(value, 0.0), 1.0) * (len(_BARS) - 1) for value in values)
    return Text("".join(_BARS[round(level)] for level in levels))


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    return table


def _tables(result: Evaluation, operator: str, width: int) -> RenderResult:
    """Yield the table of an operator; as many as its metrics need in so many cells."""
    metrics, rows = result.run.metrics, standings.rows(result, operator)
    labels = min(_LABEL_CELLS, max(10, width // 3), max(len(row.label) + 2 for row in rows))
    first = max(0, (width - labels - 34) // _CELLS)
    table = _table(["", metrics[0], "vs random", *metrics[1 : 1 + first]])
    for row in rows:
        cells = _numbers(row, slice(0, first))
        table.add_row(_label(row, labels), row.headline, row.against, *cells)
    yield table
    left, room = metrics[1 + first :], max(1, (width - labels - 2) // (_CELLS + 6))
    for start in range(0, len(left), room):
        table = _table(["", *left[start : start + room]])
        for row in rows:
            at = slice(first + start, first + start + room)
            table.add_row(_label(row, labels), *_numbers(row, at))
        yield table


def _label(row: standings.Row, cells: int) -> Text:
    name = short(row.label, cells - 2)
    name.stylize("dim" if row.control else "bold")
    return Text.assemble(name, " *" if row.own else "")


def _numbers(row: standings.Row, at: slice) -> list[Text]:
    pairs = zip(row.others[at], row.best[at], strict=True)
    return [Text(number, "bold" if best else "") for number, best in pairs]


def _costs(result: Evaluation, width: int) -> Table:
    heads = ["", "seconds", "forward", "backward", "gap"]
    table = _table(heads)
    for label, *cells, _ in standings.costs(result):
        table.add_row(short(label, min(_LABEL_CELLS, max(10, width // 3))), *cells)
    return table

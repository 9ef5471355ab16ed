"""The heatmap of an attribution, for any console rich can print to."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from hf_attrib.attribution import Attribution, Run
from hf_attrib.render.palette import Scale, depth_of
from hf_attrib.render.prompt import prompt
from hf_attrib.render.rows import generated, matrix
from hf_attrib.render.safe_text import visible
from hf_attrib.render.sheet import Sheet, prepare

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
        yield _header(self.result.run)
        yield Text()
        yield from prompt(sheet)
        yield from generated(sheet, options.max_width)
        if self.matrix:
            yield from matrix(sheet, options.max_width)
        yield from _legend(sheet)
        yield from _footer(self.result)


def _header(run: Run) -> Text:
    fields = ", ".join(f"{k}={v}" for k, v in run.method_fields.items() if v is not None)
    method = f"{run.method}({fields})" if fields else run.method
    about = [method, f"target {run.target}", f"baseline {run.baseline}"]
    if contrast := _contrast(run):
        about[1] = f"target {run.target} less that of {contrast}"
    if run.attribute_to != "prompt":
        about.append(f"attributed to {run.attribute_to}")
    if run.movable != "content":
        about.append(f"movable {run.movable}")
    text = Text(_line(run.model), "bold", overflow="fold")
    return Text.assemble(text, *(_line(f" · {part}") for part in about))


def _contrast(run: Run) -> str | None:
    """Name what the generated tokens are contrasted with."""
    if run.contrast_pieces is None:
        return None
    pieces = set(run.contrast_pieces)
    return repr(pieces.pop()) if len(pieces) == 1 else "another token each"


def _line(text: str) -> str:
    """Make text from outside safe, on one line."""
    return visible(" ".join(text.split("\n")))


def _legend(sheet: Sheet) -> Iterator[RenderableType]:
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for _ in range(4):
        table.add_column(no_wrap=True)
    _add_scale(table, "total", sheet.total_scale)
    if sheet.token_scale.depth != "none" and len(sheet.rows) > 1:
        _add_scale(table, "per token", sheet.token_scale)
    yield table
    if sheet.result.run.signed:
        meaning = "+ made the generated token more likely, - less"
        if contrast := _contrast(sheet.result.run):
            meaning = f"+ favours the generated token over {contrast}, - the other way"
    else:
        meaning = "scores without sign: how much a token mattered, not which way"
    yield Text(_line(meaning), "dim")


def _add_scale(table: Table, name: str, scale: Scale) -> None:
    low = Text(scale.number(-scale.limit) if scale.signed else "", justify="right")
    table.add_row(Text(name, "dim"), low, scale.ramp(), Text(scale.number(scale.limit)))


def _footer(result: Attribution) -> Iterator[RenderableType]:
    run = result.run
    yield Text()
    if run.identity is None:
        sums = "no completeness identity: the scores need not add up to anything"
    else:
        scores = float(result.scores.double().sum())
        difference = float((result.value - result.reference_value).double().sum())
        sums = f"scores sum to {scores:.4g}, {run.identity} is {difference:.4g}"
    rows = f"{run.forward_rows:,} forward and {run.backward_rows:,} backward rows"
    yield Text(_line(f"{sums} · {rows}, {run.seconds:.3g} s"), "dim")
    if run.identity is not None:
        yield from _unconverged(result)
    for note in run.notes:
        yield Text(_line(f"note: {note}"))


def _unconverged(result: Attribution) -> Iterator[Text]:
    missed = int((~result.converged).sum())
    if not missed:
        return
    has, their = ("has", "its") if missed == 1 else ("have", "their")
    warning = (
        f"! {missed} of {len(result.rows)} targets {has} not converged: {their} scores miss "
        f"{result.run.identity} by more than {100 * result.run.tolerance:.3g} %."
    )
    if "steps" in result.run.method_fields:
        warning += " Raise steps."
    yield Text(_line(warning), "bold")

"""Interactions of pairs of inputs, for any console rich can print to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from hf_attrib.render import phrases
from hf_attrib.render.palette import Depth, Scale, depth_of, largest
from hf_attrib.render.sheet import scale_line, short
from hf_attrib.results import Interactions, Pair

__all__ = ["InteractionsView", "numbered", "shown_groups"]

_LABEL_CELLS, _CELLS, _WIDEST = 16, 7, 14
#: Groups that the matrix shows at most: those with most on their row.
_MOST = 24
#: Pairs listed of the whole response; and cells that one of a generated token takes.
_PAIRS, _PAIR_CELLS = 10, 40
#: Generated tokens listed at most.
_ROWS = 40
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
#: How main effects are told from pairs.
_UNDERLINED = Style(underline=True)


class InteractionsView:
    """Interactions as a rich renderable: a matrix, the strongest pairs, and those of each token.

    Args:
        result: what to show.
    """

    def __init__(self, result: Interactions) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result, run, width = self.result, self.result.run, options.max_width
        groups, total = shown_groups(result), result.total
        values = total[groups][:, groups].nan_to_num(0).flatten().tolist()
        scale = Scale(largest(values), True, depth_of(console))
        name = Text(phrases.line(run.model), "bold", overflow="fold")
        parts = (*phrases.why(result), *phrases.about(run))
        yield Text.assemble(name, *(f" · {part}" for part in parts))
        yield Text()
        yield from _matrix(result, groups, scale, width)
        yield from _pairs(result, scale, width)
        yield from _tokens(result, scale.depth, width)
        yield scale_line("total", scale)
        yield Text(phrases.of_pairs(result), "dim")
        yield Text()
        yield Text(f"{phrases.pair_sums(result)} · {phrases.cost(run)}", "dim")
        for note in run.notes:
            yield Text(phrases.line(f"note: {note}"))


def shown_groups(result: Interactions) -> list[int]:
    """Return the groups that a matrix shows, in order: those that have anything, or most of it.

    Args:
        result: what to show.
    """
    size = result.total.abs().nan_to_num(0).sum(1).tolist()
    worth = sorted((g for g in range(len(size)) if size[g]), key=lambda g: -size[g])
    return sorted(worth[:_MOST]) or list(range(min(_MOST, len(size))))


def _matrix(
    result: Interactions, groups: Sequence[int], scale: Scale, width: int
) -> Iterator[RenderableType]:
    """Yield the matrix summed over the response, in panels that fit."""
    labels, total = numbered(result), result.total.tolist()
    rows = list(groups) if result.token is None else [result.token]
    about = "  rows and columns inputs, main effects on the diagonal"
    if result.token is not None:
        about = "  of one input with all others"
    of = "the response" if len(result) > 1 else "the generated token"
    yield Text.assemble((f"Interactions over {of}", "bold"), (about, "dim"))
    cells = min(_WIDEST, max(_CELLS, (width - _LABEL_CELLS) // max(1, len(groups)) - 1))
    per_panel = max(1, (width - _LABEL_CELLS) // (cells + 1))
    for start in range(0, len(groups), per_panel):
        panel = groups[start : start + per_panel]
        table = Table(box=None, pad_edge=False, padding=0, header_style="dim")
        table.add_column("", width=_LABEL_CELLS, no_wrap=True)
        for g in panel:
            head = _label(labels[g], cells)
            table.add_column(head, width=cells + 1, justify="right", no_wrap=True)
        for g in rows:
            numbers = (_cell(total[g][other], scale, g == other) for other in panel)
            table.add_row(_label(labels[g], _LABEL_CELLS - 1), *numbers)
        yield table
        yield Text()
    if hidden := sum(1 for row in result.total.nan_to_num(0).any(1).tolist() if row) - len(groups):
        yield Text(f"… {phrases.count(hidden, 'more group')}, with weaker interactions …", "dim")
        yield Text()


def _cell(score: float, scale: Scale, main: bool) -> Text:
    if math.isfinite(score) and not scale.level(score):
        return Text("·", "dim")
    style = scale.style(score)
    number = scale.number(score).rjust(_CELLS)
    return Text.assemble(" ", (number, style if not main else style + _UNDERLINED))


def _pairs(result: Interactions, scale: Scale, width: int) -> Iterator[RenderableType]:
    """Yield the strongest pairs of the whole response."""
    found = result.strongest(_PAIRS)
    if not found:
        return
    errors = None if result.standard_error is None else result.standard_error.sum(0)
    table, labels = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0)), numbered(result)
    marked = scale.depth == "none"
    for head in ("score", *("",) * marked, *("",) * (errors is not None), "pair"):
        table.add_column(head, justify="right" if head == "score" else "left", no_wrap=True)
    table.show_header = False
    cells = min(2 * _LABEL_CELLS, max(8, (width - 24) // 2))
    for pair in found:
        row = [Text(f" {scale.number(pair.score)} ", scale.style(pair.score))]
        row += [Text(scale.mark(pair.score))] * marked
        if errors is not None:
            row.append(Text(f"± {float(errors[pair.first, pair.second]):.2g}", "dim"))
        table.add_row(*row, _named(pair, labels, cells))
    yield Text.assemble(("Strongest pairs", "bold"), (f"  of {_count(result):,}", "dim"))
    yield table
    yield Text()


def _count(result: Interactions) -> int:
    """Return how many pairs are not 0."""
    scores = result.total.nan_to_num(0).triu(1)
    return int((scores != 0).sum())


def numbered(result: Interactions) -> list[tuple[str, str]]:
    """Return the text of each group, and which one it is where several have the same.

    Args:
        result: what to show.
    """
    labels, seen = result.labels, Counter[str]()
    often, found = Counter(map(str.strip, labels)), []
    for text in labels:
        seen[text.strip()] += 1
        which = str(seen[text.strip()]).translate(_SUBSCRIPTS) if often[text.strip()] > 1 else ""
        found.append((text, which))
    return found


def _label(named: tuple[str, str], cells: int) -> Text:
    return Text.assemble(short(named[0], cells - len(named[1])), (named[1], "dim"))


def _named(pair: Pair, labels: Sequence[tuple[str, str]], cells: int) -> Text:
    first, second = (_label(labels[group], cells) for group in (pair.first, pair.second))
    return Text.assemble(first, (" × ", "dim"), second)


def _tokens(result: Interactions, depth: Depth, width: int) -> Iterator[RenderableType]:
    """Yield the generated tokens, each with its strongest pairs."""
    if len(result) == 1:
        return
    values = result.matrix.nan_to_num(0).flatten().tolist()
    scale, labels = Scale(largest(values), True, depth), numbered(result)
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("token", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("strongest pairs", no_wrap=True, ratio=1)
    complete, gap = result.run.identity is not None, result.gap.tolist()
    if complete:
        table.add_column("gap  ", justify="right", no_wrap=True)
    for t, piece in list(enumerate(result.response_pieces))[:_ROWS]:
        label = short(piece, min(_LABEL_CELLS, width // 5))
        label.stylize("bold")
        pairs = Text("  ", no_wrap=True, overflow="ellipsis").join(
            Text.assemble(
                _named(pair, labels, _LABEL_CELLS // 2 + 4),
                " ",
                (f" {scale.number(pair.score)} ", scale.style(pair.score)),
                scale.mark(pair.score),
            )
            for pair in result.strongest(max(1, (width - 20) // _PAIR_CELLS), t)
        )
        own = [phrases.gap(gap[t]) + (" !" if not bool(result.converged[t]) else "  ")]
        chance = phrases.probability(float(result.probability[t]))
        table.add_row(label, chance, pairs, *(own if complete else ()))
    yield Text("Generated tokens", "bold")
    yield table
    if hidden := max(0, len(result) - _ROWS):
        yield Text(f"… {phrases.count(hidden, 'more generated token')} …", "dim")
    yield Text()

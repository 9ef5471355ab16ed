"""Passages and the answer that cites them, for any console rich can print to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hf_attrib.render import phrases
from hf_attrib.render.palette import Depth, Scale, depth_of, largest
from hf_attrib.render.safe_text import visible
from hf_attrib.render.sheet import short
from hf_attrib.results import Citation, Passages

__all__ = [
    "USED",
    "PassagesView",
    "finding",
    "marks",
    "moved",
    "nats",
    "of_whole",
    "scale_of",
    "table_and_answer",
]

#: What readers of citations must know.
USED = "A citation says that the passage was used, not that it is true. Numbers are nats."

#: Cells below which a passage takes two lines, and from which on there are further columns.
_CRAMPED, _ROOMY, _WIDE = 56, 70, 94
_NAME_CELLS = 40
#: Cells of the longest bar, and of what else stands in a column.
_BAR_CELLS = 10
_CELLS = {
    "score": 6, "share": 5, "±": 5, "drop": 6, "hold": 6, "status": 11, "rank": 8, "tokens": 6,
}  # fmt: skip


class PassagesView:
    """Passages as a rich renderable: a table of them, and the answer with what it rests on.

    Args:
        result: what to show.
    """

    def __init__(self, result: Passages) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        run = self.result.run
        name = Text(phrases.line(run.model), "bold", overflow="fold")
        yield Text.assemble(name, *(f" · {part}" for part in phrases.about(run)))
        yield Text()
        yield from table_and_answer(self.result, console, options)
        yield Text(f"{USED} · {phrases.cost(run)}", "dim")
        for note in run.notes:
            yield Text(phrases.line(f"note: {note}"))


def table_and_answer(
    result: Passages, console: Console, options: ConsoleOptions
) -> Iterator[RenderableType]:
    """Yield the table of passages, and the answer with what its sentences rest on.

    Args:
        result: what to show.
        console: where to.
        options: how wide it is.
    """
    scale, width = scale_of(result, depth_of(console)), options.max_width
    if width < _CRAMPED:
        yield from _stacked(result, scale, width)
    else:
        yield _table(result, scale, width)
    yield Text()
    yield Text("Answer", "bold")
    yield from _answer(result)
    yield Text()
    yield Text(of_whole(result), "dim")


def scale_of(result: Passages, depth: Depth) -> Scale:
    """Return the scale of the scores of passages; where all are small, none is shown as large.

    Args:
        result: what was found.
        depth: what can be shown.
    """
    return Scale(max(largest(result.score().tolist()), result.threshold), True, depth)


def nats(number: float | None) -> str:
    """Write nats, or nothing where they are not known.

    Args:
        number: how many.
    """
    return "" if number is None or math.isnan(number) else f"{number:.2f}"


def marks(citation: Citation) -> str:
    """Return the numbers of the passages that a sentence cites, as in ``"[1][3]"``.

    Args:
        citation: the sentence.
    """
    return "".join(f"[{passage.index + 1}]" for passage in citation.passages)


def finding(citation: Citation) -> str:
    """Say in words what a sentence rests on.

    Args:
        citation: the sentence.
    """
    named = [f"[{passage.index + 1}]" for passage in citation.passages]
    cited = " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))
    less = f"{_times(citation.drop)} times less likely"
    if citation.status == "confirmed":
        return f"confirmed: without {cited} {less}"
    if citation.status == "redundant":
        return f"redundant: without {cited} {less}, and any one of them can go"
    if citation.status == "joint":
        return f"joint: needs {cited} together, without which it is {less}"
    if citation.status == "own knowledge":
        return "own knowledge: said as well without any passage"
    if named:
        return f"not decided: {cited} matter, and the set was not confirmed"
    return "not decided: passages may matter, and no set of them was confirmed"


def _times(drop: float) -> str:
    """Write e^drop with three digits; beyond some size it says nothing to anybody."""
    if drop >= 12:
        return "over 100,000"
    times = math.exp(drop)
    return f"{times:.3g}" if times < 1000 else f"{float(f'{times:.3g}'):,.0f}"


def of_whole(result: Passages) -> str:
    """Say what all passages gain for the whole answer.

    Args:
        result: what was found.
    """
    gain, total = result.table.gain(), float(result.score().sum())
    run, every = len(result.table.subsets), 1 << len(result)
    of = f"all {every:,}" if run == every else f"{run:,} of {every:,}"
    return (
        f"all passages together gain {gain:.2f}, scores sum to {total:.2f} · {of} subsets run · "
        f"cited where odds fall by {result.threshold:g} nats"
    )


def moved(row: Mapping[str, Any]) -> str:
    """Write the rank of a passage as it was retrieved, and as it was used where that is another.

    Args:
        row: of :meth:`Passages.to_rows`.
    """
    ranks = dict.fromkeys((row["retrieved_rank"], row["used_rank"]))
    return " -> ".join(map(str, ranks))


def _table(result: Passages, scale: Scale, width: int) -> Table:
    """Return the table of passages, with as many columns as there is room for."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    rows, errors = result.documents, result.standard_error is not None
    # Rows of equal ranks throughout tell nothing, unless a retrieval put them in order.
    ranked = any(
        row["retrieval_score"] is not None or row["retrieved_rank"] != row["used_rank"]
        for row in rows
    )
    heads = ["", "score", "drop", "hold", "status"]
    if width >= _ROOMY and ranked:
        heads.append("rank")
    if width >= _WIDE:
        heads[2:2] = ["share", *(["±"] if errors else [])]
        heads.append("tokens")
    table.add_column("passage", no_wrap=True, overflow="ellipsis")
    bar = min(_BAR_CELLS, width // 10)
    for head in heads:
        left = head in ("", "status", "rank")
        table.add_column(head, justify="left" if left else "right", no_wrap=True)
    taken = sum(2 + _CELLS.get(head, bar) for head in heads)
    cells = min(_NAME_CELLS, max(6, width - taken))
    for row in rows:
        written = {
            "": scale.bar(row["score"], bar),
            "score": Text(scale.number(row["score"])),
            "share": f"{row['share']:.0%}",
            "±": nats(row["standard_error"]),
            "drop": nats(row["drop"]),
            "hold": nats(row["hold"]),
            "status": row["status"],
            "rank": moved(row),
            "tokens": str(row["tokens"]),
        }
        table.add_row(_name(row, cells), *(written[head] for head in heads))
    return table


def _stacked(result: Passages, scale: Scale, width: int) -> Iterator[RenderableType]:
    """Yield each passage on two lines, where a table would lose its columns."""
    for row in result.documents:
        yield _name(row, width)
        parts = [
            Text(scale.number(row["score"])),
            scale.bar(row["score"], min(_BAR_CELLS, width // 6)),
        ]
        yield Text("  ").append_text(Text(" ").join([*parts, Text(row["status"])]))


def _name(row: Mapping[str, Any], cells: int) -> Text:
    number = f"[{row['index'] + 1}] "
    return Text.assemble((number, "bold"), short(row["name"], cells - len(number)))


def _answer(result: Passages) -> Iterator[RenderableType]:
    """Yield each sentence with the numbers of what it cites, and what is known of them."""
    for citation in result.citations():
        text = Text(visible(citation.text), overflow="fold")
        if citation.passages:
            text.append(f" {marks(citation)}", "bold")
        yield text
        yield Padding(Text(finding(citation), "dim"), (0, 0, 0, 2), expand=False)

"""Passages and the answer that cites them, for any console rich can print to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from hf_attrib.render import phrases
from hf_attrib.render.palette import Scale, depth_of, largest
from hf_attrib.render.safe_text import visible
from hf_attrib.render.sheet import short
from hf_attrib.results import Citation, Passages

__all__ = ["USED", "PassagesView", "finding", "marks", "nats", "of_whole", "table_and_answer"]

#: What readers of citations must know.
USED = "A citation says that the passage was used, not that it is true. Numbers are nats."

#: Columns besides the passage and its score that so many cells have room for.
_WIDE, _NARROW = 90, 56
_NAME_CELLS = 40


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
    scale = Scale(largest(result.score().tolist()), True, depth_of(console))
    yield _table(result, scale, options.max_width)
    yield Text()
    yield Text("Answer", "bold")
    yield from _answer(result)
    yield Text()
    yield Text(of_whole(result), "dim")


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
    # Beyond that e^x says nothing to anybody.
    times = f"{math.exp(citation.drop):,.3g}" if citation.drop < 12 else "over 100,000"
    less = f"{times} times less likely"
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
        f"cited from {result.threshold:g} on"
    )


def _table(result: Passages, scale: Scale, width: int) -> Table:
    """Return the table of passages, with as many columns as there is room for."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    rows, errors = result.documents, result.standard_error is not None
    table.add_column("passage", no_wrap=True, overflow="ellipsis")
    heads = ["score"]
    if width >= _WIDE:
        heads += ["share", *(["±"] if errors else []), "drop", "hold", "status", "tokens"]
    elif width >= _NARROW:
        heads += ["drop", "hold", "status"]
    for head in heads:
        table.add_column(head, justify="left" if head == "status" else "right", no_wrap=True)
    cells = min(_NAME_CELLS, max(6, width - 12 - 10 * (len(heads) - 1)))
    for row in rows:
        name = Text.assemble((f"[{row['index'] + 1}] ", "bold"), short(row["name"], cells - 4))
        written = {
            "score": Text.assemble(
                (f" {scale.number(row['score'])} ", scale.style(row["score"])),
                scale.mark(row["score"]),
            ),
            "share": f"{row['share']:.0%}",
            "±": nats(row["standard_error"]),
            "drop": nats(row["drop"]),
            "hold": nats(row["hold"]),
            "status": row["status"],
            "tokens": str(row["tokens"]),
        }
        table.add_row(name, *(written[head] for head in heads))
    return table


def _answer(result: Passages) -> Iterator[RenderableType]:
    """Yield each sentence with the numbers of what it cites, and what is known of them."""
    for citation in result.citations():
        text = Text(visible(citation.text), overflow="fold")
        if citation.passages:
            text.append(f" {marks(citation)}", "bold")
        yield text
        yield Text(f"  {finding(citation)}", "dim")

"""Running text in pieces: the inputs, each on the shade of its score, and the response."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_attrib.render.palette import Scale
from hf_attrib.render.safe_text import flowing, framed, label
from hf_attrib.render.sheet import Sheet
from hf_attrib.results import Attribution
from hf_attrib.text import Span, Tokens

__all__ = ["Piece", "brief", "inputs", "response", "shade_class", "shades"]

#: Shades of a colour; scores below half a shade of the strongest keep the colour of the page. What
#: is stronger than full colour is underlined, and in the matrix has a shade of its own.
SHADES = 10

_LONGEST_NAME = 60


@dataclass(frozen=True)
class Piece:
    """A stretch of running text on a page: what is coloured, and the space around it that is not.

    A unit of the inputs or a row of the response makes one; so does text that belongs to neither.

    Args:
        body: what is coloured or selected.
        index: which unit or row it is; ``None`` for text that belongs to none.
        before: space before it, which takes no colour.
        after: space behind it, which takes none either.
        name: what its span is called, where that is not its text.
        classes: how it looks.
        missed: what is wrong with its scores, if anything.
    """

    body: str
    index: int | None
    before: str = ""
    after: str = ""
    name: str | None = None
    classes: str = ""
    missed: str = ""


def response(result: Attribution, missed: Sequence[str]) -> Iterator[Piece]:
    """Yield the response as running text: its rows, and what no row covers.

    Args:
        result: the attribution.
        missed: what is wrong with the scores of each of T rows, if anything.
    """
    tokens = result.response
    end = 0
    for t, row in enumerate(result.rows):
        if row.start > end:
            yield from _uncovered(tokens, end, row.start)
        elif row.start < end:
            yield Piece(" … ", None)  # spans that overlap or go back do not read on
        text, name = _read(tokens, row)
        quiet = tokens.role(row) in ("special", "template")
        classes = f"row{_quiet(text, quiet)}{' missed' if missed[t] else ''}"
        yield _piece(text, t, name, classes, missed[t])
        end = row.stop
    yield from _uncovered(tokens, end, len(tokens))


def _uncovered(tokens: Tokens, start: int, stop: int) -> Iterator[Piece]:
    if start < stop:
        yield Piece(flowing(tokens.piece(Span(start, stop)), marked=False), None)


def _read(tokens: Tokens, span: Span) -> tuple[str, str | None]:
    """Return the text of a span, and its name if it has one."""
    if span.name is None:
        return tokens.piece(span), None
    return tokens.piece(Span(span.start, span.stop)), brief(span.name)


def brief(text: str) -> str:
    """Name a token or group where there is no room for a whole passage.

    Args:
        text: what it is called, or its text.
    """
    name = label(text)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _piece(text: str, index: int, name: str | None, classes: str, missed: str = "") -> Piece:
    """Return a piece whose outer spaces stand outside: coloured, they would touch neighbours."""
    before, body, after = framed(text, marked=True)
    return Piece(body, index, before, after, name, classes, missed)


def inputs(sheet: Sheet) -> Iterator[Piece]:
    """Yield the inputs, each on the shade of its total.

    Args:
        sheet: the prepared result.
    """
    result, scale = sheet.result, sheet.total_scale
    for i, (unit, total) in enumerate(zip(sheet.units, sheet.totals, strict=True)):
        classes = f"unit{_quiet(unit.text, unit.is_written)}{shade_class(total, scale)}"
        text, name = _read(result.inputs, result.columns[unit.start])
        # Several columns make a unit where they are the bytes of one character.
        text = text if unit.stop == unit.start + 1 else unit.text
        yield _piece(text, i, name, classes)


def _quiet(text: str, written: bool) -> str:
    return " quiet written" if written else " quiet" if text and not text.strip() else ""


def shade_class(score: float, scale: Scale) -> str:
    """Return the class of a score's shade behind a space, or nothing.

    Args:
        score: any number.
        scale: what it is shown on.
    """
    if not math.isfinite(score):
        return " odd"
    level = int(scale.strength(score) * SHADES + 0.5)
    sign = "size" if not scale.signed else "opposes" if score < 0 else "supports"
    beyond = " beyond" if scale.beyond(score) else ""
    return f" {sign} l{level}{beyond}" if level else ""


def shades(signed: bool) -> list[str]:
    """Return the classes of a scale, from the lowest to the highest score.

    Args:
        signed: whether scores carry a sign.
    """
    levels = [*(f"l{level}" for level in range(1, SHADES + 1)), f"l{SHADES} beyond"]
    if not signed:
        return ["l0", *(f"size {level}" for level in levels)]
    below = [f"opposes {level}" for level in reversed(levels)]
    return [*below, "l0", *(f"supports {level}" for level in levels)]

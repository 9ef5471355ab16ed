"""What marks say of the texts that they came out of.

Marks go around stretches of words and leave alone what templates look for: markup such as
``</think>``, and white space at the ends, which many strip. What is left of those beside a stretch
is found by running the template without that white space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from typing import Any, TypeAlias

from hf_attrib.text.tokens import shared

__all__ = [
    "Divide",
    "Extent",
    "Render",
    "Trace",
    "extent_of",
    "forms_of",
    "marks_beside",
    "reading",
    "stretches_of",
    "subsequence",
]

#: Runs the template with other values in place of the given ones; ``None`` where it refuses them.
Render: TypeAlias = Callable[[Sequence[Any]], str | None]
#: A range of characters.
Extent: TypeAlias = tuple[int, int]
#: Divides a text into the stretches that marks go around.
Divide: TypeAlias = Callable[[str], list[Extent]]

#: What templates look for in a text.
_MARKUP = re.compile(r"<[^<>\n]{1,60}>|\[[^\[\]\n]{1,30}\]")
_PIECES = re.compile(rf"\s+|{_MARKUP.pattern}|\S")
#: Ideographs that hardly any text has. They are printable, since some templates print lists of
#: parts as Python does, which writes others as numbers.
_MARKS = range(0x20000, 0x2A6D0)
_RARE = re.compile(f"[{chr(_MARKS[0])}-{chr(_MARKS[-1])}]")


@dataclass
class Trace:
    """Where one text came out.

    Args:
        extents: its ranges in what the template wrote.
        kept: its own ranges that came out.
        changed: whether it came out in other words, so that ``kept`` says nothing.
        known: whether that could be told at all.
        whole: whether it came out at one go, though characters of it may be left out.
        doubtful: whether what is missing of it changes what the template writes, nobody knows how.
    """

    extents: list[Extent] = field(default_factory=list)
    kept: list[Extent] = field(default_factory=list)
    changed: bool = False
    known: bool = True
    whole: bool = False
    doubtful: bool = False

    def missing(self, given: str) -> list[int]:
        """Return the places of characters in the text that did not come out."""
        if self.changed or not self.known:
            return []
        inside = {i for start, stop in self.kept for i in range(start, stop)}
        return [i for i in range(len(given)) if i not in inside]


def reading(
    text: str, given: Sequence[Any], render: Render, chosen: Sequence[int], divide: Divide
) -> dict[int, Trace] | None:
    """Return where texts came out, by marks in them; ``None`` if marks change what is written.

    Args:
        text: what the template wrote.
        given: all that it was given.
        render: runs it again.
        chosen: which of the given are marked.
        divide: where the marks go.
    """
    read = _read(text, given, render, chosen, divide)
    return None if read is None else _Reading(read, given).traces(chosen)


def marks_beside(text: str | None, given: Sequence[Any], count: int = 1) -> list[str]:
    """Return so many characters, or fewer, that a template neither wrote nor was given.

    Args:
        text: what it wrote, if that is known.
        given: what it was given.
        count: how many.
    """
    texts = "".join(one for one in given if isinstance(one, str)) + (text or "")
    used = set(_RARE.findall(texts))
    return list(islice((c for c in map(chr, _MARKS) if c not in used), count))


def stretches_of(text: str) -> list[Extent]:
    """Return the ranges between markup, white space at their ends left out."""
    edges = [0, *chain.from_iterable(m.span() for m in _MARKUP.finditer(text)), len(text)]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [found for a, b in pairs for found in _trimmed(text, a, b)]


def extent_of(text: str) -> list[Extent]:
    """Return the range of a text without the white space at its ends, if there is more to it."""
    return _trimmed(text, 0, len(text))


def _trimmed(text: str, start: int, stop: int) -> list[Extent]:
    part = text[start:stop]
    start, stop = stop - len(part.lstrip()), start + len(part.rstrip())
    return [(start, stop)] if start < stop else []


@dataclass(frozen=True)
class _Mark:
    """Stands before or behind a stretch of a text."""

    given: int
    stretch: int
    opens: bool


@dataclass(frozen=True)
class _Read:
    """What a template wrote of marked texts.

    Args:
        text: without the marks.
        marks: in the order in which they came out, and the places in ``text`` where they did.
        stretches: of each text that was marked.
        without: the same from texts without the white space before (``True``) or behind each
            stretch; ``None`` where the template then does something else.
    """

    text: str
    marks: Sequence[tuple[_Mark, int]]
    stretches: dict[int, list[Extent]]
    without: Callable[[bool], _Read | None]

    def between(self, index: int) -> str:
        """Return the text before a mark, from the one before it."""
        start = self.marks[index - 1][1] if index else 0
        stop = self.marks[index][1] if index < len(self.marks) else len(self.text)
        return self.text[start:stop]


def _read(
    text: str | None,
    given: Sequence[Any],
    render: Render,
    chosen: Sequence[int],
    divide: Divide,
    bare: bool | None = None,
) -> _Read | None:
    """Run a template with marks in some texts.

    Args:
        text: what it wrote without them, if that is known.
        given: all that it is given.
        render: runs it.
        chosen: which texts are marked.
        divide: where they are.
        bare: leave out the white space before (``True``) or behind each stretch (``False``).
    """
    marks: dict[str, _Mark] = {}
    values, stretches = list(given), {i: divide(given[i]) for i in chosen}
    count = 2 * sum(map(len, stretches.values()))
    unused = marks_beside(text, given, count)
    if len(unused) < count:
        return None
    free = iter(unused)
    for i, parts in stretches.items():
        made, end = "", 0
        for k, (start, stop) in enumerate(parts):
            before, behind = next(free), next(free)
            marks |= {before: _Mark(i, k, opens=True), behind: _Mark(i, k, opens=False)}
            gap = given[i][end:start]
            gap = gap.rstrip() if bare is True else gap.lstrip() if bare is False and k else gap
            made += gap + before + given[i][start:stop] + behind
            end = stop
        values[i] = made + (given[i][end:].lstrip() if bare is False else given[i][end:])
    written = render(values)
    if written is None:
        return None
    places = [m.start() for m in _RARE.finditer(written) if m[0] in marks]
    plain = written.translate(dict.fromkeys(map(ord, marks)))
    if text is not None and plain != text:
        return None
    found = [(marks[written[place]], place - n) for n, place in enumerate(places)]
    return _Read(
        plain, found, stretches, lambda side: _read(None, given, render, chosen, divide, side)
    )


@dataclass
class _Piece:
    """Part of a text that came out.

    Args:
        given: which text.
        stretch: which stretch of it.
        first: number of the mark before it, or ``None`` if that did not come out.
        last: number of the mark behind it, or ``None`` if that did not come out.
        start: its first character in what the template wrote.
        stop: the one behind its last.
        begin: its first character in the text itself.
        end: the one behind its last.
    """

    given: int
    stretch: int
    first: int | None
    last: int | None
    start: int
    stop: int
    begin: int
    end: int


class _Reading:
    """Finds out what marks say of the texts that they came out of."""

    def __init__(self, read: _Read, given: Sequence[str]) -> None:
        self.read = read
        self.given = given
        self._bare: dict[bool, _Read | None] = {}

    def traces(self, chosen: Sequence[int]) -> dict[int, Trace]:
        """Return where texts came out."""
        found, pieces = {i: Trace() for i in chosen}, list(self._pieces())
        for before, behind in pairwise([None, *pieces, None]):
            if before and behind and self._join(before, behind):
                continue
            if before is not None:
                limit = len(self.read.text) if behind is None else behind.start
                self._grow(before, limit, back=False)
            if behind is not None:
                self._grow(behind, 0 if before is None else before.stop, back=True)
        for piece in pieces:
            trace, own = found[piece.given], self.given[piece.given][piece.begin : piece.end]
            there = self.read.text[piece.start : piece.stop]
            left = None if there in forms_of(own) else subsequence(there, own)
            kept = [(0, len(own))] if left is None else [(i, i + 1) for i in left]
            trace.extents.append((piece.start, piece.stop))
            trace.kept += [(piece.begin + a, piece.begin + b) for a, b in kept]
            enclosed = None not in (piece.first, piece.last)
            trace.whole = enclosed and (there in forms_of(own) or left is not None)
        return found

    def _pieces(self) -> Iterator[_Piece]:
        """Yield what marks enclose; of a stretch that was cut, what stands at the mark left."""
        marks, text = self.read.marks, self.read.text
        number = 0
        while number < len(marks):
            mark, place = marks[number]
            begin, end = self.read.stretches[mark.given][mark.stretch]
            words = self.given[mark.given][begin:end]
            behind = marks[number + 1] if number + 1 < len(marks) else None
            own = mark.given, mark.stretch
            if mark.opens and behind and behind[0] == _Mark(*own, opens=False):
                yield _Piece(*own, number, number + 1, place, behind[1], begin, end)
                number += 1
            elif mark.opens:
                size = shared(words, text[place : behind and behind[1]])
                yield _Piece(*own, number, None, place, place + size, begin, begin + size)
            else:
                size = shared(words[::-1], self.read.between(number)[::-1])
                yield _Piece(*own, None, number, place - size, place, end - size, end)
            number += 1

    def _join(self, before: _Piece, behind: _Piece) -> bool:
        """Join two pieces that stand together as they do in their text, and say whether they do."""
        own = (before.given, before.stretch + 1) == (behind.given, behind.stretch)
        if not own or before.last is None or behind.first is None:
            return False
        gap = self.given[before.given][before.end : behind.begin]
        if self.read.text[before.stop : behind.start] not in forms_of(gap):
            return False
        before.stop, before.end = behind.start, behind.begin
        return True

    def _grow(self, piece: _Piece, limit: int, back: bool) -> None:
        """Add what is left of the white space and markup before (``back``) or behind a piece."""
        mark = piece.first if back else piece.last
        if mark is None:
            return
        matches, gap = str.endswith if back else str.startswith, self._gap(piece, back)
        # Some templates cut markup off and write the same again.
        again = gap.strip() and matches(self._beside(piece, limit, back), gap)
        parts = [gap] if again else _PIECES.findall(gap)
        for number, part in enumerate(reversed(parts) if back else parts):
            kept = part
            if number == 0 and part.isspace():
                kept = self._kept(part, mark if back else mark + 1, back)
            forms = [
                f for f in forms_of(kept) if f and matches(self._beside(piece, limit, back), f)
            ]
            if not forms:
                return
            if back:
                piece.start, piece.begin = piece.start - len(forms[0]), piece.begin - len(kept)
            else:
                piece.stop, piece.end = piece.stop + len(forms[0]), piece.end + len(kept)
            if kept != part:
                return

    def _beside(self, piece: _Piece, limit: int, back: bool) -> str:
        """Return what stands beside a piece, up to a limit."""
        return self.read.text[limit : piece.start] if back else self.read.text[piece.stop : limit]

    def _gap(self, piece: _Piece, back: bool) -> str:
        """Return what lies before or behind the stretch of a piece in its text."""
        given, edges = self.given[piece.given], self.read.stretches[piece.given]
        stops = [0, *(stop for _, stop in edges)]
        starts = [*(start for start, _ in edges), len(given)]
        place = piece.stretch + (not back)
        return given[stops[place] : starts[place]]

    def _kept(self, space: str, mark: int, before: bool) -> str:
        """Return what is left of the white space that stands before or behind a mark.

        Args:
            space: in the text itself.
            mark: up to which the template's text is looked at, from the one before it.
            before: whether the white space is that before this mark, or behind the last one.
        """
        there = self.read.between(mark)
        edge = there[::-1] if before else there
        own = space[::-1] if before else space
        if not edge.startswith(own[0]):
            return space  # escaped, or gone
        if before not in self._bare:
            bare = self.read.without(before)
            same = bare and [m for m, _ in bare.marks] == [m for m, _ in self.read.marks]
            self._bare[before] = bare if same else None
        if (bare := self._bare[before]) is not None:
            rest = bare.between(mark)[::-1] if before else bare.between(mark)
            size = len(edge) - len(rest)
            if 0 <= size <= len(own) and edge == own[:size] + rest:
                return space[len(space) - size :] if before else space[:size]
        size = shared(own, edge)
        return space[len(space) - size :] if before else space[:size]


def subsequence(part: str, whole: str) -> list[int] | None:
    """Return where the characters of a text are in another that has them in this order."""
    places, at = [], -1
    for character in part:
        at = whole.find(character, at + 1)
        if at < 0:
            return None
        places.append(at)
    return places


def forms_of(words: str) -> tuple[str, ...]:
    """Return how a template may write what it does not change: as it is, or in a JSON string."""
    return words, json.dumps(words, ensure_ascii=False)[1:-1]

"""Where given texts come out in what a template makes of them.

The template is run again with marks in the texts, rare characters that are in none: they come out
where their text does, wherever the template moves it, and what they enclose is the text's own. That
is sure when the result without its marks is what the template wrote before; a template that looks
at what it is given might have taken another branch. Texts are marked less finely then, or one at a
time. Marks go around stretches of words and leave alone what templates look for: markup such as
``</think>``, and white space at the ends, which many strip. What is left of those beside a stretch
is found by running the template without that white space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from typing import Any, TypeAlias

from hf_attrib.text.tokens import shared

__all__ = ["Render", "Trace", "trace"]

#: Runs the template with other values in place of the given ones; ``None`` where it refuses them.
Render: TypeAlias = Callable[[Sequence[Any]], str | None]
#: A range of characters.
_Extent: TypeAlias = tuple[int, int]
#: Divides a text into the stretches that marks go around.
_Divide: TypeAlias = Callable[[str], list[_Extent]]

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
    """

    extents: list[_Extent] = field(default_factory=list)
    kept: list[_Extent] = field(default_factory=list)
    changed: bool = False
    known: bool = True
    whole: bool = False

    def lost(self, given: str) -> str:
        """Return the characters of the text that did not come out."""
        inside = {i for start, stop in self.kept for i in range(start, stop)}
        return "" if self.changed else "".join(c for i, c in enumerate(given) if i not in inside)


def trace(text: str, given: Sequence[Any], render: Render) -> list[Trace]:
    """Find given texts in what a template wrote.

    Args:
        text: what it wrote.
        given: what it was given, texts and other values.
        render: runs it again.

    Returns:
        where each of the given came out.
    """
    marked = [i for i, one in enumerate(given) if isinstance(one, str) and _whole(one)]
    found: dict[int, Trace] = {}
    sure: set[int] = set()
    # Where contents depend on each other, marking all would change what the template does.
    for chosen in (marked, *([i] for i in marked)):
        for divide in (_whole, _stretches):
            left = [i for i in chosen if i not in sure and divide(given[i])]
            if not left or (read := _read(text, given, render, left, divide)) is None:
                continue
            for i, one in _Reading(read, given).traces(left).items():
                if one.extents or i not in found:
                    found[i] = one
                if divide is _stretches or one.whole or _stretches(given[i]) == _whole(given[i]):
                    sure.add(i)
    for i in range(len(given)):
        if i not in found:
            found[i] = _replaced(text, given, i, render)
    for i, one in found.items():
        if not one.known and isinstance(given[i], str):
            found[i] = _searched(text, given[i], found.values()) or one
    return [found[i] for i in range(len(given))]


def _stretches(text: str) -> list[_Extent]:
    """Return the ranges between markup, white space at their ends left out."""
    edges = [0, *chain.from_iterable(m.span() for m in _MARKUP.finditer(text)), len(text)]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [found for a, b in pairs for found in _trimmed(text, a, b)]


def _whole(text: str) -> list[_Extent]:
    return _trimmed(text, 0, len(text))


def _trimmed(text: str, start: int, stop: int) -> list[_Extent]:
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
    stretches: dict[int, list[_Extent]]
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
    divide: _Divide,
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
    used = set(_RARE.findall("".join(one for one in given if isinstance(one, str)) + (text or "")))
    free = (c for c in map(chr, _MARKS) if c not in used)
    marks: dict[str, _Mark] = {}
    values, stretches = list(given), {i: divide(given[i]) for i in chosen}
    if 2 * sum(map(len, stretches.values())) + len(used) > len(_MARKS):
        return None
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
    plain = "".join(c for c in written if c not in marks)
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
            left = None if there in _forms(own) else _subsequence(there, own)
            kept = [(0, len(own))] if left is None else [(i, i + 1) for i in left]
            trace.extents.append((piece.start, piece.stop))
            trace.kept += [(piece.begin + a, piece.begin + b) for a, b in kept]
            enclosed = None not in (piece.first, piece.last)
            trace.whole = enclosed and (there in _forms(own) or left is not None)
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
        if self.read.text[before.stop : behind.start] not in _forms(gap):
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
            forms = [f for f in _forms(kept) if f and matches(self._beside(piece, limit, back), f)]
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


def _subsequence(part: str, whole: str) -> list[int] | None:
    """Return where the characters of a text are in another that has them in this order."""
    places, at = [], -1
    for character in part:
        at = whole.find(character, at + 1)
        if at < 0:
            return None
        places.append(at)
    return places


def _forms(words: str) -> tuple[str, ...]:
    """Return how a template may write what it does not change: as it is, or in a JSON string."""
    return words, json.dumps(words, ensure_ascii=False)[1:-1]


def _replaced(text: str, given: Sequence[Any], index: int, render: Render) -> Trace:
    """Find one of the given by what stands in its place when a mark does."""
    own, mark = given[index], next(c for c in map(chr, _MARKS) if c not in text)
    if own in ("", None):
        return Trace()
    words = own if isinstance(own, str) else None
    written = render([*given[:index], mark, *given[index + 1 :]])
    around = [] if written is None else written.split(mark)
    for form in _forms(words) if words else ():
        if len(around) > 1 and form.join(around) == text:
            return Trace(_between_all(around, len(form)), [(0, len(words or ""))])
    # What is no text stands in JSON without the quotes that its mark has.
    bare = [around[0].removesuffix('"'), around[1].removeprefix('"')] if len(around) == 2 else []
    for before, behind in (around, bare) if len(around) == 2 else ():
        start, stop = len(before), len(text) - len(behind)
        if start > stop or not text.startswith(before) or not text.endswith(behind):
            continue
        left = None if words is None else _subsequence(text[start:stop], words)
        extents = [(start, stop)] if start < stop else []
        if left is not None:
            return Trace(extents, [(i, i + 1) for i in left])
        if words is None or not words.isspace():
            return Trace(extents, changed=bool(extents))
    # White space of a message that is nothing else is nothing to templates that look for words.
    return Trace(known=words is not None and words.isspace())


def _searched(text: str, words: str, others: Iterable[Trace]) -> Trace | None:
    """Find words that stand in one place only, which is not another text's."""
    stripped = words.strip()
    start, begin, size = text.find(stripped), words.find(stripped), len(stripped)
    theirs = chain.from_iterable(other.extents for other in others)
    if text.count(stripped) != 1 or any(a < start + size and start < b for a, b in theirs):
        return None
    return Trace([(start, start + size)], [(begin, begin + size)])


def _between_all(around: Sequence[str], size: int) -> list[_Extent]:
    """Return the ranges of something that stands between each two parts of a text."""
    ends = accumulate(len(part) + size for part in around[:-1])
    return [(end - size, end) for end in ends]

"""Where given texts come out in what a template makes of them.

The template is run again with marks in the texts, rare characters that are in none: they come out
where their text does, wherever the template moves it, and what they enclose is the text's own. That
is sure when the result without its marks is what the template wrote before; a template that looks
at what it is given might have taken another branch. Texts are marked less finely then, or fewer at
a time, or marks stand in the place of all their characters. What is missing then is left out if the
template writes the same without it; if it does not, it makes something else of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

from hf_attrib.text.marks import (
    Extent,
    Render,
    Trace,
    extent_of,
    forms_of,
    marks_beside,
    reading,
    stretches_of,
    subsequence,
)

__all__ = ["Render", "Trace", "trace"]


def trace(text: str, given: Sequence[Any], render: Render) -> list[Trace]:
    """Find given texts in what a template wrote.

    Args:
        text: what it wrote.
        given: what it was given, texts and other values.
        render: runs it again.

    Returns:
        where each of the given came out.
    """
    found = _marked(text, given, render)
    for i in range(len(given)):
        if i not in found:
            found[i] = _replaced(text, given, i, render)
    for i, one in found.items():
        if not one.known and isinstance(given[i], str):
            found[i] = _searched(text, given[i], found.values()) or one
    for i in _read_after_all(text, given, found, render):
        whole = _replaced(text, given, i, render)
        if whole.known and whole.extents:
            found[i] = whole
        found[i].doubtful = bool(_read_after_all(text, given, {i: found[i]}, render))
    return [found[i] for i in range(len(given))]


def _marked(text: str, given: Sequence[Any], render: Render) -> dict[int, Trace]:
    """Return where texts came out that have words to mark, of those that marks can tell."""
    found: dict[int, Trace] = {}
    sure: set[int] = set()
    # Where contents depend on each other, marks in all would change what the template does.
    every = [i for i, one in enumerate(given) if isinstance(one, str) and extent_of(one)]
    pending = [every]
    while pending:
        chosen = pending.pop()
        for divide in (extent_of, stretches_of):
            left = [i for i in chosen if i not in sure and divide(given[i])]
            read = reading(text, given, render, left, divide) if left else None
            for i, one in ({} if read is None else read).items():
                if one.extents or i not in found:
                    found[i] = one
                same = stretches_of(given[i]) == extent_of(given[i])
                if divide is stretches_of or one.whole or same:
                    sure.add(i)
        left = [i for i in chosen if i not in sure]
        if left and len(chosen) in (1, len(every)):
            found |= (swapped := _swapped(text, given, left, render))
            sure |= set(swapped)
            left = [i for i in left if i not in sure]
        if left and len(chosen) > 1:
            half = len(left) // 2
            pending += [part for part in (left[half:], left[:half]) if part]
    return found


def _swapped(
    text: str, given: Sequence[Any], chosen: Sequence[int], render: Render
) -> dict[int, Trace]:
    """Find texts by marks in the place of all their characters, which keep a text's length."""
    marks = dict(zip(marks_beside(text, given, len(chosen)), chosen, strict=False))
    if len(marks) < len(chosen):
        return {}
    spans = [{i: (0, len(given[i])) for i in chosen}, {i: extent_of(given[i])[0] for i in chosen}]
    for inner in spans:  # with the white space around them, or without
        values = list(given)
        for mark, i in marks.items():
            start, stop = inner[i]
            values[i] = given[i][:start] + mark * (stop - start) + given[i][stop:]
        written = render(values)
        for form in (0, 1) if written else ():
            words = {i: forms_of(given[i][slice(*inner[i])])[form] for i in chosen}
            found = _filled(written or "", text, marks, inner, words)
            if found is not None:
                return found
    return {}


def _filled(
    written: str,
    text: str,
    marks: dict[str, int],
    inner: dict[int, Extent],
    words: dict[int, str],
) -> dict[int, Trace] | None:
    """Put words back in the place of their marks; ``None`` if that is not what was written."""
    found = {i: Trace(whole=True) for i in inner}
    made, size, at = [], 0, 0
    for run in re.finditer(f"[{''.join(marks)}]", written):
        if run.start() < at:
            continue
        i = marks[run[0]]
        length = inner[i][1] - inner[i][0]
        before, at = written[at : run.start()], run.start() + length
        if written[run.start() : at] != run[0] * length:
            return None
        size += len(before)
        found[i].extents.append((size, size + len(words[i])))
        found[i].kept = [inner[i]]
        size += len(words[i])
        made += [before, words[i]]
    return found if "".join([*made, written[at:]]) == text else None


def _read_after_all(
    text: str, given: Sequence[Any], found: Mapping[int, Trace], render: Render
) -> list[int]:
    """Return which texts have characters that did not come out, but change what comes out.

    Args:
        text: what the template wrote.
        given: what it was given.
        found: where texts came out.
        render: runs it again.
    """
    places = {i: one.missing(given[i]) for i, one in found.items() if isinstance(given[i], str)}
    missing = {i: at for i, at in places.items() if at}
    mark = marks_beside(text, given)[0]

    def gone(character: str) -> str:
        return ""

    def other(character: str) -> str:
        return mark if not character.isspace() else " " if character != " " else "\u2003"

    def same(chosen: Sequence[int], change: Callable[[str], str]) -> bool:
        values = list(given)
        for i in chosen:
            at = set(missing[i])
            values[i] = "".join(change(c) if n in at else c for n, c in enumerate(given[i]))
        return render(values) == text

    pending, read = [list(missing)] if missing else [], []
    while pending:
        chosen = pending.pop()
        if same(chosen, gone) or same(chosen, other):
            continue
        if len(chosen) == 1:
            read += chosen
        else:
            half = len(chosen) // 2
            pending += [chosen[half:], chosen[:half]]
    return read


def _replaced(text: str, given: Sequence[Any], index: int, render: Render) -> Trace:
    """Find one of the given by what stands in its place when a mark does."""
    own, mark = given[index], marks_beside(text, given)[0]
    if own in ("", None):
        return Trace()
    words = own if isinstance(own, str) else None
    written = render([*given[:index], mark, *given[index + 1 :]])
    around = [] if written is None else written.split(mark)
    for form in forms_of(words) if words else ():
        if len(around) > 1 and form.join(around) == text:
            return Trace(_between_all(around, len(form)), [(0, len(words or ""))])
    # What is no text stands in JSON without the quotes that its mark has.
    bare = [around[0].removesuffix('"'), around[1].removeprefix('"')] if len(around) == 2 else []
    sides = [part for part in (around, bare) if len(part) == 2]
    for before, behind in (*sides, *_sides(given, index, mark, render)):
        start, stop = len(before), len(text) - len(behind)
        if start > stop or not text.startswith(before) or not text.endswith(behind):
            continue
        left = None if words is None else subsequence(text[start:stop], words)
        extents = [(start, stop)] if start < stop else []
        if left is not None:
            return Trace(extents, [(i, i + 1) for i in left])
        if words is None or not words.isspace():
            return Trace(extents, changed=bool(extents))
    # White space of a message that is nothing else is nothing to templates that look for words.
    return Trace(known=words is not None and words.isspace())


def _sides(
    given: Sequence[Any], index: int, mark: str, render: Render
) -> Iterator[tuple[str, str]]:
    """Yield what stands before and behind a text that has as many characters, or words, as it."""
    own = given[index]
    if not isinstance(own, str):
        return
    for value in (mark * len(own), re.sub(r"\S", mark, own)):
        written = render([*given[:index], value, *given[index + 1 :]]) or ""
        if mark in written:
            yield written[: written.index(mark)], written[written.rindex(mark) + 1 :]


def _searched(text: str, words: str, others: Iterable[Trace]) -> Trace | None:
    """Find words that stand in one place only, which is not another text's."""
    stripped = words.strip()
    start, begin, size = text.find(stripped), words.find(stripped), len(stripped)
    theirs = chain.from_iterable(other.extents for other in others)
    if text.count(stripped) != 1 or any(a < start + size and start < b for a, b in theirs):
        return None
    return Trace([(start, start + size)], [(begin, begin + size)])


def _between_all(around: Sequence[str], size: int) -> list[Extent]:
    """Return the ranges of something that stands between each two parts of a text."""
    ends = accumulate(len(part) + size for part in around[:-1])
    return [(end - size, end) for end in ends]

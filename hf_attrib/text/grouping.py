"""Tokens into words, sentences, lines, turns, documents and spans of one's own, of any tokenizer.

Words, sentences, lines and paragraphs are found in the text, not in the tokens, and tokens are then
joined wherever no boundary of the text falls between them: a token that straddles two words makes
them one, and the bytes of a character stay together.

- A *word* is one of Unicode's default words (UAX #29, by :mod:`regex`): ``Bob's`` and ``3.5`` are
  one, a punctuation mark is one of its own. Scripts written without spaces have no such words:
  each Chinese character or Hiragana is its own, as is each Thai letter; Katakana stays together.
- A *sentence* ends at Unicode's terminators of any script, with the quotes and brackets that close
  it, or at the end of a line. A full stop ends none before a lower-case letter, after an initial,
  a dotted abbreviation, a title or the number of a list's item.
- A *line* ends at a line break of Unicode, a *paragraph* at an empty line; neither is ever empty.
- A *turn* is the content of one message of a chat; the template around it belongs to none.
- A *document* is one that came with the prompt; beside them the question, each other message, and
  each call of a tool within one are groups, and what is no part of these is "template and other".
- A *role* is a run of tokens of one role, whatever messages they come from.
- White space belongs to what follows it, as in most tokenizers.
- Tokens of different roles are never joined, special tokens not even among themselves.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import TypeAlias

import regex

from hf_attrib.errors import InputError
from hf_attrib.text.places import Where, located, matches
from hf_attrib.text.tokens import Span, Tokens

__all__ = [
    "RULES",
    "Grouping",
    "chosen",
    "finest",
    "partition",
    "sentences",
    "words",
]

#: How to group: by a rule, by what a regular expression matches, or by parts of one's own.
Grouping: TypeAlias = "str | re.Pattern[str] | Mapping[str, Where] | Sequence[Where]"

#: A range of characters.
_Extent: TypeAlias = tuple[int, int]

_LINE_END = regex.compile(r"\R")
_PARAGRAPH_END = regex.compile(r"(?>\R)\s*(?>\R)|\u2029")
_WORD_BOUNDARY = regex.compile(r"\b", regex.WORD | regex.V1)
_TERMINATOR = regex.compile(
    r"([\p{SB=ATerm}\p{SB=STerm}]+)[\p{SB=Close}--[\p{Ps}\p{Pi}]]*", regex.V1
)
#: What a full stop belongs to instead of ending a sentence.
_ABBREVIATION = regex.compile(
    r"(?!I$)\p{Lu}|(\p{L}\.)+\p{L}|(?i:dr|mr|mrs|ms|prof|st|vs|cf|fig|eq)", regex.V1
)


def words(text: str) -> list[_Extent]:
    """Return the character ranges of the words in a text, white space left out.

    >>> [("Bob's key: 3.5")[a:b] for a, b in words("Bob's key: 3.5")]
    ["Bob's", 'key', ':', '3.5']
    """
    cuts = sorted({0, len(text), *(m.start() for m in _WORD_BOUNDARY.finditer(text))})
    return [_trimmed(text, a, b) for a, b in pairwise(cuts) if not text[a:b].isspace()]


def _trimmed(text: str, start: int, stop: int) -> _Extent:
    """Leave out white space that Unicode joins to an invisible character behind it."""
    word = text[start:stop]
    return stop - len(word.lstrip()), start + len(word.rstrip())


def sentences(text: str) -> list[_Extent]:
    """Return the character ranges of the sentences in a text, white space around them left out.

    >>> text = 'Dr. Smith paid 3.5 euros. "Why?" 不知道。好'
    >>> [text[a:b] for a, b in sentences(text)]
    ['Dr. Smith paid 3.5 euros.', '"Why?"', '不知道。', '好']
    """
    parts = words(text)
    stops = {m.end(): m for m in _TERMINATOR.finditer(text)}
    word_before = {b: text[a:b] for a, b in parts}
    found: list[_Extent] = []
    start = parts[0][0] if parts else 0
    for (_, end), (following, _) in pairwise(parts):
        space = text[end:following]
        stop = stops.get(end)
        numbered = stop is not None and text[start : stop.start()].isdecimal()
        if stop is not None and not numbered:
            word = word_before.get(stop.start(), "")
            ends = _ends(stop[1], word, spaced=bool(space), lower=text[following].islower())
        else:
            ends = False
        if ends or "\n" in space:
            found.append((start, end))
            start = following
    return [*found, (start, parts[-1][1])] if parts else []


def _ends(marks: str, word: str, *, spaced: bool, lower: bool) -> bool:
    """Whether a word and the marks behind it end a sentence."""
    if set(marks) != {"."}:
        return spaced or not marks[-1].isascii()  # "a?b" is no end, "。" needs no space
    abbreviated = marks == "." and _ABBREVIATION.fullmatch(word)
    return spaced and not lower and not abbreviated


def between(end: regex.Pattern[str], text: str) -> list[_Extent]:
    r"""Return the character ranges between ends of lines, say, white space around them left out.

    Args:
        end: what divides the text.
        text: what is divided.

    >>> text = "Ada \n\n Bob\nCarl"
    >>> [text[a:b] for a, b in between(_LINE_END, text)]
    ['Ada', 'Bob', 'Carl']
    >>> [text[a:b] for a, b in between(_PARAGRAPH_END, text)]
    ['Ada', 'Bob\nCarl']
    """
    cuts = [0, *(edge for m in end.finditer(text) for edge in m.span()), len(text)]
    parts = zip(cuts[::2], cuts[1::2], strict=True)
    return [_trimmed(text, a, b) for a, b in parts if text[a:b].strip()]


def by_text(segment: Callable[[str], list[_Extent]], tokens: Tokens) -> tuple[Span, ...]:
    """Group tokens by ranges of characters that are found in their text.

    Args:
        segment: finds the ranges, such as :func:`words`.
        tokens: what to group.
    """
    starts = [s for start, stop in _runs(tokens) for s in _cut(tokens, start, stop, segment)]
    return tuple(Span(a, b) for a, b in pairwise([*starts, len(tokens)]))


def by_role(tokens: Tokens) -> tuple[Span, ...]:
    """Group consecutive tokens of one role, named by it; special tokens stay apart.

    Args:
        tokens: what to group.
    """
    roles = tokens.roles
    return tuple(Span(a, b, None if roles[a] == "special" else roles[a]) for a, b in _runs(tokens))


def by_turn(tokens: Tokens) -> tuple[Span, ...]:
    """Group the tokens of each message of a chat, named by its role; others by their own role.

    Args:
        tokens: what to group; those of a text, which has no messages, differ in roles only.
    """
    return partition(
        tokens, [Span(s.start, s.stop, s.name) for s in tokens.segments if s.kind == "turn"]
    )


def by_document(tokens: Tokens) -> tuple[Span, ...]:
    """Group the tokens of each document, of the question, of each call, and of each other message.

    Args:
        tokens: what to group; what is between those parts differs in roles only.
    """
    owners: list[tuple[str | None, Hashable]] = [
        (_REMAINDER, None) if role in ("template", "special") else (None, role)
        for role in tokens.roles
    ]
    for index, segment in enumerate(tokens.segments):  # those within others come behind them
        for token in range(segment.start, segment.stop):
            owners[token] = segment.name, index
    starts = [i for i, owner in enumerate(owners) if i == 0 or owner != owners[i - 1]]
    return tuple(Span(a, b, owners[a][0]) for a, b in pairwise([*starts, len(tokens)]))


#: What tokens are called that come from no part of a conversation.
_REMAINDER = "template and other"
#: Words that are so many times fewer than groups may be are no words.
_COARSER = 8

#: What tokens can be grouped by without naming parts: each rule partitions them.
RULES: Mapping[str, Callable[[Tokens], tuple[Span, ...]]] = {
    "token": Tokens.singles,
    "word": partial(by_text, words),
    "sentence": partial(by_text, sentences),
    "line": partial(by_text, partial(between, _LINE_END)),
    "paragraph": partial(by_text, partial(between, _PARAGRAPH_END)),
    "role": by_role,
    "turn": by_turn,
    "document": by_document,
}


def partition(tokens: Tokens, by: Grouping) -> tuple[Span, ...]:
    """Group all N tokens.

    Args:
        tokens: what to group.
        by: a rule of :data:`RULES`, or parts: named, or all that a compiled regular expression
            matches; between parts the tokens of one role, and each special token, make up groups
            of their own.

    Returns:
        G spans that partition the tokens.

    Raises:
        InputError: there is no such rule, or no such part.
    """
    if isinstance(by, str):
        if by not in RULES:
            raise InputError(f"cannot group by {by!r:.80}; expected {_expected()}.")
        return RULES[by](tokens)
    named = chosen(tokens, by)
    inside = {i for span in named for i in range(span.start + 1, span.stop)}
    edges = {edge for span in named for edge in (span.start, span.stop)}
    starts = sorted((edges | {start for start, _ in _runs(tokens)}) - inside - {len(tokens)})
    names = {span.start: span.name for span in named}
    return tuple(Span(a, b, names.get(a)) for a, b in pairwise([*starts, len(tokens)]))


def finest(tokens: Tokens, moves: Sequence[bool], most: int) -> tuple[Span, ...]:
    """Return tokens, else words, else parts of sentences: the finest that are few enough.

    What has hardly any words is cut into even runs of tokens.

    A part is a whole sentence where that is short; a long one is cut between words, and where
    there are too many sentences, neighbours are joined. Tokens of different roles stay apart.

    Args:
        tokens: what to group.
        moves: which tokens may move, N flags; groups in which none does are not counted.
        most: so many groups are few enough.
    """
    for rule in ("token", "word"):
        groups = RULES[rule](tokens)
        if _moving(groups, moves) <= most:
            break
    # Letters in a row, as of a genome, are one word, which would say nothing of its parts.
    if rule == "word" and _moving(groups, moves) < most / _COARSER:
        groups = RULES["token"](tokens)
    if _moving(groups, moves) <= most:
        return groups
    length = -(-len(groups) // most)
    while True:
        parts = _parts(tokens, groups, length)
        if _moving(parts, moves) <= most or length >= len(groups):
            return parts
        length *= 2


def _moving(groups: Sequence[Span], moves: Sequence[bool]) -> int:
    """Return how many groups have a token that may move."""
    return sum(any(moves[g.start : g.stop]) for g in groups)


def _parts(tokens: Tokens, words: Sequence[Span], length: int) -> tuple[Span, ...]:
    """Cut long sentences evenly and join short ones, to parts of up to so many words."""
    firsts = [sentence.start for sentence in RULES["sentence"](tokens)]
    apart = {start for start, _ in _runs(tokens)}
    starts: list[int] = []
    held = length  # words of the part that is being filled
    for _, own in groupby(words, key=lambda word: bisect(firsts, word.start)):
        sentence = [word.start for word in own]
        pieces = -(-len(sentence) // length)
        for piece in range(pieces):
            first, last = (len(sentence) * (piece + k) // pieces for k in (0, 1))
            if sentence[first] in apart or held + last - first > length:
                starts.append(sentence[first])
                held = 0
            held += last - first
    return tuple(Span(a, b) for a, b in pairwise([*starts, len(tokens)]))


def chosen(
    tokens: Tokens, by: re.Pattern[str] | Mapping[str, Where] | Sequence[Where]
) -> tuple[Span, ...]:
    """Return the parts that a user named, in order.

    Raises:
        InputError: a part is not there, is there more than once, or overlaps another.
    """
    if isinstance(by, re.Pattern | regex.Pattern):
        given: list[tuple[str | None, Where]] = [(None, span) for span in matches(tokens, by)]
    elif isinstance(by, Mapping):
        given = list(by.items())
    elif isinstance(by, Sequence):
        given = [(None, where) for where in by]
    else:
        raise InputError(f"cannot group by {by!r:.80}; expected {_expected()}.")
    spans = sorted((located(tokens, name, where) for name, where in given), key=lambda s: s.start)
    for a, b in pairwise(spans):
        if b.start < a.stop:
            raise InputError(
                f"the groups {tokens.piece(a)!r:.80} and {tokens.piece(b)!r:.80} share tokens; "
                "make them one, or keep them apart."
            )
    return tuple(spans)


def _expected() -> str:
    rules = ", ".join(map(repr, RULES))
    return (
        f"{rules}, a compiled regular expression, or names with ranges of tokens or with text, "
        "e.g. {'question': (3, 9)}"
    )


def _runs(tokens: Tokens) -> list[tuple[int, int]]:
    """Return the longest stretches of tokens that may be joined."""
    roles = tokens.roles
    starts = [i for i, r in enumerate(roles) if i == 0 or r != roles[i - 1] or r == "special"]
    return list(pairwise([*starts, len(tokens)]))


def _cut(
    tokens: Tokens, start: int, stop: int, segment: Callable[[str], list[_Extent]]
) -> list[int]:
    """Return the tokens of one run that begin a segment of its text."""
    offsets = tokens.offsets[start:stop]
    origin, limit = min(a for a, _ in offsets), max(b for _, b in offsets)
    parts = [(a + origin, b + origin) for a, b in segment(tokens.text[origin:limit])]
    # A segment may begin anywhere in the white space before it, but only once.
    zones = [(end, begin) for (_, end), (begin, _) in pairwise([*parts, (limit, limit)])]
    starts, zone, end = [start], 0, origin
    for i in range(1, len(offsets)):
        end, begin = max(end, offsets[i - 1][1]), offsets[i][0]
        while zone < len(zones) and zones[zone][1] < end:
            zone += 1  # lost inside a token
        if zone < len(zones) and zones[zone][0] <= begin and end <= begin:
            starts.append(start + i)
            while zone < len(zones) and zones[zone][0] <= begin:
                zone += 1
    return starts

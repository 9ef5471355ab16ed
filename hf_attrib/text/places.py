"""Where in some tokens a place is that a caller names: by a range, by its text, by a pattern."""

from __future__ import annotations

import re
from typing import TypeAlias

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.text.encoding import check_text
from hf_attrib.text.tokens import Span, Tokens

__all__ = ["Where", "located", "matches"]

#: A part of the inputs: a range of tokens, or text that occurs exactly once.
Where: TypeAlias = "tuple[int, int] | str | Span"


def located(tokens: Tokens, name: str | None, where: Where) -> Span:
    """Return the tokens of a place, with a name if it was given one.

    Args:
        tokens: what to look through.
        name: what the caller calls it, if anything.
        where: the place.

    Raises:
        InputError: it is not there, or is there more than once.
    """
    if name is not None and not isinstance(name, str):
        raise InputError(f"a group's name is a text; got {name!r:.80}.")
    check_text((name, where.name if isinstance(where, Span) else where))
    if isinstance(where, str):
        start, stop = _find(tokens, where)
    elif isinstance(where, Span):
        start, stop, name = where.start, where.stop, where.name if name is None else name
    else:
        pair = isinstance(where, tuple | list) and len(where) == 2
        start, stop = map(plain_number, where) if pair else (0, 0)
    if not (type(start) is type(stop) is int and 0 <= start < stop <= len(tokens)):
        raise InputError(
            f"a group is a range (start, stop) of the {len(tokens)} tokens, or a text; "
            f"got {where!r:.80}."
        )
    return Span(start, stop, name)


def _find(tokens: Tokens, text: str) -> tuple[int, int]:
    """Return the tokens that hold characters of a text that occurs exactly once."""
    count = tokens.text.count(text) if text else 0
    if count != 1:
        raise InputError(
            f"the text {text!r:.80} occurs {count} times; a group needs one that occurs once, or "
            "a range (start, stop) of tokens."
        )
    first = tokens.text.index(text)
    return _holding(tokens, first, first + len(text))


def matches(tokens: Tokens, pattern: re.Pattern[str]) -> list[Span]:
    """Return the tokens that hold each match of a pattern in their text, in order.

    Args:
        tokens: what to look through.
        pattern: what matches a character at least.

    Raises:
        InputError: it matches nothing, or no character, or is no pattern of text.
    """
    if not isinstance(pattern.pattern, str):
        raise InputError(f"the pattern {pattern.pattern!r:.80} is of bytes; compile one of text.")
    origin = min((a for a, _ in tokens.offsets), default=0)
    text = tokens.text[origin : max((b for _, b in tokens.offsets), default=0)]
    extents = [match.span() for match in pattern.finditer(text)]
    if not extents:
        raise InputError(
            f"the pattern {pattern.pattern!r:.80} matches nothing of {text!r:.80}; expected a "
            "match for each group."
        )
    for a, b in extents:
        if a == b:
            raise InputError(
                f"the pattern {pattern.pattern!r:.80} matches no character at {a}, before "
                f"{text[a : a + 20]!r}; write one that takes a character at least, as '+' does "
                "where '*' need not."
            )
    return [Span(*_holding(tokens, a + origin, b + origin)) for a, b in extents]


def _holding(tokens: Tokens, first: int, last: int) -> tuple[int, int]:
    """Return the range of tokens that hold characters of a range."""
    held = [i for i, (a, b) in enumerate(tokens.offsets) if a < b and a < last and b > first]
    if not held:
        raise InputError(f"no token holds the text {tokens.text[first:last]!r:.80}.")
    return held[0], held[-1] + 1

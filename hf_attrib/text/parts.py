"""What a caller means by a group: one place or several, and the tokens of each."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, TypeAlias

import regex

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.text.encoding import check_text
from hf_attrib.text.grouping import RULES, chosen
from hf_attrib.text.places import Where, matches
from hf_attrib.text.tokens import Span, Tokens

__all__ = ["Named", "parts_of"]

#: What one group is made of: a rule, a place, a pattern, or a list of places and patterns.
Named: TypeAlias = "Where | re.Pattern[str] | list[Where | re.Pattern[str]]"

#: Rules that name parts of a conversation stand for these parts, not for what is between them.
_OF_SEGMENTS = {"document": "document", "turn": "message of a chat"}


def parts_of(tokens: Tokens, name: str, given: Named) -> tuple[Span, ...]:
    """Return the parts of the tokens that a caller names as one group, in order.

    Args:
        tokens: what to look through.
        name: what the caller calls the group, for errors.
        given: a text that occurs once, a range ``(start, stop)`` of tokens, a :class:`Span`, a
            compiled regular expression, whose every match is a part, or a list of such. A rule's
            name stands for its parts: ``"document"`` for the documents, ``"turn"`` for the
            messages, the others for all that is neither special nor the template's.

    Returns:
        spans that share no token.

    Raises:
        InputError: a part is not there, is there more than once, or shares tokens with another.
    """
    try:
        spans = sorted(_found(tokens, given), key=lambda span: (span.start, span.stop))
        for a, b in pairwise(spans):
            if b.start < a.stop:
                raise InputError(
                    f"{tokens.piece(a)!r:.80} and {tokens.piece(b)!r:.80} share tokens; name each "
                    "token once."
                )
    except InputError as error:
        raise InputError(f"group {name!r:.80}: {error}") from None
    return tuple(spans)


def _found(tokens: Tokens, given: Any) -> list[Span]:
    if isinstance(given, str) and given in RULES:
        return _of_rule(tokens, given)
    several = isinstance(given, list | tuple) and not _is_range(given)
    places = list(given) if several else [given]
    if not places:
        raise InputError("it is an empty list; name at least one place.")
    found: list[Span] = []
    for place in places:
        if isinstance(place, re.Pattern | regex.Pattern):
            found += _matches(tokens, place)
        else:
            # JSON has ranges as lists.
            found += chosen(tokens, [tuple(place) if _is_range(place) else place])
    return found


def _is_range(given: Any) -> bool:
    """Whether something is a pair of whole numbers, and not a list of places."""
    pair = isinstance(given, list | tuple) and len(given) == 2
    return pair and all(type(plain_number(edge)) is int for edge in given)


def _of_rule(tokens: Tokens, rule: str) -> list[Span]:
    if rule in _OF_SEGMENTS:
        found = [Span(s.start, s.stop, s.name) for s in tokens.segments if s.kind == rule]
        if not found:
            raise InputError(
                f"the inputs hold no {_OF_SEGMENTS[rule]} that hf_attrib placed there; name it by "
                f"its text, or write [{rule!r}] for the word itself."
            )
        return found
    whole = RULES[rule](tokens)
    return [span for span in whole if tokens.role(span) not in ("special", "template")]


def _matches(tokens: Tokens, pattern: re.Pattern[str]) -> list[Span]:
    """Return the tokens of each match; matches that share a token are one part."""
    check_text(pattern.pattern)
    found: list[Span] = []
    for span in matches(tokens, pattern):
        if found and span.start < found[-1].stop:
            found[-1] = Span(found[-1].start, max(span.stop, found[-1].stop))
        else:
            found.append(span)
    return found

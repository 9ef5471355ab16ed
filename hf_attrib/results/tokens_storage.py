"""The tokens of a result, as files of any kind hold them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from hf_attrib.results.json_value import Value
from hf_attrib.text import Segment, Span, Tokens, TokenSequence

__all__ = ["span_read", "tokens_read", "tokens_written"]

#: Of a sequence.
_PARTS = ("prompt", "start", "response")


def _tokens_content(some: Tokens) -> dict[str, Any]:
    content = {name: getattr(some, name) for name in ("pieces", "roles", "offsets", "text")}
    segments = [[s.start, s.stop, s.kind, s.name, s.parent] for s in some.segments]
    return {"ids": some.ids.tolist(), **content, "segments": segments}


def tokens_written(result: Any) -> dict[str, Any]:
    """Return what a result knows of its tokens as JSON can say it, for :func:`tokens_read`.

    Args:
        result: has ``sequence``, ``inputs`` and ``response``; the latter two are written only
            where no sequence is known that they follow from.
    """
    if result.sequence is None:
        both = {name: _tokens_content(getattr(result, name)) for name in ("inputs", "response")}
        return {"sequence": None, **both}
    return {"sequence": {name: _tokens_content(getattr(result.sequence, name)) for name in _PARTS}}


def tokens_read(file: Value, version: int, attribute_to: str) -> dict[str, Any]:
    """Return the arguments ``sequence``, ``inputs`` and ``response`` of a result.

    Args:
        file: the content of a file.
        version: of its format; files of version 1 have neither sequence nor segments.
        attribute_to: which inputs are scored, ``"prompt"`` or ``"all"``.
    """
    tokens = partial(_tokens, version=version)

    def together(value: Value) -> TokenSequence:
        prompt, start, response = (tokens(value.field(name)) for name in _PARTS)
        return TokenSequence(prompt, start, response)

    sequence = None if version == 1 else file.field("sequence").optional(together)
    if sequence is None:
        inputs, response = tokens(file.field("inputs")), tokens(file.field("response"))
    else:
        inputs, response = sequence.scored(attribute_to), sequence.response
    return {"sequence": sequence, "inputs": inputs, "response": response}


def span_read(value: Value) -> Span:
    """Return a span from its start, its stop and its name."""
    start, stop, name = value.entries(3)
    return Span(start.whole(), stop.whole(), name.optional(Value.text))


def _extent(value: Value) -> tuple[int, int]:
    start, stop = value.entries(2)
    return start.whole(), stop.whole()


def _segment(value: Value) -> Segment:
    start, stop, kind, name, parent = value.entries(5)
    return Segment(
        start.whole(), stop.whole(), kind.text(), name.text(), parent.optional(Value.whole)
    )


def _tokens(value: Value, version: int) -> Tokens:
    return Tokens(
        ids=torch.tensor(value.field("ids").list_of(Value.whole), dtype=torch.int64),
        pieces=value.field("pieces").list_of(Value.text),
        roles=value.field("roles").list_of(Value.text),
        offsets=value.field("offsets").list_of(_extent),
        text=value.field("text").text(),
        segments=() if version == 1 else value.field("segments").list_of(_segment),
    )

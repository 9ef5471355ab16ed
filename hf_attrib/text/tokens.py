"""Token ids together with what a reader sees of them: pieces, character offsets, roles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hf_attrib.text.documents import Document

__all__ = ["ROLES", "Segment", "Span", "Tokens", "detokenize", "shared"]

#: What a token is in its conversation. ``special`` tokens belong to the tokenizer (BOS, EOS, a
#: decoder's start), ``template`` tokens to the chat template, ``generated`` ones to the response.
ROLES = (
    "prompt",
    "system",
    "user",
    "assistant",
    "tool",
    "document",
    "template",
    "special",
    "generated",
)

#: A UTF-8 character has at most this many bytes, hence at most this many byte tokens.
_LONGEST_CHARACTER = 4

#: So many tokens are decoded together, where decoding does not add up, before it starts anew.
_WINDOW = 64


@dataclass(frozen=True)
class Span:
    """Consecutive tokens taken as one: a word, a sentence, a passage.

    Args:
        start: index of the first token.
        stop: index behind the last one.
        name: what to call it, where that is not its text.
    """

    start: int
    stop: int
    name: str | None = None


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens that come from one part of what was given, e.g. a message of a chat.

    Segments may lie within another, as the passages of a document would within the message that
    holds it.

    Args:
        start: index of the first token.
        stop: index behind the last one.
        kind: what it is: ``"turn"`` for the content of a message, ``"document"``, ``"question"``
            or ``"call"`` of a tool.
        name: what tells it from others of its kind, e.g. ``"user"``.
        parent: index of the segment that it lies in, among those of its tokens, or ``None``.
    """

    start: int
    stop: int
    kind: str
    name: str
    parent: int | None = None


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids with their text.

    Args:
        ids: token ids, [N], int64, on the CPU.
        pieces: what each token adds to the text, N strings; a token that holds only some bytes of
            a character is shown as those bytes' names, ``<0xF0>``.
        roles: N entries of :data:`ROLES`.
        offsets: N pairs ``(start, end)`` with ``text[start:end]`` the characters of the token;
            byte tokens of one character share its pair.
        text: the whole text.
        segments: parts that the tokens come from, each behind the one it lies in.
        notes: what of that which was given is not among the tokens.
        documents: that came with the prompt; each that has tokens has a segment of its name.
    """

    ids: Tensor
    pieces: tuple[str, ...]
    roles: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    text: str
    segments: tuple[Segment, ...] = ()
    notes: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.pieces), len(self.roles), len(self.offsets)}
        if len(lengths) != 1:
            raise ValueError(f"ids, pieces, roles and offsets differ in length: {sorted(lengths)}")
        if unknown := set(self.roles) - set(ROLES):
            raise ValueError(f"unknown roles {sorted(unknown)}; expected some of {ROLES}")
        if not all(0 <= start <= end <= len(self.text) for start, end in self.offsets):
            raise ValueError(f"offsets reach beyond the {len(self.text)} characters of the text")
        for index, segment in enumerate(self.segments):
            self._check_segment(index, segment)

    def _check_segment(self, index: int, segment: Segment) -> None:
        around = Segment(0, len(self), "", "")
        if segment.parent is not None:
            if not 0 <= segment.parent < index:
                raise ValueError(f"segment {index} lies in none of those before it")
            around = self.segments[segment.parent]
        if not around.start <= segment.start < segment.stop <= around.stop:
            raise ValueError(f"segment {index} reaches beyond the tokens it lies in")

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: Tokens) -> Tokens:
        """Concatenate, moving offsets and segments of the other behind these."""
        shift = len(self.text)
        return Tokens(
            ids=torch.cat([self.ids, other.ids]),
            pieces=self.pieces + other.pieces,
            roles=self.roles + other.roles,
            offsets=self.offsets + tuple((a + shift, b + shift) for a, b in other.offsets),
            text=self.text + other.text,
            segments=self.segments + _moved(other.segments, len(self), len(self.segments)),
            notes=self.notes + other.notes,
            documents=self.documents + other.documents,
        )

    def __getitem__(self, index: slice) -> Tokens:
        """Slice consecutive tokens; the text stays whole, so that the offsets stay true.

        Segments are cut to what is left of them.
        """
        return Tokens(
            self.ids[index],
            self.pieces[index],
            self.roles[index],
            self.offsets[index],
            self.text,
            _cut(self.segments, range(len(self))[index]),
            self.notes,
            self.documents,
        )

    def singles(self) -> tuple[Span, ...]:
        """Return each token as a span of its own."""
        return tuple(Span(i, i + 1) for i in range(len(self)))

    def check_within(self, spans: Sequence[Span]) -> None:
        """Refuse spans of other tokens than these."""
        if not all(0 <= span.start < span.stop <= len(self) for span in spans):
            raise ValueError(f"spans reach beyond the {len(self)} tokens")

    def check_partition(self, spans: Sequence[Span]) -> None:
        """Refuse spans that leave tokens out or have them twice."""
        edges = [0, *(span.stop for span in spans)]
        if [span.start for span in spans] != edges[:-1] or edges[-1] != len(self):
            raise ValueError(f"spans do not partition the {len(self)} tokens")

    def piece(self, span: Span) -> str:
        """Return the name of a span, or its text."""
        if span.name is not None:
            return span.name
        if span.stop - span.start == 1:
            return self.pieces[span.start]
        start, stop = self.extent(span)
        before = self.offsets[span.start - 1][1] if span.start else 0
        # Some tokenizers leave the space before a word out of its offsets, or out of all of them.
        space = self.text[before:start]
        return self.text[start - len(space) if space.isspace() else start : stop]

    def extent(self, span: Span) -> tuple[int, int]:
        """Return the character range of a span."""
        return self.offsets[span.start][0], self.offsets[span.stop - 1][1]

    def role(self, span: Span) -> str:
        """Return what a span is: the role of its first token with content, if it has one."""
        roles = self.roles[span.start : span.stop]
        return next((r for r in roles if r not in ("special", "template")), roles[0])


def _moved(segments: Sequence[Segment], tokens: int, before: int) -> tuple[Segment, ...]:
    """Return segments behind so many other tokens and segments."""
    return tuple(
        replace(
            segment,
            start=segment.start + tokens,
            stop=segment.stop + tokens,
            parent=None if segment.parent is None else segment.parent + before,
        )
        for segment in segments
    )


def _cut(segments: Sequence[Segment], kept: range) -> tuple[Segment, ...]:
    """Return what is left of segments in consecutive tokens; what lies in a lost one is lost."""
    if segments and kept.step != 1:
        raise ValueError("tokens that have segments are sliced without a step")
    left: dict[int, Segment] = {}
    for index, segment in enumerate(segments):
        start, stop = max(segment.start, kept.start), min(segment.stop, kept.stop)
        if start < stop:
            parent = None if segment.parent is None else [*left].index(segment.parent)
            start, stop = start - kept.start, stop - kept.start
            left[index] = replace(segment, start=start, stop=stop, parent=parent)
    return tuple(left.values())


def detokenize(
    tokenizer: Any, ids: Sequence[int], behind: Sequence[int] = ()
) -> tuple[list[str], list[tuple[int, int]], str]:
    """Pieces, offsets and text of token ids, without ever tokenising text again.

    Tokens are decoded in context, since many tokenizers drop a leading space from a token that
    is decoded alone.

    Args:
        tokenizer: a transformers tokenizer, or ``None`` to show the ids themselves.
        ids: N token ids.
        behind: ids that they follow, whose text is not returned.

    Returns:
        N pieces, N offsets into the text, and the text.
    """
    context = behind[-_LONGEST_CHARACTER:]
    runs = list(_characters(tokenizer, ids, context))
    whole = "".join(added for _, added in runs)
    if tokenizer is not None and (decoded := _added(tokenizer, context, ids)) != whole:
        whole = _decode(tokenizer, ids) if context else decoded
        runs = list(_prefixes(tokenizer, ids, whole))
    pieces: list[str] = []
    offsets: list[tuple[int, int]] = []
    end = 0
    for group, added in runs:
        span = (end, end + len(added))
        end = span[1]
        pieces += [added] if len(group) == 1 else [_byte_name(tokenizer, i) for i in group]
        offsets += [span] * len(group)
    return pieces, offsets, whole


def _characters(
    tokenizer: Any, ids: Sequence[int], behind: Sequence[int]
) -> Iterator[tuple[list[int], str]]:
    """Yield the shortest runs of tokens that decode to whole characters, with their text."""
    if tokenizer is None:
        yield from (([i], f"[{i}]") for i in ids)
        return
    # The run before is decoded along, so that spaces come out right.
    context = list(behind)
    start = 0
    while start < len(ids):
        length = 1
        added = _added(tokenizer, context, ids[start : start + 1])
        while added.endswith("\ufffd") and length < _LONGEST_CHARACTER:
            length += 1
            longer = _added(tokenizer, context, ids[start : start + length])
            if "\ufffd" not in longer and start + length <= len(ids):
                added = longer
                break
        else:
            length = 1  # a whole character, or bytes that never become one
        context = list(ids[start : start + length])
        yield context, added
        start += length


def _added(tokenizer: Any, context: Sequence[int], ids: Sequence[int]) -> str:
    """Return the text that ``ids`` add behind ``context``."""
    before = _decode(tokenizer, context) if context else ""
    both = _decode(tokenizer, [*context, *ids])
    # Broken bytes in the context can change when more follow; then the run stands alone.
    return both[len(before) :] if both.startswith(before) else _decode(tokenizer, ids)


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of token ids, special tokens and spaces as they are."""
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _prefixes(tokenizer: Any, ids: Sequence[int], text: str) -> Iterator[tuple[list[int], str]]:
    """Yield runs of tokens with the part of a text that each adds, where decoding does not add up.

    Some tokenizers leave bytes out as long as they are no character, others write marks only as
    long as no token follows. A run ends where the text of all tokens up to it stays what it is.
    """
    group: list[int] = []
    start = base = end = 0  # what is decoded, from this token and character on; the last run's end
    for place, token in enumerate(ids):
        group.append(token)
        last = place + 1 == len(ids)
        decoded = _decode(tokenizer, ids[start : place + 1])
        reached = (
            len(text) if last else max(end, base + shared(text[base:][: len(decoded)], decoded))
        )
        added = text[end:reached]
        if not added and not last:
            if len(group) == _LONGEST_CHARACTER:
                yield [group.pop(0)], ""
            continue
        alone = _decode(tokenizer, [token])
        if len(added) == 1 and alone.strip() != added.strip():
            yield group, added  # bytes of one character
        else:
            yield from (([one], "") for one in group[:-1])
            yield [token], added
        if place - start >= _WINDOW and alone and added.strip() == alone.strip():
            start, base = place, reached - len(alone)
        group, end = [], reached


def shared(one: str, other: str) -> int:
    """Return how many first characters two texts share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _byte_name(tokenizer: Any, token_id: int) -> str:
    """Name the bytes of a token that is not a whole character, e.g. ``<0xF0><0x9F>``."""
    token = str(tokenizer.convert_ids_to_tokens(int(token_id)))
    if token.startswith("<0x"):
        return token
    # ByT5 writes bytes as the first characters of Unicode, which are no part of that alphabet.
    table = {chr(b): b for b in range(0x80, 0x100)} | _byte_level_alphabet()
    return "".join(f"<0x{table[c]:02X}>" if c in table else c for c in token)


def _byte_level_alphabet() -> dict[str, int]:
    """Map the printable stand-ins of byte-level BPE to bytes (Radford et al. 2019)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}

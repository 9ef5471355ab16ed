"""Where an answer and another one to the same prompt part: both as the ids that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hf_attrib.errors import InputError
from hf_attrib.model.generation import Transcriber
from hf_attrib.text import Span, TokenSequence

__all__ = ["Fork", "forked"]

#: Characters of a text that a note shows.
_SHOWN = 40


@dataclass(frozen=True, eq=False)
class Fork:
    """An answer and another one, which begin with the same tokens.

    Args:
        sequence: the prompt and the answer.
        other: the prompt and the other answer.
        span: of the answer, what is explained: from the first token that differs.
        other_span: of the other answer, what it is explained against.
        notes: what a reader must know of how the other answer was read.
    """

    sequence: TokenSequence
    other: TokenSequence
    span: Span
    other_span: Span
    notes: tuple[str, ...] = ()


def forked(writer: Transcriber, sequence: TokenSequence, part: Span) -> Fork:
    """Return where an answer and the contrast that came with it part.

    The contrast stands in the place of a part: the answer up to its end is set against the answer
    up to its start, and then the contrast. A text is read as responses are, and begins and ends
    with the special tokens that the part begins and ends with; ids are taken as they are. Where one
    of both is how the other begins, the end token decides.

    Args:
        writer: writes answers down.
        sequence: a prompt, an answer, and its contrast.
        part: of the answer.

    Raises:
        InputError: both are the same, or one is how the other begins and cannot end there.
    """
    given, ids = sequence.contrast, sequence.response.ids.tolist()
    assert given is not None
    own, notes = ids[: part.stop], tuple[str, ...]()
    if isinstance(given, str):
        behind = writer.generated(ids[: part.start], sequence.prompt) if part.start else None
        found, notes = writer.contrast(given, sequence.prompt, behind)
        other = own[: part.start] + _framed(writer, sequence, found, part)
    else:
        other = own[: part.start] + writer.contrast(given, sequence.prompt, None)[0]
    fork = _shared(own, other)
    if isinstance(given, str) and fork == part.start:  # or else white space makes no difference
        notes += _spaced(sequence, given, part.start)
    if fork == min(len(own), len(other)):
        notes += _ended(writer, own, other, part.stop == len(ids))
    if own != ids[: part.stop]:
        longer = replace(sequence, response=writer.generated(own, sequence.prompt))
        sequence = writer.checked(longer)
    response = writer.generated(other, sequence.prompt)
    beside = writer.checked(TokenSequence(sequence.prompt, sequence.start, response), "contrast")
    span = Span(fork, len(own), part.name)
    return Fork(sequence, beside, span, Span(fork, len(other)), (*notes, *beside.notes))


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many first tokens two answers share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _framed(
    writer: Transcriber, sequence: TokenSequence, found: list[int], part: Span
) -> list[int]:
    """Return a text's tokens with the special ones that generation put around the answer's."""
    ids, roles = sequence.response.ids.tolist(), sequence.response.roles
    first, last, ends = ids[part.start], ids[part.stop - 1], writer.ends()
    led = part.start == 0 and len(sequence.start) > 0 and first not in ends
    forced = roles[0] == "special" or first in writer.forced_start({}).ids
    if led and forced and found[0] != first:
        found = [first, *found]
    return found if last not in ends or found[-1] in ends else [*found, last]


def _ended(writer: Transcriber, own: list[int], other: list[int], whole: bool) -> tuple[str, ...]:
    """Add the end token to the answer that the other one begins with; say so in a note."""
    short, long, name = (
        (own, other, "response") if len(own) < len(other) else (other, own, "contrast")
    )
    ends = writer.ends()
    if short == long or (long[:-1] == short and long[-1] in ends):
        raise InputError("the contrast is the response itself; give another answer.")
    if not whole:
        raise InputError(
            "the part of the response that spans names and its contrast begin alike, and one of "
            "them ends there while the response goes on; name a longer part and contrast all of it."
        )
    if short[-1] in ends:
        raise InputError(
            f"the {name} ends with its end token, and the other answer goes on behind it; leave "
            "out what follows the end."
        )
    if not ends:
        raise InputError(
            f"the {name} is how the other answer begins, so that the end token decides, and "
            "neither model nor tokenizer names one; set model.generation_config.eos_token_id."
        )
    short.append(ends[0])
    return (
        f"The {name} is how the other answer begins, so an end token was added to it: what decides "
        "is whether the answer ends there.",
    )


def _spaced(sequence: TokenSequence, contrast: str, start: int) -> tuple[str, ...]:
    """Say that one of both begins with a space and the other one does not."""
    response = sequence.response
    own = response.text[response.offsets[start][0] :]
    if not own or own[0].isspace() == contrast[0].isspace():
        return ()
    has, lacks = ("response", "contrast") if own[0].isspace() else ("contrast", "response")
    return (
        f"The {has} begins with white space here and the {lacks} does not, so that they differ by "
        f"more than their words: {own[:_SHOWN]!r} and {contrast[:_SHOWN]!r}.",
    )

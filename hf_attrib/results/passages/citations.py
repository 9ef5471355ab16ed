"""The sentences of an answer, each with the passages that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from hf_attrib.results.passages.confirmation import Status
from hf_attrib.text import Span, Tokens, partition
from hf_attrib.text.documents import Document

if TYPE_CHECKING:
    from hf_attrib.results.passages.result import Passages

__all__ = ["Citation", "CitedPassage", "citations", "sentences"]


@dataclass(frozen=True)
class CitedPassage:
    """A passage that a sentence rests on.

    Args:
        index: its number, from 0.
        document: what it is: its own text, and where that comes from.
        start: where what is cited begins in the text of the document, in characters.
        end: where it ends.
        text: what is cited.
        score: of the passage for the sentence, in nats.
        drop: what the sentence loses without it, in nats; NaN where it is not known.
        hold: what it loses with it alone, likewise.
        status: of the passage.
    """

    index: int
    document: Document
    start: int
    end: int
    text: str
    score: float
    drop: float
    hold: float
    status: Status


@dataclass(frozen=True)
class Citation:
    """A sentence of an answer and what it rests on. It says *used*, and never *true*.

    Args:
        start: where the sentence begins in the text of the response, in characters.
        end: where it ends.
        text: the sentence.
        rows: its tokens, from the first to behind the last.
        status: as of :class:`Confirmation`.
        gain: of all passages for the sentence, in nats.
        drop: what it loses without all those that are cited, in nats; NaN where none are, or it is
            not known.
        hold: what it loses with these alone, likewise.
        passages: those that are cited.
    """

    start: int
    end: int
    text: str
    rows: tuple[int, int]
    status: Status
    gain: float
    drop: float
    hold: float
    passages: tuple[CitedPassage, ...]

    @property
    def per_token(self) -> dict[str, float]:
        """Gain, drop and hold for each token of the sentence, so that sentences compare."""
        count = self.rows[1] - self.rows[0]
        return {name: getattr(self, name) / count for name in ("gain", "drop", "hold")}


def sentences(response: Tokens) -> tuple[Span, ...]:
    """Return the sentences of an answer; special tokens and white space are none.

    Args:
        response: its tokens.
    """
    return tuple(
        span
        for span in partition(response, "sentence")
        if response.role(span) != "special" and response.text[slice(*response.extent(span))].strip()
    )


def trimmed(text: str, start: int, stop: int) -> tuple[int, int]:
    """Return a range of characters without the white space at its ends.

    Args:
        text: the whole text.
        start: where the range begins.
        stop: where it ends.
    """
    part = text[start:stop]
    left = len(part) - len(part.lstrip())
    return start + left, max(start + left, start + len(part.rstrip()))


def citations(result: Passages, threshold: float | None) -> tuple[Citation, ...]:
    """Return the sentences of a result's answer with what they rest on.

    Args:
        result: the passages.
        threshold: that is confirmed, in nats; by default the result's own.
    """
    return tuple(_citation(result, span, threshold) for span in sentences(result.response))


def _citation(result: Passages, span: Span, threshold: float | None) -> Citation:
    rows = (span.start, span.stop)
    found = result.confirm(rows, threshold)
    scores = result.score(rows).tolist()
    start, end = trimmed(result.response.text, *result.response.extent(span))
    cited = []
    for i in found.cited:
        document = result.run.documents[i]
        begin, text = _cited(document.text, result.passage_text(i))
        cited.append(
            CitedPassage(
                i, document, begin, begin + len(text), text,
                scores[i], found.drops[i], found.holds[i], found.passages[i],
            )
        )  # fmt: skip
    return Citation(
        start, end, result.response.text[start:end], rows,
        found.status, found.gain, found.drop, found.hold, tuple(cited),
    )  # fmt: skip


def _cited(document: str, passage: str) -> tuple[int, str]:
    """Return what is cited of a document, as its owner has it, and where it begins in it.

    Args:
        document: the text of the document.
        passage: how it stands in the prompt: without the white space at its ends, say, with
            quotation marks escaped, or a part of it.
    """
    begin = document.find(passage)
    if begin < 0:
        passage = document.strip()
        begin = document.find(passage)
    return begin, passage


def known(number: float) -> float | None:
    """Return a number as JSON can say it: nothing where it is not known."""
    return None if isnan(number) else number


def numbered(cited: Sequence[CitedPassage]) -> list[int]:
    """Return the numbers of passages as readers count them, from 1."""
    return [passage.index + 1 for passage in cited]

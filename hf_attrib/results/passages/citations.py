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

#: Of what the sentences of a passage are worth to a sentence of the answer, that is cited.
_MOST = 0.8


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
        threshold: that is confirmed, in nats of log-odds; by default the result's own.
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
        begin, text = _cited(result, i, rows)
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


def _cited(result: Passages, index: int, rows: tuple[int, int]) -> tuple[int, str]:
    """Return what is cited of a document, as its owner has it, and where it begins in it.

    In the prompt it may stand without the white space at its ends, say, with quotation marks
    escaped, or in part.
    """
    document, passage = result.run.documents[index].text, result.passage_text(index)
    begin = document.find(passage)
    if begin < 0:
        passage = document.strip()
        return document.find(passage), passage
    start, stop = _best_sentences(result, index, rows)
    offset = begin - result.extents[index][0]
    return start + offset, result.inputs.text[start:stop]


def _best_sentences(result: Passages, index: int, rows: tuple[int, int]) -> tuple[int, int]:
    """Return the characters of a passage that a sentence of the answer rests on.

    They reach from the first to the last of those of its sentences that are cited. Where none is,
    they are the fewest neighbours that hold :data:`_MOST` of what its sentences are worth; where
    nothing is known of these, all of it.
    """
    first, last = extent = result.extents[index]
    if result.sentences is None:
        return extent
    where, scores = result.sentences.extents, result.sentences.score(rows).clamp_min(0).tolist()
    inside = [k for k, (start, _) in enumerate(where) if first <= start < last]
    if cited := [k for k in result.sentences.confirm(rows).cited if k in inside]:
        return where[cited[0]][0], where[cited[-1]][1]
    enough = _MOST * sum(scores[k] for k in inside)
    if enough <= 0:
        return extent
    parts = [inside[i:j] for i in range(len(inside)) for j in range(i + 1, len(inside) + 1)]
    held = [(len(part), -sum(scores[k] for k in part), part) for part in parts]
    _, _, best = min(each for each in held if -each[1] >= enough)
    return where[best[0]][0], where[best[-1]][1]


def known(number: float) -> float | None:
    """Return a number as JSON can say it: nothing where it is not known."""
    return None if isnan(number) else number


def numbered(cited: Sequence[CitedPassage]) -> list[int]:
    """Return the numbers of passages as readers count them, from 1."""
    return [passage.index + 1 for passage in cited]

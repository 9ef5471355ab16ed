"""The frozen result of a question about passages: what each was worth, and what rests on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.results.passages.citations import Citation, citations, known, sentences
from hf_attrib.results.passages.coalitions import Coalitions, Rows
from hf_attrib.results.passages.confirmation import Confirmation, confirm
from hf_attrib.results.passages.styles import in_style
from hf_attrib.results.protocol import Result
from hf_attrib.results.run import Run
from hf_attrib.results.tables import data_frame
from hf_attrib.text import Span, Tokens, TokenSequence, chosen

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Passages"]


@dataclass(frozen=True, eq=False)
class Passages(Result):
    r"""What n passages of a prompt were worth for each of T generated tokens.

    All of it comes from one table of log-probabilities with subsets of the passages, the rest of
    the prompt being always there, so that any part of the answer can be asked about later, without
    the model. What is said is which passages the model *used*, and never that they are *true*.

    Args:
        table: log-probability of each token with subsets of the passages, R of them.
        scores: of each passage for each token, [n, T], in nats: Shapley values where the table is
            complete, unless another method was asked for.
        spans: tokens of each passage, n, in the order in which they were given, with their names.
        extents: characters of each passage in ``inputs.text``.
        inputs: the tokens of the prompt.
        response: the tokens of the answer.
        probability: the model's own probability of each of them, [T].
        run: method, mode, model, cost, and the document that each passage is.
        threshold: nats of log-odds (:meth:`Coalitions.odds`) that a part of the answer must lose
            for a citation.
        standard_error: of each score, [n, T], or ``None`` if they are exact.
        sequence: all that the model read and generated.
        sentences: the same of the sentences inside the passages that are cited, where it was asked.
    """

    table: Coalitions
    scores: Tensor
    spans: tuple[Span, ...]
    extents: tuple[tuple[int, int], ...]
    inputs: Tokens
    response: Tokens
    probability: Tensor
    run: Run = field(repr=False)
    threshold: float
    standard_error: Tensor | None = field(default=None, repr=False)
    sequence: TokenSequence | None = field(default=None, repr=False)
    sentences: Passages | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count, targets = self.table.count, len(self.response)
        self.inputs.check_within(self.spans)
        if self.sequence is not None:
            self.sequence.check_parts(self.inputs, self.response, self.run.attribute_to)
        sizes = {len(self.spans), len(self.extents), len(self.run.documents)}
        if sizes != {count}:
            raise ValueError(
                f"the table has {count} passages, and spans, extents or documents other numbers"
            )
        if not all(0 <= a <= b <= len(self.inputs.text) for a, b in self.extents):
            raise ValueError("extents reach beyond the text of the inputs")
        if self.table.values.shape[1] != targets or not targets:
            raise ValueError(f"the table is not of the {targets} tokens of the response")
        for name, shape in (("scores", (count, targets)), ("standard_error", (count, targets))):
            given = getattr(self, name)
            if given is not None and tuple(given.shape) != shape:
                raise ValueError(f"{name} is {tuple(given.shape)}, expected {shape}")
        if tuple(self.probability.shape) != (targets,):
            raise ValueError(f"probability is not of {targets} tokens")
        checked_threshold(self.threshold)

    def __len__(self) -> int:
        return self.table.count

    def passage_text(self, index: int) -> str:
        """Return the text of a passage, as it stands in the prompt."""
        start, stop = self.extents[index]
        return self.inputs.text[start:stop]

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each passage: its title, the name it was given, its id, or its text."""
        texts = map(self.passage_text, range(len(self)))
        found = []
        for document, span, text in zip(self.run.documents, self.spans, texts, strict=True):
            given = None if span.name == document.name else span.name
            found.append(document.title or given or document.id or span.name or text)
        return tuple(found)

    def rows(self, part: tuple[int, int] | str | Span | None = None) -> Rows:
        """Return which tokens a part of the answer has.

        Args:
            part: a range of tokens, or text that occurs once; by default all of the answer.

        Raises:
            InputError: there is no such part.
        """
        if part is None:
            return None
        (found,) = chosen(self.response, [part])
        return found.start, found.stop

    def score(self, part: tuple[int, int] | str | Span | None = None) -> Tensor:
        """Return the score of each passage for a part of the answer, [n], in nats."""
        return _summed(self.scores, self.rows(part))

    def error(self, part: tuple[int, int] | str | Span | None = None) -> Tensor | None:
        """Return standard errors of :meth:`score`, [n], from above; ``None`` if it is exact."""
        errors = self.standard_error
        return None if errors is None else _summed(errors, self.rows(part))

    def confirm(
        self, part: tuple[int, int] | str | Span | None = None, threshold: float | None = None
    ) -> Confirmation:
        """Return which passages a part of the answer rests on, and how sure that is.

        Args:
            part: a range of tokens, or text that occurs once; by default all of the answer.
            threshold: nats of log-odds that it must lose for a citation; by default the
                result's own.

        Raises:
            InputError: there is no such part, or the threshold is none.
        """
        tau = self.threshold if threshold is None else checked_threshold(threshold)
        return confirm(self.table, self.score(part), tau, self.rows(part), self.error(part))

    def citations(self, style: str | None = None, threshold: float | None = None) -> Any:
        """Return each sentence of the answer with the passages that it rests on.

        Args:
            style: ``None`` for :class:`Citation` objects; ``"markers"`` for the answer with [1]
                behind its sentences; or the shape of ``"langchain"``, ``"anthropic"``,
                ``"cohere"`` or ``"openai"``.
            threshold: nats of log-odds that a sentence must lose for a citation; by default the
                result's own.

        Raises:
            InputError: there is no such style, or the threshold is none.
        """
        found: tuple[Citation, ...] = citations(self, threshold)
        return found if style is None else in_style(style, self.response.text, found)

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What each passage was worth for the whole answer: :meth:`to_rows`."""
        return self.to_rows()

    def to_rows(
        self, part: tuple[int, int] | str | Span | None = None, threshold: float | None = None
    ) -> list[dict[str, Any]]:
        """Return a record for each passage, in order; what is not known is ``None``.

        ``share`` is its part of the sum of all magnitudes; ``retrieved_rank`` its place by the
        score of the retrieval, or as it was given, and ``used_rank`` by its score here.

        Args:
            part: of the answer, as for :meth:`confirm`.
            threshold: likewise.
        """
        found, scores, errors = self.confirm(part, threshold), self.score(part), self.error(part)
        total = float(scores.abs().sum())
        retrieved = [-inf if o.score is None else o.score for o in self.run.documents]
        ranks = _ranks(retrieved), _ranks(scores.tolist())
        return [
            {
                "index": i,
                "name": self.names[i],
                "id": document.id,
                "title": document.title,
                "source": document.source,
                "url": document.url,
                "retrieval_score": document.score,
                "score": float(scores[i]),
                "share": float(scores[i].abs()) / total if total else 0.0,
                "standard_error": None if errors is None else float(errors[i]),
                "drop": known(found.drops[i]),
                "hold": known(found.holds[i]),
                "status": found.passages[i],
                "tokens": self.spans[i].stop - self.spans[i].start,
                "retrieved_rank": ranks[0][i],
                "used_rank": ranks[1][i],
                "start": self.extents[i][0],
                "end": self.extents[i][1],
            }
            for i, document in enumerate(self.run.documents)
        ]

    def to_dataframe(self) -> DataFrame:
        """Return :meth:`to_rows` as a pandas data frame (``pip install hf_attrib[table]``)."""
        return data_frame(self.to_rows())

    def parts(self) -> tuple[Rows, ...]:
        """Return what :meth:`citations` and :meth:`to_rows` look at: all, and each sentence."""
        return (None, *((span.start, span.stop) for span in sentences(self.response)))


def checked_threshold(given: float) -> float:
    """Return a threshold, if it is one.

    Raises:
        InputError: it is no number above 0.
    """
    given = plain_number(given)
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not 0 < given <= sys.float_info.max:
        raise InputError(
            f"threshold is {given!r:.80}; expected nats of log-odds, a number above 0."
        )
    return float(given)


def _summed(numbers: Tensor, rows: Rows) -> Tensor:
    part = numbers if rows is None else numbers[:, slice(*rows)]
    return part.double().sum(1)


def _ranks(values: list[float]) -> list[int]:
    """Return the rank of each value, from 1 for the highest; equal ones rank as they come."""
    order = torch.tensor(values, dtype=torch.float64).argsort(descending=True, stable=True)
    ranks: list[int] = (order.argsort() + 1).tolist()
    return ranks

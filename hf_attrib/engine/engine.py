"""From token sequences and a question to attributions, on one model."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from hf_attrib.engine.estimation import Estimate, Measured, estimated
from hf_attrib.engine.memory import Memory
from hf_attrib.engine.question import Question
from hf_attrib.engine.record import Outcome, attribution, record, reservation, with_own
from hf_attrib.errors import AttributionWarning, InputError, MemoryLimitError
from hf_attrib.execution import ALONE, Meter, Processes, Progress
from hf_attrib.field import Field, SpanField
from hf_attrib.field.directions import Columns
from hf_attrib.model import (
    Batch,
    EmbeddingField,
    Observation,
    StepwiseField,
    Verdict,
    collate,
    device_of,
    self_check,
    sites_of,
    space_of,
    vocabulary,
)
from hf_attrib.results import Attribution
from hf_attrib.text import TokenSequence

__all__ = ["Engine", "Opened", "agreed", "check_contrasts"]

_T = TypeVar("_T")
#: Prompts padded together; more would hold more memory than they save time.
_TOGETHER = 8


class Engine:
    """Runs methods on a model, which it checks at the first use and when it has changed.

    Args:
        model: the model.
        tokenizer: for baselines and contrasts given as text.
        memory: decides how many sequences run at once.
        progress: called with (path nodes done, nodes in all).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        memory: Memory,
        progress: Progress,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.memory = memory
        self.progress = progress
        self._checked: Verdict | None = None
        self._checked_state: object = None

    def attribute(
        self,
        sequences: Sequence[TokenSequence],
        question: Question,
        processes: Processes = ALONE,
    ) -> list[Attribution]:
        """Attribute sequences, some at a time in padded batches; the model must be isolated.

        Args:
            sequences: what the model read and generated.
            question: what is asked about it.
            processes: those that share the rows to run.
        """
        results = self.each(sequences, question, self._attribute, processes)
        for result in results:
            if message := reservation(result):
                warnings.warn(message, AttributionWarning, stacklevel=3)
        return results

    def each(
        self,
        sequences: Sequence[TokenSequence],
        question: Question,
        work: Callable[[Sequence[TokenSequence], Question, Opened], list[_T]],
        processes: Processes = ALONE,
    ) -> list[_T]:
        """Do some work on sequences, some at a time in padded batches; the model must be isolated.

        Args:
            sequences: what the model read and generated.
            question: what is asked about it.
            work: returns a result for each sequence of a batch.
            processes: those that share the rows to run.
        """
        results, verdict = list[_T](), self._check_model(sequences[0])
        # Where each token takes a pass of its own, sequences have nothing to share.
        together = 1 if verdict.looks_ahead else _TOGETHER
        while len(results) < len(sequences):
            some = sequences[len(results) : len(results) + together]
            try:
                results += work(some, question, self._open(some, question, verdict, processes))
            except MemoryLimitError:
                # Processes that share rows must stay together, whichever of them has no memory.
                if len(some) == 1 or processes.count > 1:
                    raise
                together = len(some) // 2
        return results

    def _open(
        self,
        sequences: Sequence[TokenSequence],
        question: Question,
        verdict: Verdict,
        processes: Processes,
    ) -> Opened:
        """Run a batch as it is, and find out how many rows fit into memory."""
        started = time.perf_counter()
        moves = [question.moves(s) for s in sequences]
        asked = [question.contrasts(s, self.tokenizer) for s in sequences]
        contrasts = [c for c in asked if c is not None]
        sites = verdict.sites
        check_contrasts(contrasts, vocabulary(sites.modules["decoder"]))
        batch = collate(sequences, moves, contrasts or None, int(sequences[0].prompt.ids[0]))
        kind = StepwiseField if verdict.looks_ahead else EmbeddingField
        columns = [question.columns(s) for s in sequences]
        runner = self.memory.runner(
            batch.movable.shape[1], torch.device(device_of(sites.modules["decoder"]))
        )
        field: Field
        field = kind(self.model, sites, batch, question.target, runner, self.progress)
        rows = [question.rows(s) for s in sequences]
        seen = agreed(field, processes, sequences, moves, asked, rows, columns)
        field.runner.share(processes)
        if isinstance(field, EmbeddingField):
            field.reuse_prefix(seen)
        if question.spans is not None:
            if verdict.looks_ahead:
                raise InputError(
                    f"{type(self.model).__name__} looks ahead, so each token takes a pass of its "
                    "own; leave spans out and group the rows of the result."
                )
            members = batch.members(rows)
            field, seen = SpanField(field, members), seen.of_spans(members)
        if question.joins:
            field.columns = Columns(batch.owners(columns), batch.movable)
        reference = question.reference(self.tokenizer)
        scored = question.scored(sequences[0])
        field.space = space_of(self.model, sites, batch, reference, seen.x, scored)
        self.memory.fit(field, seen.x, question.demand())
        named = question.method.claims.baseline is not None
        baseline = reference.name if named else None
        return Opened(batch, asked, field, seen, baseline, verdict.notes, started)

    def _attribute(
        self, sequences: Sequence[TokenSequence], question: Question, opened: Opened
    ) -> list[Attribution]:
        field, seen = opened.field, opened.seen
        found = question.method(field, seen.x, field.space.reference(0, 0))
        run = record(self.model, question, opened.baseline, opened.seconds(), opened.notes)
        outcome = Outcome(opened.batch, field, seen, found)
        return [
            attribution(outcome, i, s, question, with_own(run, s, c, self.tokenizer))
            for i, (s, c) in enumerate(zip(sequences, opened.contrasts, strict=True))
        ]

    def estimate(self, sequence: TokenSequence, question: Question, at_most: bool) -> Estimate:
        """Measure one row of a question about a sequence; the model must be isolated.

        Args:
            sequence: what would be explained.
            question: what would be asked.
            at_most: whether the response stands for any that is no longer.
        """
        verdict = self._check_model(sequence)
        opened = self._open([sequence], question, verdict, ALONE)
        field, x, spent = opened.field, opened.seen.x, int(opened.field.forward_rows[0])
        with Meter() as meter:  # the mean embedding takes the whole table, part by part
            field.space.reference(0, 0)
        demand = question.demand()
        need = self.memory.need(field, x, demand)
        inputs = int(opened.batch.movable.sum())
        _, most = question.method.cost(field.targets, inputs)
        least, _ = question.method.cost(1 if at_most else field.targets, inputs)
        passes = field.targets if verdict.looks_ahead else 1
        measured = Measured(field, x, spent, passes, demand.linear, need, meter.peak.total())
        return estimated(measured, least, most, at_most)

    def _check_model(self, sequence: TokenSequence) -> Verdict:
        """Check the model; remember the verdict as long as its modules stay the same."""
        sites = sites_of(self.model)
        kinds = tuple(type(module) for module in self.model.modules())
        # The cache decides whether a model that looks ahead generates what can be explained.
        cache = self.model.generation_config.use_cache
        state = (self.model.dtype, tuple(map(id, sites.modules.values())), kinds, cache)
        if self._checked is None or state != self._checked_state:
            self._checked = self_check.check(self.model, sites, sequence.start)
            self._checked_state = state
            self.memory.forget()
            for note in self._checked.notes:
                warnings.warn(note, AttributionWarning, stacklevel=5)
        return self._checked


@dataclass(frozen=True, eq=False)
class Opened:
    """A batch that has been run as it is.

    Args:
        batch: B sequences.
        contrasts: of each of them.
        field: what is asked about, as a function of the embeddings.
        seen: what the model does with the batch.
        baseline: what references are, in words, or ``None`` if the method has none.
        notes: reservations about the model.
        started: when the work on the batch began.
    """

    batch: Batch
    contrasts: list[Tensor | None]
    field: Field
    seen: Observation
    baseline: str | None
    notes: tuple[str, ...]
    started: float

    def seconds(self) -> float:
        """Return how long each sequence has taken so far."""
        return (time.perf_counter() - self.started) / len(self.contrasts)


def agreed(
    field: EmbeddingField | StepwiseField, processes: Processes, *asked: object
) -> Observation:
    """Observe a batch in each process, before they share its rows; return what the first saw.

    Args:
        field: of the batch.
        processes: those that share the rows to run.
        *asked: all that the rows depend on besides the model and its target.

    Raises:
        InputError: the processes do not have the same model, or not the same question.
    """
    seen = field.observe()
    kinds = [(part.shape, part.dtype) for part in (seen.x, seen.value)]
    processes.check_same(*asked, kinds)
    first = Observation(*map(processes.first, (seen.x, seen.value, seen.log_prob)))
    # Rounding is no difference: processes may run other numbers of rows at once.
    tolerance = max(1e-3, 10 * field.precision)
    smallest = 1e3 * tolerance * field.resolution
    if not torch.allclose(seen.value, first.value, tolerance, smallest, equal_nan=True):
        raise InputError(
            "the processes find other values for the same tokens; with distributed=True each of "
            "them must hold the same weights and give the same target."
        )
    return first


def check_contrasts(contrasts: Sequence[Tensor], size: int) -> None:
    """Refuse ids that are no tokens of the model.

    Args:
        contrasts: ids.
        size: V.

    Raises:
        InputError: some are outside.
    """
    for ids in contrasts:
        if int(ids.max()) >= size:
            raise InputError(f"contrast id {int(ids.max())} is outside the {size} tokens.")

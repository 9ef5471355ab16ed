"""From token sequences and a question to attributions, on one model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from hf_attrib.engine.estimation import Estimate, Measured, estimated
from hf_attrib.engine.memory import Memory
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.ready import ReadyBatch, agreed
from hf_attrib.engine.record import attributions
from hf_attrib.errors import InputError, MemoryLimitError
from hf_attrib.execution import ALONE, Meter, Processes, Progress
from hf_attrib.field import Field, Groups, SpanField, Table
from hf_attrib.model import (
    EmbeddingField,
    StepwiseField,
    Verdict,
    check_model,
    collate,
    device_of,
    sites_of,
    space_of,
    tables_of,
)
from hf_attrib.results import Attribution
from hf_attrib.text import Tokens, TokenSequence

__all__ = ["Engine"]

#: Prompts padded together; more would hold more memory than they save time.
_TOGETHER = 8


class Engine:
    """Runs methods on a model, which it checks at the first use and when it has changed.

    Args:
        model: the model, isolated whenever a method of the engine is called.
        tokenizer: for baselines and contrasts given as text.
        memory: decides how many sequences run at once.
        progress: called with (path nodes done, nodes in all).
    """

    def __init__(self, model: Any, tokenizer: Any, memory: Memory, progress: Progress) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.memory = memory
        self.progress = progress
        self._checked: Verdict | None = None
        self._checked_state: object = None
        #: Reservations about the model that the caller has not been warned of yet.
        self.unsaid: list[str] = []

    def check(self, question: Question, prompts: Sequence[Tokens]) -> None:
        """Refuse a question that no answer to these prompts could make sense of; nothing runs.

        Args:
            question: what will be asked.
            prompts: what it will be asked about.

        Raises:
            InputError: something that was named does not fit the model or a prompt.
        """
        question.check(prompts, self.tokenizer, self._tables())

    def plan(self, question: Question, sequences: Sequence[TokenSequence]) -> Plan:
        """Settle what a question asks of each sequence; nothing runs.

        Args:
            question: what is asked.
            sequences: what the model read and generated.

        Raises:
            InputError: something that was named is not there.
        """
        return question.plan(sequences, self.tokenizer, self._tables())

    def attribute(self, plan: Plan, processes: Processes = ALONE) -> Iterator[Attribution]:
        """Yield the attribution of each sequence, as soon as those that run together are done.

        Args:
            plan: what is asked of each sequence.
            processes: those that share the rows to run.
        """
        method = plan.question.method
        for ready in self.each(plan, processes):
            done: list[Attribution] = []
            with ready.attempt():
                found = method(ready.field, ready.seen.x, ready.reference())
                done = attributions(ready, found, self.model, self.tokenizer)
            del ready  # with what it holds on the device, before the next one is made
            yield from done

    def each(self, plan: Plan, processes: Processes = ALONE) -> Iterator[ReadyBatch]:
        """Yield batches that are ready to be worked on, in order.

        A batch whose :meth:`ReadyBatch.attempt` ran out of memory comes again, in halves.

        Args:
            plan: what is asked of each sequence.
            processes: those that share the rows to run.

        Raises:
            UnsupportedModelError: the model cannot be explained faithfully.
            MemoryLimitError: one sequence alone takes too much memory.
        """
        verdict = self._check_model(plan.cases[0].sequence)
        # Where each token takes a pass of its own, sequences have nothing to share.
        together, done = 1 if verdict.looks_ahead else _TOGETHER, 0
        while done < len(plan.cases):
            part = plan.part(done, done + together)
            # Processes that share rows must stay together, whichever of them has no memory.
            divisible = len(part.cases) > 1 and processes.count == 1
            try:
                ready = self._ready(part, verdict, processes, divisible)
                yield ready
                too_large = ready.too_large
                del ready
            except MemoryLimitError:
                if not divisible:
                    raise
                too_large = True
            if too_large:
                together = len(part.cases) // 2
            else:
                done += len(part.cases)

    def _ready(
        self, plan: Plan, verdict: Verdict, processes: Processes, divisible: bool
    ) -> ReadyBatch:
        """Run a batch as it is, and find out how many rows fit into memory."""
        started = time.perf_counter()
        cases, question, sites = plan.cases, plan.question, verdict.sites
        contrasts = [case.contrast for case in cases if case.contrast is not None]
        pad = int(cases[0].sequence.prompt.ids[0])
        sequences = [case.sequence for case in cases]
        batch = collate(sequences, [case.moves for case in cases], contrasts or None, pad)
        runner = self.memory.runner(
            batch.movable.shape[1], torch.device(device_of(sites.modules["decoder"]))
        )
        kind = StepwiseField if verdict.looks_ahead else EmbeddingField
        alone = kind(self.model, sites, batch, question.target, runner)
        seen = agreed(alone.observe(), alone, processes, plan)
        runner.share(processes)
        tables = self._tables()
        dtype, token = self.model.dtype, plan.stand_in
        space = space_of(dtype, tables, batch, plan.baseline, seen.x, token)
        joined = Groups(batch.owners([case.groups for case in cases]), batch.movable)
        groups = joined if question.joins else None
        field: Field
        field = alone = kind(
            self.model, sites, batch, question.target, runner, self.progress,
            space=space, groups=groups, spent=int(alone.forward_rows[0]),
        )  # fmt: skip
        alone.reuse_prefix(seen)
        if question.spans is not None:
            if verdict.looks_ahead:
                raise InputError(
                    f"{type(self.model).__name__} looks ahead, so each token takes a pass of its "
                    "own; leave spans out and group the rows of the result."
                )
            members = batch.members([case.targets for case in cases])
            field, seen = SpanField(alone, members, groups=groups), seen.of_spans(members)
        self.memory.fit(field, seen.x, question.demand)
        return ReadyBatch(plan, batch, field, seen, verdict.notes, divisible, started)

    def estimate(self, question: Question, sequence: TokenSequence, at_most: bool) -> Estimate:
        """Measure one row of a question about one sequence.

        Args:
            question: what would be asked.
            sequence: what would be explained.
            at_most: whether the response stands for any that is no longer.
        """
        if at_most and isinstance(question.spans, str) and question.spans != "response":
            # As many words as tokens, at most.
            singles = [(t, t + 1) for t in range(len(sequence.response))]
            question = replace(question, spans=singles)
        verdict = self._check_model(sequence)
        ready = self._ready(self.plan(question, [sequence]), verdict, ALONE, divisible=False)
        field, x, spent = ready.field, ready.seen.x, int(ready.field.forward_rows[0])
        with Meter() as meter:  # the mean embedding takes the whole table, part by part
            ready.reference()
        need = self.memory.need(field, x, question.demand)
        inputs = int(ready.batch.movable.sum())
        _, most = question.method.cost(field.targets, inputs)
        least, _ = question.method.cost(1 if at_most else field.targets, inputs)
        passes, before = (1 if field.each.together else field.each.passes), meter.peak.total()
        linear = question.demand.linear
        return estimated(
            Measured(field, x, spent, passes, linear, need, before), least, most, at_most
        )

    def _tables(self) -> tuple[Table, ...]:
        return tables_of(sites_of(self.model))

    def _check_model(self, sequence: TokenSequence) -> Verdict:
        """Check the model; remember the verdict as long as its modules stay the same."""
        sites = sites_of(self.model)
        kinds = tuple(type(module) for module in self.model.modules())
        # The cache decides whether a model that looks ahead generates what can be explained.
        cache = self.model.generation_config.use_cache
        state = (self.model.dtype, tuple(map(id, sites.modules.values())), kinds, cache)
        if self._checked is None or state != self._checked_state:
            self._checked = check_model(self.model, sites, sequence.start)
            self._checked_state = state
            self.memory.forget()
            self.unsaid += self._checked.notes  # the work goes on, whatever filters make of them
        return self._checked

"""From token sequences and a question to attributions, on one model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from hf_attrib.engine.case import running
from hf_attrib.engine.estimation import Estimate, Measurement, estimated
from hf_attrib.engine.foretelling import foretold
from hf_attrib.engine.interruption import salvaged
from hf_attrib.engine.memory import Memory
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.ready import ReadyBatch, agreed, groups_of, summed_up
from hf_attrib.engine.record import attributions
from hf_attrib.errors import InputError, MemoryLimitError, UnsupportedModelError
from hf_attrib.execution import ALONE, Meter, Processes, Progress, RowRunner
from hf_attrib.field import Cost, Field, Table
from hf_attrib.model import (
    Batch,
    Departure,
    EmbeddingField,
    Observation,
    PrefixCheck,
    StepwiseField,
    Transcriber,
    Verdict,
    check_generation,
    check_model,
    collate,
    device_of,
    forked,
    sites_of,
    space_of,
    state_restored,
    tables_of,
)
from hf_attrib.results import Attribution
from hf_attrib.text import Tokens, TokenSequence

__all__ = ["TOGETHER", "Engine", "Learnt"]

#: Why a model whose tokens take a pass each is asked for no sums, and what to do.
_APART = "each token of {} takes a pass of its own here; {}."
_INSTEAD = {
    False: "leave spans out and group the rows of the result",
    True: "take the id of one token as contrast, or leave it out",
}
#: Prompts padded together; more would hold more memory than they save time.
TOGETHER = 8


@dataclass(eq=False)
class Learnt:
    """What an engine has learnt about its model.

    Args:
        memory: how many rows fit into it.
        verdict: of its check, once there is one.
        state: of the model then.
        prefixes: compares its passes with those over their prefixes, from the check on.
    """

    memory: Memory
    verdict: Verdict | None = None
    state: object = None
    prefixes: PrefixCheck = field(init=False)


class Engine:
    """Runs methods on a model, which it checks at the first use and when it has changed.

    Args:
        model: the model, isolated whenever a method of the engine is called.
        tokenizer: for baselines and contrasts given as text.
        memory: decides how many sequences run at once.
        progress: called with (done, in all) while a method runs.
    """

    def __init__(self, model: Any, tokenizer: Any, memory: Memory, progress: Progress) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.learnt = Learnt(memory)
        self.progress = progress
        #: Reservations about the model that the caller has not been warned of yet.
        self.unsaid: list[str] = []

    @property
    def memory(self) -> Memory:
        """Decides how many sequences run at once."""
        return self.learnt.memory

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
        forks = []
        if any(sequence.contrast is not None for sequence in sequences):
            writer = Transcriber(self.model, self.tokenizer)
            forks = [forked(writer, one, question.part(one.response)) for one in sequences]
        return question.plan(sequences, self.tokenizer, self._tables(), forks)

    def attribute(self, plan: Plan, processes: Processes = ALONE) -> Iterator[Attribution]:
        """Yield the attribution of each sequence, as soon as those that run together are done.

        Args:
            plan: what is asked of each sequence.
            processes: those that share the rows to run.
        """
        method, first = plan.question.method, True
        for ready in self.each(plan, processes):
            done: list[Attribution] = []
            if first:  # for all that follow
                first = False
                foretold(self.estimate, plan, ready)
            with salvaged(ready, self.model, self.tokenizer), ready.attempt():
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
        verdict, tables = self.check_model(plan.cases[0].sequence, plan.question), self._tables()
        # Where each token takes a pass of its own, sequences have nothing to share.
        together, done = 1 if verdict.stepwise else TOGETHER, 0
        while done < len(plan.cases):
            part = plan.part(done, done + together)
            # Processes that share rows must stay together, whichever of them has no memory.
            divisible = len(part.cases) > 1 and processes.count == 1
            try:
                with state_restored(self.model):
                    ready = self._ready(part, verdict, tables, processes, divisible)
                    if ready is None:
                        together = 1
                        continue
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

    def each_alone(self, plan: Plan, processes: Processes = ALONE) -> Iterator[ReadyBatch]:
        """Yield each sequence ready by itself, whose rows must not depend on others'.

        Args:
            plan: what is asked of each sequence.
            processes: those that share the rows to run.
        """
        for index in range(len(plan.cases)):
            yield from self.each(plan.part(index, index + 1), processes)

    def _ready(
        self,
        plan: Plan,
        verdict: Verdict,
        tables: tuple[Table, ...],
        processes: Processes,
        divisible: bool,
        spent: int = 0,
    ) -> ReadyBatch | None:
        """Make the field of a batch, which is run once as it is, and fit its rows into memory.

        Args:
            plan: what is asked of sequences that run together.
            verdict: how the model can be explained.
            tables: that embed its tokens; each finds its mean once in a call, for all batches.
            processes: those that share the rows to run.
            divisible: whether fewer sequences at once may be tried where memory ends.
            spent: forward rows of each sequence that were run before.

        Returns:
            the batch, or ``None`` if each of its sequences must run alone.
        """
        started = time.perf_counter()
        cases, question, sites = plan.cases, plan.question, verdict.sites
        sequences, moves, targets = zip(*running(cases), strict=True)
        pairs, own = len(sequences) > len(cases), torch.arange(len(cases))
        summed = pairs or question.spans is not None
        if verdict.stepwise and summed:
            raise InputError(_APART.format(type(self.model).__name__, _INSTEAD[pairs]))
        contrasts = [case.contrast for case in cases if case.contrast is not None]
        pad = int(cases[0].sequence.prompt.ids[0])  # any id will do: what pads is masked
        batch = collate(sequences, moves, contrasts or None, pad)
        runner = self.memory.runner(
            batch.movable.shape[1], torch.device(device_of(sites.modules["decoder"]))
        )
        kind = StepwiseField if verdict.stepwise else EmbeddingField
        # Where references lie is known once the batch has run: by a field without a space.
        make = partial(kind, self.model, sites, batch, question.target)
        bare, alone = make(runner), RowRunner(runner.limit)  # which no other process shares
        before = time.perf_counter()
        first = self.learnt.prefixes.observe(self.model, bare, sequences)
        pace = (time.perf_counter() - before) / float(bare.forward_rows.sum())
        watch = self.learnt.prefixes.watch(self.model, partial(make, alone), first)
        seen = agreed(first, bare, processes, plan)
        spent += int(bare.forward_rows[0])
        gradients = question.demand.differentiates
        departure, rows = self._departure(sequences, batch, seen, verdict, processes, gradients)
        if departure is not None:
            if len(cases) > 1:
                return None
            by_step = self._by_step(sequences[0], verdict, departure)
            return self._ready(plan, by_step, tables, processes, divisible, spent + rows)
        spent, seen = spent + rows, replace(seen, kept=None)
        runner.share(processes)
        asked, x = batch.rows(own), seen.x[own]
        space = space_of(self.model.dtype, tables, asked, plan.baseline, x, plan.stand_in)
        groups = groups_of(plan, asked) if question.joins else None
        by_token = kind(
            self.model, sites, batch, question.target, runner, self.progress,
            space=space, groups=groups, spent=spent, known=seen.value,
        )  # fmt: skip
        # What is kept counts as no row, so that a bound for rows would not hold.
        by_token.reuse_prefix(seen, starts=not gradients and self.memory.max_memory is None)
        field: Field = by_token
        if summed:
            field, seen = summed_up(by_token, batch.members(targets), seen, groups, pairs)
        self.memory.fit(field, seen.x, question.demand)
        runner.call_between(watch.look)
        return ReadyBatch(plan, asked, field, seen, watch, verdict.notes, divisible, started, pace)

    def _departure(
        self,
        sequences: Sequence[TokenSequence],
        batch: Batch,
        seen: Observation,
        verdict: Verdict,
        processes: Processes,
        differentiates: bool,
    ) -> tuple[Departure | None, int]:
        """Tell where a batch departs from passes over prefixes, and count the rows it took.

        Rows are counted of models whose passes depend on their length; those that show that a
        model does not are part of its self-check.
        """
        check = self.learnt.prefixes
        longest = max(range(len(sequences)), key=lambda b: len(sequences[b].inputs))
        x = seen.x[longest, 0, batch.places(longest).to(seen.x.device)]
        found = None
        if differentiates:
            found = check.differentiate(self.model, sequences[longest], x, verdict.stepwise)
        if verdict.stepwise:
            return None, 0
        found = found or check.look(self.model, sequences, batch, seen)
        own = (0.0, 0, 0) if found is None else (found.change, found.prefix, found.whole)
        change, prefix, whole = processes.first(torch.tensor(own, dtype=torch.float64)).tolist()
        departure = Departure(change, int(prefix), int(whole)) if whole else None
        return departure, check.rows if check.departed else 0

    def _by_step(self, sequence: TokenSequence, verdict: Verdict, departure: Departure) -> Verdict:
        """Return how a sequence is explained whose passes depend on their length.

        Raises:
            UnsupportedModelError: ``generate`` computes something else.
        """
        name = type(self.model).__name__
        fault = (
            f"{name} computes something else in a longer pass (a log-probability moves by "
            f"{departure.change:.2g} from a pass over {departure.prefix} tokens to one over "
            f"{departure.whole})"
        )
        check_generation(self.model, verdict.sites, sequence, fault)
        note = (
            f"{fault}, so each generated token was explained by a pass of its own over the tokens "
            "before it."
        )
        self.unsaid.append(note)
        return replace(verdict, stepwise=True, notes=(*verdict.notes, note))

    def estimate(
        self,
        question: Question,
        sequence: TokenSequence,
        at_most: bool,
        further: tuple[Cost, Cost] = (Cost(), Cost()),
    ) -> Estimate:
        """Measure one row of a question about one sequence.

        Args:
            question: what would be asked.
            sequence: what would be explained.
            at_most: whether the response stands for any that is no longer.
            further: rows that are run beyond those of the question, least and most.
        """
        if at_most and isinstance(question.spans, str) and question.spans != "response":
            # As many words as tokens, at most.
            singles = [(t, t + 1) for t in range(len(sequence.response))]
            question = replace(question, spans=singles)
        verdict = self.check_model(sequence, question)
        plan, tables = self.plan(question, [sequence]), self._tables()
        with state_restored(self.model):
            ready = self._ready(plan, verdict, tables, ALONE, divisible=False)
        assert ready is not None  # one sequence alone
        field, x, spent = ready.field, ready.seen.x, int(ready.field.forward_rows[0])
        with Meter() as meter:  # the mean embedding takes the whole table, part by part
            reference = ready.reference()
        need = self.memory.need(field, x, question.demand)
        _, most = question.method.cost_at(field, x, reference, field.targets)
        least, _ = question.method.cost_at(field, x, reference, 1 if at_most else field.targets)
        passes, before = field.target_table.passes, meter.peak.total()
        groups = len(plan.cases[0].groups)
        measured = Measurement(field, x, spent, passes, question.demand, need, before, groups)
        return estimated(measured, least + further[0], most + further[1], at_most)

    def _tables(self) -> tuple[Table, ...]:
        return tables_of(sites_of(self.model))

    def check_model(self, sequence: TokenSequence, question: Question) -> Verdict:
        """Check the model; remember the verdict as long as its modules stay the same.

        Args:
            sequence: one that it will run.
            question: what is asked, which may do without gradients.

        Raises:
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        sites = sites_of(self.model)
        kinds = tuple(type(module) for module in self.model.modules())
        # The cache decides whether a model that looks ahead generates what can be explained.
        cache = self.model.generation_config.use_cache
        state = (self.model.dtype, tuple(map(id, sites.modules.values())), kinds, cache)
        learnt = self.learnt
        if learnt.verdict is None or state != learnt.state:
            learnt.verdict = verdict = check_model(self.model, sites, sequence.start)
            learnt.prefixes = PrefixCheck(self.model, verdict.sites, verdict.read)
            learnt.state = state
            learnt.memory.forget()
            self.unsaid += verdict.notes  # the work goes on, whatever filters make of them
        if question.demand.differentiates and learnt.verdict.no_gradient is not None:
            raise UnsupportedModelError(learnt.verdict.no_gradient)
        return learnt.verdict

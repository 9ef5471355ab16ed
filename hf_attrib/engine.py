"""From token sequences and a question to attributions, on one model."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from hf_attrib import self_check
from hf_attrib.attribution import Attribution, Run
from hf_attrib.batch import Batch, collate
from hf_attrib.embedding_field import EmbeddingField, Observation
from hf_attrib.embedding_space import space_of
from hf_attrib.errors import AttributionWarning, InputError
from hf_attrib.field import Decomposition, Field, Progress
from hf_attrib.inject import sites_of, vocabulary
from hf_attrib.methods import Method
from hf_attrib.question import Question
from hf_attrib.rows import RowRunner
from hf_attrib.self_check import Verdict
from hf_attrib.sequence import TokenSequence
from hf_attrib.span_field import SpanField
from hf_attrib.stepwise import StepwiseField
from hf_attrib.tokens import detokenize

__all__ = ["Engine"]

#: Relative completeness gap up to which a target counts as converged.
_TOLERANCE = 0.02

#: Prompts padded together; more would hold more memory than they save time.
_TOGETHER = 8

_PACKAGES = ("hf_attrib", "torch", "transformers")


class Engine:
    """Runs methods on a model, which it checks at the first use and when it has changed.

    Args:
        model: the model.
        tokenizer: for baselines and contrasts given as text.
        batch_size: sequences run at once, or ``None`` for the default.
        progress: called with (path nodes done, nodes in all).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_size: int | None,
        progress: Progress,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.progress = progress
        self._checked: Verdict | None = None
        self._checked_state: object = None

    def attribute(
        self, sequences: Sequence[TokenSequence], question: Question
    ) -> list[Attribution]:
        """Attribute sequences, some at a time in padded batches; the model must be isolated."""
        results, verdict = [], self._check_model(sequences[0])
        # Where each token takes a pass of its own, sequences have nothing to share.
        together = 1 if verdict.looks_ahead else _TOGETHER
        for i in range(0, len(sequences), together):
            results += self._attribute(sequences[i : i + together], question, verdict)
        for result in results:
            if message := _reservation(result):
                warnings.warn(message, AttributionWarning, stacklevel=3)
        return results

    def _attribute(
        self, sequences: Sequence[TokenSequence], question: Question, verdict: Verdict
    ) -> list[Attribution]:
        moves = [question.moves(s) for s in sequences]
        asked = [question.contrasts(s, self.tokenizer) for s in sequences]
        contrasts = [c for c in asked if c is not None]
        sites = verdict.sites
        _check_contrasts(contrasts, vocabulary(sites.modules["decoder"]))
        batch = collate(sequences, moves, contrasts or None, int(sequences[0].prompt.ids[0]))
        started = time.perf_counter()
        kind = StepwiseField if verdict.looks_ahead else EmbeddingField
        runner = None if self.batch_size is None else RowRunner(self.batch_size)
        field: Field
        field = kind(self.model, sites, batch, question.target, runner, self.progress)
        seen, rows = field.observe(), [question.rows(s) for s in sequences]
        if question.spans is not None:
            if verdict.looks_ahead:
                raise InputError(
                    f"{type(self.model).__name__} looks ahead, so each token takes a pass of its "
                    "own; leave spans out and group the rows of the result."
                )
            members = batch.members(rows)
            field, seen = SpanField(field, members), seen.of_spans(members)
        reference = question.reference(self.tokenizer)
        scored = question.scored(sequences[0])
        field.space = space_of(self.model, sites, batch, reference, seen.x, scored)
        baseline = field.space.reference(0, 0)
        found = question.method(field, seen.x, baseline)
        seconds = (time.perf_counter() - started) / len(sequences)
        run = self._run(question, reference.name, field, seconds, verdict.notes)
        return [
            _freeze(s, question, self._own(run, s, c), _Outcome(i, field, batch, seen, found))
            for i, (s, c) in enumerate(zip(sequences, asked, strict=True))
        ]

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
            for note in self._checked.notes:
                warnings.warn(note, AttributionWarning, stacklevel=4)
        return self._checked

    def _run(
        self,
        question: Question,
        baseline: str,
        field: Field,
        seconds: float,
        notes: tuple[str, ...],
    ) -> Run:
        """Record what the sequences of a batch have in common."""
        config, claims = self.model.config, question.method.promises()
        return Run(
            method=question.method.name,
            method_fields=_plain_fields(question.method),
            target=question.target.name,
            contrast_ids=None,
            contrast_pieces=None,
            attribute_to=question.attribute_to,
            movable=question.movable if isinstance(question.movable, str) else "given",
            baseline=baseline,
            signed=claims.signed,
            identity=claims.identity,
            resolution=question.target.resolution,
            tolerance=getattr(question.method, "tolerance", None) or _TOLERANCE,
            model=config.name_or_path or type(self.model).__name__,
            model_revision=getattr(config, "_commit_hash", None),
            dtype=str(self.model.dtype).removeprefix("torch."),
            versions={name: version(name) for name in _PACKAGES},
            seconds=seconds,
            forward_rows=0,  # each sequence has its own
            backward_rows=0,
            notes=notes,
        )

    def _own(self, run: Run, sequence: TokenSequence, contrast: Tensor | None) -> Run:
        """Add what one sequence alone has: its contrast, and words that the model never saw."""
        tokenizer = self.tokenizer
        if contrast is not None:
            pieces = tuple(detokenize(tokenizer, [i])[2] for i in contrast.tolist())
            run = replace(run, contrast_ids=tuple(contrast.tolist()), contrast_pieces=pieces)
        unknown = None if tokenizer is None else tokenizer.unk_token_id
        if unknown is None or unknown == tokenizer.eos_token_id:
            return run
        count = int((sequence.prompt.ids == unknown).sum())
        many = "token is" if count == 1 else "tokens are"
        note = f"{count} prompt {many} unknown to the tokenizer."
        return replace(run, notes=(*run.notes, note)) if count else run


@dataclass(frozen=True, eq=False)
class _Outcome:
    """The numbers of a batch, and which sequence of it is meant."""

    index: int
    field: Field
    batch: Batch
    seen: Observation
    decomposition: Decomposition


def _check_contrasts(contrasts: Sequence[Tensor], size: int) -> None:
    for ids in contrasts:
        if int(ids.max()) >= size:
            raise InputError(f"contrast id {int(ids.max())} is outside the {size} tokens.")


def _freeze(
    sequence: TokenSequence, question: Question, run: Run, outcome: _Outcome
) -> Attribution:
    """Cut one sequence out of a batch and bring it to the CPU."""
    rows, scored = question.rows(sequence), question.scored(sequence)
    seen, decomposition = outcome.seen, outcome.decomposition
    spent = outcome.field.forward_rows[outcome.index], outcome.field.backward_rows[outcome.index]
    run = replace(run, forward_rows=int(spent[0]), backward_rows=int(spent[1]))

    def cut(by_target: Tensor) -> Tensor:
        return by_target[outcome.index, : len(rows)].cpu()

    columns = outcome.batch.columns(outcome.index)[:scored]
    scores = cut(decomposition.scores)[:, columns]
    error, sum_error = decomposition.standard_error, decomposition.sum_standard_error
    value = cut(seen.value if decomposition.value is None else decomposition.value)
    if decomposition.reference is None:
        reference = torch.full_like(value, torch.nan)
    else:
        reference = cut(decomposition.reference)
    if not bool(torch.isfinite(scores).all()):
        note = "Some scores are not finite: the model overflows. Load it in float32."
        run = replace(run, notes=(*run.notes, note))
    return Attribution(
        scores=scores,
        inputs=sequence.prompt if scored == len(sequence.prompt) else sequence.inputs,
        response=sequence.response,
        value=value,
        reference_value=reference,
        probability=cut(seen.probability),
        run=run,
        rows=rows,
        standard_error=None if error is None else cut(error)[:, columns],
        sum_standard_error=None if sum_error is None else cut(sum_error),
        error_bound=None if decomposition.bound is None else cut(decomposition.bound),
    )


def _plain_fields(method: Method) -> dict[str, Any]:
    """Return hyperparameters as JSON can say them; a method that is held, as text."""
    given = {f.name: getattr(method, f.name) for f in fields(method)}
    return {k: str(v) if isinstance(v, Method) else v for k, v in given.items()}


def _reservation(result: Attribution) -> str | None:
    """Return what a caller must be warned of: targets whose scores do not add up."""
    if result.run.identity is None or bool(result.converged.all()):
        return None
    missed = int((~result.converged).sum())
    finer = result.run.finer
    return (
        f"{missed} of {len(result.rows)} targets have not converged: their scores miss "
        f"{result.run.identity} by up to {float(result.gap.max()):.1%}."
    ) + (f" Raise {finer}." if finer else "")

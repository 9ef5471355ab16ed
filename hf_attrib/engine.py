"""From token sequences and a question to attributions, on one model."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from hf_attrib import self_check
from hf_attrib.attribution import Attribution, Run
from hf_attrib.baselines import Baseline
from hf_attrib.batch import Batch, collate
from hf_attrib.embedding_field import EmbeddingField, Observation, SiteEmbedder
from hf_attrib.errors import AttributionWarning, InputError
from hf_attrib.field import Decomposition
from hf_attrib.inject import Sites, sites_of, vocabulary
from hf_attrib.question import Question
from hf_attrib.sequence import TokenSequence

__all__ = ["Engine"]

#: Relative completeness gap up to which a target counts as converged.
_TOLERANCE = 0.02

_PACKAGES = ("hf_attrib", "torch", "transformers")


class Engine:
    """Runs methods on a model, which it checks at the first use.

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
        progress: Callable[[int, int], None],
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.progress = progress
        self._checked: tuple[Sites, tuple[str, ...]] | None = None

    def attribute(
        self, sequences: Sequence[TokenSequence], question: Question
    ) -> list[Attribution]:
        """Attribute B sequences in one padded batch; the model must be isolated."""
        moves = [question.moves(s) for s in sequences]
        asked = [question.contrasts(s, self.tokenizer) for s in sequences]
        contrasts = [c for c in asked if c is not None]
        self._check_contrasts(contrasts)
        batch = collate(sequences, moves, contrasts or None, int(sequences[0].prompt.ids[0]))
        sites, notes = self._check_model(sequences[0])
        started = time.perf_counter()
        field = EmbeddingField(
            self.model, sites, batch, question.target, self.batch_size, self.progress
        )
        seen = field.observe()
        reference = question.reference(self.tokenizer)
        baseline = self._baseline(reference, batch, sites, seen.x, question)
        result = question.method(field, seen.x, baseline)
        seconds = (time.perf_counter() - started) / len(sequences)
        run = self._run(question, reference, field, seconds, notes)
        return [
            _freeze(
                s,
                batch.columns(i),
                question,
                replace(run, notes=(*run.notes, *self._unknown(s))),
                _Row(i, seen, result, contrasts),
            )
            for i, s in enumerate(sequences)
        ]

    def _check_contrasts(self, contrasts: Sequence[Tensor]) -> None:
        size = vocabulary(sites_of(self.model).modules["decoder"])
        for ids in contrasts:
            if int(ids.min()) < 0 or int(ids.max()) >= size:
                raise InputError(
                    f"contrast ids run from {int(ids.min())} to {int(ids.max())}, but the model "
                    f"has {size} tokens."
                )

    def _unknown(self, sequence: TokenSequence) -> tuple[str, ...]:
        """Note how much of the prompt the model never saw."""
        unknown = None if self.tokenizer is None else self.tokenizer.unk_token_id
        if unknown is None or unknown == self.tokenizer.eos_token_id:
            return ()
        count = int((sequence.prompt.ids == unknown).sum())
        return (f"{count} prompt tokens are unknown to the tokenizer.",) if count else ()

    def _check_model(self, sequence: TokenSequence) -> tuple[Sites, tuple[str, ...]]:
        """Check the model on a first sequence; afterwards, remember."""
        if self._checked is None:
            self._checked = self_check.check(self.model, sites_of(self.model), sequence)
            for note in self._checked[1]:
                warnings.warn(note, AttributionWarning, stacklevel=4)
        return self._checked

    def _baseline(
        self, reference: Baseline, batch: Batch, sites: Sites, x: Tensor, question: Question
    ) -> Tensor:
        """Return reference embeddings, [B, 1, N, D]: x wherever inputs do not move."""
        moved = x.clone()
        lengths = {"encoder": batch.encoder_ids.shape[1], "decoder": batch.decoder_ids.shape[1]}
        start = 0
        for site, module in sites.modules.items():
            vector = reference.embedding(SiteEmbedder(module, self.model.device)).to(x)
            if vector.dim() == 2:
                return _given(vector, batch, x)
            if vector.shape[-1] != x.shape[-1]:
                raise InputError(
                    f"the baseline is {len(vector)} wide; embeddings are {x.shape[-1]}."
                )
            moved[:, :, start : start + lengths[site]] = vector
            start += lengths[site]
        # What the model will see: a reference rounded to its own precision.
        moved = moved.to(self.model.dtype).to(x)
        return torch.where(batch.movable[:, None, :, None].to(x.device), moved, x)

    def _run(
        self,
        question: Question,
        reference: Baseline,
        field: EmbeddingField,
        seconds: float,
        notes: tuple[str, ...],
    ) -> Run:
        config, claims = self.model.config, question.method.claims
        return Run(
            method=question.method.name,
            method_fields=asdict(question.method),
            target=question.target.name,
            contrast_ids=None,
            attribute_to=question.attribute_to,
            baseline=reference.name,
            signed=claims.signed,
            identity=claims.identity,
            resolution=question.target.resolution,
            tolerance=_TOLERANCE,
            model=config.name_or_path or type(self.model).__name__,
            model_revision=getattr(config, "_commit_hash", None),
            dtype=str(self.model.dtype).removeprefix("torch."),
            versions={name: version(name) for name in _PACKAGES},
            seconds=seconds,
            forward_rows=field.forward_rows,
            backward_rows=field.backward_rows,
            notes=notes,
        )


@dataclass(frozen=True, eq=False)
class _Row:
    """Where one sequence's numbers are in those of its batch."""

    index: int
    seen: Observation
    result: Decomposition
    contrasts: Sequence[Tensor]


def _given(embeddings: Tensor, batch: Batch, x: Tensor) -> Tensor:
    """Place reference embeddings [N, D] of one sequence's scored tokens."""
    count = embeddings.shape[0]
    if len(x) != 1 or embeddings.shape[1] != x.shape[-1] or count > x.shape[2]:
        raise InputError(
            f"the baseline is {tuple(embeddings.shape)}; expected one prompt and at most "
            f"{tuple(x.shape[2:])} (its tokens, embedding width)."
        )
    moved = x.clone()
    moved[0, 0, :count] = embeddings
    return torch.where(batch.movable[:, None, :, None].to(x.device), moved, x)


def _freeze(
    sequence: TokenSequence, columns: Tensor, question: Question, run: Run, row: _Row
) -> Attribution:
    """Cut one sequence out of the batch and bring it to the CPU."""
    targets, scored = len(sequence.response), question.scored(sequence)

    def cut(by_target: Tensor) -> Tensor:
        return by_target[row.index, :targets].cpu()

    scores = row.result.scores[row.index, :targets].cpu()[:, columns[:scored]]
    value = cut(row.seen.value)
    reference = row.result.reference
    contrast = tuple(row.contrasts[row.index].tolist()) if row.contrasts else None
    notes = run.notes
    if not bool(torch.isfinite(scores).all()):
        notes += ("Some scores are not finite: the model overflows. Load it in float32.",)
    result = Attribution(
        scores=scores,
        inputs=sequence.prompt if scored == len(sequence.prompt) else sequence.inputs,
        response=sequence.response,
        value=value,
        reference_value=torch.full_like(value, torch.nan) if reference is None else cut(reference),
        probability=cut(row.seen.probability),
        run=replace(run, contrast_ids=contrast, notes=notes),
    )
    if run.identity is not None and not bool(result.converged.all()):
        missed = int((~result.converged).sum())
        warnings.warn(
            f"{missed} of {targets} targets have not converged: their scores miss "
            f"{run.identity} by up to {float(result.gap.max()):.1%}. Raise steps.",
            AttributionWarning,
            stacklevel=5,
        )
    return result

"""From the numbers of a batch to the result of each of its sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from hf_attrib.attacks import Attack
from hf_attrib.engine.question import Question
from hf_attrib.field import Decomposition, Field
from hf_attrib.methods import Method
from hf_attrib.model import Batch, Observation
from hf_attrib.results import Attribution, Run
from hf_attrib.text import TokenSequence, detokenize

__all__ = [
    "Outcome",
    "attribution",
    "plain_fields",
    "provenance",
    "record",
    "reservation",
    "spent",
    "unknown",
    "with_own",
]

#: Relative completeness gap up to which a target counts as converged.
_TOLERANCE = 0.02

_PACKAGES = ("hf_attrib", "torch", "transformers")


#: What a result says that is not all numbers, and then of the cause.
_NOT_FINITE = "Some scores or values of f are not finite: "
_OVERFLOW = "the model overflows. Load it in float32."
_NEITHER = "the model or the target gives NaN or infinity."


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run found for a batch.

    Args:
        batch: B sequences.
        field: what was run, with its counts.
        seen: what the model does with the batch as it is.
        decomposition: scores and references.
    """

    batch: Batch
    field: Field
    seen: Observation
    decomposition: Decomposition


def record(
    model: Any, question: Question, baseline: str | None, seconds: float, notes: tuple[str, ...]
) -> Run:
    """Record what the sequences of a batch have in common."""
    claims = question.method.claims
    return Run(
        method=question.method.name,
        method_fields=plain_fields(question.method),
        target=question.target.name,
        contrast_ids=None,
        contrast_pieces=None,
        attribute_to=question.attribute_to,
        movable=question.movable if isinstance(question.movable, str) else "given",
        baseline=baseline,
        signed=claims.signed,
        identity=claims.identity,
        resolution=question.target.resolution,
        tolerance=question.method.tolerance or _TOLERANCE,
        **provenance(model),
        seconds=seconds,
        forward_rows=0,  # each sequence has its own
        backward_rows=0,
        notes=notes,
    )


def provenance(model: Any) -> dict[str, Any]:
    """Return which model was run, and by which packages."""
    return {
        "model": model.config.name_or_path or type(model).__name__,
        "model_revision": getattr(model.config, "_commit_hash", None),
        "dtype": str(model.dtype).removeprefix("torch."),
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:
    """Return the versions of the packages that matter, which are read from files."""
    return {name: version(name) for name in _PACKAGES}


def plain_fields(method: Method | Attack) -> dict[str, Any]:
    """Return hyperparameters as JSON can say them; a method that is held, as text."""
    given = {f.name: getattr(method, f.name) for f in fields(method)}
    return {k: str(v) if isinstance(v, Method | Attack) else v for k, v in given.items()}


def with_own(run: Run, sequence: TokenSequence, contrast: Tensor | None, tokenizer: Any) -> Run:
    """Add what one sequence alone has: its contrast, and words that the model never saw."""
    if contrast is not None:
        pieces = tuple(detokenize(tokenizer, [i])[2] for i in contrast.tolist())
        run = replace(run, contrast_ids=tuple(contrast.tolist()), contrast_pieces=pieces)
    note = unknown(sequence, tokenizer)
    return run if note is None else replace(run, notes=(*run.notes, note))


def unknown(sequence: TokenSequence, tokenizer: Any) -> str | None:
    """Return a note about words of a prompt that the model never saw, if there are any."""
    stand_in = None if tokenizer is None else tokenizer.unk_token_id
    if stand_in is None or stand_in == tokenizer.eos_token_id:
        return None
    count = int((sequence.prompt.ids == stand_in).sum())
    many = "token is" if count == 1 else "tokens are"
    return f"{count} prompt {many} unknown to the tokenizer." if count else None


def attribution(
    outcome: Outcome, index: int, sequence: TokenSequence, question: Question, run: Run
) -> Attribution:
    """Cut one sequence out of a batch and bring it to the CPU."""
    rows, groups = question.rows(sequence), question.columns(sequence)
    seen, decomposition = outcome.seen, outcome.decomposition
    run = replace(
        run,
        **spent(outcome.field, index),
        sizes=_sizes(decomposition, index, len(rows)),
        notes=(*run.notes, *reservations(decomposition.notes, index, len(rows))),
    )

    def cut(by_target: Tensor) -> Tensor:
        return by_target[index, : len(rows)].cpu()

    tokens = outcome.batch.columns(index)[: question.scored(sequence)]
    columns = torch.arange(len(groups)) if question.joins else tokens
    scores = cut(decomposition.scores)[:, columns]
    error, sum_error = decomposition.standard_error, decomposition.sum_standard_error
    value = cut(seen.value if decomposition.end_value is None else decomposition.end_value)
    if decomposition.start_value is None:
        run, reference = _checked(run, scores, value), torch.full_like(value, torch.nan)
    else:
        reference = cut(decomposition.start_value)
        run = _checked(run, scores, value, reference)
    found = Attribution(
        scores=scores,
        inputs=question.inputs(sequence),
        response=sequence.response,
        value=value,
        reference_value=reference,
        probability=cut(seen.probability),
        run=run,
        rows=rows,
        columns=groups if question.joins else (),
        standard_error=None if error is None else cut(error)[:, columns],
        sum_standard_error=None if sum_error is None else cut(sum_error),
        error_bound=None if decomposition.bound is None else cut(decomposition.bound),
    )
    if question.groups is None or question.joins:
        return found
    return found.group(question.groups)


def _sizes(found: Decomposition, index: int, targets: int) -> dict[str, tuple[float, ...]]:
    """Return the sizes of one sequence's walk for each of its targets, as JSON can say them."""
    return {
        name: tuple(float(f"{size:.6g}") for size in sizes[index, :targets].tolist())
        for name, sizes in found.sizes.items()
    }


def reservations(notes: Mapping[str, Tensor], index: int, targets: int) -> list[str]:
    """Return what a reader must know of one sequence's targets, and of how many.

    Args:
        notes: reservations, and which targets each is about, [B, T] bool.
        index: of the sequence.
        targets: how many it has.
    """
    counts = {note: int(of[index, :targets].sum()) for note, of in notes.items()}
    return [f"{count} of {targets} targets: {note}." for note, count in counts.items() if count]


def spent(field: Field, index: int) -> dict[str, Any]:
    """Return how many rows of each kind one sequence took."""
    kinds = ("forward_rows", "backward_rows", "directional_rows")
    return {kind: int(getattr(field, kind)[index]) for kind in kinds}


def _checked(run: Run, *found: Tensor) -> Run:
    """Return what is known of a run, with a note if it did not find numbers."""
    if all(bool(part.isfinite().all()) for part in found):
        return run
    cause = _OVERFLOW if run.half_precision else _NEITHER
    return replace(run, notes=(*run.notes, _NOT_FINITE + cause))


def reservation(result: Attribution) -> str | None:
    """Return what a caller must be warned of: scores that do not add up."""
    for note in result.run.notes:
        if note.startswith(_NOT_FINITE):
            return note
    if result.run.identity is None or bool(result.converged.all()):
        return None
    missed = int((~result.converged).sum())
    warning = (
        f"{missed} of {len(result.rows)} targets have not converged: their scores miss "
        f"{result.run.identity} by up to {float(result.gap.max()):.1%}."
    )
    return " ".join(filter(None, (warning, result.run.remedy)))

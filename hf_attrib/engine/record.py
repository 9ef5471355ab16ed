"""From the numbers of a batch to the result of each of its sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from hf_attrib.attacks import Attack
from hf_attrib.engine.case import Case
from hf_attrib.engine.ready import ReadyBatch
from hf_attrib.engine.zeros import standing
from hf_attrib.field import Decomposition, Field
from hf_attrib.methods import Method
from hf_attrib.model import name_of
from hf_attrib.results import Attribution, Run
from hf_attrib.text import TokenSequence, detokenize

__all__ = [
    "NOT_FINITE",
    "at_reference",
    "attributions",
    "checked",
    "of_prompt",
    "plain_fields",
    "provenance",
    "reservations",
    "run_of",
    "spent",
    "unlikely",
    "warning_of",
    "with_own",
    "zeros_of",
]

#: Relative completeness gap up to which a target counts as converged.
_TOLERANCE = 0.02

_PACKAGES = ("hf_attrib", "torch", "transformers")


#: What a result says that is not all numbers, and then of the cause.
NOT_FINITE = "Some scores or values of f are not finite: "
_OVERFLOW = "the model overflows. Load it in float32."
_NEITHER = "the model or the target gives NaN or infinity."


def attributions(
    ready: ReadyBatch, found: Decomposition, model: Any, tokenizer: Any
) -> list[Attribution]:
    """Return the result of each sequence of a batch.

    Args:
        ready: what was run, with its counts.
        found: scores and what they are relative to.
        model: that was run.
        tokenizer: that names contrasts.
    """
    run, same = run_of(ready, model), at_reference(ready)
    own = [with_own(run, case, tokenizer) for case in ready.plan.cases]
    return [_attribution(ready, found, index, of_case, same) for index, of_case in enumerate(own)]


def run_of(ready: ReadyBatch, model: Any) -> Run:
    """Return what is known of how all sequences of a batch were explained, their rows aside.

    Args:
        ready: what was run.
        model: that was run.
    """
    plan, method = ready.plan, ready.plan.question.method
    return Run(
        method=method.name,
        method_fields=plain_fields(method),
        contrast_ids=None,  # each sequence has its own, and its rows, too
        contrast_pieces=None,
        baseline=plan.baseline_name,
        signed=method.claims.signed,
        identity=method.claims.identity,
        resolution=plan.question.target.resolution,
        tolerance=method.tolerance or _TOLERANCE,
        **plan.question.recorded(),
        **provenance(model),
        seconds=ready.seconds(),
        forward_rows=0,
        backward_rows=0,
        notes=ready.notes,
    )


def at_reference(ready: ReadyBatch) -> Tensor | None:
    """Return which inputs are their reference, [B, N]; ``None`` where there is not one for all."""
    plan = ready.plan
    if plan.baseline_name is None or plan.baseline.distribution:
        return None
    return (ready.reference() == ready.seen.x)[:, 0].all(-1).cpu()


def provenance(model: Any) -> dict[str, Any]:
    """Return which model was run, and by which packages."""
    return {
        "model": name_of(model),
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


def with_own(run: Run, case: Case, tokenizer: Any) -> Run:
    """Add what one sequence alone has: its contrast, and words that the model never saw."""
    if case.fork is not None:
        response, start = case.fork.other.response, case.fork.other_span.start
        run = replace(
            run,
            contrast_ids=tuple(response.ids[start:].tolist()),
            contrast_pieces=response.pieces[start:],
            contrast_text=response.piece(case.fork.other_span),
            fork=start,
        )
    elif case.contrast is not None:
        ids = tuple(case.contrast.tolist())
        pieces = tuple(detokenize(tokenizer, [i])[2] for i in ids)
        run = replace(run, contrast_ids=ids, contrast_pieces=pieces)
    own = of_prompt(case.sequence, tokenizer)
    run = replace(run, documents=case.sequence.prompt.documents)
    return replace(run, notes=(*run.notes, *own, *case.sequence.notes, *case.notes))


def unlikely(ready: ReadyBatch, index: int) -> tuple[str, ...]:
    """Return a note about tokens that greedy generation should not have taken, if there are any.

    Args:
        ready: what was run.
        index: of the sequence.
    """
    sequence = ready.plan.cases[index].sequence
    if sequence.unlikely is None:
        return ()
    total = len(sequence.response)
    # Between a pass with a cache and one without, half of the digits may differ.
    allowed = 10 * ready.field.precision**0.5
    count = int((ready.seen.shortfall[index, :total] > allowed).sum())
    return (f"{count} of {total} tokens are {sequence.unlikely}.",) if count else ()


def of_prompt(sequence: TokenSequence, tokenizer: Any) -> tuple[str, ...]:
    """Return notes about words of a prompt that the model never saw."""
    notes = sequence.prompt.notes
    stand_in = None if tokenizer is None else tokenizer.unk_token_id
    if stand_in is None or stand_in == tokenizer.eos_token_id:
        return notes
    count = int((sequence.prompt.ids == stand_in).sum())
    many = "token is" if count == 1 else "tokens are"
    return (*notes, f"{count} prompt {many} unknown to the tokenizer.") if count else notes


def _attribution(
    ready: ReadyBatch, found: Decomposition, index: int, run: Run, same: Tensor | None
) -> Attribution:
    """Cut one sequence out of a batch and bring it to the CPU."""
    case, question = ready.plan.cases[index], ready.plan.question
    rows = len(case.targets)
    run = replace(
        run,
        **spent(ready.field, index),
        sizes=_sizes(found, index, rows),
        notes=(*run.notes, *unlikely(ready, index), *reservations(found.notes, index, rows)),
    )

    def cut(by_target: Tensor) -> Tensor:
        return by_target[index, :rows].cpu()

    tokens = ready.batch.places(index)[: len(case.inputs)]
    columns = torch.arange(len(case.groups)) if question.joins else tokens
    scores = cut(found.scores)[:, columns]
    if same is not None:
        run = replace(run, notes=(*run.notes, *zeros_of(ready, index, same[index, tokens], scores)))
    error, sum_error = found.standard_error, found.sum_standard_error
    value = cut(ready.seen.value if found.end_value is None else found.end_value)
    if found.start_value is None:
        run, reference = checked(run, scores, value), torch.full_like(value, torch.nan)
    else:
        reference = cut(found.start_value)
        run = checked(run, scores, value, reference)
    result = Attribution(
        scores=scores,
        sequence=case.sequence.bare(),
        inputs=case.inputs,
        response=case.sequence.response,
        value=value,
        reference_value=reference,
        probability=cut(ready.seen.probability),
        run=run,
        rows=case.targets,
        columns=case.groups if question.joins else (),
        standard_error=None if error is None else cut(error)[:, columns],
        sum_standard_error=None if sum_error is None else cut(sum_error),
        error_bound=None if found.bound is None else cut(found.bound),
    )
    if question.groups is None or question.joins:
        return result
    return result.group(question.groups)


def zeros_of(ready: ReadyBatch, index: int, same: Tensor, scores: Tensor) -> list[str]:
    """Say which scores are 0 since nothing changes on the way from the reference.

    Args:
        ready: what was run.
        index: of the sequence.
        same: which of its N inputs are their reference.
        scores: of its inputs or groups, [T, N] or [T, G].
    """
    case, question = ready.plan.cases[index], ready.plan.question
    # Means over noise move what stands still; passes of other sizes differ in their last digits.
    zero = scores.abs().amax(0) <= ready.field.precision**0.75
    if question.joins:
        sizes = torch.tensor([span.stop - span.start for span in case.groups])
        zero = zero.repeat_interleave(sizes)
    name, moves = ready.plan.baseline.name, case.moves[: len(case.inputs)]
    return standing(case.inputs, moves, ~(same & zero), case.groups, question.groups, name)


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


def checked(run: Run, *found: Tensor) -> Run:
    """Return what is known of a run, with a note if it did not find numbers."""
    if all(bool(part.isfinite().all()) for part in found):
        return run
    cause = _OVERFLOW if run.half_precision else _NEITHER
    return replace(run, notes=(*run.notes, NOT_FINITE + cause))


def warning_of(result: Attribution) -> str | None:
    """Return what a caller must be warned of: scores that miss their sum, or may be wrong."""
    for note in result.run.notes:
        if note.startswith(NOT_FINITE):
            return note
    identity, targets = result.run.identity, len(result.rows)
    found = []
    if missed := result.status.count("not converged"):
        found.append(
            f"{missed} of {targets} targets have not converged: their scores miss {identity} by up "
            f"to {float(result.gap.max()):.1%}."
        )
    if uncertain := [t for t, status in enumerate(result.status) if status == "row uncertain"]:
        assert result.bound is not None  # or no row would be uncertain
        found.append(
            f"{len(uncertain)} of {targets} targets are uncertain: their scores sum to {identity}, "
            f"but errors that cancel may be up to {float(result.bound[uncertain].max()):.1%} of it."
        )
    return " ".join(filter(None, (*found, result.run.remedy))) if found else None

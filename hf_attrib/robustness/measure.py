"""From a batch to the robustness of each of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.attacks import Attack, Walk
from hf_attrib.baselines import BaselineLike
from hf_attrib.engine import Engine, Opened, Question
from hf_attrib.engine.record import plain_fields, provenance, reservations, spent, unknown
from hf_attrib.errors import InputError
from hf_attrib.execution import Processes
from hf_attrib.field import Field, Table
from hf_attrib.methods import Fundamental
from hf_attrib.robustness.result import AttackRun, Robustness
from hf_attrib.robustness.search import Flips, Search
from hf_attrib.targets import TARGETS
from hf_attrib.text import TokenSequence, detokenize

__all__ = ["measure", "search_question"]

#: Shares out what an attack took from each margin.
_DROPS = Fundamental(objective="per_token")
#: Perturbed embeddings that are compared to the vocabulary at once.
_COMPARED = 512


@dataclass(frozen=True, eq=False)
class _Found:
    """What was found for a batch: [B, T] or [B, T, N] each."""

    flips: Flips
    flips_to: Tensor
    drop: Tensor
    share: Tensor
    nearest: Tensor
    towards: Tensor


def search_question(
    attack: Attack,
    baseline: BaselineLike | None,
    attribute_to: str,
    movable: str | Sequence[bool],
) -> Question:
    """Return the question for the margin of each token.

    Args:
        attack: lowers it.
        baseline: for the attack, if it takes one; by default its own.
        attribute_to: ``"prompt"`` or ``"all"``.
        movable: ``"content"``, ``"all"``, or a flag for each input token.

    Raises:
        InputError: one of them is none of these, or the attack takes no baseline.
    """
    if baseline is not None and not attack.uses_reference:
        raise InputError(f"attack {attack.name} takes no baseline; leave it out.")
    method = Fundamental(attack, objective="per_token")
    return Question(method, TARGETS["margin"], None, baseline, attribute_to, movable)


def measure(
    engine: Engine,
    sequences: Sequence[TokenSequence],
    question: Question,
    search: Search,
    processes: Processes,
) -> list[Robustness]:
    """Attack every token of some answers; the model must be isolated.

    Args:
        engine: of the model.
        sequences: what the model read and generated.
        question: for the margins.
        search: how to attack.
        processes: those that share the rows to run.
    """
    return engine.each(sequences, question, partial(_measured, engine, search), processes)


def _measured(
    engine: Engine,
    search: Search,
    sequences: Sequence[TokenSequence],
    question: Question,
    opened: Opened,
) -> list[Robustness]:
    field, x = opened.field, opened.seen.x
    flips = search(field, x, opened.seen.value)
    path = torch.stack([x.expand_as(flips.points), flips.points])
    drop = _DROPS.along(field, Walk(path, flips.radius, flips.radius)).scores
    square = (flips.points - x).double().square().sum(-1)
    share = square / square.sum(-1, keepdim=True).clamp_min(torch.finfo(square.dtype).tiny)
    each = range(field.targets)
    to = torch.stack([field.rivals(flips.points[:, t : t + 1], 1)[:, t, 0] for t in each], 1)
    found = _Found(flips, to, drop, share, *_read(field, x, flips.points))
    results = []
    for index, sequence in enumerate(sequences):
        notes = reservations(flips.notes, index, len(sequence.response))
        run = _run(engine, search, question, opened, index, sequence, notes)
        results.append(_cut(found, opened, index, sequence, question, engine.tokenizer, run))
    return results


def _read(field: Field, x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return ids of the tokens that points [B, T, N, D] are nearest to, and head for, [B, T, N].

    They are -1 where the nearest is x itself, and where a point heads for none.
    """
    nearest, towards = (torch.full(points.shape[:3], -1) for _ in range(2))
    for b, moves in enumerate(field.movable.cpu()):
        for side, table in enumerate(field.space.tables):
            places = (moves & (field.space.table_of == side)).nonzero()[:, 0]
            here = places.to(points.device)
            there = points[b][:, here]
            own = x[b][:, here].expand_as(there).flatten(0, 1)
            parts = zip(there.flatten(0, 1).split(_COMPARED), own.split(_COMPARED), strict=True)
            found = [_told(table, *part) for part in parts]
            if found:
                for into, of in zip((nearest, towards), zip(*found, strict=True), strict=True):
                    into[b][:, places] = torch.cat(of).reshape(there.shape[:2])
    return nearest, towards


def _told(table: Table, points: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Return which tokens points [M, D] are nearest to, and head for from their own, [M]."""
    ids = table.nearest(points, 1)[:, 0]
    away = (points - table.embed(ids.cpu()).to(points)).norm(dim=-1)
    nearest = torch.where(away < (points - own).norm(dim=-1), ids, -1)
    return nearest.cpu(), table.ahead(own, points - own).cpu()


def _run(
    engine: Engine,
    search: Search,
    question: Question,
    opened: Opened,
    index: int,
    sequence: TokenSequence,
    notes: Sequence[str],
) -> AttackRun:
    """Record how one answer was attacked, and what a reader must know of it."""
    field, attack = opened.field, search.attack
    given = plain_fields(attack)
    if search.bounded:
        del given["eps"]
    total = len(sequence.response)
    wrong = int((opened.seen.value[index, :total] < 0).sum())
    lost = f"{wrong} of {total} tokens are not the likeliest unattacked." if wrong else None
    every = (*opened.notes, unknown(sequence, engine.tokenizer), lost, *notes)
    scale = field.space.scale[:, 0][field.movable[index]]
    return AttackRun(
        attack=attack.name,
        attack_fields=given,
        norm="l2" if attack.euclidean() else "linf",
        eps=search.eps,
        bisections=search.bisections,
        baseline=opened.baseline,
        scale=float(scale.mean()),
        attribute_to=question.attribute_to,
        movable=question.movable if isinstance(question.movable, str) else "given",
        tolerance=_DROPS.tolerance,
        **provenance(engine.model),
        **spent(field, index),
        seconds=opened.seconds(),
        notes=tuple(note for note in every if note),
    )


def _cut(
    found: _Found,
    opened: Opened,
    index: int,
    sequence: TokenSequence,
    question: Question,
    tokenizer: Any,
    run: AttackRun,
) -> Robustness:
    """Cut one answer out of a batch and bring it to the CPU."""
    count = len(sequence.response)
    columns = opened.batch.columns(index)[: question.scored(sequence)]

    def cut(by_target: Tensor) -> Tensor:
        own = by_target[index, :count].detach().cpu()
        own = own[:, columns] if own.dim() == 2 else own
        return own.double() if own.is_floating_point() else own

    ids = [cut(each) for each in (found.flips_to, found.nearest, found.towards)]
    others = sorted({*torch.cat([each.flatten() for each in ids]).tolist()} - {-1})
    result = Robustness(
        inputs=question.inputs(sequence),
        response=sequence.response,
        probability=cut(opened.seen.probability),
        margin=cut(opened.seen.value),
        radius=cut(found.flips.radius),
        failed=cut(found.flips.failed),
        attacked_margin=cut(found.flips.margin),
        flips_to=ids[0],
        drop=cut(found.drop),
        share=cut(found.share),
        nearest=ids[1],
        towards=ids[2],
        names={i: detokenize(tokenizer, [i])[2] for i in others},
        run=run,
        sequence=sequence,
    )
    return _reserved(result)


def _reserved(result: Robustness) -> Robustness:
    """Add a note where drops do not sum to what the lead of a token lost."""
    missed = int((~(result.gap <= result.run.tolerance)).sum())
    if not missed:
        return result
    note = (
        f"{missed} of {len(result)} tokens: what inputs took misses what the lead lost by up to "
        f"{float(result.gap.max()):.1%}."
    )
    return replace(result, run=replace(result.run, notes=(*result.run.notes, note)))

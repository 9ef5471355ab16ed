"""From a batch to the robustness of each of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hf_attrib.attacks import Attack, Walk
from hf_attrib.baselines import BaselineLike
from hf_attrib.engine import Engine, Plan, Question, ReadyBatch
from hf_attrib.engine.record import (
    of_prompt,
    plain_fields,
    provenance,
    reservations,
    spent,
    unlikely,
)
from hf_attrib.errors import InputError
from hf_attrib.execution import Foresight, Processes
from hf_attrib.field import Field, Table
from hf_attrib.methods import Fundamental
from hf_attrib.robustness.result import AttackRun, Robustness
from hf_attrib.robustness.search import Flips, RadiusSearch
from hf_attrib.targets import TARGETS
from hf_attrib.text import detokenize

__all__ = ["margin_question", "measure_robustness"]

#: Shares out what an attack took from each margin.
_DROPS = Fundamental(objective="per_token")
#: Perturbed embeddings that are compared to the vocabulary at once.
_COMPARED = 512


@dataclass(frozen=True, eq=False)
class _Findings:
    """What was found for a batch: [B, T] or [B, T, N] each."""

    flips: Flips
    flips_to: Tensor
    drop: Tensor
    share: Tensor
    nearest: Tensor
    towards: Tensor


def margin_question(
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


def measure_robustness(
    engine: Engine, plan: Plan, search: RadiusSearch, processes: Processes
) -> Iterator[Robustness]:
    """Attack every token of some answers, and yield what was found of each.

    Args:
        engine: of the model, which is isolated.
        plan: what is asked of each sequence: its margins.
        search: how to attack.
        processes: those that share the rows to run.
    """
    for ready in engine.each(plan, processes):
        done: list[Robustness] = []
        foresight = Foresight("steps", ready.field.progress)
        with ready.attempt(), foresight.speaking(), ready.field.reporting(foresight):
            done = _measured(ready, search, engine)
        del ready  # with what it holds on the device, before the next one is made
        yield from done


def _measured(ready: ReadyBatch, search: RadiusSearch, engine: Engine) -> list[Robustness]:
    field, x = ready.field, ready.seen.x
    flips = search(field, x, ready.seen.value)
    path = torch.stack([x.expand_as(flips.points), flips.points])
    drop = _DROPS.along(field, Walk(path, flips.radius, flips.radius)).scores
    square = (flips.points - x).double().square().sum(-1)
    share = square / square.sum(-1, keepdim=True).clamp_min(torch.finfo(square.dtype).tiny)
    each = range(field.targets)
    to = torch.stack([field.rivals(flips.points[:, t : t + 1], 1)[:, t, 0] for t in each], 1)
    found = _Findings(flips, to, drop, share, *_read(field, x, flips.points))
    runs = [_run(engine, search, ready, flips, index) for index in range(len(ready.plan.cases))]
    return [_cut(found, ready, index, engine.tokenizer, run) for index, run in enumerate(runs)]


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
    engine: Engine, search: RadiusSearch, ready: ReadyBatch, flips: Flips, index: int
) -> AttackRun:
    """Record how one answer was attacked, and what a reader must know of it."""
    field, attack, sequence = ready.field, search.attack, ready.plan.cases[index].sequence
    given = plain_fields(attack)
    if search.bounded:
        del given["eps"]
    total = len(sequence.response)
    wrong = int((ready.seen.value[index, :total] < 0).sum())
    lost = f"{wrong} of {total} tokens are not the likeliest unattacked." if wrong else None
    notes = reservations(flips.notes, index, total)
    own = (*of_prompt(sequence, engine.tokenizer), *sequence.notes, *unlikely(ready, index))
    every = (*ready.notes, *own, lost, *notes)
    scale = field.space.scale[:, 0][field.movable[index]]
    asked = ready.plan.question.recorded()
    return AttackRun(
        attack=attack.name,
        attack_fields=given,
        norm="l2" if attack.euclidean() else "linf",
        eps=search.eps,
        bisections=search.bisections,
        baseline=ready.plan.baseline_name,
        scale=float(scale.mean()),
        attribute_to=asked["attribute_to"],
        movable=asked["movable"],
        tolerance=_DROPS.tolerance,
        **provenance(engine.model),
        **spent(field, index),
        seconds=ready.seconds(),
        notes=tuple(note for note in every if note),
    )


def _cut(
    found: _Findings, ready: ReadyBatch, index: int, tokenizer: Any, run: AttackRun
) -> Robustness:
    """Cut one answer out of a batch and bring it to the CPU."""
    case = ready.plan.cases[index]
    count = len(case.sequence.response)
    columns = ready.batch.places(index)[: len(case.inputs)]

    def cut(by_target: Tensor) -> Tensor:
        own = by_target[index, :count].detach().cpu()
        own = own[:, columns] if own.dim() == 2 else own
        return own.double() if own.is_floating_point() else own

    ids = [cut(each) for each in (found.flips_to, found.nearest, found.towards)]
    others = sorted({*torch.cat([each.flatten() for each in ids]).tolist()} - {-1})
    result = Robustness(
        inputs=case.inputs,
        response=case.sequence.response,
        probability=cut(ready.seen.probability),
        margin=cut(ready.seen.value),
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
        sequence=case.sequence.bare(),
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

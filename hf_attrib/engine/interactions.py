"""From a question about pairs of inputs to the interactions in each answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hf_attrib.engine.engine import Engine
from hf_attrib.engine.options import DEFAULTS, field_names
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.ready import ReadyBatch
from hf_attrib.engine.record import (
    NOT_FINITE,
    at_reference,
    checked,
    reservations,
    run_of,
    spent,
    unlikely,
    with_own,
    zeros_of,
)
from hf_attrib.errors import InputError
from hf_attrib.execution import Processes
from hf_attrib.field import Table
from hf_attrib.hyperparameters import plain_number
from hf_attrib.methods import SPENT, Interaction, PairScores, interaction, interactions
from hf_attrib.results import Interactions, Run
from hf_attrib.targets import target as target_named
from hf_attrib.text import Span, Tokens, chosen

__all__ = ["INTERACTIONS_DEFAULTS", "PairQuestion", "Which", "interacting", "pair_question"]

#: One of the groups: its number, its name or text that occurs once, or a range of tokens.
Which: TypeAlias = "int | str | tuple[int, int]"

#: What a call asks that says nothing.
INTERACTIONS_DEFAULTS: Mapping[str, Any] = {**DEFAULTS, "method": "shapley_taylor"}


@dataclass(frozen=True, eq=False)
class PairQuestion(Question):
    """A question about pairs of groups.

    Args:
        token: which group is paired with all others; by default all are paired.

    Raises:
        InputError: the method finds all pairs from the same rows.
    """

    token: Which | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token is not None and not self.interaction.pairs_one:
            one = [name for name, made in interactions().items() if made.pairs_one]
            raise InputError(
                f"method {self.method.name} finds all pairs from the same rows; leave token out, "
                f"or take {' or '.join(one)}."
            )

    @property
    def interaction(self) -> Interaction:
        """The method, which scores pairs."""
        assert isinstance(self.method, Interaction)
        return self.method

    def check(self, prompts: Sequence[Tokens], tokenizer: Any, tables: Sequence[Table]) -> None:
        """Refuse what could not be answered for prompts, too many groups among them."""
        super().check(prompts, tokenizer, tables)
        for prompt in prompts if self.attribute_to == "prompt" else ():
            moves = self._moves(prompt, len(prompt))
            groups = self._groups(prompt, moves)
            moving = [bool(moves[span.start : span.stop].any()) for span in groups]
            self.method.cost(1, sum(moving))  # which refuses numbers that would take too long
            self.number(prompt, groups, moves)

    def number(self, inputs: Tokens, groups: Sequence[Span], moves: Tensor) -> int | None:
        """Return the number of the group that is paired with all others, if one is.

        Args:
            inputs: the tokens that are scored.
            groups: that partition them.
            moves: which of them may move, bool.

        Raises:
            InputError: there is no such group, or none of it may move.
        """
        token = plain_number(self.token)
        if token is None:
            return None
        names = [span.name for span in groups]
        if isinstance(token, str) and names.count(token) == 1:
            found = names.index(token)
        elif type(token) is int:
            found = token if 0 <= token < len(groups) else -1
        else:
            (part,) = chosen(inputs, [token])
            holding = [g.start <= part.start and part.stop <= g.stop for g in groups]
            found = holding.index(True) if any(holding) else -1
        if found < 0:
            raise InputError(
                f"token is {token!r:.80}, which is none of the {len(groups)} groups; give its "
                "number, its name, or text or a range of tokens within one."
            )
        span = groups[found]
        if not moves[span.start : span.stop].any():
            raise InputError(
                f"token is {inputs.piece(span)!r:.80}, which may not move, so that it has no "
                "interactions; movable='all' moves special and template tokens, too."
            )
        return found


def pair_question(given: Mapping[str, Any]) -> tuple[PairQuestion, dict[str, Any]]:
    """Return the question of a call, and what it was given for ``generate``.

    Args:
        given: a :class:`PairQuestion` by the names that it has, hyperparameters of the method, and
            arguments of ``generate``.

    Raises:
        InputError: there is no such method or field, or the question does not make sense.
    """
    asked = {f.name: given[f.name] for f in fields(PairQuestion) if f.name in given}
    known = field_names() | {f.name for made in interactions().values() for f in fields(made)}
    own = {name: given[name] for name in given if name in known and name not in asked}
    rest = {name: given[name] for name in given if name not in asked and name not in own}
    made = interaction(asked.pop("method", INTERACTIONS_DEFAULTS["method"]), own)
    scalar = target_named(asked.pop("target", DEFAULTS["target"]))
    return PairQuestion(made, scalar, **asked), rest


def interacting(engine: Engine, plan: Plan, processes: Processes) -> Iterator[Interactions]:
    """Score pairs of the groups of some answers, and yield what was found of each.

    Args:
        engine: of the model, which is isolated.
        plan: what is asked of each sequence.
        processes: those that share the rows to run.
    """
    # Where nodes go must not depend on what else is asked, and each has rows enough.
    for ready in engine.each_alone(plan, processes):
        done: list[Interactions] = []
        with ready.attempt():
            done = _found(ready, engine)
        del ready  # with what it holds on the device, before the next one is made
        for result in done:
            engine.unsaid += _reservation(result)
        yield from done


def _found(ready: ReadyBatch, engine: Engine) -> list[Interactions]:
    question = ready.plan.question
    assert isinstance(question, PairQuestion)
    numbers = [question.number(case.inputs, case.groups, case.moves) for case in ready.plan.cases]
    known = [n for n in numbers if n is not None]
    only = None
    if known:
        groups = [_columns(ready, index)[n] for index, n in enumerate(known)]
        only = torch.stack(groups)
    found = question.interaction(ready.field, ready.seen.x, ready.reference(), only)
    run = run_of(ready, engine.model)
    runs = [with_own(run, case, engine.tokenizer) for case in ready.plan.cases]
    return [
        _cut(ready, found, index, *own) for index, own in enumerate(zip(runs, numbers, strict=True))
    ]


def _columns(ready: ReadyBatch, index: int) -> Tensor:
    """Return where the field has the groups of one sequence."""
    case = ready.plan.cases[index]
    if ready.plan.question.joins:
        return torch.arange(len(case.groups))
    return ready.batch.places(index)[: len(case.inputs)]


def _cut(
    ready: ReadyBatch, found: PairScores, index: int, run: Run, token: int | None
) -> Interactions:
    """Cut one answer out of a batch."""
    case, columns = ready.plan.cases[index], _columns(ready, index)
    count, same = len(case.targets), at_reference(ready)
    assert found.attribution is not None
    assert found.start_value is not None

    def cut(by_pair: Tensor) -> Tensor:
        return by_pair[index, :count][:, columns][:, :, columns].double().cpu()

    def vector(by_target: Tensor) -> Tensor:
        return by_target[index, :count].double().cpu()

    error, shares = found.standard_error, vector(found.attribution)[:, columns]
    notes = (*unlikely(ready, index), *reservations(found.notes, index, count))
    if same is not None:
        tokens = ready.batch.places(index)[: len(case.inputs)]
        notes = (*notes, *zeros_of(ready, index, same[index, tokens], shares))
    run = replace(run, **spent(ready.field, index), notes=(*run.notes, *notes))
    ends = vector(found.start_value), vector(ready.seen.value)
    return Interactions(
        matrix=cut(found.scores),
        attribution=shares,
        sequence=case.sequence.bare(),
        inputs=case.inputs,
        response=case.sequence.response,
        start_value=ends[0],
        end_value=ends[1],
        probability=vector(ready.seen.probability),
        run=checked(run, shares, *ends),
        rows=case.targets,
        columns=case.groups if ready.plan.question.joins else (),
        token=token,
        standard_error=None if error is None else cut(error),
    )


def _reservation(result: Interactions) -> list[str]:
    """Return what a caller must be warned of: scores that miss their sum, or are no numbers."""
    if broken := [note for note in result.run.notes if note.startswith(NOT_FINITE)]:
        return broken
    missed = 0 if result.run.identity is None else int((~result.converged).sum())
    nodes_left = not any(SPENT in note for note in result.run.notes)
    remedy = result.run.remedy or ""
    if result.run.method_fields.get("max_nodes") and nodes_left:
        remedy = "Rounding of second derivatives is left; join inputs by groups=."
    return [
        f"{missed} of {len(result)} targets have not converged: main effects and pairs miss "
        f"{result.run.identity} by up to {float(result.gap.max()):.1%}. {remedy}"
    ] * (missed > 0)

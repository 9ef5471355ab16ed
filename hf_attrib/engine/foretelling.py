"""What is said before work that takes long: how much it is, and what would be cheaper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from hf_attrib.engine.estimation import Estimate
from hf_attrib.engine.memory import written
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.ready import ReadyBatch
from hf_attrib.errors import InputError
from hf_attrib.execution import PATIENCE, say
from hf_attrib.field import Cost
from hf_attrib.text import TokenSequence

__all__ = ["foretold"]

#: Times the least, which adaptive rules mostly take: 20 to 60 nodes, of which the first are 17.
_MOSTLY = 3


def foretold(
    measure: Callable[[Question, TokenSequence, bool], Estimate], plan: Plan, ready: ReadyBatch
) -> None:
    """Say what attributions will take, if that may be longer than a caller waits in silence.

    Rows are counted by arithmetic and taken to last as long as the one that was run already; only
    where that comes to much are a few measured.

    Args:
        measure: returns what a question about one sequence takes, whose answer is all there is.
        plan: what is asked of all sequences.
        ready: the first of them, which are about to be worked on.
    """
    if _seconds(plan, ready) < PATIENCE:
        return
    sizes = [len(case.inputs) ** 2 for case in plan.cases]
    longest = plan.cases[sizes.index(max(sizes))]
    one = measure(plan.question, longest.sequence, False)
    # Rows are about as many as a prompt is long, and last as long, too.
    times = sum(sizes) / max(sizes)
    least, most = (times * end for end in one.seconds)
    mostly = _likely(least, most)
    if mostly < PATIENCE:
        return
    ends = _range(least, mostly) + (f" s, at most {_range(most, most)}" if mostly < most else "")
    rows = ", ".join(_rows(one, times))
    count = "" if len(sizes) == 1 else f" for {len(sizes):,} prompts"
    say(
        f"this takes about {ends} s{count}: {rows}, {one.rows_at_once:,} at once, "
        f"and {written(one.peak_memory)} beyond the model. {' '.join(_cheaper(plan, one))}".strip()
    )


def _seconds(plan: Plan, ready: ReadyBatch) -> float:
    """Return about how long the sequences take, by the pass that was run; 0 if nobody can say."""
    field, method = ready.field, plan.question.method
    moving = field.groups.moving if method.claims.groups == "players" else field.movable
    with suppress(InputError):  # a method of others need not say what it runs
        least, most = method.cost(field.targets, int(moving.sum(1).max()))
        of_pass = ready.pace * len(plan.cases)
        return _likely(*(_passes(cost, field.targets) * of_pass for cost in (least, most)))
    return 0.0


def _passes(cost: Cost, targets: int) -> float:
    """Return about how many passes rows take, of which a pullback takes two."""
    pullbacks = cost.gradients * targets + cost.own + cost.joint
    return cost.values + cost.own_values / targets + 3 * pullbacks


def _likely(least: float, most: float) -> float:
    """Return what work mostly takes that may take very long: adaptive methods seldom do."""
    return min(most, _MOSTLY * least)


def _rows(one: Estimate, times: float) -> Iterator[str]:
    kinds = {
        "forward": one.forward_rows,
        "backward": one.backward_rows,
        "directional": one.directional_rows,
    }
    for kind, ends in kinds.items():
        if ends[1]:
            yield f"{_range(*(round(times * end) for end in ends))} {kind} rows"


def _range(least: float, most: float) -> str:
    ends = dict.fromkeys(f"{float(f'{end:.2g}'):,.0f}" for end in (least, most))
    return " to ".join(ends)


def _cheaper(plan: Plan, one: Estimate) -> Iterator[str]:
    """Yield what would take less time."""
    question, found = plan.question, list[str]()
    if question.groups in (None, "token", "word") and one.tokens > 1:
        found.append("inputs joined by groups='sentence' (of the command --group sentence)")
    if question.method.claims.differentiates:
        if question.spans is None and one.targets > 1:
            found.append("sums over the answer by spans='sentence' (--spans sentence)")
        found.append("a method that runs forward alone, as the default does")
    if found:
        yield f"Cheaper: {'; '.join(found)}."

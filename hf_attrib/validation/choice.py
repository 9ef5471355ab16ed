"""The most faithful method for one prompt, and the contest that it won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from hf_attrib.engine import Answering, Engine, Plan
from hf_attrib.engine.options import field_names
from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import at_least
from hf_attrib.results import Attribution, Result
from hf_attrib.targets import TARGETS
from hf_attrib.text import Requests
from hf_attrib.validation.contest import DEFAULT_METHODS, Contest, judged
from hf_attrib.validation.costs import judging_cost, method_cost, weighed
from hf_attrib.validation.entrants import Entrant, entrants_of
from hf_attrib.validation.options import EVALUATE_DEFAULTS, contest_of
from hf_attrib.validation.result import Evaluation
from hf_attrib.validation.statistics import CHOSEN, holm, least_orders
from hf_attrib.validation.suite import METRICS

__all__ = ["CHOOSE_DEFAULTS", "Choice", "automatic", "automatic_contest", "choice_of", "chosen"]

#: What ``choose`` does when nothing is said: what it does not rank by would be run for nothing,
#: and there are as many random orders as tell whether the winner beats them.
CHOOSE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {**EVALUATE_DEFAULTS, "metrics": ("morf_lerf",), "random_orders": None}
)

#: What a backward row costs, in forward rows.
_BACKWARD = 2
#: What of ``explain`` a contest of methods has no place for.
_UNSHARED = ("contrast", "baseline")
_SHARED = ("target", "groups", "attribute_to", "movable")


@dataclass(frozen=True, eq=False)
class Choice(Result):
    """What the most faithful of several methods says of one prompt, and how it was chosen.

    Methods are ranked by the first metric under each operator, those without a number last; where
    none has one, the operator is left out. The lowest mean rank wins, and of equal ones the method
    that runs fewer rows.

    Args:
        attribution: what the winner says; a note of its run says how it was chosen.
        evaluation: the contest.
        winner: its label.
        ranks: the mean rank of each method over operators, [M]; the lowest wins.
        chance: the largest p-value of the winner against random orders, over operators; each is
            adjusted for how many methods there are to choose among (Holm).
        left_out: methods that the budget did not reach for.
    """

    attribution: Attribution
    evaluation: Evaluation
    winner: str
    ranks: tuple[float, ...]
    chance: float
    left_out: tuple[str, ...] = ()

    @property
    def beats_random(self) -> bool:
        """Whether the winner beats random orders under every operator, up to an adjusted p of 0.1.

        Of one method it cannot be said with fewer than nine of them, nor of the best of five with
        fewer than 49.
        """
        return _beats(self.chance)

    @property
    def reason(self) -> str:
        """Why this method, in a sentence."""
        return _reason(self.evaluation, self.winner, self.chance, self.left_out)


def choice_of(
    prompt: Any, methods: Any, options: Mapping[str, Any]
) -> tuple[Requests, Contest, dict[str, Any]]:
    """Return what a call of ``choose`` asks, as :func:`contest_of` does.

    Args:
        prompt: a text, or messages.
        methods: who takes part.
        options: by the names of :class:`EvaluateOptions`.
    """
    given = {"metrics": CHOOSE_DEFAULTS["metrics"], **options}
    if orders := given.get("random_orders") is None:
        given.pop("random_orders", None)
    requests, contest, generation = contest_of(prompt, methods, given)
    if orders:
        tests = len(entrants_of(contest.methods, 1, contest.common))
        settings = replace(contest.settings, random_orders=least_orders(CHOSEN, tests))
        contest = replace(contest, settings=settings)
    return requests, contest, generation


def automatic_contest(given: Mapping[str, Any]) -> tuple[Contest, dict[str, Any], int | None]:
    """Return what ``explain`` with ``method="auto"`` asks.

    Args:
        given: arguments of ``explain``, those that say what is answered aside.

    Returns:
        the contest, what came for ``generate``, and the budget, if there is one.

    Raises:
        InputError: an argument has no meaning for several methods at once.
    """
    rest = {name: value for name, value in given.items() if name != "method"}
    budget, spans = rest.pop("budget", None), rest.pop("spans", None)
    if budget is not None:
        at_least(1)("budget", budget)
    asked = {name: rest.pop(name) for name in _SHARED if rest.get(name) is not None}
    if unshared := [name for name in _UNSHARED if rest.pop(name, None) is not None]:
        raise InputError(
            f"{unshared[0]} came with method='auto', which judges all methods alike, by the "
            "answer itself and each from its own baseline; name a method, or leave it out."
        )
    if not isinstance(asked.get("target", ""), str):
        raise InputError(
            "target is a function, and method='auto' names what it judges by; give one of "
            f"{', '.join(TARGETS)}, or name a method."
        )
    if own := sorted(set(rest) & field_names()):
        raise InputError(
            f"{', '.join(own)} came with method='auto' and could be meant for any method; name "
            "the method, or choose(prompt, ['name(field=value)', ...])."
        )
    methods = {name: {"method": name, "spans": spans} for name in DEFAULT_METHODS}
    _, contest, _ = choice_of("", methods, asked)
    return contest, rest, budget


def automatic(
    answering: Answering, requests: Requests, given: Mapping[str, Any]
) -> list[Attribution]:
    """Return what the most faithful method says of each prompt, chosen for each of them alone.

    Args:
        answering: of the model.
        requests: prompts, with responses or without.
        given: as for :func:`automatic_contest`.

    Raises:
        InputError: no method has a number, or the budget does not reach for any.
    """
    contest, generation, budget = automatic_contest(given)
    return answering.one_by_one(
        requests, lambda one: chosen(answering, one, contest, generation, budget).attribution
    )


def chosen(
    answering: Answering,
    requests: Requests,
    contest: Contest,
    generation: Mapping[str, Any],
    budget: int | None = None,
) -> Choice:
    """Return what the most faithful method says of one prompt.

    Args:
        answering: of the model.
        requests: one prompt, with a response or without.
        contest: what is asked; all methods are of this package.
        generation: arguments of ``generate``.
        budget: rows that methods and judging them may take at most, of which those with a
            derivative count two; the cheapest methods take part that it reaches for.

    Raises:
        InputError: there are several prompts, or a method brings scores alone; or no method has a
            number, as of an answer that does not depend on the prompt.
    """
    if len(requests.each) != 1:
        raise InputError(
            f"{len(requests.each)} prompts came, but a method is chosen for one; evaluate() "
            "compares methods over several."
        )
    metric = contest.settings.metrics[0]
    if not METRICS[metric].sign:
        raise InputError(f"{metric} is no merit that methods could be ranked by; name another one.")
    if contest.resume is not None:
        raise InputError("resume is for evaluate(); a choice for one prompt keeps no file.")
    entrants = entrants_of(contest.methods, 1, contest.common)
    if foreign := [entrant.label for entrant in entrants if entrant.question is None]:
        raise InputError(
            f"{foreign[0]!r:.80} brings scores and no result; choose among methods of hf_attrib."
        )
    left_out: list[str] = []

    def narrowed(plan: Plan) -> Contest:
        if budget is None:
            return contest
        within, left_out[:] = _within(answering.engine, plan, contest, entrants, budget)
        return within

    evaluation, finding_of = judged(answering, requests, contest, generation, narrowed)
    ranks = _mean_ranks(evaluation)
    rows = evaluation.forward_rows[0] + _BACKWARD * evaluation.backward_rows[0]
    if np.isnan(ranks).all():
        raise InputError(
            f"no method has a {metric} on this prompt, so none can be chosen; its answer may not "
            "depend on it, or a single unit may be taken away."
        )
    order = sorted(
        (m for m in range(len(ranks)) if np.isfinite(ranks[m])),
        key=lambda m: (ranks[m], int(rows[m])),
    )
    best = order[0]
    winner = evaluation.labels[best]
    chance = max(_adjusted(evaluation, o)[best] for o in _deciding(evaluation))
    explained = finding_of(0, winner).explained
    result = None if explained is None else explained.result
    assert result is not None  # as it is one of our methods
    note = _reason(evaluation, winner, chance, left_out)
    run = replace(
        result.run,
        notes=(*result.run.notes, note),
        contest=_contest(evaluation, ranks),
        contest_heads=_heads(evaluation),
    )
    attribution, told = replace(result, run=run), tuple(float(r) for r in ranks)
    return Choice(attribution, evaluation, winner, told, chance, tuple(left_out))


def _within(
    engine: Engine, plan: Plan, contest: Contest, entrants: Sequence[Entrant], budget: int
) -> tuple[Contest, list[str]]:
    """Return the contest of the cheapest methods that a budget reaches for, and who is left out."""
    sequence, settings = plan.cases[0].sequence, contest.settings
    costs = [method_cost(engine, entrant, sequence) for entrant in entrants]
    rows = [0 if cost is None else weighed(cost) for cost in costs]
    order = sorted(range(len(entrants)), key=lambda m: rows[m])
    total = 0
    for count in range(len(order), 0, -1):
        some = replace(settings, random_orders=least_orders(CHOSEN, count))
        judging = weighed(judging_cost(engine, plan, 0, count, some))
        total = judging + sum(rows[m] for m in order[:count])
        if total <= budget:
            taking = {entrants[m].label: contest.methods[entrants[m].label] for m in order[:count]}
            left = [entrants[m].label for m in order[count:]]
            return replace(contest, methods=taking, settings=some), left
    raise InputError(
        f"budget is {budget} rows, and the cheapest method ({entrants[order[0]].label}) takes up "
        f"to {total:,} with judging it; raise it, or name a method."
    )


def _heads(evaluation: Evaluation) -> tuple[str, ...]:
    metric = evaluation.run.metrics[0]
    by = (f"{metric} by {operator}" for operator in evaluation.run.operators)
    return ("rank", *by, "adjusted p", "forward rows", "backward rows", "seconds")


def _contest(evaluation: Evaluation, ranks: np.ndarray[Any, Any]) -> dict[str, tuple[float, ...]]:
    """Return the numbers of each method, by the names of :func:`_heads`; the best come first."""
    values, found = evaluation.values[0, :, :, 0].tolist(), {}
    chances = np.max([_adjusted(evaluation, o) for o in _deciding(evaluation)], axis=0)
    costs = evaluation.forward_rows[0], evaluation.backward_rows[0], evaluation.seconds[0]
    for m in np.argsort(ranks, kind="stable"):
        spent = (float(cost[m]) for cost in costs)
        numbers = float(ranks[m]), *values[m], float(chances[m]), *spent
        found[evaluation.labels[m]] = numbers
    return found


def _mean_ranks(evaluation: Evaluation) -> np.ndarray[Any, Any]:
    """Return the mean over operators of each method's rank by the first metric, [M]."""
    from scipy import stats  # takes a while

    sign = METRICS[evaluation.run.metrics[0]].sign
    values = -sign * evaluation.values[0, :, :, 0].numpy()  # the lowest is the best
    ranked = [
        stats.rankdata(np.nan_to_num(values[:, o], nan=np.inf)) for o in _deciding(evaluation)
    ]
    # A number under one operator at least, or there is nothing to rank.
    without = np.isnan(values).all(1)
    return np.where(without, np.nan, np.mean(ranked, axis=0) if ranked else np.nan)


def _adjusted(evaluation: Evaluation, operator: int) -> list[float]:
    """Return the p-value of each method, adjusted as the best of them all is chosen, [M]."""
    return [float(p) for p in holm(evaluation.p_values[0, :, operator, 0].numpy())]


def _beats(chance: float) -> bool:
    return chance <= CHOSEN + 1e-9  # products of the same fractions differ in their last digits


def _deciding(evaluation: Evaluation) -> list[int]:
    """Return the numbers of the operators under which some method has a number."""
    known = evaluation.values[0, :, :, 0].isfinite().any(0)
    return [o for o in range(len(known)) if known[o]]


def _reason(
    evaluation: Evaluation, winner: str, chance: float, left_out: Sequence[str] = ()
) -> str:
    run, place, deciding = evaluation.run, evaluation.labels.index(winner), _deciding(evaluation)
    numbers = {run.operators[o]: float(evaluation.values[0, place, o, 0]) for o in deciding}
    said = " and ".join(
        f"{'no number' if np.isnan(number) else f'{number:.3g}'} by {operator}"
        for operator, number in numbers.items()
    )
    left = [name for o, name in enumerate(run.operators) if o not in deciding]
    among = (
        f"{winner} was chosen among {len(evaluation.labels)} by {run.metrics[0]}: {said}"
        + f"; {' and '.join(left)} left out, as no method has a number by it" * bool(left)
        + f"; {', '.join(left_out)} would have gone beyond the budget" * bool(left_out)
    )
    if _beats(chance):
        return f"{among}."
    if np.isnan(chance):
        return f"{among}; it could not be compared with random orders."
    if run.random_orders < (least := least_orders(CHOSEN, len(evaluation.labels))):
        few = f"cannot be said to beat random with {run.random_orders} random orders"
        return f"{among}; it {few}, which takes {least} at least."
    return f"No method beats random here (adjusted p = {chance:.2g} under one operator). {among}."

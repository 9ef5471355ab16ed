"""The most faithful method for one prompt, and the contest that it won."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from hf_attrib.engine import Answering
from hf_attrib.errors import InputError
from hf_attrib.results import Attribution, Result
from hf_attrib.text import Requests
from hf_attrib.validation.contest import Contest, judged
from hf_attrib.validation.entrants import entrants_of
from hf_attrib.validation.options import EVALUATE_DEFAULTS, contest_of
from hf_attrib.validation.result import Evaluation
from hf_attrib.validation.statistics import CHOSEN, holm, least_orders
from hf_attrib.validation.suite import METRICS

__all__ = ["CHOOSE_DEFAULTS", "Choice", "choice_of", "chosen"]

#: What ``choose`` does when nothing is said: what it does not rank by would be run for nothing,
#: and there are as many random orders as tell whether the winner beats them.
CHOOSE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {**EVALUATE_DEFAULTS, "metrics": ("morf_lerf",), "random_orders": None}
)

#: What a backward row costs, in forward rows.
_BACKWARD = 2


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
    """

    attribution: Attribution
    evaluation: Evaluation
    winner: str
    ranks: tuple[float, ...]
    chance: float

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
        return _reason(self.evaluation, self.winner, self.chance)


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


def chosen(
    answering: Answering, requests: Requests, contest: Contest, generation: Mapping[str, Any]
) -> Choice:
    """Return what the most faithful method says of one prompt.

    Args:
        answering: of the model.
        requests: one prompt, with a response or without.
        contest: what is asked; all methods are of this package.
        generation: arguments of ``generate``.

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
    evaluation, finding_of = judged(answering, requests, contest, generation)
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
    note = _reason(evaluation, winner, chance)
    run = replace(result.run, notes=(*result.run.notes, note))
    return Choice(
        replace(result, run=run), evaluation, winner, tuple(float(r) for r in ranks), chance
    )


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


def _reason(evaluation: Evaluation, winner: str, chance: float) -> str:
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
    )
    if _beats(chance):
        return f"{among}."
    if np.isnan(chance):
        return f"{among}; it could not be compared with random orders."
    if run.random_orders < (least := least_orders(CHOSEN, len(evaluation.labels))):
        few = f"cannot be said to beat random with {run.random_orders} random orders"
        return f"{among}; it {few}, which takes {least} at least."
    return f"No method beats random here (adjusted p = {chance:.2g} under one operator). {among}."

"""What judging would cost: rows of each method, and of the subsets that metrics ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor

from hf_attrib.engine import Case, Engine, Estimate, Plan
from hf_attrib.field import Cost, Decomposition, Field
from hf_attrib.methods import Claims, Method
from hf_attrib.text import TokenSequence
from hf_attrib.validation.entrants import Entrant, Explained
from hf_attrib.validation.evaluation import Settings, exhibited, rarities

__all__ = ["judging_cost", "method_cost", "weighed"]

#: What a row with a derivative costs, in forward rows.
_DERIVATIVE = 2


@dataclass(frozen=True)
class _Counted(Method):
    """Stands for values of so many subsets of one prompt.

    Args:
        least: how many there are at least, over all operators.
        most: at most.
    """

    CLAIMS: ClassVar[Claims] = Claims("", frozenset(), groups="players")
    least: int = 0
    most: int = 0

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=self.least), Cost(values=self.most)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Refuse: it is never run."""
        raise NotImplementedError


def weighed(estimate: Estimate) -> int:
    """Return how many rows are run at most, in forward rows; one with a derivative counts two."""
    derivatives = estimate.backward_rows[1] + estimate.directional_rows[1]
    return estimate.forward_rows[1] + _DERIVATIVE * derivatives


def method_cost(
    engine: Engine, entrant: Entrant, sequence: TokenSequence, at_most: bool = False
) -> Estimate | None:
    """Return what a method would cost on a prompt; a few rows are run.

    Args:
        engine: of the model, which is isolated.
        entrant: the method.
        sequence: the prompt with its answer.
        at_most: whether the answer stands for any that is no longer.

    Returns:
        ``None`` of scores from elsewhere, which run nothing that could be counted.

    Raises:
        InputError: a method does not say what it costs.
    """
    if entrant.question is None:
        return None
    return engine.estimate(entrant.question, sequence, at_most)


def judging_cost(
    engine: Engine,
    plan: Plan,
    place: int,
    methods: int,
    settings: Settings,
    at_most: bool = False,
) -> Estimate:
    """Return what the subsets of a prompt would cost that metrics ask for; a few rows are run.

    Args:
        engine: of the model, which is isolated.
        plan: what is judged, of all prompts.
        place: of the prompt.
        methods: how many there are.
        settings: what is measured.
        at_most: as for :func:`method_cost`.
    """
    case = plan.cases[place]
    least, most = _subsets(case, rarities(plan)[place], methods, settings)
    question = replace(plan.question, method=_Counted(least=least, most=most))
    return engine.estimate(question, case.sequence, at_most)


def _subsets(case: Case, rare: np.ndarray, methods: int, settings: Settings) -> tuple[int, int]:
    """Return how many subsets run at least and at most, over all operators.

    What controls ask for is known. The order of a method is not: it may be that of a control, or
    share no subset with any of them.
    """
    groups, targets = len(case.groups), len(case.targets)
    draw = np.random.default_rng(settings.seed)
    drawn = [Explained(draw.normal(size=(targets, groups)), 0.0) for _ in range(2)]
    controls = exhibited(case, {}, rare, settings)
    if len(controls.units) < 2:
        return 0, 0
    asked = controls.asked(settings.metrics)
    # Two methods whose orders have nothing in common ask for the same only where they must.
    alone = [
        exhibited(case, {"a": one}, rare, settings, ()).asked(settings.metrics) for one in drawn
    ]
    reverse = {"a": replace(drawn[0], scores=-drawn[0].scores)}
    alone.append(exhibited(case, reverse, rare, settings, ()).asked(settings.metrics))
    shared = set(alone[0]).intersection(*alone[1:])
    least = asked | {key: alone[0][key] for key in shared}
    own = max(len(each) for each in alone) - len(shared)
    found = [0, 0]
    for operator in settings.operators:
        possible = len(least)
        if operator in ("drop", "attention"):
            possible = int(controls.possible(np.stack(list(least.values()))).sum())
        found[0] += possible
        found[1] += min(2 ** min(len(controls.units), 62), len(least) + methods * own)
    return found[0], found[1]

"""Path integrals along the walks of attacks: what all adversarial methods share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from hf_attrib.attacks import Walk, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, one_of, positive
from hf_attrib.integration import (
    STEP_RULES,
    Budget,
    first_nodes,
    integrate,
    polyline_integral,
    reverse,
    straight,
)
from hf_attrib.methods.base import Claims, Method, Rows

__all__ = ["AdversarialMethod"]

_ADAPTIVE = "adaptive"
#: Whole gradients that a walk holds besides its points: directions, projections, sums.
_BESIDES = 10
_STOOD = "the attack moved nothing, so that nothing is attributed"


@dataclass(frozen=True, kw_only=True)
class AdversarialMethod(Method):
    r"""A method whose scores are integrals of the gradient of f along walks that attacks found.

    .. math:: A_{t,n} = -\sum_k \sum_d \int_{x^k}^{x^{k+1}}
        \frac{\partial f_t}{\partial x_{nd}}\,dx_{nd}, \qquad
        \sum_n A_{t,n} = f_t(x) - f_t(x^K)

    Args:
        rule: "adaptive", which takes as many nodes as the tolerance asks for, or one of
            :data:`hf_attrib.integration.rules.STEP_RULES` on each step, as "left" in the papers.
        tolerance: relative error that the adaptive rule is to reach.
        max_points: nodes that the adaptive rule spends on each target and walk, at most, if the
            first ones on each step are not more.
    """

    rule: str = field(
        default=_ADAPTIVE, metadata={"help": f"{_ADAPTIVE}, {', '.join(STEP_RULES)}."}
    )
    tolerance: float = field(default=0.02, metadata={"help": "Of rule=adaptive: relative error."})
    max_points: int = field(default=400, metadata={"help": "Of rule=adaptive: nodes at most."})

    def __post_init__(self) -> None:
        one_of((_ADAPTIVE, *STEP_RULES), rule=self.rule)
        positive(tolerance=self.tolerance)
        at_least(first_nodes(), max_points=self.max_points)

    def claims_of(self, shared: bool, steps: int) -> Claims:
        """Return the claims of the class, and that walks of each target hold all their points.

        Args:
            shared: whether targets share walks.
            steps: of a walk.
        """
        return self.claims if shared else replace(self.claims, whole_gradients=steps + _BESIDES)

    def along(self, field: Field, walk: Walk) -> Decomposition:
        """Return the scores of a walk, its sizes, and which targets it did not move for."""
        points = walk.points.flip(0)
        if self.rule == _ADAPTIVE:
            pieces = [straight(a, b) for a, b in pairwise(points)]
            found = integrate(field, pieces, Budget(self.tolerance, self.max_points))
        else:
            found = polyline_integral(field, points, reverse(STEP_RULES[self.rule]))
        still = (walk.points == walk.points[0]).flatten(3).all(-1).all(0).cpu()
        notes = {_STOOD: still.expand(field.sequences, field.targets)}
        return replace(found, sizes=sizes(field, walk.eps, walk.step), notes=notes)

    def rows_along(
        self, targets: int, shared: bool, steps: int, fewest: int | None = None
    ) -> tuple[Rows, Rows]:
        """Return the rows of integrals along a walk, at least and at most.

        Args:
            targets: T.
            shared: whether they share a walk.
            steps: of a walk.
            fewest: steps of a walk that stops as early as it may, 0 for one that may stay where
                it is; by default it does not stop.
        """
        few = steps if fewest is None else fewest
        node = Rows(gradients=1) if shared else Rows(own=targets)
        one = Rows(values=1) if shared else Rows(own_values=targets)
        if self.rule != _ADAPTIVE:
            nodes = len(STEP_RULES[self.rule])
            return one + node.times(nodes * max(1, few)), one + node.times(nodes * steps)
        first = [first_nodes(taken) for taken in range(max(1, few), steps + 1)]
        own = targets * max(0, self.max_points - min(first))
        least = node.times(min(first)) if few else one
        return least, node.times(max(first)) + Rows(own=own)

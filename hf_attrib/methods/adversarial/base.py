"""Path integrals along the walks of attacks: what all adversarial methods share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor

from hf_attrib.attacks import Objective, Walk, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, number_or_auto, one_of, positive
from hf_attrib.integration import (
    STEP_RULES,
    Budget,
    first_nodes,
    integrate,
    polyline_integral,
    reverse,
    straight,
)
from hf_attrib.methods.base import Claims, Cost, Method

__all__ = ["VARIANTS", "AdversarialMethod", "WalkMethod"]

#: A method with true gradients, and the program that its authors published.
VARIANTS = ("corrected", "released")

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
        max_nodes: nodes that the adaptive rule spends on each target and walk, at most, if the
            first ones on each step are not more.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x_adv)",
        cost="K + 4 forward, K + 1 backward rows to walk; about 5 * K, 5 * K * T to integrate",
        axioms=frozenset({"completeness", "dummy", "implementation_invariance"}),
        groups="joined",
        baseline=None,
    )
    rule: str = hyperparameter(
        _ADAPTIVE,
        f"{_ADAPTIVE}, {', '.join(STEP_RULES)}.",
        one_of((_ADAPTIVE, *STEP_RULES)),
    )
    tolerance: float = hyperparameter(0.02, "Of rule=adaptive: relative error.", positive)
    max_nodes: int = hyperparameter(
        400, "Of rule=adaptive: nodes at most.", at_least(first_nodes()), formerly="max_points"
    )

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute from x, where the walks of all targets start."""
        return self.from_start(field, x[:, :1], baseline[:, :1])

    @abstractmethod
    def from_start(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute along walks from x.

        Args:
            field: F and its gradient.
            x: embeddings, the same for all targets, [B, 1, N, D].
            baseline: reference embeddings, [B, 1, N, D], which most walks ignore.
        """

    def along(self, field: Field, walk: Walk) -> Decomposition:
        """Return the scores of a walk, its sizes, and which targets it did not move for."""
        points = walk.points.flip(0)
        if self.rule == _ADAPTIVE:
            pieces = [straight(a, b) for a, b in pairwise(points)]
            found = integrate(field, pieces, Budget(self.tolerance, self.max_nodes))
        else:
            found = polyline_integral(field, points, reverse(STEP_RULES[self.rule]))
        still = (walk.points == walk.points[0]).flatten(3).all(-1).all(0).cpu()
        notes = {_STOOD: still.expand(field.sequences, field.targets)}
        return replace(found, sizes=sizes(field, walk.eps, walk.step), notes=notes)

    def cost_along(
        self, targets: int, shared: bool, steps: int, fewest: int | None = None
    ) -> tuple[Cost, Cost]:
        """Return the cost of integrals along a walk, at least and at most.

        Args:
            targets: T.
            shared: whether they share a walk.
            steps: of a walk.
            fewest: steps of a walk that stops as early as it may, 0 for one that may stay where
                it is; by default it does not stop.
        """
        few = steps if fewest is None else fewest
        node = Cost(gradients=1) if shared else Cost(own=targets)
        one = Cost(values=1) if shared else Cost(own_values=targets)
        if self.rule != _ADAPTIVE:
            nodes = len(STEP_RULES[self.rule])
            return one + node.times(nodes * max(1, few)), one + node.times(nodes * steps)
        first = [first_nodes(taken) for taken in range(max(1, few), steps + 1)]
        own = targets * max(0, self.max_nodes - min(first))
        least = node.times(min(first)) if few else one
        return least, node.times(max(first)) + Cost(own=own)

    def claims_of(self, shared: bool, steps: int) -> Claims:
        """Return the claims of the class, and that walks of each target hold all their points.

        Args:
            shared: whether targets share walks.
            steps: of a walk.
        """
        return self.CLAIMS if shared else replace(self.CLAIMS, whole_gradients=steps + _BESIDES)


@dataclass(frozen=True, kw_only=True)
class WalkMethod(AdversarialMethod):
    r"""A method that has a walk of its own, and a published program that sums up other terms.

    Args:
        eps: :math:`\epsilon`, or "auto", as attacks have it.
        steps: of each walk, K.
        objective: "shared", walks for all targets, or "per_token", some for each.
        variant: "corrected" or "released". The program walks for each target, whatever the
            objective.
    """

    #: Which claims the program does not keep, and what it claims instead.
    RELEASED: ClassVar[Mapping[str, Any]] = {"identity": None, "groups": "summed"}

    eps: float | str = hyperparameter(
        "auto", "Radius in embedding scales, or auto.", number_or_auto
    )
    steps: int = hyperparameter(10, "Steps of the walk.", at_least(1))
    objective: str = hyperparameter(
        "shared", "Whose walks: shared, per_token.", one_of(("shared", "per_token"))
    )
    variant: str = hyperparameter("corrected", f"{', '.join(VARIANTS)}.", one_of(VARIANTS))

    @property
    def released(self) -> bool:
        """Whether this is the published program."""
        return self.variant == "released"

    @property
    def shared(self) -> bool:
        """Whether targets share walks."""
        return self.objective == "shared" and not self.released

    @property
    def segments(self) -> int:
        """How many segments a walk has at the most."""
        return self.steps

    @property
    def claims(self) -> Claims:
        """What the variant claims."""
        claims = self.claims_of(self.shared, self.segments)
        return replace(claims, **self.RELEASED) if self.released else claims

    def from_start(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute by the variant."""
        return self.program(field, x) if self.released else self.integral(field, x, baseline)

    @abstractmethod
    def integral(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Integrate the gradient of f along walks; arguments are those of ``from_start``."""

    @abstractmethod
    def program(self, field: Field, x: Tensor) -> Decomposition:
        """Sum up what the published program does; arguments are those of ``from_start``."""

    def lowered(self, field: Field) -> Objective:
        """Return the objective that lowers f: of all targets together, or of each."""
        return Objective.shared(field) if self.shared else Objective.of_each(field)

"""The fundamental attribution method of adversarial explanations: any attack, true gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from hf_attrib.attacks import Attack, Objective, held_attack
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import hyperparameter, one_of
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.base import Claims, Cost, Method

__all__ = ["Fundamental"]

_OBJECTIVES = ("shared", "per_token", "runner_up")


@dataclass(frozen=True)
class Fundamental(AdversarialMethod, name="fundamental"):
    r"""Gradient of f integrated along the walk of an attack.

    The attack chooses where to go, :math:`x^0 = x, x^1, \dots, x^K`; what is integrated is always
    the gradient of f itself.

    .. math:: A_{t,n} = -\sum_k \sum_d \int_{x^k}^{x^{k+1}}
        \frac{\partial f_t}{\partial x_{nd}}\,dx_{nd}

    Where all targets share a walk, which is found once for all of them, scores are signed: what
    was moved may have raised some f_t. On a walk of its own each move lowers f_t as long as the
    walk follows the gradient, and scores are next to never negative.

    Args:
        update: the attack, one of ``hf-attrib attacks``, or as it is written:
            ``"mim(decay=0.9)"``.
        objective: what it raises: "shared", the sum of -f_t over all targets; "per_token", -f_t on
            a walk for each; "runner_up", the log-probabilities of the likeliest other tokens, all
            at once.

    Returns:
        scores [B, T, N], summing to f(x) - f(x^K) (units of f).

    Raises:
        InputError: a field is unknown or out of range.

    Source: arXiv:2505.03636, with the direction apart from the integrand.
    """

    update: str | Attack = hyperparameter(
        "bim", "The attack, as NAME or 'NAME(FIELD=VALUE)'.", lambda name, of: held_attack(of, name)
    )
    objective: str = hyperparameter(
        "shared", f"What the attack raises: {', '.join(_OBJECTIVES)}.", one_of(_OBJECTIVES)
    )

    @property
    def claims(self) -> Claims:
        """What holds for the attack: its cost, its laws, the reference it may depend on."""
        attack, each = self._attack, self.objective == "per_token"
        walk, steps = attack.cost(1 if each else None), attack.segments()
        backward, by = walk.joint + walk.own, " * T" * each
        forward = backward + walk.values + walk.own_values
        cost = f"{forward}{by} forward, {backward}{by} backward rows to walk; about {5 * steps}"
        broken = set() if attack.implementation_invariant else {"implementation_invariance"}
        return replace(
            self.claims_of(not each, steps + 2 * attack.samples()),
            axioms=self.CLAIMS.axioms - broken,
            stochastic=attack.stochastic,
            cost=f"{cost}{by} forward, {5 * steps} * T backward to integrate",
            baseline="mean" if attack.uses_reference else None,
        )

    @property
    def _attack(self) -> Attack:
        return held_attack(self.update, "update")

    def reseeded(self, seed: int) -> Method:
        """Return the same method with random numbers of its own: those of its attack."""
        update: Any = self._attack
        return replace(self, update=replace(update, seed=seed))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        shared = self.objective != "per_token"
        walk = self._attack.cost(None if shared else targets)
        walk += Cost(values=self.objective == "runner_up")
        segments, fewest = self._attack.segments(), self._attack.fewest
        least, most = self.cost_along(targets, shared, segments, fewest)
        return walk + least, walk + most

    def from_start(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk away from x, and attribute what that changes; the baseline is for the attack."""
        objective = replace(self._aim(field, x), reference=baseline)
        return self.along(field, self._attack.walk(objective, x))

    def _aim(self, field: Field, x: Tensor) -> Objective:
        if self.objective == "per_token":
            return Objective.of_each(field)
        if self.objective == "shared":
            return Objective.shared(field)
        likeliest = field.rivals(x, 1)[..., 0]
        return Objective.shared(field.aimed("log_prob", likeliest), sign=1.0)

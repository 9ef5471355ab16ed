"""More faithful and accelerated boundary-based attribution. Zhu et al. 2024, arXiv:2312.13630."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from hf_attrib.attacks import BIM, Objective, UpdateRule
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, one_of
from hf_attrib.methods.adversarial.base import WalkMethod
from hf_attrib.methods.adversarial.gradient_steps import GradientSteps
from hf_attrib.methods.adversarial.lead import WhileLeading
from hf_attrib.methods.adversarial.replicas import own_products
from hf_attrib.methods.base import Claims, Cost

__all__ = ["MFABA"]


@dataclass(frozen=True)
class MFABA(WalkMethod, name="mfaba"):
    r"""Gradient of f integrated along a walk that lowers f until other tokens lead.

    .. math:: x^{k+1} = x^k - \tfrac{\epsilon}{K} u \sqrt{n D}\,\frac{g^k}{\|g^k\|_2}
        \ \text{(sharp)}, \qquad
        x^{k+1} = \Pi_\epsilon\big(x^k - \tfrac{5 \epsilon}{4 K} u\,\mathrm{sign}\,g^k\big)
        \ \text{(smooth)}, \qquad g^k = \nabla \textstyle\sum_t f_t(x^k)

    A token that does not lead at x cannot lose its lead, and its walk takes all steps.

    ``variant="released"`` is the published program: a walk for each token, whatever the
    objective; gradients are never cleared, so that the sum of all so far sets the direction and is
    multiplied by the step. Its scores are not negative and sum to nothing exact. Take
    ``target="prob"`` with it, as the program does.

    Args:
        kind: "sharp", steps along the gradient, or "smooth", along its signs.
        objective: "shared", a walk for all targets that stops when all have lost the lead, or
            "per_token", one for each.

    Returns:
        scores [B, T, N], summing to f(x) - f(x^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: arXiv:2312.13630.
    """

    CLAIMS: ClassVar[Claims] = replace(
        WalkMethod.CLAIMS,
        cost="2 * K + 4 forward, K + 1 backward rows to walk; about 5 * K, 5 * K * T to integrate",
    )
    RELEASED: ClassVar[Mapping[str, Any]] = {**WalkMethod.RELEASED, "signed": False}
    kind: str = hyperparameter("sharp", "sharp or smooth.", one_of(("sharp", "smooth")))
    _: KW_ONLY
    steps: int = hyperparameter(20, "Steps of the walk.", at_least(1))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        walkers, rule = None if self.shared else targets, self._rule()
        asked = Cost(values=1) if self.shared else Cost(own_values=targets)
        least = replace(rule, steps=1).cost(walkers) + asked.times(min(2, self.steps))
        most = rule.cost(walkers) + asked.times(self.steps)
        if self.released:
            return least, most
        few, many = self.cost_along(targets, self.shared, self.steps, fewest=1)
        return least + few, most + many

    def integral(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk away from x until other tokens lead, and attribute what that changes."""
        walk = self._rule().walk(self.lowered(field), x, WhileLeading(field))
        return self.along(field, walk)

    def program(self, field: Field, x: Tensor) -> Decomposition:
        """Multiply steps by the sums of gradients that they follow."""
        objective, goes_on = Objective.of_each(field), WhileLeading(field)
        return own_products(field, self._rule(), objective, x, goes_on)

    def _rule(self) -> UpdateRule:
        sharp, sums = self.kind == "sharp", self.released
        if not sharp and not sums:
            return BIM(self.eps, self.steps)
        return GradientSteps(self.eps, self.steps, by_length=sharp, sums=sums)

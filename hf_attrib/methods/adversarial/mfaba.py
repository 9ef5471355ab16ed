"""More faithful and accelerated boundary-based attribution. Zhu et al. 2024, arXiv:2312.13630."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from hf_attrib.attacks import BIM, Objective, UpdateRule
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import one_of
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.adversarial.gradient_steps import Uncut
from hf_attrib.methods.adversarial.lead import WhileLeading
from hf_attrib.methods.adversarial.replicas import VARIANTS, own_products
from hf_attrib.methods.base import Claims, Rows

__all__ = ["MFABA"]


@dataclass(frozen=True)
class MFABA(AdversarialMethod, name="mfaba"):
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
        eps: :math:`\epsilon`, or "auto", as attacks have it.
        steps: K.
        objective: "shared", a walk for all targets that stops when all have lost the lead, or
            "per_token", one for each.
        variant: "corrected" or "released".

    Returns:
        scores [B, T, N], summing to f(x) - f(x^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: arXiv:2312.13630.
    """

    claims: ClassVar = Claims(
        signed=True,
        identity="f(x) - f(x_adv)",
        stochastic=False,
        cost="2 * K + 4 forward, K + 1 backward rows to walk; about 5 * K, 5 * K * T to integrate",
        axioms=frozenset({"completeness", "dummy", "implementation_invariance"}),
        additive=True,
        baseline=None,
    )
    kind: str = field(default="sharp", metadata={"help": "sharp or smooth."})
    eps: float | str = field(
        default="auto", metadata={"help": "Radius in embedding scales, or auto."}
    )
    steps: int = field(default=20, metadata={"help": "Steps of the walk."})
    objective: str = field(default="shared", metadata={"help": "Whose walks: shared, per_token."})
    variant: str = field(default="corrected", metadata={"help": f"{', '.join(VARIANTS)}."})

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(("sharp", "smooth"), kind=self.kind)
        one_of(("shared", "per_token"), objective=self.objective)
        one_of(VARIANTS, variant=self.variant)
        object.__setattr__(self, "eps", self._rule().eps)  # checked, and a number

    def promises(self) -> Claims:
        """Return what the variant claims."""
        claims = self.claims_of(self._shared, self.steps)
        if self.variant == "corrected":
            return claims
        return replace(claims, signed=False, identity=None, additive=False)

    @property
    def _shared(self) -> bool:
        return self.objective == "shared" and self.variant == "corrected"

    def rows(self, targets: int, inputs: int) -> tuple[Rows, Rows]:
        """Return the rows run at least and at most."""
        asked = Rows(values=1) if self._shared else Rows(own_values=targets)
        short = replace(self._rule(), steps=1).rows(None if self._shared else targets)
        least = short + asked.times(min(2, self.steps))
        most = self._rule().rows(None if self._shared else targets) + asked.times(self.steps)
        if self.variant == "released":
            return least, most
        few, many = self.rows_along(targets, self._shared, self.steps, fewest=1)
        return least + few, most + many

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk away from x, and attribute what that changes; there is no baseline."""
        start, each = x[:, :1], Objective.of_each(field)
        if self.variant == "released":
            return own_products(field, self._rule(), each, start, WhileLeading(field))
        objective = Objective.shared(field) if self._shared else each
        return self.along(field, self._rule().walk(objective, start, WhileLeading(field)))

    def _rule(self) -> UpdateRule:
        if self.kind == "smooth" and self.variant == "corrected":
            return BIM(self.eps, self.steps)
        sums = self.variant == "released"
        return Uncut(self.eps, self.steps, by_length=self.kind == "sharp", sums=sums)

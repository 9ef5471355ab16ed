"""AttEXplore. Zhu et al. 2024, ICLR."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from hf_attrib.attacks import SSA, Objective
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import one_of
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.adversarial.replicas import VARIANTS, own_products
from hf_attrib.methods.base import Claims, Rows

__all__ = ["AttEXplore"]


@dataclass(frozen=True)
class AttEXplore(AdversarialMethod, name="attexplore"):
    r"""Gradient of f integrated along a walk that momentum of noisy gradients leads.

    .. math:: x^{k+1} = \Pi_\epsilon\big(x^k + \tfrac{5 \epsilon}{4 K} u\,\mathrm{sign}\,d^k\big),
        \qquad d^k = d^{k-1} + \frac{G^k}{\mathrm{mean}\,|G^k|}

    with :math:`G^k` the mean gradient of :math:`-\sum_t f_t` over copies of :math:`x^k` that are
    scaled by factors between 1/2 and 3/2 and shifted by normal noise of size :math:`\epsilon u`.
    The original scales the cosine spectrum of an image; coordinates of embeddings have no order.

    ``variant="released"`` is the published program: a walk for each token, whatever the objective,
    on which f rises and not falls, and steps times :math:`d^k` in place of the gradient. Its
    scores are not negative, have no unit and sum to nothing exact.

    Args:
        copies: of each point.
        eps: :math:`\epsilon`, or "auto", as attacks have it.
        steps: K.
        objective: "shared", a walk for all targets, or "per_token", one for each.
        variant: "corrected" or "released".
        seed: of the copies.

    Returns:
        scores [B, T, N], summing to f(x) - f(x^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: Zhu et al., "AttEXplore: attribution for explanation with model parameters
    exploration", ICLR 2024, with the direction apart from the integrand.
    """

    claims: ClassVar = Claims(
        signed=True,
        identity="f(x) - f(x_adv)",
        stochastic=True,
        cost="S * K + 4 forward, S * K + 1 backward rows to walk; 5 * K, 5 * K * T to integrate",
        axioms=frozenset({"completeness", "dummy", "implementation_invariance"}),
        additive=True,
        baseline=None,
    )
    copies: int = field(default=20, metadata={"help": "Copies of each point."})
    eps: float | str = field(
        default="auto", metadata={"help": "Radius in embedding scales, or auto."}
    )
    steps: int = field(default=10, metadata={"help": "Steps of the walk."})
    objective: str = field(default="shared", metadata={"help": "Whose walks: shared, per_token."})
    variant: str = field(default="corrected", metadata={"help": f"{', '.join(VARIANTS)}."})
    seed: int = field(default=0, metadata={"help": "Seed of all random numbers."})

    def __post_init__(self) -> None:
        super().__post_init__()
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
        walk = self._rule().rows(None if self._shared else targets)
        if self.variant == "released":
            return walk.exactly()
        least, most = self.rows_along(targets, self._shared, self.steps)
        return walk + least, walk + most

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk away from x, and attribute what that changes; there is no baseline."""
        start = x[:, :1]
        if self.variant == "released":
            return own_products(field, self._rule(), Objective.of_each(field, 1.0), start)
        objective = Objective.shared(field) if self._shared else Objective.of_each(field)
        return self.along(field, self._rule().walk(objective, start))

    def _rule(self) -> SSA:
        return SSA(self.eps, self.steps, copies=self.copies, seed=self.seed)

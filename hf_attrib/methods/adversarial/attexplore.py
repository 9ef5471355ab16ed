"""AttEXplore. Zhu et al. 2024, ICLR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from hf_attrib.attacks import SSA, Objective
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.methods.adversarial.base import WalkMethod
from hf_attrib.methods.adversarial.replicas import own_products
from hf_attrib.methods.base import Claims, Cost

__all__ = ["AttEXplore"]


@dataclass(frozen=True)
class AttEXplore(WalkMethod, name="attexplore"):
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
        seed: of the copies.

    Returns:
        scores [B, T, N], summing to f(x) - f(x^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: Zhu et al., "AttEXplore: attribution for explanation with model parameters
    exploration", ICLR 2024, with the direction apart from the integrand.
    """

    CLAIMS: ClassVar[Claims] = replace(
        WalkMethod.CLAIMS,
        stochastic=True,
        cost="S * K + 4 forward, S * K + 1 backward rows to walk; 5 * K, 5 * K * T to integrate",
    )
    RELEASED: ClassVar[Mapping[str, Any]] = {**WalkMethod.RELEASED, "signed": False}
    copies: int = hyperparameter(20, "Copies of each point.", at_least(1))
    _: KW_ONLY
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        walk = self._rule().cost(None if self.shared else targets)
        if self.released:
            return walk.exactly()
        least, most = self.cost_along(targets, self.shared, self.steps)
        return walk + least, walk + most

    def integral(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk away from x, and attribute what that changes."""
        return self.along(field, self._rule().walk(self.lowered(field), x))

    def program(self, field: Field, x: Tensor) -> Decomposition:
        """Multiply steps that raise f by their directions."""
        return own_products(field, self._rule(), Objective.of_each(field, 1.0), x)

    def _rule(self) -> SSA:
        return SSA(self.eps, self.steps, copies=self.copies, seed=self.seed)

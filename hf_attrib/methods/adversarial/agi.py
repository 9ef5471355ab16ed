"""Adversarial gradient integration. Pan, Li, Zhu 2021, IJCAI."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks import BIM, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.methods.adversarial.base import WalkMethod
from hf_attrib.methods.adversarial.lead import until_they_lead, walks_to
from hf_attrib.methods.adversarial.replicas import reanchored
from hf_attrib.methods.base import Claims, Cost

__all__ = ["AGI"]


@dataclass(frozen=True)
class AGI(WalkMethod, name="agi"):
    r"""Gradient of f integrated along walks to the likeliest other tokens, averaged over these.

    .. math:: x_c^{k+1} = \Pi_\epsilon\big(x_c^k + \alpha u\,\mathrm{sign}\,
        \nabla \log p_c(x_c^k)\big), \qquad
        \alpha = \tfrac{5 \epsilon}{4 K}, \qquad
        A_{t,n} = -\frac1C \sum_c \sum_k \sum_d \int_{x_c^k}^{x_c^{k+1}}
        \frac{\partial f_t}{\partial x_{nd}}\,dx_{nd}

    Where targets share a walk, it raises the sum of log-probabilities of the c-th likeliest other
    token at each place.

    ``variant="released"`` is the published program: a walk for each token, whatever the objective.
    Its points are always one step of the whole radius away from x, and the gradient at each is
    multiplied by the step to the next from x; a walk ends when its token leads. Steps and tokens
    are added up, so that scores sum to nothing exact. It takes the same tokens, where the program
    takes classes at equal distances.

    Args:
        classes: C.

    Returns:
        scores [B, T, N], summing to f(x) less the mean of f(x_c^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: Pan, Li, Zhu, "Explaining deep neural network models with adversarial gradient
    integration", IJCAI 2021, with the direction apart from the integrand.
    """

    CLAIMS: ClassVar[Claims] = replace(
        WalkMethod.CLAIMS,
        identity="f(x) - mean f(x_adv)",
        cost="C walks: K + 4 forward, K + 1 backward rows each, 5 * K, 5 * K * T to integrate",
    )
    classes: int = hyperparameter(5, "Other tokens that walks lead to.", at_least(1))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        walk = self._rule().cost(None if self.shared else targets)
        if self.released:
            asked = Cost(own=targets, own_values=targets).times(self.steps)
            least, most = Cost(own_values=targets), walk + asked
        else:
            few, many = self.cost_along(targets, self.shared, self.steps)
            least, most = walk + few, walk + many
        ids = Cost(values=1)
        return ids + least.times(self.classes), ids + most.times(self.classes)

    def integral(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk to each of the other tokens."""
        objectives = walks_to(field, field.rivals(x, self.classes), not self.shared)
        walks = (self._rule().walk(objective, x) for objective in objectives)
        return Decomposition.mean([self.along(field, walk) for walk in walks])

    def program(self, field: Field, x: Tensor) -> Decomposition:
        """Add up steps from x to each of the other tokens, as long as they do not lead."""
        total, eps, ids = torch.zeros(()).to(x), [], field.rivals(x, self.classes)
        for objective, one in zip(walks_to(field, ids, True), ids.unbind(-1), strict=True):
            climb = self._rule().climb(objective, x)
            reach, goes_on = climb.eps * climb.scale, until_they_lead(field, one)
            total = total + reanchored(field, objective, x, reach, self.steps, goes_on)
            eps.append(climb.eps[..., 0, 0])
        size = torch.stack(eps).mean(0)  # a step is as long as the radius
        return Decomposition(total, None, sizes=sizes(field, size, size))

    def _rule(self) -> BIM:
        return BIM(self.eps, self.steps)

"""Adversarial gradient integration. Pan, Li, Zhu 2021, IJCAI."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks import BIM, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, one_of
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.adversarial.lead import until_they_lead, walks_to
from hf_attrib.methods.adversarial.replicas import VARIANTS, reanchored
from hf_attrib.methods.base import Claims, Rows

__all__ = ["AGI"]


@dataclass(frozen=True)
class AGI(AdversarialMethod, name="agi"):
    r"""Gradient of f integrated along walks to the likeliest other tokens, averaged over these.

    .. math:: x_c^{k+1} = \Pi_\epsilon\big(x_c^k + \alpha u\,\mathrm{sign}\,
        \nabla \log p_c(x_c^k)\big), \qquad
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
        eps: :math:`\epsilon`, or "auto", as attacks have it.
        steps: of each walk, K; :math:`\alpha = 5 \epsilon / 4 K`.
        objective: "shared", walks for all targets, or "per_token", some for each.
        variant: "corrected" or "released".

    Returns:
        scores [B, T, N], summing to f(x) less the mean of f(x_c^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: Pan, Li, Zhu, "Explaining deep neural network models with adversarial gradient
    integration", IJCAI 2021, with the direction apart from the integrand.
    """

    claims: ClassVar = Claims(
        signed=True,
        identity="f(x) - mean f(x_adv)",
        stochastic=False,
        cost="C walks: K + 4 forward, K + 1 backward rows each, 5 * K, 5 * K * T to integrate",
        axioms=frozenset({"completeness", "dummy", "implementation_invariance"}),
        additive=True,
        baseline=None,
    )
    classes: int = field(default=5, metadata={"help": "Other tokens that walks lead to."})
    eps: float | str = field(
        default="auto", metadata={"help": "Radius in embedding scales, or auto."}
    )
    steps: int = field(default=10, metadata={"help": "Steps of the walk."})
    objective: str = field(default="shared", metadata={"help": "Whose walks: shared, per_token."})
    variant: str = field(default="corrected", metadata={"help": f"{', '.join(VARIANTS)}."})

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, classes=self.classes)
        one_of(("shared", "per_token"), objective=self.objective)
        one_of(VARIANTS, variant=self.variant)
        object.__setattr__(self, "eps", BIM(self.eps, self.steps).eps)  # checked, and a number

    def promises(self) -> Claims:
        """Return what the variant claims."""
        claims = self.claims_of(self._shared, self.steps)
        if self.variant == "corrected":
            return claims
        return replace(claims, identity=None, additive=False)

    @property
    def _shared(self) -> bool:
        return self.objective == "shared" and self.variant == "corrected"

    def rows(self, targets: int, inputs: int) -> tuple[Rows, Rows]:
        """Return the rows run at least and at most."""
        walk = BIM(self.eps, self.steps).rows(None if self._shared else targets)
        if self.variant == "released":
            asked = Rows(own=targets, own_values=targets).times(self.steps)
            least, most = Rows(own_values=targets), walk + asked
        else:
            few, many = self.rows_along(targets, self._shared, self.steps)
            least, most = walk + few, walk + many
        values = Rows(values=1)
        return values + least.times(self.classes), values + most.times(self.classes)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk to each of the other tokens; there is no baseline."""
        start, rule = x[:, :1], BIM(self.eps, self.steps)
        ids = field.rivals(start, self.classes)
        if self.variant == "released":
            return self._program(field, start, ids, rule)
        objectives = walks_to(field, ids, not self._shared)
        return Decomposition.mean([self.along(field, rule.walk(o, start)) for o in objectives])

    def _program(self, field: Field, x: Tensor, ids: Tensor, rule: BIM) -> Decomposition:
        total, eps = torch.zeros(()).to(x), []
        for objective, one in zip(walks_to(field, ids, True), ids.unbind(-1), strict=True):
            climb = rule.climb(objective, x)
            reach, goes_on = climb.eps * climb.scale, until_they_lead(field, one)
            total = total + reanchored(field, objective, x, reach, self.steps, goes_on)
            eps.append(climb.eps[..., 0, 0])
        size = torch.stack(eps).mean(0)  # a step is as long as the radius
        return Decomposition(total, None, sizes=sizes(field, size, size))

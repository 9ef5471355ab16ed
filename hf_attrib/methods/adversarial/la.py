"""Local attribution. Zhu et al. 2024, arXiv:2408.07736."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks import Objective, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, one_of
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.adversarial.gradient_steps import Uncut
from hf_attrib.methods.adversarial.lead import walks_to
from hf_attrib.methods.adversarial.replicas import VARIANTS, reanchored
from hf_attrib.methods.base import Claims, Rows

__all__ = ["LA"]


@dataclass(frozen=True)
class LA(AdversarialMethod, name="la"):
    r"""Gradient of f integrated along walks to other tokens and one away from the token itself.

    .. math:: x_c^{k+1} = x_c^k + \tfrac{\epsilon}{K} u\,\mathrm{sign}\,\nabla J_c(x_c^k),
        \qquad A_{t,n} = -\frac{1}{C + 1} \sum_{c=0}^{C} \sum_k \sum_d
        \int_{x_c^k}^{x_c^{k+1}} \frac{\partial f_t}{\partial x_{nd}}\,dx_{nd}

    with :math:`J_0 = -f` and :math:`J_c` the log-probability of the c-th likeliest other token.

    ``variant="released"`` is the published program: a walk for each token, whatever the objective.
    Its points are always one step away from x, by the share :math:`\epsilon` of each coordinate,
    and against the sign where that is negative; the gradient at each is multiplied by the step to
    the next from x. Steps and walks are added up, so that scores sum to nothing exact. It takes
    the same tokens, where the program draws classes.

    Args:
        classes: C.
        eps: :math:`\epsilon`, or "auto", as attacks have it; 0.1 for the program.
        steps: of each walk, K.
        objective: "shared", walks for all targets, or "per_token", some for each.
        variant: "corrected" or "released".

    Returns:
        scores [B, T, N], summing to f(x) less the mean of f(x_c^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: arXiv:2408.07736, with the direction apart from the integrand.
    """

    claims: ClassVar = Claims(
        signed=True,
        identity="f(x) - mean f(x_adv)",
        stochastic=False,
        cost="C + 1 walks: K + 4 forward, K + 1 backward rows each, 5 * K, 5 * K * T to integrate",
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
        object.__setattr__(self, "eps", Uncut(self.eps, self.steps).eps)  # checked, and a number

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
        ids, walks = Rows(values=1), self.classes + 1
        if self.variant == "released":
            return (ids + Rows(own=2 * targets * self.steps).times(walks)).exactly()
        walk = Uncut(self.eps, self.steps).rows(None if self._shared else targets)
        least, most = self.rows_along(targets, self._shared, self.steps)
        return ids + (walk + least).times(walks), ids + (walk + most).times(walks)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk to other tokens and away from the token; there is no baseline."""
        start, rule = x[:, :1], Uncut(self.eps, self.steps)
        away = Objective.shared(field) if self._shared else Objective.of_each(field)
        objectives = [away, *walks_to(field, field.rivals(start, self.classes), not self._shared)]
        if self.variant == "corrected":
            walks = (rule.walk(objective, start) for objective in objectives)
            return Decomposition.mean([self.along(field, walk) for walk in walks])
        share = 0.1 if self.eps == "auto" else float(self.eps)
        parts = [reanchored(field, o, start, share * start, self.steps) for o in objectives]
        size = torch.full((field.sequences, field.targets), share)
        return Decomposition(torch.stack(parts).sum(0), None, sizes=sizes(field, size, size))

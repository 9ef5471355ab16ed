"""Local attribution. Zhu et al. 2024, arXiv:2408.07736."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks import Objective, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.methods.adversarial.base import WalkMethod
from hf_attrib.methods.adversarial.gradient_steps import GradientSteps
from hf_attrib.methods.adversarial.lead import walks_to
from hf_attrib.methods.adversarial.replicas import reanchored
from hf_attrib.methods.base import Claims, Cost

__all__ = ["LA"]


@dataclass(frozen=True)
class LA(WalkMethod, name="la"):
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

    Returns:
        scores [B, T, N], summing to f(x) less the mean of f(x_c^K) (units of f).

    Raises:
        InputError: a field is out of range.

    Source: arXiv:2408.07736, with the direction apart from the integrand.
    """

    CLAIMS: ClassVar[Claims] = replace(
        WalkMethod.CLAIMS,
        identity="f(x) - mean f(x_adv)",
        cost="C + 1 walks: K + 4 forward, K + 1 backward rows each, 5 * K, 5 * K * T to integrate",
    )
    classes: int = hyperparameter(5, "Other tokens that walks lead to.", at_least(1))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        ids, walks = Cost(values=1), self.classes + 1
        if self.released:
            return (ids + Cost(own=2 * targets * self.steps).times(walks)).exactly()
        walk = GradientSteps(self.eps, self.steps).cost(None if self.shared else targets)
        least, most = self.cost_along(targets, self.shared, self.steps)
        return ids + (walk + least).times(walks), ids + (walk + most).times(walks)

    def integral(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Walk away from the token and to each of the others."""
        rule = GradientSteps(self.eps, self.steps)
        walks = (rule.walk(objective, x) for objective in self._objectives(field, x))
        return Decomposition.mean([self.along(field, walk) for walk in walks])

    def program(self, field: Field, x: Tensor) -> Decomposition:
        """Add up steps from x, each as long as a share of its coordinates."""
        share = 0.1 if self.eps == "auto" else float(self.eps)
        objectives = self._objectives(field, x)
        parts = [reanchored(field, o, x, share * x, self.steps) for o in objectives]
        size = torch.full((field.sequences, field.targets), share, dtype=torch.float32)
        return Decomposition(torch.stack(parts).sum(0), None, sizes=sizes(field, size, size))

    def _objectives(self, field: Field, x: Tensor) -> list[Objective]:
        others = walks_to(field, field.rivals(x, self.classes), not self.shared)
        return [self.lowered(field), *others]

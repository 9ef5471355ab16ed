"""Boundary-based integrated gradients. Wang, Fredrikson, Datta 2022, arXiv:2103.11257."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks import Walk, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, one_of
from hf_attrib.integration import Rule, line_integral, straight
from hf_attrib.methods.adversarial.base import VARIANTS, AdversarialMethod
from hf_attrib.methods.adversarial.boundary import Boundary, boundary, boundary_cost
from hf_attrib.methods.base import Claims, Cost

__all__ = ["BIG"]

#: Steps of the program's integral.
_STEPS = 50


@dataclass(frozen=True)
class BIG(AdversarialMethod, name="big"):
    r"""Integrated gradients from the nearest point found at which a token loses its lead.

    .. math:: A_{t,n} = \sum_d (x_{nd} - x^t_{nd}) \int_0^1
        \frac{\partial f_t}{\partial x_{nd}}\big(x^t + \alpha (x - x^t)\big)\,d\alpha, \qquad
        m_t(x^t) = 0

    with :math:`m_t` the logit of the token less the best of the others. Each target has a boundary
    point of its own, found by steps along the gradient of the margin in balls of 0.1, 0.25, 0.5
    and 1 embedding scales and by bisection. The result says which targets have none within the
    largest ball: the point of the smallest margin stands in. A token that is not the likeliest
    has its boundary where it becomes that, and the result says so, too. The margin of a span is
    the sum of its tokens' margins.

    ``variant="released"`` is the published program's other use of the boundary point, which it
    takes for the input: integrated gradients from 0 to it, by a sum of 51 nodes with weights
    1/50. It sums to nothing exact; where models normalise by the root mean square, the gradient at
    0, its first node, dwarfs all others.

    Args:
        steps: of the walk in each ball.
        bisections: of the segment that the lead changes on.
        variant: "corrected" or "released".

    Returns:
        scores [B, T, N], summing to f(x) less f at the boundary point (units of f).

    Raises:
        InputError: a field is out of range.

    Source: arXiv:2103.11257.
    """

    CLAIMS: ClassVar[Claims] = replace(
        AdversarialMethod.CLAIMS,
        identity="f(x) - f(x_bd)",
        cost="up to (5 * K + 12) * T forward, 4 * K * T backward rows to search; about 17 * T each "
        "to integrate",
        whole_gradients=12,
    )
    steps: int = hyperparameter(10, "Steps of the walk.", at_least(1))
    bisections: int = hyperparameter(8, "Halvings of the way to the boundary.", at_least(1))
    variant: str = hyperparameter("corrected", f"{', '.join(VARIANTS)}.", one_of(VARIANTS))

    @property
    def claims(self) -> Claims:
        """What the variant claims."""
        return self.CLAIMS if self.variant == "corrected" else replace(self.CLAIMS, identity=None)

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        least, most = boundary_cost(targets, self.steps, self.bisections)
        if self.variant == "released":
            nodes = Cost(own_values=targets, own=targets * (_STEPS + 1))
            return least + nodes, most + nodes
        few, many = self.cost_along(targets, False, 1)
        return least + few, most + many

    def from_start(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Find the boundary, and attribute from there."""
        found = boundary(field, x, self.steps, self.bisections)
        if self.variant == "released":
            return self._program(field, x, found)
        points = torch.stack([x.expand_as(found.points), found.points])
        done = self.along(field, Walk(points, found.distance, found.distance))
        return replace(done, notes=found.notes)

    def _program(self, field: Field, x: Tensor, found: Boundary) -> Decomposition:
        zero = torch.where(field.movable.to(x.device)[:, None, :, None], 0, x)
        nodes = torch.arange(_STEPS + 1, dtype=torch.float64) / _STEPS
        rule = Rule(nodes, torch.full_like(nodes, 1 / _STEPS))
        scores = line_integral(field, straight(zero, found.points), rule).scores
        lengths = sizes(field, found.distance, found.distance)
        return Decomposition(scores, None, sizes=lengths, notes=found.notes)

"""Boundary-based saliency maps. Wang, Fredrikson, Datta 2022, arXiv:2103.11257."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_attrib.attacks import sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.methods.adversarial.boundary import boundary, boundary_cost
from hf_attrib.methods.base import Claims, Cost, Method

__all__ = ["BSM"]


@dataclass(frozen=True)
class BSM(Method, name="bsm"):
    r"""Length of the gradient at the nearest point found at which a token loses its lead.

    .. math:: A_{t,n} = \Big\| \frac{\partial f_t}{\partial x_n}(x^t) \Big\|_2, \qquad
        m_t(x^t) = 0

    The method ``big`` says how the boundary point is found, and what stands in for one that is not.

    Args:
        steps: of the walk in each ball.
        bisections: of the segment that the lead changes on.

    Returns:
        scores [B, T, N], never negative (units of f per unit of embedding).

    Raises:
        InputError: a field is out of range.

    Source: arXiv:2103.11257.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        signed=False,
        cost="up to (5 * K + 12) * T forward, (4 * K + 1) * T backward rows",
        axioms=frozenset({"dummy", "implementation_invariance"}),
        baseline=None,
        whole_gradients=12,
    )
    steps: int = hyperparameter(10, "Steps of the walk.", at_least(1))
    bisections: int = hyperparameter(8, "Halvings of the way to the boundary.", at_least(1))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        least, most = boundary_cost(targets, self.steps, self.bisections)
        return least + Cost(own=targets), most + Cost(own=targets)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Take the gradient at the boundary; no baseline is given."""
        found = boundary(field, x[:, :1], self.steps, self.bisections)
        here = field.at(found.points, found.points, lambda gradient, _: gradient.norm(dim=-1))
        lengths = sizes(field, found.distance, found.distance)
        return Decomposition(here.gradient[0], None, sizes=lengths, notes=found.notes)

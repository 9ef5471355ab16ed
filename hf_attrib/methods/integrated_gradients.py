"""Integrated gradients. Sundararajan, Taly, Yan 2017, arXiv:1703.01365."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field
from hf_attrib.methods.base import Claims, Method, at_least
from hf_attrib.paths import straight
from hf_attrib.quadrature import MOST_GAUSS_NODES, RULES

__all__ = ["IntegratedGradients"]


@dataclass(frozen=True)
class IntegratedGradients(Method, name="integrated_gradients"):
    r"""Average gradient on the straight line from the baseline, times the displacement.

    .. math:: A_{t,n} = \sum_d (x_{nd} - x'_{nd})
        \int_0^1 \frac{\partial f_t}{\partial x_{nd}}(x' + \alpha(x - x'))\,d\alpha

    Args:
        steps: number of nodes K.
        rule: a rule of :data:`hf_attrib.quadrature.RULES`, or ``"auto"``: Gauss–Legendre, graded
            towards the start if the path starts at the zero embedding.

    Returns:
        scores [B, T, N], summing to f(x) - f(x') as K grows (units of f).

    Raises:
        InputError: ``steps`` is not positive or ``rule`` is unknown.

    Source: arXiv:1703.01365.

    >>> import torch
    >>> from hf_attrib.function_field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> IntegratedGradients(steps=4)(product, x, torch.zeros_like(x)).scores
    tensor([[[3., 3.]]])
    """

    claims: ClassVar = Claims(
        signed=True,
        identity="f(x) - f(x')",
        stochastic=False,
        cost="K + 2 forward rows, K * T backward rows",
        axioms=frozenset({"completeness", "dummy", "linearity", "sensitivity"}),
    )
    steps: int = field(default=64, metadata={"help": "Nodes of the quadrature rule."})
    rule: str = field(default="auto", metadata={"help": f"auto, {', '.join(RULES)}."})

    def __post_init__(self) -> None:
        at_least(2 if self.rule == "trapezoid" else 1, steps=self.steps)
        if self.rule not in ("auto", *RULES):
            raise InputError(f"rule {self.rule!r} is unknown; expected auto, {', '.join(RULES)}.")
        if self.steps > MOST_GAUSS_NODES and self.rule not in ("midpoint", "trapezoid"):
            raise InputError(
                f"steps is {self.steps}; Gauss–Legendre rules have at most {MOST_GAUSS_NODES}. "
                "Take rule='midpoint' for more."
            )

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute along the straight line."""
        graded = _starts_at_zero(x, baseline)
        auto = "graded_gauss_legendre" if graded else "gauss_legendre"
        rule = RULES[auto if self.rule == "auto" else self.rule](self.steps)
        return field.line_integral(straight(baseline, x), rule)


def _starts_at_zero(x: Tensor, baseline: Tensor) -> bool:
    """Tell whether every input that moves starts at the zero embedding."""
    moves = (x != baseline).any(-1)
    return bool(moves.any()) and not bool(baseline[moves].any())

"""Integrated gradients. Sundararajan, Taly, Yan 2017, arXiv:1703.01365."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field, Part
from hf_attrib.hyperparameters import at_least, hyperparameter, one_of, positive
from hf_attrib.integration import (
    MOST_GAUSS_NODES,
    RULES,
    Budget,
    first_nodes,
    graded,
    integrate,
    line_integral,
    straight,
)
from hf_attrib.methods.base import AXIOMS, Claims, Cost, Method

__all__ = ["IntegratedGradients"]

#: Exponent of the path from the zero embedding, where f changes over orders of magnitude.
_GRADING = 4
#: Relative error, and gradients for each target, unless the caller says so.
_TOLERANCE, _NODES = 0.02, 400
_ADAPTIVE, _FIXED = {"tolerance": _TOLERANCE, "max_nodes": _NODES}, {"rule": "auto"}


@dataclass(frozen=True)
class IntegratedGradients(Method, name="integrated_gradients"):
    r"""Average gradient on the straight line from the baseline, times the displacement.

    .. math:: A_{t,n} = \sum_d (x_{nd} - x'_{nd})
        \int_0^1 \frac{\partial f_t}{\partial x_{nd}}(x' + \alpha(x - x'))\,d\alpha

    Without ``steps`` the nodes are placed where f changes, for each target alone, until the
    estimated error is within the tolerance: see :mod:`hf_attrib.integration.adaptive`.

    Args:
        steps: number of nodes K of a fixed rule, the same for all targets.
        rule: of :data:`hf_attrib.integration.rules.RULES`, or ``"auto"``: Gauss–Legendre, graded
            towards the start if the path starts at the zero embedding.
        tolerance: relative error to reach without ``steps``.
        max_nodes: nodes to spend on each target without ``steps``, at most.

    Returns:
        scores [B, T, N], summing to f(x) - f(x') within the tolerance, or as K grows (units of
        f).

    Raises:
        InputError: a field is out of range, or a rule comes without steps.

    Source: arXiv:1703.01365.

    >>> import torch
    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> IntegratedGradients(steps=4)(product, x, torch.zeros_like(x)).scores
    tensor([[[3., 3.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        cost="K + 2 forward rows, K * T backward rows; K as needed, mostly 20 to 60, if not given",
        axioms=frozenset(AXIOMS),
        groups="joined",
    )
    steps: int | None = hyperparameter(None, "Nodes of a fixed rule.", at_least(1))
    rule: str | None = hyperparameter(
        None, f"With steps: auto, {', '.join(RULES)}.", one_of(("auto", *RULES))
    )
    tolerance: float | None = hyperparameter(
        None, f"Without steps: relative error, {_TOLERANCE}.", positive
    )
    max_nodes: int | None = hyperparameter(
        None,
        f"Without steps: nodes at most, {_NODES}.",
        at_least(first_nodes()),
        formerly="max_points",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        adaptive = self.steps is None
        for name in _FIXED if adaptive else _ADAPTIVE:
            if getattr(self, name) is not None:
                raise InputError(
                    f"{name} goes {'with' if adaptive else 'without'} steps: a fixed rule has "
                    "steps and a rule, an adaptive one a tolerance and max_nodes."
                )
        for name, value in (_ADAPTIVE if adaptive else _FIXED).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.rule == "trapezoid":
            at_least(2)("steps", self.steps)
        elif self.rule != "midpoint" and (self.steps or 0) > MOST_GAUSS_NODES:
            raise InputError(
                f"steps is {self.steps}; Gauss–Legendre rules have at most {MOST_GAUSS_NODES}. "
                "Take rule='midpoint' for more."
            )

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        if self.steps is None:
            return self._budget().cost(targets)
        return Cost(values=1, gradients=self.steps).exactly()

    def _budget(self) -> Budget:
        return Budget(self.tolerance or _TOLERANCE, self.max_nodes or _NODES)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute along the straight line."""
        line, from_zero = straight(baseline, x), _starts_at_zero(x, baseline)
        if self.steps is None:
            pieces = [graded(line, _GRADING) if from_zero else line]
            try:
                return integrate(field, pieces, self._budget())
            except BaseException as stop:
                if isinstance(part := getattr(stop, "part", None), Part):
                    part.method = self  # whose scores these are, as they are
                raise
        auto = "graded_gauss_legendre" if from_zero else "gauss_legendre"
        rule = RULES[auto if self.rule in (None, "auto") else self.rule]
        return line_integral(field, line, rule(self.steps))


def _starts_at_zero(x: Tensor, baseline: Tensor) -> bool:
    """Tell whether every input that moves starts at the zero embedding."""
    moves = (x != baseline).any(-1)
    return bool(moves.any()) and not bool(baseline[moves].any())

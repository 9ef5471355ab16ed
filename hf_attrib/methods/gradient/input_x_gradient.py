"""Input times gradient. Shrikumar et al. 2016, arXiv:1605.01713; Hesse et al. 2021."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_attrib.field import Decomposition, Field
from hf_attrib.methods.base import Claims, Cost, Method

__all__ = ["InputXGradient"]


@dataclass(frozen=True)
class InputXGradient(Method, name="input_x_gradient"):
    r"""First-order change of f on the way back to the baseline.

    .. math:: A_{t,n} = \sum_d (x_{nd} - x'_{nd}) \frac{\partial f_t}{\partial x_{nd}}(x)

    Scores sum to f(x) - f(x') only where f is linear or, from the zero baseline, homogeneous of
    degree one (arXiv:2111.07668); transformers are neither, so the gap is the method's own.

    Returns:
        scores [B, T, N] (units of f).

    Source: arXiv:1605.01713.

    >>> import torch
    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> InputXGradient()(product, x, torch.zeros_like(x)).scores
    tensor([[[6., 6.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        cost="3 forward rows, T backward rows",
        axioms=frozenset({"dummy", "implementation_invariance", "linearity"}),
        baseline="zero",
        groups="joined",
    )

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=1, gradients=1).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute at the input."""
        return Decomposition(field.at(x, x - baseline).gradient[0], field.value(baseline[None])[0])

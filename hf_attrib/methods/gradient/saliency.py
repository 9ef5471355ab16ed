"""Saliency. Simonyan, Vedaldi, Zisserman 2013, arXiv:1312.6034."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_attrib.field import Decomposition, Field
from hf_attrib.methods.base import Claims, Cost, Method

__all__ = ["Saliency"]


@dataclass(frozen=True)
class Saliency(Method, name="saliency"):
    r"""Length of the gradient: how strongly f reacts to any small change of a token.

    .. math:: A_{t,n} = \Big\| \frac{\partial f_t}{\partial x_n}(x) \Big\|_2

    Returns:
        scores [B, T, N], never negative (units of f per unit of embedding).

    Source: arXiv:1312.6034.

    >>> import torch
    >>> from hf_attrib.field import FunctionField
    >>> linear = FunctionField(lambda z: z @ torch.tensor([3.0, 4.0]), targets=1, positions=1)
    >>> x = torch.ones(1, 1, 1, 2)
    >>> Saliency()(linear, x, torch.zeros_like(x)).scores
    tensor([[[5.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        signed=False,
        cost="2 forward rows, T backward rows",
        axioms=frozenset({"dummy", "implementation_invariance"}),
        baseline=None,
    )

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(gradients=1).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Measure the gradient at the input; there is no baseline."""
        return Decomposition(field.at(x, x, contract=_length).gradient[0], start_value=None)


def _length(gradient: Tensor, _: Tensor) -> Tensor:
    return gradient.square().sum(-1).sqrt()

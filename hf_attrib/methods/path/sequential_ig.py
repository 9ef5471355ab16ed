"""Sequential integrated gradients. Enguehard 2023, arXiv:2305.15853."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Decomposition, Field, Path
from hf_attrib.methods.base import AXIOMS, Claims, Cost, Method

__all__ = ["SequentialIG"]


@dataclass(frozen=True)
class SequentialIG(Method, name="sequential_ig"):
    r"""Integrated gradients of one token at a time, the others held: exactly, by what they sum to.

    With :math:`\bar x^n` the input whose token n is at the baseline, the paper integrates

    .. math:: A_{t,n} = \sum_d (x_{nd} - x'_{nd}) \int_0^1 \frac{\partial f_t}{\partial x_{nd}}
        (\bar x^n + \alpha (x - \bar x^n))\,d\alpha = f_t(x) - f_t(\bar x^n)

    Only token n moves on that line, so the integral is a difference of two values of f, found
    without gradients and without quadrature error. It is leave-one-out in embedding space.

    Returns:
        scores [B, T, N], each with an identity of its own; their sum is nothing in particular
        (units of f).

    Source: arXiv:2305.15853.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> SequentialIG()(product, x, torch.zeros_like(x)).scores
    tensor([[[6., 6.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        cost="N + 2 forward rows, 0 backward rows",
        axioms=frozenset(AXIOMS) - {"completeness"},
    )

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        # Inputs that are at the baseline as they stand are left out.
        return Cost(values=1), Cost(values=1 + inputs)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Put each input that moves to its baseline, by turns."""
        moves = (x != baseline).any(-1)
        moving = moves.flatten(0, 1).any(0).nonzero()[:, 0]
        value = field.value(x[None])
        scores = torch.zeros(*value.shape[1:], x.shape[-2]).to(value)
        if len(moving):
            without = field.values(_without(x, baseline), moving)  # [moving, B, T]
            scores[..., moving] = (value - without).movedim(0, -1)
        # Rounding must not give a score to what does not move, or is not read.
        read = moves & field.reads().to(moves.device)
        return Decomposition(scores.masked_fill(~read, 0), start_value=None)


def _without(x: Tensor, baseline: Tensor) -> Path:
    """Map numbers of inputs to x with that input at its baseline."""

    def path(numbers: Tensor) -> tuple[Tensor, Tensor]:
        gone = torch.arange(x.shape[-2], device=x.device) == numbers.to(x.device)[:, None]
        return torch.where(gone[:, None, None, :, None], baseline, x), torch.zeros_like(x)[None]

    return path

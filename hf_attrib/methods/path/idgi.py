"""Important direction gradient integration. Yang, Wang, Bilgic 2023, arXiv:2303.14242."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.integration import straight
from hf_attrib.methods.base import AXIOMS, Claims, Cost, Method

__all__ = ["IDGI"]


@dataclass(frozen=True)
class IDGI(Method, name="idgi"):
    r"""Change of f along the straight line, shared out by squared gradients.

    .. math:: A_{t,n} = \sum_k \big(f_t(x^{k+1}) - f_t(x^k)\big)
        \frac{\|\partial f_t / \partial x_n (x^k)\|_2^2}{\|\partial f_t / \partial x (x^k)\|_2^2},
        \qquad x^k = x' + \tfrac{k}{K}(x - x')

    Scores sum to f(x) - f(x') for any K, but are no path integral: how far an input moves has
    no part in them, and within a segment all inputs get the sign of its change. Where the gradient
    is 0 but f changes within the segment, the inputs that move share the change evenly.

    Args:
        steps: number of segments K.

    Returns:
        scores [B, T, N] (units of f).

    Raises:
        InputError: ``steps`` is not positive.

    Source: arXiv:2303.14242.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        cost="K + 2 forward rows, K * T backward rows",
        axioms=frozenset(AXIOMS) - {"linearity"},
    )
    steps: int = hyperparameter(64, "Segments of the path.", at_least(1))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=1, gradients=self.steps).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute along the straight line; inputs that do not move have no gradient."""
        nodes = torch.arange(self.steps, dtype=torch.float64) / self.steps
        samples = field.along(straight(baseline, x), nodes, _squares)
        values, shares = zip(*((s.value, s.gradient) for s in samples), strict=True)
        value = torch.cat([*values, field.value(x[None])])  # [K + 1, B, T]
        share = torch.cat(shares)  # [K, B, T, N]
        whole = share.sum(-1, keepdim=True)
        even = (x != baseline).any(-1).to(share)
        even = even / even.sum(-1, keepdim=True).clamp_min(1)
        share = torch.where(whole > 0, share / whole, even)
        scores = (value.diff(dim=0)[..., None] * share).sum(0)
        return Decomposition(scores, start_value=value[0])


def _squares(gradient: Tensor, velocity: Tensor) -> Tensor:
    """Return squared gradients of the inputs that move, [R, N]."""
    moves = (velocity != 0).any(-1)
    return gradient.square().sum(-1) * moves

"""Occlusion, or leave one out. Zeiler, Fergus 2013, arXiv:1311.2901."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Solution

__all__ = ["Occlusion"]


@dataclass(frozen=True)
class Occlusion(Perturbation, name="occlusion"):
    r"""What f loses when one input, or a window of them, is taken away.

    .. math:: A_{t,i} = \frac{1}{|W_i|} \sum_{w \in W_i} v_t(N) - v_t(N \setminus w)

    :math:`W_i` are the windows of consecutive players that i is in: itself alone unless ``window``
    is larger. v(S) is f with the players S alone. One input whose loss another makes up for scores
    nothing: the same fact said twice hides itself. In mode ``"embed"`` and with inputs as players
    this is ``sequential_ig``.

    Args:
        window: consecutive players taken away together.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G]; their sum is nothing in particular (units of f).

    Raises:
        InputError: ``window`` is below 1.

    Source: arXiv:1311.2901; of words: arXiv:1612.08220.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> Occlusion()(product, x, torch.zeros_like(x)).scores
    tensor([[[6., 6.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        cost="N + 1 forward rows, 0 backward rows",
        axioms=frozenset(AXIOMS) - {"completeness"},
        groups="players",
    )
    window: int = hyperparameter(1, "Consecutive inputs taken away together.", at_least(1))

    @property
    def claims(self) -> Claims:
        """What holds; an input that f ignores shares what others of its window lose."""
        made = super().claims
        return made if self.window == 1 else replace(made, axioms=made.axioms - {"dummy"})

    def subsets(self, count: int) -> Tensor:
        """Return all players, and all but each window."""
        width = min(self.window, count)
        first, player = torch.arange(count - width + 1)[:, None], torch.arange(count)
        gone = (player >= first) & (player < first + width)
        return torch.cat([torch.ones(1, count, dtype=torch.bool), ~gone])

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the mean loss over the windows of each player."""
        gone = (~subsets[1:]).double()
        return Solution(gone.T @ (value[:1] - value[1:]) / gone.sum(0)[:, None])

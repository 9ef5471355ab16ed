"""A hidden layer between the inputs and F, for attacks that work on its states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Layered"]


@dataclass(frozen=True, eq=False)
class Layered:
    """The states of a layer at R rows, [R, ...], on the way from the inputs to F.

    Args:
        leaf: the inputs, [R, N, D].
        states: of the layer.
        value: F of C targets for each row, [R, C].
    """

    leaf: Tensor
    states: Tensor
    value: Tensor

    def weigh(self, weights: Tensor) -> Tensor:
        """Return the gradient of weighted sums of F, with weights [R, C], by the states."""
        return torch.autograd.grad(self.value, self.states, weights.to(self.value))[0]

    def pull(self, weights: Tensor) -> Tensor:
        """Return the gradient of the weighted sum of each row's states by the inputs, [R, N, D]."""
        return torch.autograd.grad(self.states, self.leaf, weights.to(self.states))[0]

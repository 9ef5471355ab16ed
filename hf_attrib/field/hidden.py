"""A hidden layer between the inputs and F, for attacks that work on its states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Layered"]


@dataclass(frozen=True, eq=False)
class Layered:
    """The states of a layer at R rows, [R, ...], on the way from the inputs to F.

    Args:
        weigh: maps weights [R, C] of C targets to the gradient of each row's weighted sum of F by
            the states, [R, ...].
        pull: maps weights of the states, [R, ...], to the gradient of each row's weighted sum of
            them by the inputs, [R, N, D].
    """

    weigh: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, leaf: Tensor, states: Tensor, value: Tensor) -> Layered:
        """Return what follows from a graph.

        Args:
            leaf: the inputs, [R, N, D].
            states: of the layer, [R, ...].
            value: F of C targets for each row, [R, C].
        """

        def weigh(weights: Tensor) -> Tensor:
            return torch.autograd.grad(value, states, weights.to(value))[0]

        def pull(weights: Tensor) -> Tensor:
            return torch.autograd.grad(states, leaf, weights.to(states))[0]

        return cls(weigh, pull)

"""A hidden layer between the inputs and F, for attacks that work on its states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_attrib.errors import UnsupportedModelError

__all__ = ["Layered", "middle_of"]


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


@contextmanager
def middle_of(decoder: nn.Module, into: list[Tensor]) -> Iterator[None]:
    """Collect what the layer in the middle of a decoder returns inside the context, [R, L, H].

    Raises:
        UnsupportedModelError: there is no list of layers, or the one in the middle returns no
            states that lead from the inputs to the logits.
    """
    name = type(decoder).__name__
    lists = [m for m in _outermost(decoder) if isinstance(m, nn.ModuleList)]
    layers = max(lists, key=len, default=())
    if not layers:
        raise UnsupportedModelError(f"{name} has no list of layers, so it has no middle to attack.")
    layer = layers[(len(layers) - 1) // 2]

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if not isinstance(states, Tensor) or not states.requires_grad:
            raise UnsupportedModelError(
                f"{type(module).__name__}, the layer in the middle of {name}, returns "
                f"{type(states).__name__}; expected states that depend on the inputs."
            )
        into.append(states)

    handle = layer.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()
    if not into:
        raise UnsupportedModelError(
            f"{type(layer).__name__}, the layer in the middle of {name}, was not called."
        )


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """Yield modules, but none within a list: experts of a layer are no layers."""
    yield module
    if not isinstance(module, nn.ModuleList):
        for child in module.children():
            yield from _outermost(child)

"""A hidden layer between the inputs and F, for attacks that work on its states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
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
def middle_of(decoder: nn.Module, rows: int, into: list[Tensor]) -> Iterator[None]:
    """Collect what the layer in the middle of a decoder returns inside the context, [R, ...].

    Of several lists of layers, as in models that see and hear as well, the longest one counts
    whose states lead from the inputs to the logits.

    Args:
        decoder: what is run inside the context, once.
        rows: R.
        into: where the states are found after the context.

    Raises:
        UnsupportedModelError: there is no such list.
    """
    lists = [m for m in _outermost(decoder) if isinstance(m, nn.ModuleList) and len(m)]
    layers = [m[(len(m) - 1) // 2] for m in sorted(lists, key=len, reverse=True)]
    found: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        for place, layer in enumerate(layers):
            keep = partial(_keep, found, place, rows)
            hooks.callback(layer.register_forward_hook(keep).remove)
        yield
    if not found:
        raise UnsupportedModelError(
            f"{type(decoder).__name__} has no list of layers that return states for each row, and "
            "so no middle to attack."
        )
    into.append(found[min(found)])


def _keep(
    found: dict[int, Tensor], place: int, rows: int, module: nn.Module, args: Any, output: Any
) -> None:
    """Keep what a layer returns, if that is states of all rows that depend on the inputs."""
    states = output[0] if isinstance(output, tuple | list) else output
    if isinstance(states, Tensor) and states.requires_grad and len(states) == rows:
        found[place] = states


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """Yield modules, but none within a list: experts of a layer are no layers."""
    yield module
    if not isinstance(module, nn.ModuleList):
        for child in module.children():
            yield from _outermost(child)

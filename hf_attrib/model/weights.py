"""Whether the weights of a model are still what they were, however they were written to.

PyTorch counts writes to a parameter, but none through its ``.data``, which adapters that merge
and models that rescale themselves use; quantised weights keep their scales in attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Weights", "modules_of"]

#: So many numbers of each tensor are looked at. Whatever merges, averages, trains or rescales
#: moves all of them; a write through ``.data`` to other numbers only is not seen.
_SAMPLED = 16


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Return all modules, also while another thread puts others in their place."""
    found: dict[int, nn.Module] = {}
    ahead = [model]
    while ahead:
        module = ahead.pop()
        if id(module) not in found:
            found[id(module)] = module
            ahead += [child for child in list(module._modules.values())[::-1] if child is not None]
    return list(found.values())


class Weights:
    """Where the weights of some modules are, how often they were written to, a sample of them.

    Args:
        modules: they are read once, when this is made.
        more: other tensors that count as weights.
    """

    def __init__(self, modules: Iterable[nn.Module], more: Iterable[Tensor] = ()) -> None:
        # The tensors are held, as a new one could get the number of one that is gone.
        self._tensors = [*_weights(modules), *more]
        self._marks = [_mark(tensor) for tensor in self._tensors]
        self._samples = _samples(self._tensors)

    def same(self, other: Weights) -> bool:
        """Tell whether nothing was seen to be written between two looks."""
        return (
            self._marks == other._marks
            and self._samples.keys() == other._samples.keys()
            and all(_equal(found, other._samples[key]) for key, found in self._samples.items())
        )


def _weights(modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    """Yield parameters, and tensors in their attributes and in objects found there."""
    for module in modules:
        for parameter in list(module._parameters.values()):
            if parameter is not None:
                yield parameter
                for value in list(vars(parameter).values()):
                    yield from _inside(value)


def _inside(value: Any, depth: int = 2) -> Iterator[Tensor]:
    """Yield a tensor, or those in the attributes of what describes a quantised weight."""
    if isinstance(value, Tensor):
        yield value
    elif depth and hasattr(value, "__dict__") and not isinstance(value, nn.Module | type):
        for held in list(vars(value).values()):
            yield from _inside(held, depth - 1)


def _mark(tensor: Tensor) -> tuple[int, int, int]:
    try:
        return id(tensor), tensor.data_ptr(), tensor._version
    except RuntimeError:  # tensors made of others are nowhere, those of inference have no count
        return id(tensor), 0, 0


def _samples(tensors: Iterable[Tensor]) -> dict[tuple[torch.device, torch.dtype], Tensor]:
    """Return numbers from all over each tensor, joined by where they are and their type."""
    parts: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        for tensor in tensors:
            try:
                part = _sample(tensor)
            except (RuntimeError, NotImplementedError, TypeError):  # a type that cannot be cut
                continue
            if part is not None:
                parts.setdefault((part.device, part.dtype), []).append(part)
        return {key: torch.cat(found) for key, found in parts.items()}


def _sample(tensor: Tensor) -> Tensor | None:
    """Return numbers that lie evenly in the memory of a tensor, or ``None`` if it has none."""
    if tensor.is_meta or tensor.layout != torch.strided:
        return None
    start = int(tensor.storage_offset())
    there = tensor.untyped_storage().nbytes() // tensor.element_size() - start
    size = min(tensor.numel(), there)
    if size < 1:
        return None
    count = min(size, _SAMPLED)
    return tensor.detach().as_strided((count,), (size // count,), start)


def _equal(found: Tensor, before: Tensor) -> bool:
    """Compare bytes, since nan is not itself."""
    return torch.equal(found.view(torch.uint8), before.view(torch.uint8))

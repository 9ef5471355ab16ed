"""What a model remembers from pass to pass besides its weights, put back as it was.

Some models change themselves while they run: frequencies of positions grow with the longest pass
so far, or a short pass replaces sparse attention by full attention for good. What such a model
computes next depends on what was asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

__all__ = ["state_restored"]

#: What a module holds that others set on purpose, or that is put back elsewhere.
_LEFT_ALONE = {*vars(nn.Module()), "_hf_hook", "_compiled_call_impl"}
#: Larger tensors are put back if they are replaced, but no copy is kept of what is in them:
#: quantised weights are buffers too.
_LARGEST = 2**20
_CONTAINERS = frozenset({dict, list, set})
_MISSING = object()


class _Content:
    """What is in a tensor or a container.

    Args:
        value: a tensor of moderate size, a list, a set or a dict.
    """

    __slots__ = ("content", "value", "version")

    def __init__(self, value: Any) -> None:
        self.value = value
        tensor = isinstance(value, Tensor)
        self.content = value.detach().clone() if tensor else value.copy()
        self.version = value._version if tensor else 0

    def changed(self) -> bool:
        """Tell whether there is something else in it now."""
        if isinstance(self.value, Tensor):
            return self.value._version != self.version and not torch.equal(self.value, self.content)
        return not _same(self.value, self.content)

    def restore(self) -> None:
        """Put the content back."""
        if not self.changed():
            return
        if isinstance(self.value, Tensor):
            with torch.no_grad():
                self.value.copy_(self.content)
            return
        self.value.clear()
        fill = self.value.extend if isinstance(self.value, list) else self.value.update
        fill(self.content)


def _writable(value: Any) -> bool:
    """Tell whether the content of a value is kept, besides the value itself."""
    if isinstance(value, Tensor):
        return not (value.is_inference() or value.is_meta or value.numel() > _LARGEST)
    return type(value) in _CONTAINERS


def _same(found: Any, before: Any) -> bool:
    """Tell whether two containers hold the same objects, in the same order."""
    if isinstance(found, dict):
        return [*found] == [*before] and all(found[key] is before[key] for key in found)
    pairs = zip(found, before, strict=False)
    return len(found) == len(before) and all(a is b for a, b in pairs)


class _State:
    """What the modules of a model hold besides parameters, hooks and training modes.

    Args:
        model: it is read once, when this is made.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())
        self._written = [parameter._version for parameter in self._parameters]
        places: dict[int, dict[str, Any]] = {}
        for module in model.modules():
            held = vars(module)
            for place in (held, held["_buffers"], held["_modules"]):
                places[id(place)] = place
            for value in held.values():
                if isinstance(value, PreTrainedConfig):
                    places[id(vars(value))] = vars(value)
        self._before = [
            (held, {name: held[name] for name in held if name not in _LEFT_ALONE})
            for held in places.values()
        ]
        values = (value for _, before in self._before for value in before.values())
        self._contents = [_Content(value) for value in values if _writable(value)]

    def changed(self) -> bool:
        """Tell whether a pass has changed anything that was there; new values are no change."""
        return any(
            held.get(name, _MISSING) is not value
            for held, before in self._before
            for name, value in before.items()
        ) or any(content.changed() for content in self._contents)

    def restore(self) -> None:
        """Put everything back, and take away what is new.

        Unless weights were written to: what a model says of its weights goes with them (RWKV).
        """
        if self._written != [parameter._version for parameter in self._parameters]:
            return
        for content in self._contents:
            content.restore()
        for held, before in self._before:
            for name in [n for n in held if n not in before and n not in _LEFT_ALONE]:
                del held[name]
            for name, value in before.items():
                if held.get(name, _MISSING) is not value:
                    held[name] = value


@contextmanager
def state_restored(model: nn.Module) -> Iterator[Callable[[], bool]]:
    """Put back attributes, buffers and submodules that passes inside the context change.

    Parameters, hooks and training modes are left alone. Of plain attributes, tensors, lists, sets
    and dicts are also put back if they were written to; of configs, their fields.

    Args:
        model: it may be run any number of times inside the context.

    Yields:
        a function that tells whether anything has changed so far.
    """
    state = _State(model)
    try:
        yield state.changed
    finally:
        state.restore()

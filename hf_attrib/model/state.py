"""What a model remembers from pass to pass besides its weights, put back as it was.

Some models change themselves while they run: frequencies of positions grow with the longest pass
so far, or a short pass replaces sparse attention by full attention for good. What such a model
computes next depends on what was asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
_MISSING = object()


@dataclass(frozen=True, eq=False)
class _Kept:
    """A value that a module holds, and what was in it.

    Args:
        value: the object itself.
        content: a copy of what is in a tensor or container, or ``None`` where none is kept.
        version: how often the tensor had been written to.
    """

    value: Any
    content: Any = None
    version: int = 0

    @classmethod
    def of(cls, value: Any) -> _Kept:
        if isinstance(value, Tensor):
            if value.is_inference() or value.is_meta or value.numel() > _LARGEST:
                return cls(value)
            return cls(value, value.detach().clone(), value._version)
        plain = type(value) in (dict, list, set)
        return cls(value, value.copy() if plain else None)

    @property
    def written(self) -> bool:
        """Whether there is something else in it now."""
        if self.content is None:
            return False
        if isinstance(self.value, Tensor):
            return self.value._version != self.version and not torch.equal(self.value, self.content)
        return not _same(self.value, self.content)

    def restore(self) -> None:
        """Put the content back."""
        if not self.written:
            return
        if isinstance(self.value, Tensor):
            with torch.no_grad():
                self.value.copy_(self.content)
            return
        self.value.clear()
        fill = self.value.extend if isinstance(self.value, list) else self.value.update
        fill(self.content)


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
        places: dict[int, tuple[dict[str, Any], set[str]]] = {}
        for module in model.modules():
            held = vars(module)
            configs = (vars(v) for v in held.values() if isinstance(v, PreTrainedConfig))
            for place in (held["_buffers"], held["_modules"], *configs):
                places[id(place)] = place, set()
            places[id(held)] = held, _LEFT_ALONE
        self._before = [
            (held, left, {name: _Kept.of(v) for name, v in held.items() if name not in left})
            for held, left in places.values()
        ]

    def changed(self) -> bool:
        """Tell whether a pass has changed anything that was there; new values are no change."""
        return any(
            held.get(name) is not kept.value or kept.written
            for held, _, before in self._before
            for name, kept in before.items()
        )

    def restore(self) -> None:
        """Put everything back, and take away what is new."""
        for held, left, before in self._before:
            for name in [n for n in held if n not in before and n not in left]:
                del held[name]
            for name, kept in before.items():
                kept.restore()
                if held.get(name, _MISSING) is not kept.value:
                    held[name] = kept.value


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

"""Measure the memory of tensors, the same way on every device."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Meter"]


class Meter(TorchDispatchMode):
    """Counts, for each device, the bytes that live at once of all tensors made inside it.

    It sees every tensor that an operation returns, what autograd keeps and the backward pass
    makes included, on any device; what a kernel takes and gives back within a call, it does not.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: Counter[torch.device] = Counter()
        self._now: Counter[torch.device] = Counter()
        self._live: dict[int, ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        found = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(found):
            key, device, size = storage._cdata, storage.device, storage.nbytes()
            if key not in given and key not in self._live:
                self._live[key] = ref(storage, partial(self._freed, key, device, size))
                self._now[device] += size
                self.peak[device] = max(self.peak[device], self._now[device])
        return found

    def _freed(self, key: int, device: torch.device, size: int, _: object) -> None:
        self._now[device] -= size
        del self._live[key]


def _storages(found: Any) -> list[torch.UntypedStorage]:
    tensors = (leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor))
    # Tensors on the device "meta" have a shape and no memory.
    kept = (t for t in tensors if t.layout is torch.strided and not t.is_meta)
    return [t.untyped_storage() for t in kept]

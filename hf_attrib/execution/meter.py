"""Measure the memory of tensors, the same way on every device."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Meter"]


class _Counted(ref[torch.UntypedStorage]):
    """A storage that lives or has ended, and what it was counted as."""

    key: int
    device: torch.device
    size: int


class Meter(TorchDispatchMode):
    """Counts, for each device, the bytes that live at once of all tensors made inside it.

    It sees every tensor that an operation returns, what autograd keeps and the backward pass
    makes included, on any device; what a kernel takes and gives back within a call, it does not.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: Counter[torch.device] = Counter()
        self._now: Counter[torch.device] = Counter()
        self._live: dict[int, _Counted] = {}
        self._ended: list[_Counted] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        found = func(*args, **(kwargs or {}))
        self._forget_ended()
        given = {storage._cdata for storage in _storages((*args, *(kwargs or {}).values()))}
        for storage in _storages(found):
            if storage._cdata not in given and storage._cdata not in self._live:
                self._count(storage)
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        # Python drops what is raised where an object ends, an interrupt by the user too. So none of
        # our code runs there: a list takes a note of it.
        counted = _Counted(storage, self._ended.append)
        counted.key, counted.device = storage._cdata, storage.device
        counted.size = storage.nbytes()
        self._live[counted.key] = counted
        self._now[counted.device] += counted.size
        self.peak[counted.device] = max(self.peak[counted.device], self._now[counted.device])

    def _forget_ended(self) -> None:
        with suppress(IndexError):  # there are no more; another thread may have taken the last
            while True:
                counted = self._ended.pop()
                self._now[counted.device] -= counted.size
                del self._live[counted.key]


def _storages(found: Any) -> list[torch.UntypedStorage]:
    """Return the storages of what an operation takes or returns: tensors, and lists of them."""
    if isinstance(found, Tensor):
        # Tensors on the device "meta" have a shape and no memory.
        held = found.layout is torch.strided and not found.is_meta
        return [found.untyped_storage()] if held else []
    if isinstance(found, (tuple, list)):
        return [storage for part in found for storage in _storages(part)]
    return []

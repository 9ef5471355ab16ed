"""How many rows fit into memory: measured on one row, remembered, and bounded by the caller."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal
from operator import index
from typing import SupportsIndex

import psutil
import torch
from torch import Tensor

from hf_attrib.engine.probe import (
    Taken,
    bytes_along,
    bytes_backward,
    bytes_forward,
    heaviest_row_along,
)
from hf_attrib.errors import InputError, MemoryLimitError
from hf_attrib.execution import RowRunner
from hf_attrib.execution.rows import default_rows
from hf_attrib.field import NEVER, Field

__all__ = ["Demand", "Memory", "Need", "size_of", "written"]

#: Of the memory that is free, what rows may take: allocators round up, and others need some.
_SHARE = 0.7
#: Rows are measured anew for so many lengths between one and its double, since attention may take
#: memory that grows faster than length.
_FINENESS = 4


@dataclass(frozen=True)
class Demand:
    """What of a question decides over the memory of a row.

    Args:
        kind: what is explained.
        whole: how many gradients of all targets are held whole.
        linear: whether derivatives along directions would do for gradients.
        differentiates: whether there are gradients.
        attention: whether these are by attention, whose probabilities are then held.
    """

    kind: Hashable
    whole: int
    linear: bool
    differentiates: bool
    attention: bool


@dataclass(frozen=True)
class Need:
    """What rows take beyond the model, in bytes.

    Args:
        row: each of those that run at once, on each device.
        held: whatever their number.
    """

    row: Taken
    held: int

    def of(self, rows: int) -> float:
        """Return what so many rows at once take in all."""
        return rows * sum(self.row.values()) + self.held


class Memory:
    """Decides how many rows run at once, and remembers what it has learnt about a model.

    Args:
        batch_size: rows at once that the caller asks for, or ``None`` to go by memory.
        max_memory: bytes that rows may take in all, or ``None`` for a share of what is free.
    """

    def __init__(self, batch_size: int | None, max_memory: int | None) -> None:
        self.batch_size = batch_size
        self.max_memory = max_memory
        self.forget()

    def forget(self) -> None:
        """Forget what was learnt, since the model has changed."""
        #: By the type of device, tokens that did not end memory where more did.
        self._ceiling: dict[str, int] = {}
        #: Of rows measured: their lengths, and the bytes on each device.
        self._measured: dict[Hashable, tuple[tuple[int, ...], Taken]] = {}

    def runner(self, width: int, device: torch.device) -> RowRunner:
        """Return what runs rows of N tokens, until :meth:`fit` knows more.

        Args:
            width: N.
            device: where they run.
        """

        def reduced(limit: int) -> None:
            self._ceiling[device.type] = limit * width

        limit = 1 if self.max_memory is not None else self._most(width, device)
        return RowRunner(limit, reduced)

    def _most(self, width: int, device: torch.device) -> int:
        """Return how many rows may run at once, memory still to be measured."""
        asked = self.batch_size or default_rows(width, device)
        proven = self._ceiling.get(device.type, asked * width) // width
        return max(1, min(asked, proven))

    def fit(self, field: Field, x: Tensor, demand: Demand) -> None:
        """Let a field run as many rows at once as fit; arguments as for :meth:`need`.

        Raises:
            MemoryLimitError: a single row takes more than the caller allows.
        """
        if self.batch_size is not None and self.max_memory is None:
            return
        need = self.need(field, x, demand)
        rows = self._most(x.shape[-2], x.device)
        if self.max_memory is not None:
            if need.of(1) > self.max_memory and field.direction_cost != NEVER:
                field.forgo_directions()  # pullbacks may take less
                need = self.need(field, x, demand)
            if need.of(1) > self.max_memory:
                raise MemoryLimitError(
                    f"one sequence of {x.shape[-2]} tokens with {field.targets} targets takes "
                    f"{written(need.of(1))} beyond the model, but max_memory is "
                    f"{written(self.max_memory)}. Raise max_memory, or shorten the prompt or the "
                    "response."
                )
            rows = min(rows, int((self.max_memory - need.held) / (need.of(1) - need.held)))
        if self.batch_size is None:
            free = {device: _SHARE * _available(device) for device in need.row}
            free[x.device] -= need.held
            rows = min(rows, *(int(free[device] / size) for device, size in need.row.items()))
        field.runner.resize(max(1, rows))

    def need(self, field: Field, x: Tensor, demand: Demand) -> Need:
        """Return what rows take, measured or remembered.

        Rows of about the same length and number of targets take about the same for each token.

        Args:
            field: F and its gradient; where its directions cannot be run, it is told so.
            x: embeddings, [B, 1, N, D].
            demand: what else decides over memory.
        """
        moving = x.shape[-2] - int(field.movable.any(0).nonzero()[0])
        sizes = (x.shape[-2], moving, field.targets)  # what comes before may be run once for all
        about = (
            x.device,
            field.target_table.answers,
            *(round(_FINENESS * math.log2(n)) for n in sizes),
        )
        whole = demand.whole > 0
        if not demand.differentiates:
            key = (demand.kind, "forward", *about)
            return Need(self._remembered(key, sizes, lambda: bytes_forward(field, x), 1), 0)
        attention = demand.attention
        row = self._remembered(
            (demand.kind, whole, attention, *about),
            sizes,
            lambda: bytes_backward(field, x, whole, attention),
            2 if attention else 1,  # probabilities are as many as pairs of tokens
        )
        if demand.linear and (query := heaviest_row_along(field, x)) is not None:
            try:
                # Plain attention takes memory that grows with the square of the length.
                along = self._remembered(
                    (demand.kind, *about), sizes, lambda: bytes_along(field, query), 2
                )
            except (NotImplementedError, MemoryLimitError):  # as the run would find out
                field.forgo_directions()
            else:
                row = {d: max(row.get(d, 0.0), along.get(d, 0.0)) for d in {*row, *along}}
        return Need(row, demand.whole * field.targets * x.nbytes)

    def _remembered(
        self, key: Hashable, sizes: tuple[int, ...], measure: Callable[[], Taken], power: int
    ) -> Taken:
        """Return what a row takes, from one of about its sizes."""
        if key not in self._measured:
            self._measured[key] = (sizes, measure())
        before, taken = self._measured[key]
        longer = max(1.0, *(now / then for now, then in zip(sizes, before, strict=True)))
        return {device: size * longer**power for device, size in taken.items()}


def _available(device: torch.device) -> int:
    """Return how many bytes are free, those that torch holds in reserve included."""
    if device.type in ("cuda", "xpu"):
        module = torch.get_device_module(device)
        unused = module.memory_reserved(device) - module.memory_allocated(device)
        return int(module.mem_get_info(device)[0] + unused)
    return int(psutil.virtual_memory().available)


_UNITS = ("", "K", "M", "G", "T")
_SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(?:([KMGT])(I?))?B?\s*", re.ASCII | re.IGNORECASE)
#: More bytes than this are no memory, and no number that a device could count.
_MOST = 2**63


def size_of(given: str | SupportsIndex) -> int:
    """Return a size in bytes that was given as text, ``"2GiB"`` or ``"500 mb"``, or in bytes.

    Units are powers of 1000, or with an ``i`` of 1024, in capital or small letters.

    Raises:
        InputError: it is no size.
    """
    size = 0
    if isinstance(given, str):
        if found := _SIZE.fullmatch(given):
            number, unit, binary = found.groups()
            power = _UNITS.index((unit or "").upper())
            size = int(Decimal(number) * (1024 if binary else 1000) ** power)
    elif hasattr(given, "__index__") and not isinstance(given, bool):
        size = index(given)
    if not 1 <= size < _MOST:
        raise InputError(
            f"max_memory is {given!r:.80}; expected bytes, or a size such as '2GiB' or '500MB'."
        )
    return size


def written(size: float) -> str:
    """Return a size in words, no smaller than it is, so that it can be asked for.

    >>> written(3 * 2**29)
    '1.5 GiB'
    """
    whole = math.ceil(size)
    power = min(4, int(math.log2(max(whole, 1))) // 10)
    number = whole / 2 ** (10 * power)
    # Three digits, and all of those before the point.
    places = max(0, 2 - int(math.log10(max(number, 1)))) if power else 0
    number = math.ceil(number * 10**places) / 10**places
    unit = ("byte" if number == 1 else "bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{number:.10g} {unit}"

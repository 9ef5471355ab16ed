"""How many rows fit into memory: measured on one row, remembered, and bounded by the caller."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import psutil
import torch
from accelerate.utils import convert_file_size_to_int
from torch import Tensor

from hf_attrib.errors import InputError, MemoryLimitError
from hf_attrib.field import Field
from hf_attrib.meter import Meter
from hf_attrib.pairs import Contraction, Pairs, differentiate, dot
from hf_attrib.rows import RowRunner

__all__ = ["Memory", "Need", "longest", "size_of", "usual_rows", "written"]

#: Tokens in flight when memory allows more. CPUs gain nothing from more, accelerators do.
_TOKENS_ON_CPU, _TOKENS = 1024, 16384

#: Of the memory that is free, what rows may take: allocators round up, and others need some.
_SHARE = 0.7

#: Rows are measured anew for so many lengths between one and its double, since attention may take
#: memory that grows faster than length.
_FINENESS = 4


def usual_rows(width: int, device: torch.device) -> int:
    """Return how many rows of N tokens run at once where memory does not matter.

    Args:
        width: N.
        device: where they run.
    """
    return max(1, (_TOKENS_ON_CPU if device.type == "cpu" else _TOKENS) // width)


def size_of(given: str | int) -> int:
    """Return a size in bytes that was given as text, ``"2GiB"`` or ``"500MB"``, or in bytes.

    Raises:
        InputError: it is no size.
    """
    try:
        size = 0 if isinstance(given, bool) else int(convert_file_size_to_int(given))
    except (AttributeError, OverflowError, ValueError):
        size = 0
    if size < 1:
        raise InputError(
            f"max_memory is {given!r:.80}; expected bytes, or a size such as '2GiB' or '500MB'."
        )
    return size


def written(size: float) -> str:
    """Return a size in words.

    >>> written(3 * 2**29)
    '1.5 GiB'
    """
    power = min(3, int(math.log2(max(size, 1))) // 10)
    return f"{size / 2 ** (10 * power):.3g} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"


def longest(field: Field, x: Tensor, wanted: int = 1) -> Pairs:
    """Return one row, of all targets, whose gradient is wanted for those that read the most.

    Args:
        field: F and its gradient.
        x: embeddings, [B, 1, N, D].
        wanted: for how many targets.
    """
    shape = (field.sequences, field.targets, x.shape[-2])
    read = field.reads().expand(shape).sum(-1).masked_fill(~field.valid(), -1)  # [B, T]
    b = int(read.amax(1).argmax())
    asked = torch.zeros(1, field.targets, dtype=torch.bool)
    asked[0, read[b].argsort(descending=True)[:wanted]] = True
    columns = torch.arange(field.targets)[None]
    return Pairs(x[b], torch.zeros_like(x[b]), torch.tensor([b]), columns, asked, asked)


@dataclass(frozen=True)
class Need:
    """What rows take beyond the model, in bytes.

    Args:
        row: each of those that run at once, on each device.
        held: whatever their number.
    """

    row: Mapping[torch.device, float]
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
        self._measured: dict[Hashable, tuple[tuple[int, ...], Mapping[torch.device, float]]] = {}

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
        asked = self.batch_size or usual_rows(width, device)
        proven = self._ceiling.get(device.type, asked * width) // width
        return max(1, min(asked, proven))

    def fit(self, field: Field, x: Tensor, kind: Hashable, whole: int) -> None:
        """Let a field run as many rows at once as fit; arguments as for :meth:`need`.

        Raises:
            MemoryLimitError: a single row takes more than the caller allows.
        """
        if self.batch_size is not None and self.max_memory is None:
            return
        need = self.need(field, x, kind, whole)
        rows = self._most(x.shape[-2], x.device)
        if self.batch_size is None:
            free = {device: _SHARE * _available(device) for device in need.row}
            free[x.device] -= need.held
            rows = min(rows, *(int(free[device] / size) for device, size in need.row.items()))
        if self.max_memory is not None:
            if need.of(1) > self.max_memory:
                raise MemoryLimitError(
                    f"one sequence of {x.shape[-2]} tokens with {field.targets} targets takes "
                    f"{written(need.of(1))} beyond the model, but max_memory is "
                    f"{written(self.max_memory)}. Raise max_memory, or shorten the prompt or the "
                    "response."
                )
            rows = min(rows, int((self.max_memory - need.held) / (need.of(1) - need.held)))
        field.runner.resize(max(1, rows))

    def need(self, field: Field, x: Tensor, kind: Hashable, whole: int) -> Need:
        """Return what rows take, measured or remembered.

        Rows of about the same length and number of targets take about the same for each token.

        Args:
            field: F and its gradient.
            x: embeddings, [B, 1, N, D].
            kind: what else of the question decides over memory.
            whole: how many gradients of all targets are held whole.
        """
        moving = x.shape[-2] - int(field.movable.any(0).nonzero()[0])
        sizes = (x.shape[-2], moving, field.targets)  # what comes before may be run once for all
        key = (kind, whole > 0, x.device, *(round(_FINENESS * math.log2(n)) for n in sizes))
        if key not in self._measured:
            self._measured[key] = (sizes, _measured(field, x, whole > 0))
        before, taken = self._measured[key]
        longer = max(1.0, *(now / then for now, then in zip(sizes, before, strict=True)))
        row = {device: size * longer for device, size in taken.items()}
        return Need(row, whole * field.targets * x.nbytes)


def _measured(field: Field, x: Tensor, whole: bool) -> Mapping[torch.device, float]:
    """Return the bytes that one row takes on each device, forward and for one pullback."""
    pairs, meter = longest(field, x), Meter()
    contract: Contraction = (lambda gradient, _: gradient) if whole else dot

    def compute(_: Tensor) -> tuple[Tensor, ...]:
        with meter:
            blocks = field.blocks(pairs)
            found = differentiate(field.linearise, pairs, blocks, field.movable, contract)
        return (found.gradient,)

    (kept,) = RowRunner(1).map(1, compute)
    peak = meter.peak
    # Points and velocities are copied on their way. Gradients are copied where they are joined, and
    # those of the rows before are in use until the next have come.
    peak[x.device] = max(peak[x.device] + 4 * pairs.points.nbytes + kept.nbytes, 3 * kept.nbytes)
    return {device: taken for device, taken in peak.items() if taken}


def _available(device: torch.device) -> int:
    """Return how many bytes are free, those that torch holds in reserve included."""
    if device.type in ("cuda", "xpu"):
        module = torch.get_device_module(device)
        unused = module.memory_reserved(device) - module.memory_allocated(device)
        return int(module.mem_get_info(device)[0] + unused)
    return int(psutil.virtual_memory().available)

"""How rows are run: some at once, fewer when memory ends, and shared with other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from hf_attrib.errors import MemoryLimitError
from hf_attrib.execution.processes import ALONE, Processes

__all__ = ["Compute", "Progress", "RowRunner", "default_rows", "out_of_memory", "silent"]

#: Maps numbers of rows, [r], to tensors that have r entries each.
Compute: TypeAlias = Callable[[Tensor], tuple[Tensor, ...]]
#: Called with (nodes done, nodes in all) along a path.
Progress: TypeAlias = Callable[[int, int], None]
#: Tokens in flight when memory allows more. CPUs gain nothing from more, accelerators do.
_TOKENS_ON_CPU, _TOKENS = 1024, 16384


def silent(done: int, total: int) -> None:
    """Report no progress."""


class RowRunner:
    """Runs any number of rows, no more than fit at once.

    Args:
        limit: rows run at once; halved, for good, whenever memory ends.
        reduced: called with the limit when it has been halved.
    """

    def __init__(self, limit: int, reduced: Callable[[int], None] = lambda limit: None) -> None:
        self.reduced = reduced
        self._between: Callable[[], None] = lambda: None
        self._processes = ALONE
        self.resize(limit)

    def call_between(self, look: Callable[[], None]) -> None:
        """Call something from now on whenever some rows have run."""
        self._between = look

    def resize(self, limit: int) -> None:
        """Run another number of rows at once from now on, each process as many as it can."""
        self.limit = limit
        least = min(int(text) for text in self._processes.texts(str(limit)))
        #: Rows for which callers may prepare points at once, the same in all processes. It stays,
        #: whatever memory allows.
        self.window = least * self._processes.count

    def share(self, processes: Processes) -> None:
        """Run rows together with other processes, each of which runs some of them."""
        self._processes = processes
        self.resize(self.limit)

    def map(self, count: int, compute: Compute) -> tuple[Tensor, ...]:
        """Return what ``compute`` finds for rows 0 to count - 1, joined.

        Raises:
            MemoryLimitError: a single row takes more memory than there is.
        """
        found: list[tuple[Tensor, ...]] = []
        own, done = self._processes.own(count), 0
        while done < len(own):
            rows = own[done : done + self.limit]
            try:
                found.append(compute(rows))
                done += len(rows)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.limit == 1:
                    raise MemoryLimitError(
                        f"memory ended although only one sequence was run at once ({error}). "
                        "Shorten the prompt or the response, load the model in a smaller type, or "
                        "use a device with more memory."
                    ) from error
            else:
                self._between()
                continue
            # Outside of the handler, whose error holds on to the tensors of the attempt.
            self._halve(len(rows))
        joined = tuple(torch.cat(column) for column in zip(*found, strict=True))
        return self._processes.joined(joined, count)

    def _halve(self, tried: int) -> None:
        """Run fewer rows at once from now on, since memory ended on so many."""
        # A row may run as many directions at once as there may be rows.
        self.limit = max(1, (tried if tried > 1 else self.limit) // 2)
        self.reduced(self.limit)
        clear_device_cache(garbage_collection=True)


def out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory has ended."""
    return isinstance(error, MemoryError) or should_reduce_batch_size(error)


def default_rows(width: int, device: torch.device) -> int:
    """Return how many rows of N tokens run at once where memory does not matter.

    Args:
        width: N.
        device: where they run.
    """
    return max(1, (_TOKENS_ON_CPU if device.type == "cpu" else _TOKENS) // width)

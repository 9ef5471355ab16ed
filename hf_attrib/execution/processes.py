"""Several processes that hold the same model and share one piece of work.

All of them make the same calls and come to the same results. Whatever they exchange, they first
tell each other whether they are well and what comes next, so that a failure of one ends the call
in all of them instead of letting the others wait.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from hf_attrib import errors
from hf_attrib.errors import HFAttribError, InputError, ProcessError

__all__ = ["ALONE", "Processes", "connected", "fingerprint", "launched", "session"]

#: What is exchanged next, where it is not tensors of a number of rows.
_TEXT, _END, _FIRST = -1, -2, -3


class Processes:
    """The processes that share a call, as one of them sees them.

    Args:
        index: which of them this is.
        count: how many there are.
        device: where tensors must be to be exchanged.
    """

    def __init__(self, index: int, count: int, device: torch.device) -> None:
        self.index = index
        self.count = count
        self.device = device
        self._agreed = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """End the context in all processes alike: an error in one is raised in all.

        Raises:
            HFAttribError: what another process raised, as far as it is an error of ours.
            ProcessError: another process raised anything else, or went another way.
        """
        self._agreed = False
        try:
            yield
            self._agree(_END)
        except BaseException as error:
            if not self._agreed:  # the others do not know yet
                self._agree(_END, error)
            raise

    def own(self, count: int) -> Tensor:
        """Return which of ``count`` rows this process runs; every process runs some row.

        Rows go round: neighbours, which often take equally long, end up in different processes.
        """
        # One without rows of its own runs one for nothing, to know what results look like.
        return torch.arange(self.index % count, count, self.count)

    def joined(self, found: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
        """Return the results of all rows, in order, the same in every process.

        Args:
            found: tensors whose entries are the results of this process's own rows.
            count: how many rows there are.
        """
        if self.count == 1:
            return found
        self._agree(count)
        return tuple(self._joined(column, count) for column in found)

    def _joined(self, column: Tensor, count: int) -> Tensor:
        longest = -(-count // self.count)
        padded = column.new_zeros(longest, *column.shape[1:])
        padded[: len(column)] = column
        result = column.new_empty(count, *column.shape[1:])
        for index, part in enumerate(self._gather(padded)[:count]):
            place = result[index :: self.count]
            place.copy_(part[: len(place)])
        return result

    def texts(self, text: str) -> list[str]:
        """Return the texts that the processes gave, in order."""
        if self.count == 1:
            return [text]
        self._agree(_TEXT)
        return self._texts(text)

    def first(self, own: Tensor) -> Tensor:
        """Return the tensor of the first process; all have the same shape and type."""
        if self.count == 1:
            return own
        self._agree(_FIRST)
        found = own.to(self.device, copy=True, memory_format=torch.contiguous_format)
        distributed.broadcast(found, 0)
        return found.to(own.device)

    def check_same(self, *things: Any) -> None:
        """Demand that all processes gave the same, tensors by their content.

        Raises:
            InputError: they did not.
        """
        if self.count > 1 and len(set(self.texts(fingerprint(things)))) > 1:
            raise InputError(
                "the processes were asked different things; with distributed=True each of them "
                "must make the same calls with the same arguments, model and tokenizer."
            )

    def _texts(self, text: str) -> list[str]:
        data = torch.tensor(list(text.encode("utf-8", "surrogatepass")), dtype=torch.uint8)
        sizes = [int(size) for size in self._gather(torch.tensor([len(data)]))]
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(data)] = data
        parts = zip(self._gather(padded), sizes, strict=True)
        return [bytes(p[:n].tolist()).decode("utf-8", "surrogatepass") for p, n in parts]

    def _gather(self, own: Tensor) -> list[Tensor]:
        """Return one tensor from each process; all have the same shape and type."""
        here = own.contiguous().to(self.device)
        found = [torch.empty_like(here) for _ in range(self.count)]
        if here.numel():
            distributed.all_gather(found, here)
        return [tensor.to(own.device) for tensor in found]

    def _agree(self, coming: int, error: BaseException | None = None) -> None:
        """Tell each other how it goes and what comes next."""
        if self.count == 1:
            return
        said = torch.tensor([error is not None, coming, -coming], device=self.device)
        distributed.all_reduce(said, distributed.ReduceOp.MAX)
        failed, most, least = said.tolist()
        if not failed and most == -least:
            return
        self._agreed = True
        if not failed:
            raise ProcessError(
                "the processes went different ways; each of them must make the same calls, with "
                "the same model on devices of the same kind."
            )
        told = self._texts("" if error is None else f"{type(error).__name__}\n{error}")
        if error is None:
            raise _told(told)


def _told(texts: list[str]) -> HFAttribError:
    """Return the first error that processes told of."""
    index, text = next((i, text) for i, text in enumerate(texts) if text)
    name, _, message = text.partition("\n")
    if name in errors.__all__ and issubclass(kind := getattr(errors, name), HFAttribError):
        return kind(message)  # type: ignore[no-any-return]
    return ProcessError(f"process {index} failed: {name}: {message}")


#: The only process there is, as far as a call is concerned.
ALONE = Processes(0, 1, torch.device("cpu"))


def launched() -> int:
    """Return how many processes a launcher, such as torchrun, has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def connected(cpu: bool = False) -> Processes:
    """Return the processes that were launched together; they are connected if they are not yet.

    Args:
        cpu: whether to leave accelerators out where they are connected.

    Raises:
        InputError: a launcher has started several, but they cannot be connected.
    """
    if not distributed.is_initialized() and launched() > 1:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env

        # Imported later, as transformers does, its functions would keep the group as a default
        # argument, and with it threads of gloo, which can abort the process when it exits.
        from torch.distributed.nn import functional  # noqa: F401

        forced = cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
        PartialState(cpu=forced or not torch.accelerator.is_available())
    if not distributed.is_initialized():
        if launched() > 1:
            raise InputError(
                f"WORLD_SIZE says that there are {launched()} processes, but they cannot be "
                "connected; start them with accelerate launch or torchrun."
            )
        return ALONE
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or "cpu:" in str(distributed.get_backend_config()):
        accelerator = torch.device("cpu")
    return Processes(distributed.get_rank(), distributed.get_world_size(), accelerator)


@contextmanager
def session(cpu: bool) -> Iterator[Processes]:
    """Connect the processes that were launched together, and end the context in all alike.

    Args:
        cpu: whether to leave accelerators out.
    """
    processes = connected(cpu)
    try:
        with processes.together():
            yield processes
    finally:
        if processes.count > 1:
            distributed.destroy_process_group()


def fingerprint(thing: Any) -> str:
    """Return a text that is the same wherever a thing has the same content.

    Tensors count by all of their content and not by their device, functions by their name.
    """
    return _hash(_written(thing).encode())


def _hash(content: Any) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _written(thing: Any) -> str:
    """Write a thing down with all that it holds, but not where in memory it is."""
    if isinstance(thing, str):
        return repr(thing)
    if isinstance(thing, Tensor):
        # As bytes, since numpy lacks some types.
        content = thing.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return f"{thing.dtype} {tuple(thing.shape)} {_hash(content)}"
    if isinstance(thing, np.ndarray):
        return _written(thing.tolist())
    if is_dataclass(thing) and not isinstance(thing, type):
        values = {f.name: getattr(thing, f.name) for f in fields(thing)}
        return type(thing).__name__ + _written(values)
    if isinstance(thing, Mapping):
        return _written(sorted((_written(k), _written(v)) for k, v in thing.items()))
    if isinstance(thing, list | tuple):
        return f"[{', '.join(map(_written, thing))}]"
    if isinstance(thing, set | frozenset):
        return _written(sorted(map(_written, thing)))
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))

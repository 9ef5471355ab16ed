"""Hooks that act in the thread that set them: others may run the same module at the same time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import get_ident
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from hf_attrib.errors import UnsupportedModelError

__all__ = ["check_mode", "hooked"]

#: What is set now, and by which thread.
_SET: dict[RemovableHandle, int] = {}


@contextmanager
def hooked(
    module: nn.Module, when: Literal["before", "after", "always_after"], hook: Callable[..., Any]
) -> Iterator[None]:
    """Call a hook whenever this thread runs a module inside the context.

    Args:
        module: the module, in evaluation mode.
        when: before its forward, after it, or after it even if it fails.
        hook: as for ``register_forward_pre_hook`` and ``register_forward_hook``.

    Raises:
        UnsupportedModelError: another thread put the module into training mode meanwhile.
    """
    thread, current, trained = get_ident(), _thread(), False

    def act(module: nn.Module, *arguments: Any) -> Any:
        nonlocal trained
        if current() == thread:
            return hook(module, *arguments)
        trained |= module.training
        return None

    check_mode(module)
    if when == "before":
        handle = module.register_forward_pre_hook(act)
    else:
        handle = module.register_forward_hook(act, always_call=when == "always_after")
    _SET[handle] = thread
    try:
        yield
    finally:
        handle.remove()
        del _SET[handle]
    check_mode(module, trained)


def check_mode(module: nn.Module, trained: bool = False) -> None:
    """Demand that a module which was put into evaluation mode has stayed in it.

    Args:
        module: the module.
        trained: whether it is known to have been in training mode.

    Raises:
        UnsupportedModelError: another thread has put it into training mode.
    """
    if trained or module.training:
        raise UnsupportedModelError(
            f"another thread put {type(module).__name__} into training mode while its model was "
            "explained, so that another model ran; train and explain in turns, or explain a copy."
        )


def _thread() -> Callable[[], int]:
    """Return what tells the thread; code that is compiled must ask anew in each of them."""
    return _asked_anew() if "torch._dynamo" in sys.modules else get_ident


@cache
def _asked_anew() -> Callable[[], int]:
    anew: Callable[[], int] = torch.compiler.disable(get_ident)
    return anew


def _remove_others() -> None:
    """Remove, in a forked process, the hooks of threads that it does not have."""
    for handle in [handle for handle, thread in _SET.items() if thread != get_ident()]:
        handle.remove()
        del _SET[handle]


if hasattr(os, "register_at_fork"):  # elsewhere processes do not fork
    os.register_at_fork(after_in_child=_remove_others)

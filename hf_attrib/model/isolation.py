"""A model that is only evaluated and differentiated by its inputs, one thread at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, RLock
from weakref import WeakKeyDictionary

import torch
from torch import nn

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.model.devices import parameters_restored, weights_reloaded
from hf_attrib.model.state import state_restored

__all__ = ["isolated"]

_LOCKS: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()
_LOCKS_GUARD = Lock()


@contextmanager
def isolated(model: nn.Module) -> Iterator[None]:
    """Evaluate and differentiate by inputs only, then put modes and flags back as they were.

    Threads that share a model take turns: hooks and modes belong to the model, not to a thread.

    Raises:
        UnsupportedModelError: parameters were made in inference mode, which forbids gradients.
    """
    with _LOCKS_GUARD:
        lock = _LOCKS.setdefault(model, RLock())
    with lock, _evaluated(model):
        yield


@contextmanager
def _autocast_off() -> Iterator[None]:
    """Compute in the model's own type: casts that come and go would pass for its rounding."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda", "xpu", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise UnsupportedModelError(
            f"{type(model).__name__} was made under torch.inference_mode(), which forbids "
            "gradients; load it outside of it."
        )
    modes = [(module, module.training) for module in model.modules()]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            _autocast_off(),
            parameters_restored(model),
            state_restored(model),
            weights_reloaded(model),
        ):
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training

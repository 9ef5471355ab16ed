"""A model that is only evaluated and differentiated by its inputs, one thread at a time.

Other threads may run it meanwhile: its hooks act here only, and its weights are frozen for this
thread alone. A mode is the model's own, so that whoever changes one meanwhile is told of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.execution import Turn
from hf_attrib.model.devices import offloads, parameters_restored, weights_reloaded
from hf_attrib.model.hooks import check_mode

__all__ = ["isolated"]

#: By the first module that holds weights: a model and a wrapper around it share their modules.
_TURNS: WeakKeyDictionary[nn.Module, Turn] = WeakKeyDictionary()


@contextmanager
def isolated(model: nn.Module) -> Iterator[None]:
    """Evaluate and differentiate by inputs only, then put modes and weights back as they were.

    Threads that explain one model take turns.

    Raises:
        UnsupportedModelError: parameters were made in inference mode, which forbids gradients; or
            another thread changed the mode of the model inside the context.
    """
    key = next((module for module in model.modules() if module._parameters), model)
    with _TURNS.setdefault(key, Turn()).taken() as undo, _evaluated(model, undo):
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
def _evaluated(model: nn.Module, undo: ExitStack) -> Iterator[None]:
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise UnsupportedModelError(
            f"{type(model).__name__} was made under torch.inference_mode(), which forbids "
            "gradients; load it outside of it."
        )
    if training := [module for module in model.modules() if module.training]:
        undo.callback(_train, training)
        model.eval()
    (_freeze if offloads(model) or _compiled(model) else _freeze_here)(model, undo)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        _autocast_off(),
        parameters_restored(model),
        weights_reloaded(model),
    ):
        yield
    for module in model.modules():
        check_mode(module)


def _compiled(model: nn.Module) -> bool:
    return any(
        module._compiled_call_impl is not None
        or hasattr(module.forward, "_torchdynamo_orig_callable")
        for module in model.modules()
    )


def _train(modules: list[nn.Module]) -> None:
    for module in modules:
        module.training = True


def _freeze(model: nn.Module, undo: ExitStack) -> None:
    """Freeze weights for all threads: what is loaded for each call takes after what was away.

    And what is compiled would be compiled anew for parameters of another kind.
    """
    for parameter in [p for p in model.parameters() if p.requires_grad]:
        undo.callback(parameter.requires_grad_, True)
        parameter.requires_grad_(False)


def _freeze_here(model: nn.Module, undo: ExitStack) -> None:
    """Freeze weights for this thread; gradients of another would be lost without a word."""
    for module in model.modules():
        given = module._parameters
        if type(given) is dict and any(p is not None and p.requires_grad for p in given.values()):
            undo.callback(_thaw, module)
            module._parameters = _Frozen(given)


def _thaw(module: nn.Module) -> None:
    given = module._parameters
    if isinstance(given, _Frozen):
        given.hand_on()
    module._parameters = dict(given.items())


def _plain(parameter: nn.Parameter) -> bool:
    """Tell whether a parameter is no more than its numbers: quantised ones have scales besides."""
    kind = type(parameter) is nn.Parameter
    return kind and not any(isinstance(value, Tensor) for value in vars(parameter).values())


class _Frozen(dict[str, Any]):
    """Parameters of a module, of which one thread reads the values only.

    Frozen weights save memory, since their gradients need a layer's inputs besides its outputs.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(parameters)
        self._thread = get_ident()
        self._values: dict[str, tuple[Any, Any, int]] = {}

    def __getitem__(self, name: str) -> Any:
        parameter = super().__getitem__(name)
        if parameter is None or not parameter.requires_grad or get_ident() != self._thread:
            return parameter
        known = self._values.get(name)
        if known is not None and known[0] is parameter:
            if known[1].data_ptr() == known[2]:
                return known[1]
            self.hand_on()
        elif not _plain(parameter):
            return parameter
        value = parameter.detach()
        value.__dict__.update(vars(parameter))
        self._values[name] = parameter, value, value.data_ptr()
        return value

    def hand_on(self) -> None:
        """Give to parameters what the model has put in their place by ``weight.data = ...``."""
        for name, (parameter, value, place) in self._values.items():
            if value.data_ptr() != place and super().__getitem__(name) is parameter:
                parameter.data = value.data

    def __reduce__(self) -> Any:
        """Be copied as parameters that nobody has frozen."""
        return dict, (dict(self.items()),)

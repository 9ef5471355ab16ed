"""Where modules run, and weights that accelerate brings there only while they run.

Under ``device_map``, ``cpu_offload`` or ``disk_offload`` a model's parameters may be on several
devices or, between calls, nowhere: on ``meta``. Its hooks load them before a module runs and put
new parameters on ``meta`` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from hf_attrib.errors import UnsupportedModelError

__all__ = [
    "Device",
    "check_loaded",
    "device_of",
    "offloads",
    "parameters_restored",
    "weights_reloaded",
]

Device: TypeAlias = torch.device | str | int

#: Brings back a tensor that backward needs.
_Recall: TypeAlias = Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class _Weight:
    """A parameter that a hook loads for each call.

    Args:
        module: the module that holds it.
        name: its name there.
        hook: accelerate's hook, on this module or one that holds it.
        key: its name to the hook.
    """

    module: nn.Module
    name: str
    hook: Any
    key: str

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that is there now: one on ``meta``, unless the module runs."""
        return cast(nn.Parameter, self.module._parameters[self.name])


def device_of(module: nn.Module) -> Device:
    """Return the device that a module's inputs belong on.

    Raises:
        UnsupportedModelError: it has no weights, and nothing would load them.
    """
    for hook in _hooks(module):
        if (device := getattr(hook, "execution_device", None)) is not None:
            return device  # type: ignore[no-any-return]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise _nowhere(type(module).__name__)
    return device


def check_loaded(model: nn.Module) -> None:
    """Refuse a model that has weights nowhere.

    Raises:
        UnsupportedModelError: a module has no weights, and nothing would load them.
    """
    meta = {
        (id(module), own): f"{type(module).__name__} ({name})"
        for name, module in model.named_modules()
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.device.type == "meta"
    }
    loaded = {(id(w.module), w.name) for w in _offloaded(model)} if meta else set()
    if missing := [name for key, name in meta.items() if key not in loaded]:
        raise _nowhere(missing[0])


def _nowhere(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} has its weights on the meta device, and no accelerate hook that would load them; "
        "load the model with from_pretrained."
    )


@contextmanager
def parameters_restored(model: nn.Module) -> Iterator[None]:
    """Put back every parameter that hooks have replaced, also where an error stopped them."""
    before = [(weight, weight.parameter) for weight in _offloaded(model)]
    away = [(module, hook, _away(module, hook)) for module, hook in _offloading(model)]
    try:
        yield
    finally:
        for module, hook, names in away:
            if _away(module, hook) != names:  # an error kept it from unloading
                hook.post_forward(module, None)
        for weight, parameter in before:
            weight.module._parameters[weight.name] = parameter


def weights_reloaded(model: nn.Module) -> AbstractContextManager[Any]:
    """Let graphs made inside the context reload offloaded weights rather than hold them."""
    weights = list(_offloaded(model))
    if not weights:
        return nullcontext()

    def pack(saved: Tensor) -> Tensor | _Recall:
        # Weights are frozen; what depends on the input is none.
        return (None if saved.requires_grad else _recall(saved, weights)) or saved

    def unpack(packed: Tensor | _Recall) -> Tensor:
        return packed if isinstance(packed, Tensor) else packed()

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def _recall(saved: Tensor, weights: Iterable[_Weight]) -> _Recall | None:
    """Return what loads a tensor anew if it is a weight, or a view of one."""
    storage = saved.untyped_storage().data_ptr()
    for weight in weights:
        loaded = weight.parameter
        if loaded.device.type == "meta" or loaded.untyped_storage().data_ptr() != storage:
            continue
        offset = int(saved.storage_offset() - loaded.storage_offset())
        place = loaded.device, loaded.dtype
        return partial(_loaded, weight, *place, saved.shape, saved.stride(), offset)
    return None


def _loaded(
    weight: _Weight,
    device: torch.device,
    dtype: torch.dtype,
    shape: Sequence[int],
    stride: Sequence[int],
    offset: int,
) -> Tensor:
    """Return a view of a weight, loaded anew."""
    again: Tensor = weight.hook.weights_map[weight.key].to(device, dtype)
    return again.as_strided(shape, stride, again.storage_offset() + offset)


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    """Return accelerate's hooks on a module; it joins several into one."""
    hook = getattr(module, "_hf_hook", None)
    return tuple(getattr(hook, "hooks", () if hook is None else (hook,)))


def offloads(model: nn.Module) -> bool:
    """Tell whether weights of a model are loaded for each call."""
    return any(True for _ in _offloading(model))


def _offloading(model: nn.Module) -> Iterator[tuple[nn.Module, Any]]:
    """Yield modules whose tensors are loaded for each call, with the hooks that do it."""
    for module in model.modules():
        for hook in _hooks(module):
            if getattr(hook, "offload", False):
                yield module, hook


def _offloaded(model: nn.Module) -> Iterator[_Weight]:
    for module, hook in _offloading(model):
        for key, _ in _parameters(module, hook):
            path, _, name = key.rpartition(".")
            yield _Weight(module.get_submodule(path), name, hook, key)


def _parameters(module: nn.Module, hook: Any) -> Iterator[tuple[str, nn.Parameter]]:
    return module.named_parameters(recurse=hook.place_submodules, remove_duplicate=False)


def _away(module: nn.Module, hook: Any) -> list[str]:
    """Return the names of a module's parameters and buffers that are not loaded."""
    buffers = module.named_buffers(recurse=hook.place_submodules, remove_duplicate=False)
    tensors = chain(_parameters(module, hook), buffers)
    return [name for name, tensor in tensors if tensor.device.type == "meta"]

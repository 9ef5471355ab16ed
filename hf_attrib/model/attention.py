"""The attention probabilities of a transformers model, with their gradients.

Fused kernels never hold the probabilities, so that attention is computed step by step while these
are asked for: by ``"eager"``, which transformers has for every model with attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.field import Attended, AttentionPass, Maps
from hf_attrib.model.backward_mode import Graph, Value
from hf_attrib.model.forward import Forward

__all__ = ["attended", "eager"]

#: Threads that compute attention step by step.
_HERE: set[int] = set()
#: What transformers notes on a model when it has put hooks on it that collect attention.
_INSTALLED = "_output_capturing_hooks_installed"
_COLLECTS = "output_capturing_hook"
_INSTEAD = "Take a method that follows no attention, such as integrated_gradients or the default"


def attended(
    forward: Forward, value_of: Value, points: Tensor, sequence: Tensor, target: Tensor
) -> Attended:
    """Return F at injected embeddings and the attention that leads to it.

    Args:
        forward: runs the model, without a prefix that is not run.
        value_of: the scalar to explain.
        points: embeddings, [R, N, D].
        sequence: which of the B sequences each row belongs to, [R], on the CPU.
        target: which of its T targets to evaluate, [R, C], on the CPU.

    Raises:
        UnsupportedModelError: the model does not give the attention of all its layers.
    """
    forward.attending = []
    with eager(forward.model), _uninstalled(forward.model):
        graph = Graph.of(forward, value_of, points, sequence, target)
        head = torch.autograd.grad(graph.value.sum(), graph.split)[0]
    length = int(forward.reach(sequence, target).max())
    maps = _maps_of(forward, forward.attending[-1], len(points), length)
    every = [*maps.encoder, *maps.decoder, *maps.cross]
    places = forward.places(sequence, target)

    def gradient(weights: Tensor) -> Maps:
        seed = graph.seed(head, weights)
        slopes = torch.autograd.grad(graph.split, every, seed, retain_graph=True, allow_unused=True)
        found = [one for one in slopes if one is not None]
        if len(found) < len(every):
            raise UnsupportedModelError(
                f"{type(forward.model).__name__} does not compute its logits by the attention that "
                f"it returned ({len(found)} of {len(every)} layers). {_INSTEAD}."
            )
        ahead = iter(found)
        return Maps(*(tuple(next(ahead) for _ in side) for side in maps))

    def predicted(weights: Tensor) -> Tensor:
        at = torch.zeros(len(weights), length, dtype=torch.float32)
        return at.scatter_reduce(1, places, (weights != 0).float(), "amax")

    kept = Maps(*(tuple(one.detach() for one in side) for side in maps))
    return Attended(graph.value.detach(), (AttentionPass(kept, gradient, predicted),))


def _maps_of(forward: Forward, output: Any, rows: int, length: int) -> Maps:
    """Return the attention that came with an output, of which every layer must have some.

    Raises:
        UnsupportedModelError: that of a layer did not come, or has another shape.
    """
    model, config = forward.model, forward.model.config
    if forward.sites.encoder is None:
        maps = Maps((), _given(output, "attentions"), ())
        layers = getattr(config.get_text_config(), "num_hidden_layers", len(maps.decoder))
        counts = {"layers": (len(maps.decoder), layers)}
    else:
        names = ("encoder_attentions", "decoder_attentions", "cross_attentions")
        maps = Maps(*(_given(output, name) for name in names))
        layers = getattr(getattr(forward.sites.encoder, "config", config), "num_hidden_layers", 1)
        counts = {
            "decoder layers": (len(maps.cross), len(maps.decoder)),
            "encoder layers": (len(maps.encoder), max(1, layers)),
        }
    name = type(model).__name__
    for what, (came, wanted) in counts.items():
        if came < wanted or not maps.decoder:
            raise UnsupportedModelError(
                f"{name} returned the attention of {came} of its {wanted} {what}; expected that of "
                "all, since what others mix, as state-space and linear layers do, would not be "
                f"seen. {_INSTEAD}."
            )
    read = forward.batch.encoder_ids.shape[1]
    shapes = ((read, read), (length, length), (length, read))
    for side, shape in zip(maps, shapes, strict=True):
        for one in side:
            fits = one.dim() == 4 and one.shape[0] == rows and one.shape[2:] == shape
            if not fits or not one.requires_grad:
                kind = "" if one.requires_grad else " without a gradient"
                raise UnsupportedModelError(
                    f"{name} returned attention of shape {tuple(one.shape)}{kind}; expected a "
                    f"probability for each of {shape[0]} positions and of {shape[1]} that it may "
                    f"read, [{rows}, heads, {shape[0]}, {shape[1]}], as blocks of local attention "
                    f"have not. {_INSTEAD}."
                )
    return maps


def _given(output: Any, name: str) -> tuple[Tensor, ...]:
    """Return the maps of the layers that have some."""
    return tuple(one for one in output.get(name) or () if isinstance(one, Tensor))


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """Have a model compute attention step by step in this thread inside the context.

    ``model.set_attn_implementation`` would change it for all threads, and a pass of another one
    that has begun with a fused kernel's mask, which is none where attention is causal, would go on
    without. So its configs are of a class meanwhile that tells this thread alone.
    """
    configs: list[tuple[Any, Any]] = [(config, type(config)) for config in _configs(model)]
    _HERE.add(thread := get_ident())
    try:
        for config, kind in configs:
            config.__class__ = _eager_here(kind)
        yield
    finally:
        for config, kind in configs:
            config.__class__ = kind
        _HERE.discard(thread)


@cache
def _eager_here(kind: Any) -> Any:
    """Return a class of the same configs, to which attention is eager in threads that ask so."""

    def implementation(config: PreTrainedConfig) -> str | None:
        return "eager" if get_ident() in _HERE else given.fget(config)

    given: Any = kind._attn_implementation
    names = {"_attn_implementation": property(implementation, given.fset)}
    return type(kind.__name__, (kind,), names | {"__module__": kind.__module__})


def _configs(model: Any) -> Iterator[PreTrainedConfig]:
    """Yield the configs of a model's modules, and those within them."""
    seen: set[int] = set()
    held = (getattr(module, "config", None) for module in model.modules())
    ahead = [config for config in held if isinstance(config, PreTrainedConfig)]
    for config in ahead:  # which grows meanwhile
        if id(config) not in seen:
            seen.add(id(config))
            yield config
            parts = (getattr(config, name, None) for name in config.sub_configs)
            ahead += [part for part in parts if isinstance(part, PreTrainedConfig)]


@contextmanager
def _uninstalled(model: Any) -> Iterator[None]:
    """Take away the hooks that transformers puts on a model to collect attention, if it does.

    They do nothing afterwards, but come again where the model's own note of them is put back as
    state that a pass has changed; and then attention would be collected twice.
    """
    before = [(m, set(m._forward_hooks), _INSTALLED in vars(m)) for m in model.modules()]
    try:
        yield
    finally:
        for module, hooks, noted in before:
            new = [key for key in module._forward_hooks if key not in hooks]
            for key in new:
                if getattr(module._forward_hooks[key], "__name__", "") == _COLLECTS:
                    del module._forward_hooks[key]
            if not noted and _INSTALLED in vars(module):
                delattr(module, _INSTALLED)

"""Replace the output of a model's token embeddings during one forward pass, and leave no trace.

The real token ids are fed as well. ``inputs_embeds`` would be another function on the models
that scale embeddings outside the module or read the ids a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.model.hooks import hooked

__all__ = ["Sites", "captured", "injected", "middle_of", "sites_of", "vocabulary"]

#: Names of embedding modules on the few encoders and decoders that do not tell theirs.
_USUAL_NAMES = ("embed_tokens", "word_embeddings", "wte", "shared")


@dataclass(frozen=True, eq=False)
class Sites:
    """Where a model turns ids into embeddings, and hidden states into logits.

    A decoder layer can stand in the place of the embedding module as well: paths then run through
    the states that it returns. What is read and replaced is told by :func:`states_of`.

    After ``resize_token_embeddings`` an encoder and a decoder may share one module, so the side
    of a call is told by whether the encoder is running.

    Args:
        modules: embedding module of ``"encoder"`` (encoder-decoder models only) and ``"decoder"``.
        encoder: the encoder, or ``None``.
        head: the module that turns hidden states into logits, position by position, or ``None``.
    """

    modules: Mapping[str, nn.Module]
    encoder: nn.Module | None
    head: nn.Module | None


def sites_of(model: Any) -> Sites:
    """Find the embedding modules that a model really calls.

    On encoder-decoder models ``model.get_input_embeddings()`` is often a parameter holder that
    is never called; the encoder's and decoder's own modules are.

    Raises:
        UnsupportedModelError: a module has no token embedding that can be found.
    """
    if not model.config.is_encoder_decoder:
        return Sites({"decoder": _embedding(model)}, None, model.get_output_embeddings())
    encoder, decoder = model.get_encoder(), model.get_decoder()
    modules = {"encoder": _embedding(encoder), "decoder": _embedding(decoder)}
    return Sites(modules, encoder, model.get_output_embeddings())


def _embedding(module: Any) -> nn.Module:
    try:
        found = module.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        found = next((m for n in _USUAL_NAMES if (m := getattr(module, n, None))), None)
    if not isinstance(found, nn.Module):
        raise UnsupportedModelError(
            f"{type(module).__name__} has no token embedding module: get_input_embeddings() "
            f"returns {type(found).__name__}. Only models that embed token ids can be explained."
        )
    return found


def vocabulary(module: nn.Module) -> int:
    """Return how many ids an embedding module knows."""
    weight = getattr(module, "weight", None)  # adapters around an embedding pass its weight on
    if not isinstance(weight, Tensor):
        raise UnsupportedModelError(
            f"{type(module).__name__} holds no table of embeddings (it may be quantised); load the "
            "model unquantised."
        )
    return len(weight)


@contextmanager
def injected(sites: Sites, embeddings: Mapping[str, Tensor]) -> Iterator[None]:
    """Replace the embeddings of the forward pass made inside the context.

    Args:
        sites: the model's embedding modules.
        embeddings: for each site a tensor [R, L, D] that takes the place of its output.

    Raises:
        UnsupportedModelError: a site was not called, or gives embeddings of another shape.
    """
    fired: set[str] = set()

    def replace(site: str, output: Tensor) -> Tensor | None:
        new = embeddings[site]
        # LED embeds a short block of padding too; and only the first full call is the input's.
        if site in fired or output.shape[1] < new.shape[1]:
            return None
        if output.shape != new.shape:
            raise UnsupportedModelError(
                f"{type(sites.modules[site]).__name__}, the {site}'s embedding, returns "
                f"{tuple(output.shape)} where {tuple(new.shape)} was expected."
            )
        fired.add(site)
        # Some models write into their embeddings; the copy keeps the caller's tensor whole.
        return new.to(output.device, output.dtype).clone()

    with _watched(sites, replace):
        yield
    _check_called(sites, fired)


@contextmanager
def captured(sites: Sites, into: dict[str, Tensor], lengths: Mapping[str, int]) -> Iterator[None]:
    """Keep a copy of each site's embeddings, [B, L, D], of the forward pass inside the context.

    Args:
        sites: the model's embedding modules.
        into: where they are kept.
        lengths: L of each site. A module may be called for something else as well (LED embeds a
            block of padding, which can be longer than a short input); where no call is of this
            length the longest is kept.
    """

    def keep(site: str, output: Tensor) -> None:
        read, kept = output.shape[1], into[site].shape[1] if site in into else -1
        if kept != lengths[site] and (read == lengths[site] or read > kept):
            into[site] = output.detach().clone()

    with _watched(sites, keep):
        yield
    _check_called(sites, set(into))


def _check_called(sites: Sites, called: set[str]) -> None:
    if missing := set(sites.modules) - called:
        names = ", ".join(f"{type(sites.modules[s]).__name__} of the {s}" for s in sorted(missing))
        raise UnsupportedModelError(
            f"the embedding {names} was not called in the forward pass, so no path can be "
            "injected; if an adapter embeds in its place, as those with virtual tokens do, explain "
            "without it."
        )


@contextmanager
def _watched(sites: Sites, seen: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
    """Call ``seen(site, output)`` after each embedding; a tensor replaces the output."""
    in_encoder = False

    def enter(module: nn.Module, args: Any) -> None:
        nonlocal in_encoder
        in_encoder = True

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal in_encoder
        in_encoder = False

    def embedded(module: nn.Module, args: Any, output: Any) -> Any:
        states = states_of(output)
        if not isinstance(states, Tensor):
            return None
        new = seen("encoder" if in_encoder else "decoder", states)
        return new if new is None else with_states(output, new)

    with ExitStack() as hooks:
        for module in set(sites.modules.values()):
            hooks.enter_context(hooked(module, "after", embedded))
        if sites.encoder is not None:
            hooks.enter_context(hooked(sites.encoder, "before", enter))
            hooks.enter_context(hooked(sites.encoder, "always_after", leave))
        yield


def states_of(output: Any) -> Any:
    """Return the states in what a module returns: itself, or the first entry of a tuple or list."""
    return output[0] if isinstance(output, tuple | list) and output else output


def with_states(output: Any, states: Tensor) -> Any:
    """Return what a module returns with other states in it."""
    if isinstance(output, tuple | list):
        return type(output)([states, *output[1:]])
    return states


@contextmanager
def middle_of(decoder: nn.Module, rows: int, into: list[Tensor]) -> Iterator[None]:
    """Collect what the layer in the middle of a decoder returns inside the context, [R, ...].

    Of several lists of layers, as in models that see and hear as well, the longest one counts
    whose states lead from the inputs to the logits.

    Args:
        decoder: what is run inside the context, once.
        rows: R.
        into: where the states are found after the context.

    Raises:
        UnsupportedModelError: there is no such list.
    """
    lists = [m for m in _outermost(decoder) if isinstance(m, nn.ModuleList) and len(m)]
    layers = [m[(len(m) - 1) // 2] for m in sorted(lists, key=len, reverse=True)]
    found: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        for place, layer in enumerate(layers):
            keep = partial(_keep, found, place, rows)
            hooks.enter_context(hooked(layer, "after", keep))
        yield
    if not found:
        raise UnsupportedModelError(
            f"{type(decoder).__name__} has no list of layers that return states for each row, and "
            "so no middle to attack."
        )
    into.append(found[min(found)])


def _keep(
    found: dict[int, Tensor], place: int, rows: int, module: nn.Module, args: Any, output: Any
) -> None:
    """Keep what a layer returns, if that is states of all rows that depend on the inputs."""
    states = states_of(output)
    if isinstance(states, Tensor) and states.requires_grad and len(states) == rows:
        found[place] = states


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """Yield modules, but none within a list: experts of a layer are no layers."""
    yield module
    if not isinstance(module, nn.ModuleList):
        for child in module.children():
            yield from _outermost(child)

"""Find out once whether a model's embeddings can be injected and differentiated faithfully.

Most ways in which a model can be unsuited give plausible numbers and no error: a second path of
the token ids, a gradient that is not the derivative, attention that looks ahead. Each is tested
on a few ids spread over the vocabulary, so that the verdict depends on the model alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from hf_attrib.errors import HFAttribError, InputError, UnsupportedModelError
from hf_attrib.model.batch import alone
from hf_attrib.model.derivative import (
    AnyField,
    brief,
    check_slope,
    check_weak_slope,
    gradient_of,
    name_of,
)
from hf_attrib.model.devices import device_of
from hf_attrib.model.embedding_field import EmbeddingField
from hf_attrib.model.forward_mode import verify
from hf_attrib.model.observation import Observation
from hf_attrib.model.replay import Replay
from hf_attrib.model.sites import Sites, vocabulary
from hf_attrib.model.state import state_restored
from hf_attrib.model.stepwise import StepwiseField
from hf_attrib.targets import TARGETS
from hf_attrib.text import Tokens, TokenSequence

__all__ = ["Verdict", "check_generation", "check_generative", "check_model"]

_TOKENS, _TARGETS = 12, 3
#: Same inputs, same shapes: only the order of floating point sums may differ.
_REPLAY = 1e-3


@dataclass(frozen=True, eq=False)
class Verdict:
    """How a model can be explained faithfully.

    Args:
        sites: its embedding modules; without the head if the gradient may not be split there.
        stepwise: whether each generated token takes a pass of its own.
        notes: what a reader of results must know.
        no_gradient: why there is no gradient that is the derivative; ``None`` if there is one.
        read: how many tokens the decoder has read.
    """

    sites: Sites
    stepwise: bool
    notes: tuple[str, ...]
    no_gradient: str | None
    read: int


def check_generative(model: Any) -> None:
    """Demand a generative model of transformers that reads tokens of text.

    Args:
        model: whatever came as one.

    Raises:
        InputError: it is none.
    """
    generative = callable(getattr(model, "generate", None))
    configured = all(
        getattr(model, name, None) is not None for name in ("config", "generation_config")
    )
    if not isinstance(model, nn.Module) or not generative or not configured:
        raise InputError(
            f"expected a generative model of transformers, such as AutoModelForCausalLM "
            f"loads; got {type(model).__name__}."
        )
    read = getattr(model, "main_input_name", "input_ids")
    if read != "input_ids":
        raise InputError(
            f"{type(model).__name__} reads {read}, which are no text; expected a model whose "
            "input_ids are tokens of text, since tokens are what is scored."
        )


def check_model(model: Any, sites: Sites, start: Tokens) -> Verdict:
    """Check a model, and leave it as it was.

    Args:
        model: the model, isolated.
        sites: its embedding modules.
        start: what its decoder starts from; empty on decoder-only models.

    Raises:
        UnsupportedModelError: results would be wrong; the message says why.
    """
    _refuse_quantised(model)
    probe = _probe(min(vocabulary(module) for module in sites.modules.values()), start)
    batch = alone(probe)
    field = EmbeddingField(model, sites, batch, TARGETS["logit"])
    with state_restored(model, field.observe):
        return _verdict(field, probe)


def _verdict(field: AnyField, probe: TokenSequence) -> Verdict:
    """Run the probes of :func:`check_model`."""
    model, sites, batch = field.model, field.sites, field.batch
    observed = _first_run(field, probe)
    _check_replay(field, observed.x, observed.value)
    gradient, no_gradient = _gradient(field, observed.x)
    change = _change_by_later_tokens(field, gradient, observed.value)
    if change > 0:
        by = f"later tokens change the logits of earlier ones, by {change:.2g}"
        check_generation(model, sites, probe, f"{name_of(field)} looks ahead ({by})")
        field = StepwiseField(model, sites, batch, field.target)
        observed = field.observe()
        gradient, no_gradient = _gradient(field, observed.x)
    if gradient is not None:
        try:
            sites = _differentiated(field, observed.x, gradient)
        except UnsupportedModelError as error:
            no_gradient = str(error)
    notes = (_looking_ahead(field), _routing(field), _second_path(field, observed))
    return Verdict(
        sites=sites,
        stepwise=change > 0,
        notes=tuple(note for note in notes if note is not None),
        no_gradient=no_gradient,
        read=batch.decoder_ids.shape[1],
    )


def _gradient(field: AnyField, x: Tensor) -> tuple[Tensor | None, str | None]:
    """Return the gradient, or why there is none: only those hear of it who ask for gradients."""
    try:
        return gradient_of(field, x), None
    except UnsupportedModelError as error:
        return None, str(error)


def _differentiated(field: AnyField, x: Tensor, gradient: Tensor) -> Sites:
    """Return the embedding modules; without the head if the gradient may not be split there.

    Raises:
        UnsupportedModelError: the gradient is not the derivative.
    """
    check_slope(field, x, gradient)
    check_weak_slope(field, x, gradient)
    verify(field.model, field, x, gradient)
    plain = type(field)(field.model, replace(field.sites, head=None), field.batch, field.target)
    alike = torch.allclose(gradient, gradient_of(plain, x), rtol=1e-2, atol=1e-6)
    return field.sites if alike else plain.sites


def _refuse_quantised(model: Any) -> None:
    """Refuse layers that round activations, wherever they are; others may look sound."""
    for name, module in model.named_modules():
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.nn.quantized")):
            raise UnsupportedModelError(
                f"{name} of {type(model).__name__} is a {type(module).__name__} of "
                f"{type(module).__module__}, which rounds activations and has no gradient; load "
                "the model unquantised."
            )


def _probe(size: int, start: Tokens) -> TokenSequence:
    """Return ids spread over a vocabulary, clear of its ends, where special tokens are."""
    ids = torch.linspace(0.1 * size, 0.9 * size, _TOKENS, dtype=torch.float64).long()
    # Not in order: models of tokens' order should find none.
    ids = ids[torch.arange(_TOKENS) * 5 % _TOKENS]
    return TokenSequence(_plain(ids[:-_TARGETS]), start, _plain(ids[-_TARGETS:]))


def _plain(ids: Tensor) -> Tokens:
    return Tokens(ids, ("",) * len(ids), ("prompt",) * len(ids), ((0, 0),) * len(ids), "")


def _first_run(field: AnyField, probe: TokenSequence) -> Observation:
    """Run the model on token ids, between two short passes; an error of its own is a refusal."""
    model = field.model
    around = Replay(field.sites).around(model, [probe], field.batch)
    try:
        # What it changes itself is known from here on.
        with around, state_restored(model, field.observe):
            return field.observe()
    except (HFAttribError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"the forward pass of {name_of(field)} fails on token ids: {brief(error)}"
        ) from error


def _check_replay(field: AnyField, x: Tensor, value: Tensor) -> None:
    """Demand that injecting the model's own embeddings changes nothing."""
    if not bool(value.isfinite().all()):
        raise UnsupportedModelError(
            f"the logits of {name_of(field)} are not finite; a quantised or half-precision model "
            "may need to be loaded in float32 or bfloat16."
        )
    error = (field.value(x[None])[0] - value).abs().max()
    if not error <= _REPLAY * (1 + value.abs().max()):
        raise UnsupportedModelError(
            f"injecting its own embeddings changes the logits of {name_of(field)} by {error:.2g}; "
            "the hooked embedding module is not the model's only input."
        )


def _change_by_later_tokens(field: AnyField, gradient: Tensor | None, value: Tensor) -> float:
    """Return how much tokens that follow a target move it; 0 if they do not."""
    batch = field.batch
    alone = EmbeddingField(field.model, field.sites, batch.step(0), field.target).observe().value
    # Half of the digits: other shapes make 1e-6 in float32, and the weakest look ahead met 4e-4.
    if _difference(alone[:, 0], value[:, 0]) > torch.finfo(field.model.dtype).eps ** 0.5:
        return float((alone[0, 0] - value[0, 0]).abs())
    if gradient is None:
        return 0
    last = batch.encoder_ids.shape[1] + batch.positions[0]
    return max(float(g[p + 1 :].abs().sum()) for g, p in zip(gradient, last, strict=True))


def _looking_ahead(field: AnyField) -> str | None:
    """Note that tokens did not share a pass."""
    if field.target_table.together:
        return None
    return (
        f"{name_of(field)} looks ahead, so each generated token was explained by a pass of its own "
        "over the tokens before it."
    )


def _routing(field: AnyField) -> str | None:
    """Note experts: which of them see a token changes at once, so f jumps along a path."""
    for name, module in field.model.named_modules():
        kind = type(module).__name__
        if name.endswith("experts") or "Experts" in kind or kind.endswith(("MoE", "Moe")):
            return (
                f"{name_of(field)} routes tokens to experts ({kind}). f jumps where the routing "
                "changes, so a gap may stay however many steps are taken."
            )
    return None


def _second_path(field: AnyField, observed: Observation) -> str | None:
    """Note whether the ids act on the logits other than through the hooked embeddings."""
    batch, value = field.batch, observed.value
    other = replace(
        batch, encoder_ids=batch.encoder_ids.roll(1, 1), decoder_ids=batch.decoder_ids.roll(1, 1)
    )
    again = type(field)(field.model, field.sites, other, field.target)
    change = float((again.value(observed.x[None])[0] - value).abs().max())
    if change <= _REPLAY * (1 + float(value.abs().max())):
        return None
    return (
        f"{name_of(field)} reads token ids by a second path besides the hooked embeddings (logits "
        f"move by {change:.2g}); scores cover the embeddings only, and the reference input keeps "
        "the ids."
    )


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of logits, relative to their size."""
    return float((found - expected).abs().max() / (1 + expected.abs().max()))


def check_generation(model: Any, sites: Sites, sequence: TokenSequence, fault: str) -> None:
    """Demand that a pass over each prefix is what a model generates by.

    Some models generate from inputs of their own (XLM appends a mask token), and a cache of
    states that never looked ahead is not what one pass computes.

    Args:
        model: the model.
        sites: its embedding modules.
        sequence: a prompt, what the decoder starts from, and as many tokens as to generate.
        fault: why the model needs a pass for each token; it opens the message.

    Raises:
        UnsupportedModelError: generation is another function.
    """
    cached = model.generation_config.use_cache is not False
    try:
        if _generates(model, sites, sequence, cached):
            return
        remedy = cached and _generates(model, sites, sequence, False)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise UnsupportedModelError(f"{fault}, and generate() fails: {error}") from error
    if remedy:
        raise UnsupportedModelError(
            f"{fault}, so each token needs a pass of its own; but generate() with its cache of "
            "keys and values computes something else. Set model.generation_config.use_cache = "
            "False, and both are the same."
        )
    raise UnsupportedModelError(
        f"{fault}, so each token needs a pass of its own; but generate() feeds it something else "
        "than the tokens so far, so no such pass is what it generates by. It is not supported."
    )


def _generates(model: Any, sites: Sites, sequence: TokenSequence, cached: bool) -> bool:
    """Return whether ``generate`` computes what one pass over each prefix does."""
    reader = next(iter(sites.modules.values()))
    count, ids = len(sequence.response), sequence.prompt.ids[None].to(device_of(reader))
    config = GenerationConfig(
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        use_cache=cached,
        output_logits=True,
        return_dict_in_generate=True,
        decoder_start_token_id=next(iter(sequence.start.ids.tolist()), None),
    )
    mask = torch.ones_like(ids)
    with state_restored(model):
        written = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    response = replace(sequence.response, ids=written.sequences[0, -count:].cpu())
    whole = replace(sequence, response=response)
    expected = StepwiseField(model, sites, alone(whole), TARGETS["logit"]).observe().value[0].cpu()
    found = torch.cat(written.logits).cpu()[torch.arange(count), response.ids]
    # Three quarters of the digits: rounding takes fewer, a cache that does harm more.
    return bool(_difference(found, expected) <= torch.finfo(model.dtype).eps ** 0.75)

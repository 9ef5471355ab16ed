"""Find out once whether a model's embeddings can be injected and differentiated faithfully.

Most ways in which a model can be unsuited give plausible numbers and no error: a second path of
the token ids, a gradient that is not the derivative, attention that looks ahead. Each is tested
on a few ids spread over the vocabulary, so that the verdict depends on the model alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hf_attrib.batch import Batch, collate
from hf_attrib.embedding_field import EmbeddingField
from hf_attrib.errors import UnsupportedModelError
from hf_attrib.inject import Sites, vocabulary
from hf_attrib.sequence import TokenSequence
from hf_attrib.targets import TARGETS
from hf_attrib.tokens import Tokens

__all__ = ["check"]

_TOKENS = 12
_TARGETS = 3

#: Same inputs, same shapes: only the order of floating point sums may differ.
_REPLAY = 1e-3
#: Change of a logit that shows a second path of the ids, or a look ahead.
_LEAK = 1e-2
#: Relative error of a directional derivative. Real faults measured 0.14 and more, sound models
#: under 0.02 at their best step; 16-bit floats make the finite difference itself coarse.
_SLOPE, _COARSE_SLOPE = 0.05, 0.35
#: Steps of the finite difference, in lengths of a typical embedding: curvature (T5) and jumps
#: between experts (JetMoE) ask for short ones, rounding (16 bits) for long ones.
_STEPS, _COARSE_STEPS = (3e-2, 3e-3, 3e-4, 3e-5), (0.01, 0.03, 0.1)


def check(model: Any, sites: Sites, start: Tokens) -> tuple[Sites, tuple[str, ...]]:
    """Check a model.

    Args:
        model: the model, isolated.
        sites: its embedding modules.
        start: what its decoder starts from; empty on decoder-only models.

    Returns:
        the sites, without the head if the gradient may not be split there, and notes about what
        a reader of results must know.

    Raises:
        UnsupportedModelError: results would be wrong; the message says why.
    """
    _refuse_quantised(model)
    probe = _probe(min(vocabulary(module) for module in sites.modules.values()), start)
    size = len(probe.inputs)
    batch = collate([probe], [torch.ones(size, dtype=torch.bool)], None, int(probe.prompt.ids[0]))
    field = EmbeddingField(model, sites, batch, TARGETS["logit"])
    observed = field.observe()
    _check_replay(field, observed.x, observed.value)
    gradient = _gradient(field, observed.x)
    _check_causal(field, batch, gradient, observed.value)
    _check_slope(field, observed.x, gradient)
    plain = EmbeddingField(model, replace(sites, head=None), batch, TARGETS["logit"])
    same = torch.allclose(gradient, _gradient(plain, observed.x), rtol=1e-2, atol=1e-6)
    return (sites if same else plain.sites), _second_path(field, batch, observed.x, observed.value)


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
    ids = torch.linspace(0.1 * size, 0.9 * size, _TOKENS).long()
    # Not in order: models of tokens' order should find none.
    ids = ids[torch.arange(_TOKENS) * 5 % _TOKENS]
    return TokenSequence(_plain(ids[:-_TARGETS]), start, _plain(ids[-_TARGETS:]))


def _plain(ids: Tensor) -> Tokens:
    return Tokens(ids, ("",) * len(ids), ("prompt",) * len(ids), ((0, 0),) * len(ids), "")


def _check_replay(field: EmbeddingField, x: Tensor, value: Tensor) -> None:
    """Demand that injecting the model's own embeddings changes nothing."""
    error = (field.value(x[None])[0] - value).abs().max()
    if not error <= _REPLAY * (1 + value.abs().max()):
        raise UnsupportedModelError(
            f"injecting its own embeddings changes the logits of {_names(field)} by {error:.2g}; "
            "the hooked embedding module is not the model's only input."
        )


def _gradient(field: EmbeddingField, x: Tensor) -> Tensor:
    """Return the gradient of each target, [T, N, D].

    Raises:
        UnsupportedModelError: there is none, or it is zero or not finite.
    """
    try:
        gradient = field(x[None]).gradient[0, 0]
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError) as error:
        raise UnsupportedModelError(
            f"no gradient reaches the embeddings of {_names(field)}: {error}"
        ) from error
    if not torch.isfinite(gradient).all() or not gradient.any():
        state = "zero" if torch.isfinite(gradient).all() else "not finite"
        raise UnsupportedModelError(
            f"the gradient at the embeddings of {_names(field)} is {state}; a quantised or "
            "half-precision model may need to be loaded in float32 or bfloat16."
        )
    return gradient


def _check_causal(field: EmbeddingField, batch: Batch, gradient: Tensor, value: Tensor) -> None:
    """Demand that no target depends on the tokens generated after it."""
    last = batch.encoder_ids.shape[1] + batch.positions[0]
    ahead = max(float(g[p + 1 :].abs().sum()) for g, p in zip(gradient, last, strict=True))
    first = replace(
        batch,
        decoder_ids=batch.decoder_ids[:, : int(batch.positions[0, 0]) + 1],
        decoder_mask=batch.decoder_mask[:, : int(batch.positions[0, 0]) + 1],
        positions=batch.positions[:, :1],
        targets=batch.targets[:, :1],
        valid=batch.valid[:, :1],
        movable=batch.movable[:, : int(last[0]) + 1],
    )
    alone = EmbeddingField(field.model, field.sites, first, field.target).observe().value
    change = float((alone[0, 0] - value[0, 0]).abs())
    tolerance = _LEAK * (1 + float(value.abs().max())) * (1 if _fine(field) else 20)
    if ahead > 0 or change > tolerance:
        raise UnsupportedModelError(
            f"{_names(field)} looks ahead: later tokens change the logits of earlier ones (by "
            f"{change:.2g}), so one pass cannot serve all generated tokens. It is not supported."
        )


def _check_slope(field: EmbeddingField, x: Tensor, gradient: Tensor) -> None:
    """Demand that the gradient is the derivative, by central differences along itself.

    Each target counts with its best step, and the middle one of the targets decides.
    """
    typical = x.norm(dim=-1).mean()
    slope = gradient.flatten(1).norm(dim=1)  # [T]
    direction = gradient / slope.clamp_min(torch.finfo(slope.dtype).tiny)[:, None, None]
    errors = []
    for step in _STEPS if _fine(field) else _COARSE_STEPS:
        shift = (step * typical * direction)[None, None]  # [1, 1, T, N, D]: own points
        moved = field.value(torch.cat([x[None] + shift, x[None] - shift]))
        found = (moved[0, 0] - moved[1, 0]) / (2 * step * typical)
        errors.append((found - slope).abs() / slope)
    error = float(torch.stack(errors).amin(0)[slope > 0].median())
    tolerance = _SLOPE if _fine(field) else _COARSE_SLOPE
    if not error <= tolerance:
        raise UnsupportedModelError(
            f"the gradient of {_names(field)} is not its derivative: they differ by {error:.0%} "
            f"(allowed {tolerance:.0%}), as where activations are quantised or some steps run "
            "without gradients. Its scores would not add up."
        )


def _second_path(field: EmbeddingField, batch: Batch, x: Tensor, value: Tensor) -> tuple[str, ...]:
    """Note whether the ids act on the logits other than through the hooked embeddings."""
    other = replace(
        batch, encoder_ids=batch.encoder_ids.roll(1, 1), decoder_ids=batch.decoder_ids.roll(1, 1)
    )
    moved = EmbeddingField(field.model, field.sites, other, field.target).value(x[None])[0]
    change = float((moved - value).abs().max())
    if change <= _LEAK * (1 + float(value.abs().max())):
        return ()
    return (
        f"{_names(field)} reads token ids by a second path besides the hooked embeddings (logits "
        f"move by {change:.2g}); scores cover the embeddings only, and the reference input keeps "
        "the ids.",
    )


def _names(field: EmbeddingField) -> str:
    modules = ", ".join(type(module).__name__ for module in field.sites.modules.values())
    return f"{type(field.model).__name__} ({modules})"


def _fine(field: EmbeddingField) -> bool:
    return field.model.dtype in (torch.float32, torch.float64)

"""Whether what a model gives as the gradient of its logits is their derivative.

Differences along the gradient itself find layers that round, or run some steps without gradients.
They are blind to a gradient that is cut at some inputs, which is the derivative along itself; so
the inputs where it is weakest are moved as well.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import HFAttribError, UnsupportedModelError
from hf_attrib.model.embedding_field import EmbeddingField
from hf_attrib.model.stepwise import StepwiseField

__all__ = [
    "AnyField",
    "brief",
    "check_derivative",
    "check_slope",
    "check_weak_slope",
    "fine",
    "gradient_of",
    "name_of",
]

AnyField: TypeAlias = EmbeddingField | StepwiseField
#: Relative error of a directional derivative. Real faults measured 0.14 and more, sound models
#: under 0.02 at their best step; 16-bit floats make the finite difference itself coarse.
_SLOPE, _COARSE_SLOPE = 0.05, 0.35
#: Steps of the finite difference, in lengths of a typical embedding: curvature (T5) and jumps
#: between experts (JetMoE) ask for short ones, rounding (16 bits) for long ones.
_STEPS, _COARSE_STEPS = (3e-2, 3e-3, 3e-4, 3e-5), (0.01, 0.03, 0.1)
#: Relative error where the gradient is weakest: 1 where it is cut, but rounding is closer there.
_WEAK_SLOPE = 0.35
#: The step where it is zero, in 16 bits: any change is one too many, so it may be a large one.
_WEAK_COARSE_STEPS = (1.0,)
#: A change is seen from so many roundings of the logit on.
_SEEN, _COARSE_SEEN = 40, 8


def gradient_of(field: AnyField, x: Tensor) -> Tensor:
    """Return the gradient of each target, [T, N, D].

    Args:
        field: of one sequence.
        x: its embeddings, [1, 1, N, D].

    Raises:
        UnsupportedModelError: there is none, or it is zero or not finite.
    """
    try:
        gradient = field(x[None]).gradient[0, 0]
    except (HFAttribError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of whatever kind: a backward pass may be somebody's own code
        raise UnsupportedModelError(
            f"no gradient reaches the embeddings of {name_of(field)}: {brief(error)}"
        ) from error
    if not torch.isfinite(gradient).all() or not gradient.any():
        state = "zero" if torch.isfinite(gradient).all() else "not finite"
        raise UnsupportedModelError(
            f"the gradient at the embeddings of {name_of(field)} is {state}; a quantised or "
            "half-precision model may need to be loaded in float32 or bfloat16."
        )
    return gradient


def check_slope(field: AnyField, x: Tensor, gradient: Tensor) -> None:
    """Demand that the gradient is the derivative, by central differences along itself.

    Each target counts with its best step, and the middle one of the targets decides.
    """
    typical = x.norm(dim=-1).mean()
    slope = gradient.flatten(1).norm(dim=1)  # [T]
    direction = gradient / slope.clamp_min(torch.finfo(slope.dtype).tiny)[:, None, None]
    tolerance = _SLOPE if fine(field) else _COARSE_SLOPE
    best = torch.full_like(slope, torch.inf)
    for step in _STEPS if fine(field) else _COARSE_STEPS:
        shift = (step * typical * direction)[None, None]  # [1, 1, T, N, D]: own points
        moved = field.value(torch.cat([x[None] + shift, x[None] - shift]))
        found = (moved[0, 0] - moved[1, 0]) / (2 * step * typical)
        best = best.minimum((found - slope).abs() / slope)
        error = float(best[slope > 0].median())
        if error <= tolerance:
            return
    raise UnsupportedModelError(
        f"the gradient of {name_of(field)} is not its derivative in a pass over {x.shape[-2]} "
        f"tokens: they differ by {error:.0%} (allowed {tolerance:.0%}), as where activations are "
        "quantised or some steps run without gradients. Its scores would not add up."
    )


def check_weak_slope(field: AnyField, x: Tensor, gradient: Tensor) -> None:
    """Demand the same where the gradient is weakest, by differences in a random direction.

    A gradient that is cut at some inputs is the derivative along itself. The weaker half of the
    inputs is moved; where the gradient is zero at some, they alone are.
    """
    typical = x.norm(dim=-1).mean()
    seen_from = (_SEEN if fine(field) else _COARSE_SEEN) * torch.finfo(field.model.dtype).eps
    weak = _weakest(field, gradient)  # [T, N]
    generator = torch.Generator().manual_seed(0)  # of its own: the caller's is left alone
    random = torch.randn(x.shape[-2:], generator=generator, dtype=x.dtype).to(x.device)
    direction = weak[..., None] * random / random.norm(dim=-1, keepdim=True)  # [T, N, D]
    slope = (gradient * direction).flatten(1).sum(1)
    usual = (gradient * weak[..., None]).flatten(1).norm(dim=1) / x.shape[-1] ** 0.5
    best = torch.full_like(slope, torch.inf)
    for step in _STEPS if fine(field) else _WEAK_COARSE_STEPS:
        shift = (step * typical * direction)[None, None]
        moved = field.value(torch.cat([x[None] + shift, x[None] - shift]))[:, 0]
        change = moved[0] - moved[1]
        found = change / (2 * step * typical)
        error = (found - slope).abs() / torch.stack([found.abs(), slope.abs(), usual]).amax(0)
        seen = change.abs() > seen_from * (1 + moved.abs().amax(0))
        best = torch.where(seen, best.minimum(error), best)
        judged = best[best < torch.inf]
        # Where nothing is seen to change, there is nothing that a gradient could miss.
        if not len(judged) or float(judged.median()) <= _WEAK_SLOPE:
            return
    raise UnsupportedModelError(
        f"the gradient of {name_of(field)} is not its derivative in a pass over {x.shape[-2]} "
        f"tokens: where it is weakest, they differ by {float(judged.median()):.0%} (allowed "
        f"{_WEAK_SLOPE:.0%}), as where it is cut at some tokens. Their scores would be too small."
    )


def _weakest(field: AnyField, gradient: Tensor) -> Tensor:
    """Return at which inputs a gradient [T, N, D] is zero, or else among the weaker half."""
    strength = gradient.norm(dim=-1)
    within = torch.arange(strength.shape[1]) < field.batch.reach[0][:, None]
    within = within.to(strength.device)
    zero: Tensor = within & (strength == 0)
    if not fine(field) or bool(zero.any()):
        return zero
    middle = strength.masked_fill(~within, torch.nan).nanmedian(dim=1, keepdim=True).values
    weaker: Tensor = within & (strength <= middle)
    return weaker


def check_derivative(field: AnyField, x: Tensor, gradient: Tensor) -> None:
    """Demand that the gradient of a field is its derivative.

    In 16 bits, whose rounding hides a derivative where a long sequence is flat, only that it is
    not zero at inputs that matter.

    Args:
        field: of one sequence.
        x: its embeddings, [1, 1, N, D].
        gradient: at x, [T, N, D].

    Raises:
        UnsupportedModelError: it is something else.
    """
    if fine(field):
        check_slope(field, x, gradient)
    check_weak_slope(field, x, gradient)


def name_of(field: AnyField) -> str:
    """Return what a model is called in messages, with its embedding modules."""
    modules = ", ".join(type(module).__name__ for module in field.sites.modules.values())
    return f"{type(field.model).__name__} ({modules})"


def fine(field: AnyField) -> bool:
    """Tell whether a model computes in more than 16 bits."""
    return torch.finfo(field.model.dtype).bits > 16


def brief(error: Exception) -> str:
    """Return the first line of an error, which may quote pages of shapes."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

"""Targets: the scalar f_t, read off the logits, whose change an attribution distributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import InputError

__all__ = ["TARGETS", "Score", "Target", "likeliest_others", "target"]

#: Maps logits [..., V] and token ids [...] to f [...], each position by itself.
Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Target:
    r"""A scalar of the logits at one position.

    With a contrast :math:`y^*` the target is :math:`f(y) - f(y^*)`; for ``log_prob`` and
    ``logit`` this is :math:`z_y - z_{y^*}`, "why y rather than y*" (Yin & Neubig 2022,
    arXiv:2202.10419).

    Args:
        name: how the target is asked for.
        score: maps logits [..., V] and token ids [...] to f [...].
        resolution: change of f that is too small to matter, in units of f; the relative gap is
            measured against at least this.
        of_token: whether f depends on the generated token, so that it can be contrasted.
    """

    name: str
    score: Score
    resolution: float
    of_token: bool = True

    def __call__(self, logits: Tensor, ids: Tensor, contrast: Tensor | None) -> Tensor:
        """Return f for logits [..., V], ids [...] and contrast ids [...] or ``None``, [...]."""
        value = self.score(logits, ids)
        return value if contrast is None else value - self.score(logits, contrast)


def _logit(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.gather(-1, ids[..., None]).squeeze(-1)


def _log_prob(logits: Tensor, ids: Tensor) -> Tensor:
    # From the greatest logit on: z_y - LSE, the difference of two large numbers, would round a
    # token that the model is sure of to a few digits, and torch's log_softmax adds up a large
    # vocabulary with one digit less.
    top = logits.detach().amax(-1, keepdim=True)
    return (_logit(logits, ids) - top.squeeze(-1)) - (logits - top).exp().sum(-1).log()


def _prob(logits: Tensor, ids: Tensor) -> Tensor:
    return _log_prob(logits, ids).exp()


def _others(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the logits of all tokens but one."""
    return logits.scatter(-1, ids[..., None], -torch.inf)


def _log_odds(logits: Tensor, ids: Tensor) -> Tensor:
    """Return log p / (1 - p) = z_y - LSE of the others; unlike log p, it never saturates."""
    return _logit(logits, ids) - _others(logits, ids).logsumexp(-1)


def _margin(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the lead of a token's logit over the best of the others."""
    return _logit(logits, ids) - _others(logits, ids).amax(-1)


def _entropy(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the entropy of the next token in nats, whichever was generated."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1)


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "entropy": Target("entropy", _entropy, resolution=1e-3, of_token=False),
        "log_odds": Target("log_odds", _log_odds, resolution=1e-3),
        "log_prob": Target("log_prob", _log_prob, resolution=1e-3),
        "logit": Target("logit", _logit, resolution=1e-3),
        "margin": Target("margin", _margin, resolution=1e-3),
        "prob": Target("prob", _prob, resolution=1e-6),
    }
)


def likeliest_others(logits: Tensor, ids: Tensor, count: int) -> Tensor:
    """Return the tokens with the highest logits [..., V] besides ids [...], [..., count].

    Raises:
        InputError: there are not so many.
    """
    if count >= logits.shape[-1]:
        raise InputError(
            f"{count} other tokens are asked for, but the vocabulary has {logits.shape[-1]} in "
            "all; ask for fewer."
        )
    return _others(logits, ids).topk(count, dim=-1).indices


def target(spec: str | Target | Score) -> Target:
    """Return the target of that name, or make one of a function.

    Args:
        spec: a name of :data:`TARGETS`, a target, or a differentiable function of logits [M, V]
            and ids [M] that returns f [M], each row by itself.

    Raises:
        InputError: there is none of that name.
    """
    if isinstance(spec, Target):
        return spec
    if callable(spec):
        return _custom(spec)
    if not isinstance(spec, str) or spec not in TARGETS:
        raise InputError(
            f"target {spec!r:.80} is unknown; expected one of {', '.join(TARGETS)}, or a function "
            "of logits and ids."
        )
    return TARGETS[spec]


def _custom(function: Score) -> Target:
    """Make a target of a caller's function, and hold it to what is asked of one."""
    name = getattr(function, "__name__", type(function).__name__)

    def score(logits: Tensor, ids: Tensor) -> Tensor:
        flat, chosen = logits.flatten(0, -2), ids.flatten()
        value = function(flat.clone(), chosen.clone())  # which it may write into
        if not isinstance(value, Tensor) or value.shape != chosen.shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"target {name} returned {got} for logits {tuple(flat.shape)}; expected a tensor "
                f"{tuple(chosen.shape)}, one number for each row."
            )
        if logits.requires_grad and not value.requires_grad:
            raise InputError(
                f"target {name} cannot be differentiated by the logits; take a method that needs "
                "no gradient, such as loo_shapley."
            )
        for row in (slice(0, 1), slice(len(flat) - 1, len(flat))):
            alone = function(flat[row].detach().clone(), chosen[row].clone())
            among = value[row].detach()
            if not torch.allclose(alone, among, rtol=1e-3, atol=1e-4, equal_nan=True):
                raise InputError(
                    f"target {name} mixes rows: one is {float(among):.4g} among others and "
                    f"{float(alone):.4g} alone. Compute each row by itself."
                )
        return value.reshape(ids.shape)

    return Target(f"custom: {name}", score, resolution=1e-3)

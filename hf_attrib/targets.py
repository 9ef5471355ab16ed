"""Targets: the scalar f_t, read off the logits, whose change an attribution distributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from hf_attrib.errors import InputError

__all__ = ["TARGETS", "Target", "target"]

_Score = Callable[[Tensor, Tensor], Tensor]


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
    """

    name: str
    score: _Score
    resolution: float

    def __call__(self, logits: Tensor, ids: Tensor, contrast: Tensor | None) -> Tensor:
        """Return f for logits [..., V], ids [...] and contrast ids [...] or ``None``, [...]."""
        value = self.score(logits, ids)
        return value if contrast is None else value - self.score(logits, contrast)


def _logit(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.gather(-1, ids[..., None]).squeeze(-1)


def _log_prob(logits: Tensor, ids: Tensor) -> Tensor:
    return _logit(logits, ids) - logits.logsumexp(-1)


def _prob(logits: Tensor, ids: Tensor) -> Tensor:
    return _log_prob(logits, ids).exp()


def _log_odds(logits: Tensor, ids: Tensor) -> Tensor:
    """Return log p / (1 - p) = z_y - LSE of the others; unlike log p, it never saturates."""
    others = logits.scatter(-1, ids[..., None], -torch.inf)
    return _logit(logits, ids) - others.logsumexp(-1)


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "log_odds": Target("log_odds", _log_odds, resolution=1e-3),
        "log_prob": Target("log_prob", _log_prob, resolution=1e-3),
        "logit": Target("logit", _logit, resolution=1e-3),
        "prob": Target("prob", _prob, resolution=1e-6),
    }
)


def target(name: str) -> Target:
    """Return the target of that name.

    Raises:
        InputError: there is none.
    """
    if not isinstance(name, str) or name not in TARGETS:
        raise InputError(f"target {name!r:.80} is unknown; expected one of {', '.join(TARGETS)}.")
    return TARGETS[name]

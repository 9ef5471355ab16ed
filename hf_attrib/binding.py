"""An explainer of one model, bound to it or made for one call."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from hf_attrib.chat import Messages, Prompts
from hf_attrib.estimation import Estimate
from hf_attrib.explainer import Explainer

__all__ = ["attach", "estimate"]

_Model = TypeVar("_Model", bound=nn.Module)


def estimate(
    model: nn.Module,
    tokenizer: Any = None,
    prompt: str | Messages | Prompts | None = None,
    *,
    batch_size: int | None = None,
    max_memory: str | int | None = None,
    **options: Any,
) -> Estimate | list[Estimate]:
    """Tell what it would cost to explain a prompt; see :meth:`Explainer.estimate`.

    Args:
        model: a generative model of transformers.
        tokenizer: its tokenizer.
        prompt: as for :meth:`Explainer.explain`.
        batch_size: as for :class:`Explainer`.
        max_memory: as for :class:`Explainer`.
        **options: those of :meth:`Explainer.explain`.
    """
    explainer = Explainer(model, tokenizer, batch_size=batch_size, max_memory=max_memory)
    return explainer.estimate(prompt, **options)


def attach(model: _Model, tokenizer: Any = None, **options: Any) -> _Model:
    """Bind ``model.explain`` and ``model.robustness``, and return the model.

    Args:
        model: a generative model of transformers.
        tokenizer: its tokenizer.
        **options: further arguments of :class:`Explainer`.
    """
    explainer: Any = Explainer(model, tokenizer, **options)
    model.explain, model.robustness = explainer.explain, explainer.robustness
    return model

"""Calls that are bound to a model, so that ``model.explain`` works, and copies of it explain."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from hf_attrib.engine.engine import Learnt

__all__ = ["bind"]

#: Under this name an attached model keeps what it is explained with.
_ATTACHED = "_hf_attrib"


def bind(
    model: nn.Module,
    make: Callable[..., Any],
    names: Sequence[str],
    tokenizer: Any,
    options: Mapping[str, Any],
) -> None:
    """Bind methods of what explains a model to that model.

    Args:
        model: a generative model of transformers.
        make: makes what explains it, of the model and its tokenizer.
        names: of its methods.
        tokenizer: of the model.
        options: further arguments of ``make``.
    """
    attachment = _Attachment(make, tokenizer, options)
    attachment.explainer(model)  # refuses what cannot be used
    vars(model)[_ATTACHED] = attachment
    # Where the first model of a process was made, torch keeps the frames that led to an import, and
    # the model in them: it would outlive its last reference, with all of its weights.
    gc.collect()
    kind = type(model)
    for name in names:
        before = vars(kind).get(name)
        if not isinstance(before, _Bound):
            setattr(kind, name, _Bound(name, before))


class _Attachment:
    """What a model is explained with; it holds no model, which would then hold itself.

    Args:
        make: makes it.
        tokenizer: of the model.
        options: further arguments of ``make``.
    """

    def __init__(
        self, make: Callable[..., Any], tokenizer: Any, options: Mapping[str, Any]
    ) -> None:
        self.make = make
        self.tokenizer = tokenizer
        self.options = options
        self._learnt: Learnt | None = None

    def explainer(self, model: nn.Module) -> Any:
        """Return an explainer, which knows what those before it have learnt about the model."""
        made = self.make(model, self.tokenizer, **self.options)
        self._learnt = made._engine.learnt = self._learnt or made._engine.learnt
        return made

    def __reduce__(self) -> Any:
        """Be copied without what was learnt: the copy goes to another model."""
        return _Attachment, (self.make, self.tokenizer, self.options)


class _Bound:
    """A method that models of a class have once they are attached, and copies of them.

    Args:
        name: of the method of what explains.
        before: what the class has had under this name.
    """

    def __init__(self, name: str, before: Any) -> None:
        self.name = name
        self.before = before

    def __get__(self, model: nn.Module | None, kind: type) -> Any:
        attachment = None if model is None else vars(model).get(_ATTACHED)
        if attachment is not None:
            return getattr(attachment.explainer(model), self.name)
        if self.before is not None:
            return self.before.__get__(model, kind)
        raise AttributeError(f"{kind.__name__!r} object has no attribute {self.name!r}")

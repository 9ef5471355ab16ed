"""What an attribution method is, and what it promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field

__all__ = ["AXIOMS", "Claims", "Method", "method", "methods"]

#: Laws a method may claim; the test suite runs each claim against problems with exact answers.
#:
#: - ``completeness``: scores sum to f(x) - f(x').
#: - ``dummy``: an input that f ignores scores 0.
#: - ``linearity``: the scores of a f + b g are a and b times theirs.
#: - ``sensitivity``: if x and x' differ in one input and f differs, that input scores non-zero.
AXIOMS = ("completeness", "dummy", "linearity", "sensitivity")

_REGISTRY: dict[str, type[Method]] = {}


@dataclass(frozen=True)
class Claims:
    """What a method's scores mean.

    Args:
        signed: whether a negative score means "argues against the token".
        identity: what the scores of a target sum to, or ``None``.
        stochastic: whether two runs can differ.
        cost: rows of a result with T targets and K path nodes, f(x) included.
        axioms: those of :data:`AXIOMS` that hold.
    """

    signed: bool
    identity: str | None
    stochastic: bool
    cost: str
    axioms: frozenset[str]


@dataclass(frozen=True)
class Method(ABC):
    """An attribution method: a frozen dataclass of hyperparameters, called on a field.

    Subclasses give their registered name as a class argument, and fields whose ``help`` metadata
    becomes the command line's. A method reduces over the last two axes (N, D) only, so that
    batches and targets come for free.
    """

    name: ClassVar[str]
    claims: ClassVar[Claims]
    #: The baseline when the caller names none.
    default_baseline: ClassVar[str] = "mean"

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        if name in _REGISTRY and _REGISTRY[name].__qualname__ != cls.__qualname__:
            raise ValueError(f"a method {name!r} is registered already: {_REGISTRY[name]}")
        cls.name = name
        _REGISTRY[name] = cls

    @abstractmethod
    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute every target of a field to its inputs.

        Args:
            field: F and its gradient.
            x: embeddings of the inputs, [B, 1, N, D].
            baseline: reference embeddings, equal to x where inputs do not move, [B, 1, N, D].

        Returns:
            scores [B, T, N] and F at the reference [B, T].
        """


def methods() -> Mapping[str, type[Method]]:
    """Return all registered methods by name, sorted."""
    return MappingProxyType(dict(sorted(_REGISTRY.items())))


def method(name: str, arguments: Mapping[str, Any]) -> Method:
    """Return a method by name with some of its fields set.

    Raises:
        InputError: no such method, no such field, or a value that the method rejects.
    """
    if name not in _REGISTRY:
        raise InputError(f"method {name!r} is unknown; expected one of {', '.join(methods())}.")
    known = {f.name for f in fields(_REGISTRY[name])}
    if foreign := sorted(set(arguments) - known):
        raise InputError(
            f"method {name} has no field {', '.join(foreign)}; it has {', '.join(sorted(known))}."
            if known
            else f"method {name} has no fields, but {', '.join(foreign)} was given."
        )
    return _REGISTRY[name](**arguments)

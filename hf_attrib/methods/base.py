"""What an attribution method is, and what it promises."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from hf_attrib.decomposition import Rows
from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field
from hf_attrib.sampling import derived

__all__ = [
    "AXIOMS",
    "Claims",
    "Method",
    "Rows",
    "at_least",
    "held",
    "method",
    "methods",
    "of_sample",
    "positive",
]

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
        stochastic: whether scores depend on a seed, and come with standard errors.
        cost: rows of a result with T targets, K path nodes, S samples and N inputs that move,
            f(x) included.
        axioms: those of :data:`AXIOMS` that hold.
        many_references: whether the method draws references from a distribution.
        baseline: the reference when the caller names none.
        additive: whether each input's score is linear in its products of gradient and velocity, so
            that a group of inputs can be explained as one.
        whole_gradients: how many gradients of all targets, [T, N, D], are held whole at the most,
            those of the rows that run aside; 0 where gradients are contracted at once.
    """

    signed: bool
    identity: str | None
    stochastic: bool
    cost: str
    axioms: frozenset[str]
    many_references: bool = False
    baseline: str = "mean"
    additive: bool = False
    whole_gradients: int = 0


@dataclass(frozen=True)
class Method(ABC):
    """An attribution method: a frozen dataclass of hyperparameters, called on a field.

    Subclasses give their registered name as a class argument, and fields whose ``help`` metadata
    becomes the command line's. A method reduces over the last two axes (N, D) only, so that
    batches and targets come for free.
    """

    name: ClassVar[str]
    claims: ClassVar[Claims]

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        if name in _REGISTRY and _REGISTRY[name].__qualname__ != cls.__qualname__:
            raise ValueError(f"a method {name!r} is registered already: {_REGISTRY[name]}")
        cls.name = name
        _REGISTRY[name] = cls

    def __str__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in given.items() if v is not None)})"

    def promises(self) -> Claims:
        """Return what this very method claims; a method that holds another asks that one."""
        return self.claims

    def rows(self, targets: int, inputs: int) -> tuple[Rows, Rows]:
        """Return what the method runs at least, and at most.

        Args:
            targets: T.
            inputs: how many inputs may move.

        Raises:
            InputError: the method does not say.
        """
        raise InputError(
            f"method {self.name} does not say how many rows it runs, so its cost cannot be "
            "estimated; give its class a method rows(targets, inputs)."
        )

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


def held(inner: str | Method) -> Method:
    """Return the method that a wrapper holds.

    Args:
        inner: a method, its name, or its name and fields, as in ``"idgi(steps=8)"``, which is how
            a method is written.

    Raises:
        InputError: there is no such method.
    """
    if isinstance(inner, Method):
        return inner
    try:
        return _made(ast.parse(inner, mode="eval").body)
    except InputError:
        raise
    except (SyntaxError, TypeError, ValueError):
        raise InputError(
            f"inner is {inner!r:.80}; expected a method, the name of one, or name(field=value)."
        ) from None


def _made(node: ast.expr) -> Method:
    """Make a method of a name, or of a call with keywords."""
    if isinstance(node, ast.Name):
        return method(node.id, {})
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise ValueError
    values = {key.arg or "": _value(key.value) for key in node.keywords}
    return method(node.func.id, values)


def _value(node: ast.expr) -> Any:
    """Read the value of a field: a number, a word, or another method."""
    if isinstance(node, ast.Call):
        return _made(node)
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def of_sample(inner: Method, seed: int, sample: int) -> Method:
    """Return a held method with random numbers of its own for one sample of its wrapper."""
    if not inner.promises().stochastic:
        return inner
    return replace(inner, **{"seed": derived(seed, inner.name, sample)})


def at_least(fewest: int, **counts: int) -> None:
    """Refuse counts that are no whole numbers or too small.

    Raises:
        InputError: naming the field.
    """
    for name, value in counts.items():
        if type(value) is not int or value < fewest:
            raise InputError(
                f"{name} is {value!r:.80}; expected at least {fewest}, a whole number."
            )


def positive(**sizes: float) -> None:
    """Refuse sizes that are not finite numbers above 0.

    Raises:
        InputError: naming the field.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise InputError(f"{name} is {value!r:.80}; expected a number above 0.")

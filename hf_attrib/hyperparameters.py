"""Frozen dataclasses by name, with hyperparameters that check themselves and can be written."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from hf_attrib.errors import InputError

__all__ = [
    "Registry",
    "at_least",
    "not_negative",
    "number",
    "one_of",
    "positive",
    "share",
    "written",
]

_T = TypeVar("_T")


class Registry(Generic[_T]):
    """The classes of one kind by name.

    Args:
        kind: what they are, for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[_T]] = {}

    def add(self, name: str, made: type[_T]) -> None:
        """Register a class.

        Raises:
            ValueError: another one has the name.
        """
        before = self._classes.get(name, made)
        if before.__qualname__ != made.__qualname__:
            raise ValueError(f"a {self.kind} {name!r} is registered already: {before}")
        self._classes[name] = made

    def all(self) -> Mapping[str, type[_T]]:
        """Return all classes by name, sorted."""
        return MappingProxyType(dict(sorted(self._classes.items())))

    def make(self, name: str, arguments: Mapping[str, Any]) -> _T:
        """Return one by name with some of its fields set.

        Raises:
            InputError: no such name, no such field, or a value that the class rejects.
        """
        if name not in self._classes:
            raise InputError(
                f"{self.kind} {name!r} is unknown; expected one of {', '.join(self.all())}."
            )
        made: Any = self._classes[name]
        known = {f.name for f in fields(made)}
        if foreign := sorted(set(arguments) - known):
            raise InputError(
                f"{self.kind} {name} has no field {', '.join(foreign)}; it has "
                f"{', '.join(sorted(known))}."
                if known
                else f"{self.kind} {name} has no fields, but {', '.join(foreign)} was given."
            )
        found: _T = made(**arguments)
        return found

    def read(self, text: str, label: str) -> tuple[str, dict[str, Any]]:
        """Return the name and the fields of what is written, as in ``"idgi(steps=8)"``.

        Args:
            text: what is written; a name may stand alone.
            label: of what was given, for the message.

        Raises:
            InputError: it cannot be read.
        """
        try:
            node = ast.parse(text, mode="eval").body
            if isinstance(node, ast.Name):
                return node.id, {}
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
                raise ValueError
            return node.func.id, {key.arg or "": _value(key.value) for key in node.keywords}
        except (SyntaxError, TypeError, ValueError):
            raise InputError(
                f"{label} is {text!r:.80}; expected the name of one {self.kind}, or "
                "name(field=value)."
            ) from None


def _value(node: ast.expr) -> Any:
    """Read the value of a field: a number, a word, or how another thing is written."""
    if isinstance(node, ast.Call):
        return ast.unparse(node)
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def written(made: Any, name: str) -> str:
    """Return how one is written: its name and those of its fields that have a value."""
    given = {f.name: getattr(made, f.name) for f in fields(made)}
    written = ", ".join(f"{k}={v}" for k, v in given.items() if v is not None)
    return f"{name}({written})" if written else name


#: What tensors can count.
_MOST = 2**63 - 1


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
        if value > _MOST:
            raise InputError(f"{name} is {value!r:.80}; expected at most {_MOST}.")


def positive(**sizes: float) -> None:
    """Refuse sizes that are not numbers above 0, or beyond any use.

    Raises:
        InputError: naming the field.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise InputError(
                f"{name} is {value!r:.80}; expected a number above 0 and below 1,000,000."
            )


def not_negative(**sizes: float) -> None:
    """Refuse sizes that are not numbers of at least 0, or beyond any use.

    Raises:
        InputError: naming the field.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            raise InputError(
                f"{name} is {value!r:.80}; expected a number of at least 0 and below 1,000,000."
            )


def share(**shares: float) -> None:
    """Refuse shares that are not numbers from 0 to 1.

    Raises:
        InputError: naming the field.
    """
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{name} is {value!r:.80}; expected a number from 0 to 1.")


def one_of(known: Collection[str], **names: str) -> None:
    """Refuse names that are none of those known.

    Raises:
        InputError: naming the field.
    """
    for field, name in names.items():
        if name not in known:
            raise InputError(f"{field} {name!r:.80} is unknown; expected {', '.join(known)}.")


def number(**given: float | str) -> float:
    """Return a positive number that may come as text, as a field of several types does.

    Raises:
        InputError: it is none.
    """
    ((name, value),) = given.items()
    try:
        if isinstance(value, bool):
            raise TypeError
        size = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r:.80}; expected auto or a number above 0.") from None
    positive(**{name: size})
    return size

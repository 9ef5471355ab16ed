"""Frozen dataclasses by name: found, made of arguments, and read from how they are written."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from hf_attrib.errors import InputError

__all__ = ["Registry", "written"]

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

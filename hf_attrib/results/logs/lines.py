"""Values of a line of a log, each read as what it should be, or refused in words."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["LineError", "id_list", "listed", "log_probability", "mapping", "nested", "text_of"]

#: Of the number of a place in a list, at most.
_DIGITS = 9


class LineError(ValueError):
    """A line of a log cannot be explained; the message says why, and not which line it is."""


def id_list(value: Any, name: str) -> list[int]:
    """Return token ids.

    Raises:
        LineError: there are none.
    """
    whole = isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)
    if not whole or not value:
        raise LineError(f"{name} is {value!r:.60}; expected a list of token ids")
    return list(value)


def log_probability(value: Any, name: str) -> float | None:
    """Return a log-probability, or ``None`` where the log holds none.

    Raises:
        LineError: it is something else.
    """
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -sys.float_info.max <= value <= 0:
        raise LineError(f"{name} holds {value!r:.60}; expected log-probabilities, at most 0")
    return float(value)


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return a mapping.

    Raises:
        LineError: it is none.
    """
    if not isinstance(value, Mapping):
        raise LineError(f"{name} is {value!r:.60}; expected an object")
    return value


def text_of(value: Any) -> str | None:
    """Return a text, or ``None`` for anything else."""
    return value if isinstance(value, str) else None


def nested(value: Any) -> Any:
    """Return nested mappings of what may have been flattened to keys with dots.

    >>> nested({"llm.model_name": "m", "llm": {"input_messages.0.message.role": "user"}})
    {'llm': {'model_name': 'm', 'input_messages': {'0': {'message': {'role': 'user'}}}}}

    Args:
        value: of JSON, flat, nested, or both.
    """
    if isinstance(value, list):
        return [nested(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        *path, last = str(key).split(".")
        _put(found, path, last, nested(inner))
    return found


def _put(found: dict[str, Any], path: list[str], last: str, value: Any) -> None:
    """Put a value at a path, joined with what is there; a mapping wins over a lone value."""
    for step in path:
        if not isinstance(found.get(step), dict):
            found[step] = {}
        found = found[step]
    there = found.get(last)
    if isinstance(there, dict) and isinstance(value, Mapping):
        for key, inner in value.items():
            _put(there, [], key, inner)
    elif not isinstance(there, dict):
        found[last] = value


def _is_place(key: Any) -> bool:
    """Whether a key is a place in a list; no list is so long that its number has many digits."""
    return isinstance(key, str) and key.isdecimal() and len(key) <= _DIGITS


def listed(value: Any) -> list[Any]:
    """Return what stands in a list, or in a mapping under 0, 1, ... as flattening leaves it."""
    if isinstance(value, Mapping):
        return [value[key] for key in sorted(filter(_is_place, value), key=int)]
    return value if isinstance(value, list) else []

"""Values of a JSON file, each read as exactly what is expected, or refused by its place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeVar

from hf_attrib.text import Document

__all__ = ["LATER", "Value", "encoded", "parse", "record"]

#: Metadata of a record's field that was added when there were files without it.
LATER: Mapping[str, Any] = MappingProxyType({"later": True})

_Read = TypeVar("_Read")
_Record = TypeVar("_Record")

#: What JSON has no number for. NaN is null.
_WORDS = {"inf": math.inf, "-inf": -math.inf}


def parse(text: str) -> Any:
    """Read JSON as the standard has it.

    Args:
        text: a document.

    Raises:
        ValueError: it is none, or has numbers that are not finite.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(number: str) -> None:
    raise ValueError(f"{number:.40} is no finite number")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        _refuse(number)
    return value


def encoded(values: Any) -> Any:
    """Return nested lists of numbers as JSON can say them, for :meth:`Value.number` to read.

    Args:
        values: a number, or lists of such.
    """
    if isinstance(values, list):
        return [encoded(v) for v in values]
    if math.isnan(values):
        return None
    return values if math.isfinite(values) else str(values)


@dataclass(frozen=True)
class Value:
    """A value and where it stands.

    Args:
        content: the value.
        where: its place in the file, e.g. ``"run.notes[0]"``; nothing for the whole file.
    """

    content: Any
    where: str = ""

    def wrong(self, expected: str) -> ValueError:
        """Return the error that something else was expected here."""
        return ValueError(f"its {self.where} is {_brief(self.content)}, expected {expected}")

    def field(self, name: str, missing: Any = None) -> Value:
        """Return an entry of an object.

        Args:
            name: its key.
            missing: what stands for it where it may be missing.
        """
        content, where = self.mapping(), f"{self.where}.{name}" if self.where else name
        if name not in content and missing is None:
            raise ValueError(f"it has no {where!r}")
        return Value(content.get(name, missing), where)

    def entries(self, count: int | None = None) -> list[Value]:
        """Return the entries of a list, of so many if a count is given."""
        if type(self.content) is not list:
            raise self.wrong("a list")
        if count is not None and len(self.content) != count:
            raise ValueError(f"its {self.where} has {len(self.content)} entries, expected {count}")
        return [Value(v, f"{self.where}[{i}]") for i, v in enumerate(self.content)]

    def list_of(self, read: Callable[[Value], _Read]) -> tuple[_Read, ...]:
        """Return the entries of a list, each read in the same way."""
        return tuple(map(read, self.entries()))

    def optional(self, read: Callable[[Value], _Read]) -> _Read | None:
        """Return nothing for null."""
        return None if self.content is None else read(self)

    def text(self) -> str:
        """Return a text."""
        if type(self.content) is not str:
            raise self.wrong("a text")
        return self.content

    def flag(self) -> bool:
        """Return true or false."""
        if type(self.content) is not bool:
            raise self.wrong("true or false")
        return self.content

    def whole(self) -> int:
        """Return a whole number of 64 bits that is not negative."""
        if type(self.content) is not int or not 0 <= self.content < 2**63:
            raise self.wrong("a whole number")
        return self.content

    def number(self) -> float:
        """Return a number of any kind: null for NaN, a word for an infinity."""
        content = self.content
        if content is None:
            return math.nan
        if type(content) is str and content in _WORDS:
            return _WORDS[content]
        # JSON writes 1.0 as 1 in other hands; what is too large for a float is none.
        if type(content) is int and abs(content) < 2**1023:
            return float(content)
        if type(content) is not float:
            raise self.wrong("a number")
        return content

    def mapping(self) -> dict[str, Any]:
        """Return an object, whatever its entries are."""
        if type(self.content) is not dict:
            raise self.wrong("an object")
        return self.content


#: How a field of a record is read, by how its type is written.
_READERS: Mapping[str, Callable[[Value], Any]] = MappingProxyType(
    {
        "bool": Value.flag,
        "float": Value.number,
        "int": Value.whole,
        "str": Value.text,
        "int | None": lambda value: value.optional(Value.whole),
        "str | None": lambda value: value.optional(Value.text),
        "float | None": lambda value: value.optional(Value.number),
        "tuple[Document, ...]": lambda v: v.list_of(lambda one: record(one, Document)),
        "tuple[str, ...]": lambda value: value.list_of(Value.text),
        "tuple[int, ...] | None": lambda v: v.optional(lambda ids: ids.list_of(Value.whole)),
        "tuple[str, ...] | None": lambda v: v.optional(lambda texts: texts.list_of(Value.text)),
        "Mapping[str, Any]": Value.mapping,
        "Mapping[str, str]": lambda v: {name: v.field(name).text() for name in v.mapping()},
        "Mapping[str, tuple[float, ...]]": lambda v: {
            name: v.field(name).list_of(Value.number) for name in v.mapping()
        },
    }
)


def record(value: Value, kind: type[_Record]) -> _Record:
    """Read a dataclass of plain fields, each by its type.

    A field that is marked :data:`LATER` may be missing, as in a file from before there was any.

    Args:
        value: an object with an entry for each field.
        kind: the dataclass.
    """
    content, found = value.mapping(), {}
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name in content or f.metadata != LATER:
            found[f.name] = _READERS[str(f.type)](value.field(f.name))
    return kind(**found)


def _brief(content: Any) -> str:
    """Show a value of any size in a few characters."""
    if isinstance(content, dict | list):
        return "a list" if isinstance(content, list) else "an object"
    huge = type(content) is int and abs(content) >= 2**63  # Python may refuse to write it
    return "a huge number" if huge else f"{json.dumps(content):.40}"

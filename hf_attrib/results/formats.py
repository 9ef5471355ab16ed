"""Which kinds of results files can hold, and how such a file says what it is.

A file is one JSON object. Its first entries name the format, the version of the format, and the
hf_attrib that wrote it; the others are those of its kind. Of each format every older version is
read, so that no saved result is lost to an update.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version as version_of
from typing import Any, TypeVar, cast

from hf_attrib.errors import InputError, ResultFileError
from hf_attrib.results.json_value import Value, parse

__all__ = ["FORMATS", "Format", "from_json", "register", "to_json"]

_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Format:
    """How files hold one kind of result.

    Args:
        name: what the file says it is, e.g. ``"hf_attrib.attribution"``.
        what: what errors call it, e.g. ``"attribution"``.
        version: the one that is written, and the newest that is read.
        write: returns what a file holds of a result, as JSON can say it.
        read: returns the result in a file of some version; raises ValueError if it is damaged.
    """

    name: str
    what: str
    version: int
    write: Callable[[Any], dict[str, Any]]
    read: Callable[[Value, int], Any]


#: The format of each kind of result that can be saved; modules that know one put it here.
FORMATS: dict[type, Format] = {}

#: Who registers the views and formats of this package. Results know none of them, and import them
#: by name when one is first asked for, wherever the result came from: a pickle, another process.
_REGISTRARS = ("hf_attrib.robustness", "hf_attrib.validation", "hf_attrib.render")


@cache
def register() -> None:
    """Let all kinds of results of this package be looked at, saved and read."""
    for name in _REGISTRARS:
        import_module(name)


@cache
def _own_version() -> str:
    return version_of("hf_attrib")


def to_json(result: object) -> str:
    """Return a result as JSON text; :func:`from_json` gives it back, to the last bit.

    Raises:
        InputError: files hold no results of its kind.
    """
    register()
    form = FORMATS.get(type(result))
    if form is None:
        raise InputError(
            f"a {type(result).__name__} cannot be saved; save the results that it was made from."
        )
    head = {
        "format": form.name,
        "format_version": form.version,
        "written_by": f"hf_attrib {_own_version()}",
    }
    return json.dumps(head | form.write(result), indent=1, allow_nan=False) + "\n"


def from_json(data: bytes, name: str, kind: type[_Kind]) -> _Kind:
    """Read what :func:`to_json` wrote, in UTF-8.

    Args:
        data: the content of a file.
        name: what errors call it.
        kind: which kind of result it must hold; the class of all results stands for any.

    Raises:
        InputError: files hold no results of this kind.
        ResultFileError: the file holds no such result, is damaged, or has a newer version.
    """
    register()
    wanted = [form for of, form in FORMATS.items() if issubclass(of, kind)]
    if not wanted:
        raise InputError(f"no file holds a {kind.__name__}.")
    content = _content(data, name)
    form = _format_in(content, name, wanted)
    version = _version_in(content, name, form)
    try:
        return cast(_Kind, form.read(Value(content), version))
    except ValueError as error:
        raise ResultFileError(f"{name} is damaged: {error}.") from None


def _content(data: bytes, name: str) -> Any:
    try:
        return parse(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ResultFileError(f"{name} is not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{name} is not JSON ({error}).") from None


def _format_in(content: Any, name: str, wanted: list[Format]) -> Format:
    """Return the format that a file names, if it is one of those wanted."""
    what = wanted[0].what if len(wanted) == 1 else "result"
    named = content.get("format") if isinstance(content, dict) else None
    form = next((form for form in FORMATS.values() if form.name == named), None)
    if form is None:
        expected = " or ".join(repr(form.name) for form in wanted)
        raise ResultFileError(f"{name} is not a saved {what}: expected format {expected}.")
    if form not in wanted:
        raise ResultFileError(f"{name} is not a saved {what}, but a saved {form.what}.")
    return form


def _version_in(content: dict[str, Any], name: str, form: Format) -> int:
    """Return the version of the format that a file names, if it is none of the future."""
    version = content.get("format_version")
    if type(version) is int and 1 <= version <= form.version:
        return version
    if type(version) is int and version > form.version:
        writer = content.get("written_by")
        by = f", which {writer!r:.40} wrote" if isinstance(writer, str) else ""
        raise ResultFileError(
            f"{name} has format version {version!r:.40}{by}; this hf_attrib reads versions up to "
            f"{form.version}, so update it."
        )
    raise ResultFileError(
        f"{name} has format version {version!r:.40}; expected a whole number up to {form.version}."
    )

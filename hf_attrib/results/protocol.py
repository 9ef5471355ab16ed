"""What every kind of result can do: be saved and read, and be shown wherever one looks.

A kind of result is a class that derives from :class:`Result`. How it looks and how files hold it is
said elsewhere, so that results know neither screens nor formats::

    view.register(Kind, ...)      what rich prints; text, page and frame follow from it
    FORMATS[Kind] = Format(...)   what a file holds, if it can be saved
    figure.register(Kind, ...)    what ``plot`` draws, if the kind has one; likewise ``latex``
"""

from __future__ import annotations

import os
from functools import singledispatch
from typing import Any, TypeVar

from hf_attrib.results.files import path_of, write_atomically
from hf_attrib.results.formats import from_json, register, to_json

__all__ = ["Result", "Told", "figure", "frame", "latex", "load", "page", "text", "view"]

_Kind = TypeVar("_Kind", bound="Result")


class Told:
    """What is looked at, by what ``str`` says of it unless a view is registered: no bare fields."""

    def _repr_html_(self) -> str:
        """Show wherever a notebook does."""
        return frame(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show in the terminal of IPython."""
        printer.text(str(self))

    def __rich__(self) -> Any:
        """Show wherever rich prints."""
        return view(self)


class Result(Told):
    """What all results share: ways to be kept and to be looked at."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON, whole or not at all.

        Raises:
            InputError: files hold no results of this kind, or the path is no regular file.
            OSError: there is no such folder, or it takes no file.
        """
        write_atomically(path, to_json(self))

    @classmethod
    def load(cls: type[_Kind], path: str | os.PathLike[str]) -> _Kind:
        """Read a result of this kind that :meth:`save` wrote.

        Raises:
            InputError: files hold no results of this kind, or what came is no path.
            OSError: there is no such file.
            ResultFileError: the file holds none, is damaged, or was written by a newer version.
        """
        return from_json(path_of(path).read_bytes(), str(path), cls)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a page that needs no network; write it to a file, if one is given.

        Raises:
            InputError: the path is no regular file.
            OSError: there is no such folder, or it takes no file.
        """
        html = page(self)
        if path is not None:
            write_atomically(path, html)
        return html

    def __str__(self) -> str:
        return text(self)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a result of any kind: what it is, the file says.

    Raises:
        InputError: what came is no path.
        OSError: there is no such file.
        ResultFileError: the file holds none, is damaged, or was written by a newer version.
    """
    return Result.load(path)


def _registered(way: Any, what: str, result: Told, **options: bool) -> Any:
    """Look at a result in a way that is registered, once all that are have been."""
    register()
    found, unknown = way.dispatch(type(result)), way.dispatch(object)
    if found is unknown:
        raise NotImplementedError(f"no {what} is registered for {type(result).__name__}")
    return found(result, **options)


@singledispatch
def view(result: Told) -> Any:
    """Return what rich prints of a result."""
    return _registered(view, "view", result)


@singledispatch
def text(result: Result) -> str:
    """Return a result as plain text, without colours."""
    return str(_registered(text, "text", result))


@singledispatch
def page(result: Result, framed: bool = False) -> str:
    """Return a result as an HTML document that needs no network; one to be framed, if asked for."""
    return str(_registered(page, "page", result, framed=framed))


@singledispatch
def frame(result: Told) -> str:
    """Return what a notebook shows of a result: HTML that cannot disturb it."""
    return str(_registered(frame, "frame", result))


@singledispatch
def figure(result: Result) -> Any:
    """Return a result as a figure of matplotlib."""
    return _registered(figure, "figure", result)


@singledispatch
def latex(result: Result) -> str:
    """Return a result as LaTeX that a document takes in."""
    return str(_registered(latex, "LaTeX", result))

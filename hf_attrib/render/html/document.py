"""HTML documents that need no network: templates filled in, pages of plain text, frames."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hf_attrib.render.safe_text import visible
from hf_attrib.results import Result, Told, page, text

__all__ = ["document", "frame_of", "hashed", "plain_page", "told_frame"]

_FOLDER = Path(__file__).parent / "templates"

#: Pixels of a page within a notebook until it has said how high it is: a line of text, and bounds.
_LINE, _LOWEST, _HIGHEST = 28, 640, 800
_CHARACTERS_PER_LINE = 70


def plain_page(result: Result, framed: bool = False) -> str:
    """Draw any result as a page that holds its text.

    Args:
        result: of a kind that has no page of its own.
        framed: whether a notebook holds the page.
    """
    return document("text.html.jinja", framed, title=type(result).__name__, text=text(result))


def frame_of(result: Result) -> str:
    """Put the page of a result in a frame of its own, for notebooks: neither can disturb the other.

    The page says how high it is, and the frame tells it whether the notebook is dark.

    Args:
        result: of any kind.
    """
    shown = text(result)
    lines = len(shown) // _CHARACTERS_PER_LINE + shown.count("\n")
    return (
        _environment()
        .get_template("frame.html.jinja")
        .render(
            document=escape(page(result, framed=True)),
            height=min(max(_LINE * lines, _LOWEST), _HIGHEST),
            onload=_read("host.js"),
            text=shown,
        )
    )


def told_frame(shown: Told) -> str:
    """Return what ``str`` says as text that keeps its lines; it needs no frame.

    Args:
        shown: anything that has no page.
    """
    return f"<pre>{escape(visible(str(shown)))}</pre>"


def document(template: str, framed: bool, **context: Any) -> str:
    """Return a template filled in; all text in it is escaped, and made visible where it is not.

    Args:
        template: its name.
        framed: whether a notebook holds the page.
        **context: what it needs.
    """
    return _environment().get_template(template).render(framed=framed, **context)


@cache
def _environment() -> Environment:
    """Return the templates: all text is escaped, and made visible where it is not."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for kind, name in (("style", "page.css"), ("script", "page.js"), ("framing", "frame.js")):
        environment.globals[kind], environment.globals[f"{kind}_hash"] = hashed(_read(name))
    return environment


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def hashed(text: str) -> tuple[Markup, str]:
    """Return a style or a script as a template may print it, and the hash that lets it through.

    Args:
        text: which holds nothing from outside.
    """
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"sha256-{digest}"


def _shown(value: Any) -> Any:
    """Make visible what could steer a reader, in whatever a template prints."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

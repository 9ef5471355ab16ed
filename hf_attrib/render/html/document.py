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
from hf_attrib.results import Result, page, text

__all__ = ["document", "framed", "hashed", "plain_frame", "plain_page"]

_FOLDER = Path(__file__).parent / "templates"

#: Pixels of a page within a notebook: a line of text, and the bounds.
_LINE, _LOWEST, _HIGHEST = 28, 640, 800
_CHARACTERS_PER_LINE = 70


def plain_page(result: Result) -> str:
    """Draw any result as a page that holds its text.

    Args:
        result: of a kind that has no page of its own.
    """
    return document("text.html.jinja", title=type(result).__name__, text=text(result))


def plain_frame(result: Result) -> str:
    """Return the page of any result in a frame.

    Args:
        result: of a kind that has no frame of its own.
    """
    shown = text(result)
    return framed(page(result), 0, shown, shown)


def framed(html: str, surroundings: int, running: str, instead: str) -> str:
    """Put a page in a frame of its own, for notebooks: neither can disturb the other.

    Args:
        html: the page.
        surroundings: pixels of it around its running text.
        running: that text, which says how high the page is.
        instead: the result as plain text, for readers that show no frames.
    """
    lines = len(running) // _CHARACTERS_PER_LINE + running.count("\n")
    height = min(max(surroundings + _LINE * lines, _LOWEST), _HIGHEST)
    return document("frame.html.jinja", document=escape(html), height=height, text=instead)


def document(template: str, **context: Any) -> str:
    """Return a template filled in; all text in it is escaped, and made visible where it is not.

    Args:
        template: its name.
        **context: what it needs.
    """
    return _environment().get_template(template).render(context)


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
    for kind, name in (("style", "page.css"), ("script", "page.js")):
        text = (_FOLDER / name).read_text(encoding="utf-8")
        environment.globals[kind], environment.globals[f"{kind}_hash"] = hashed(text)
    return environment


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

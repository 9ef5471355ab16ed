"""Results as pages, and in frames of notebooks: HTML documents that need no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hf_attrib.render import phrases
from hf_attrib.render.html.panel import MISSED, Panel, panel_of
from hf_attrib.render.html.pieces import response
from hf_attrib.render.safe_text import visible
from hf_attrib.results import Attribution, Comparison, Result, page, text

__all__ = ["document", "frame_of", "framed", "hashed", "page_of", "plain_frame", "plain_page"]

_FOLDER = Path(__file__).parent / "templates"

#: Pixels of a page within a notebook: what surrounds the text, a line of it, and the bounds.
_SURROUNDINGS, _LINE, _LOWEST, _HIGHEST = 420, 28, 640, 800
_CHARACTERS_PER_LINE = 70
#: Scores that a notebook's page holds at most.
_MOST_SCORES = 50_000


def page_of(shown: Attribution | Comparison) -> str:
    """Draw a result or a comparison as a page to explore, which loads nothing and sends nothing.

    Args:
        shown: what to show.

    Returns:
        The HTML document.
    """
    return document("page.html.jinja", **_of(shown))


def frame_of(shown: Attribution | Comparison) -> str:
    """Return the page in a frame; a large result shows its totals only.

    A notebook keeps what it shows, so that a matrix of a million scores would make it slow.

    Args:
        shown: what to show.
    """
    results = shown.results if isinstance(shown, Comparison) else (shown,)
    context = _of(shown)
    scores = sum(result.scores.numel() for result in results)
    if scores > _MOST_SCORES:
        left_out = f"the {scores:,} single scores are left out here; to_html(path) writes them all"
        context |= {"full": False, "notes": (*context["notes"], left_out)}
    html = document("page.html.jinja", **context)
    return framed(html, _SURROUNDINGS, results[0].inputs.text, text(shown))


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


def _of(shown: Attribution | Comparison) -> dict[str, Any]:
    return _of_pair(shown) if isinstance(shown, Comparison) else _of_result(shown)


def _of_result(result: Attribution) -> dict[str, Any]:
    title, *about = phrases.shared([result.run])[0]
    return _context(title, [*phrases.why(result), *about], [panel_of(result)], result)


def _of_pair(comparison: Comparison) -> dict[str, Any]:
    common, own = phrases.shared([result.run for result in comparison.results])
    panels = [panel_of(*each) for each in zip(comparison.results, "ab", own, strict=True)]
    context = _context("Comparison", common, panels, comparison.results[0])
    context["notes"] = comparison.notes
    a, b = (panel.owners for panel in panels)
    pairs = sorted({(a[i], b[j]) for i, j in comparison.columns})
    context["data"]["pairs"] = pairs
    paired = zip(*pairs, strict=True)
    context["alone"] = any(
        len(set(units)) < len(own.data["units"]) for units, own in zip(paired, panels, strict=True)
    )
    context["data"]["agreement"] = {
        "measures": phrases.measures(comparison.k),
        "total": phrases.agreement(comparison.total),
        "rows": [phrases.agreement(row) for row in comparison.by_row],
    }
    return context


def _context(
    title: str, about: Sequence[str], panels: Sequence[Panel], result: Attribution
) -> dict[str, Any]:
    """Return what the template needs; the response is that of the result."""
    rows = [row["label"] for row in panels[0].rows]
    covered = {i for span in result.rows for i in range(span.start, span.stop)}
    scored = f"All {phrases.count(len(rows), f'scored {panels[0].row}')}"
    whole = "Whole response" if len(covered) == len(result.response) else scored
    of_rows = zip(*(panel.rows for panel in panels), strict=True)
    # The worst of both panels.
    missed = [next((m for m in MISSED if m in [p["missed"] for p in row]), "") for row in of_rows]
    return {
        "title": title,
        "about": about,
        "notes": (),
        "full": True,
        "alone": False,
        "whole": whole,
        "panels": panels,
        "response": list(response(result, missed)),
        "data": {"rows": rows, "whole": whole, "panels": [panel.data for panel in panels]},
    }


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

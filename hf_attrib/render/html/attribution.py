"""Attributions and comparisons as pages to explore, and in frames of notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_attrib.render import phrases
from hf_attrib.render.html.document import document
from hf_attrib.render.html.panel import MISSED, Panel, panel_of
from hf_attrib.render.html.passages import cited
from hf_attrib.render.html.pieces import response
from hf_attrib.results import Attribution, Comparison

__all__ = ["page_of"]

#: Scores that a notebook's page holds at most.
_MOST_SCORES = 50_000


def page_of(shown: Attribution | Comparison, framed: bool = False) -> str:
    """Draw a result or a comparison as a page to explore, which loads nothing and sends nothing.

    A notebook keeps what it shows, so that a matrix of a million scores would make it slow: framed,
    a large result shows its totals only.

    Args:
        shown: what to show.
        framed: whether a notebook holds the page.

    Returns:
        The HTML document.
    """
    if isinstance(shown, Comparison):
        context, scores = _of_pair(shown), sum(r.scores.numel() for r in shown.results)
    else:
        context, scores = _of_result(shown, linked=not framed), shown.scores.numel()
    if framed and scores > _MOST_SCORES:
        left_out = f"the {scores:,} single scores are left out here; to_html(path) writes them all"
        context |= {"full": False, "notes": (*context["notes"], left_out)}
    return document("page.html.jinja", framed, **context)


def _of_result(result: Attribution, linked: bool) -> dict[str, Any]:
    title, *about = phrases.shared([result.run])[0]
    context = _context(title, [*phrases.why(result), *about], [panel_of(result)], result)
    if result.passages is not None:
        context["cited"] = cited(result.passages, linked)
    return context


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
    row = f"scored {panels[0].row}"
    scored = f"The {row}" if len(rows) == 1 else f"All {phrases.count(len(rows), row)}"
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
        "cited": None,
        "whole": whole,
        "panels": panels,
        "response": list(response(result, missed)),
        "data": {"rows": rows, "whole": whole, "panels": [panel.data for panel in panels]},
    }

"""An evaluation of methods as a page: one HTML document that needs no network, and no script."""

from __future__ import annotations

from typing import Any

from hf_attrib.render import standings
from hf_attrib.render.html.document import document
from hf_attrib.validation import Evaluation

__all__ = ["evaluation_page"]

#: Size of a curve, and of its margin, in units of its picture.
_WIDTH, _HEIGHT, _EDGE = 200, 90, 6


def evaluation_page(result: Evaluation, framed: bool = False) -> str:
    """Draw a result as a page, which loads nothing and sends nothing.

    Args:
        result: what to show.
        framed: whether a notebook holds the page.

    Returns:
        The HTML document.
    """
    return document(
        "evaluation.html.jinja",
        framed,
        title=standings.title(result),
        about=standings.about(result),
        metrics=result.run.metrics,
        operators=[_operator(result, operator) for operator in result.run.operators],
        costs=standings.costs(result),
        legend=standings.legend(result),
        notes=standings.notes(result),
        prompts=result.prompts,
        size=(_WIDTH + 2 * _EDGE, _HEIGHT + 2 * _EDGE),
        frame=(_EDGE, _EDGE + _WIDTH, _EDGE, _EDGE + _HEIGHT),
    )


def _operator(result: Evaluation, operator: str) -> dict[str, Any]:
    """Return what the page says of one way to take units away."""
    return {
        "verdict": standings.verdict(result, operator),
        "name": operator,
        "rows": standings.rows(result, operator),
        "curves": [
            {"label": label, "deletion": _line(deletion), "insertion": _line(insertion)}
            for label, (deletion, insertion) in standings.curve_rows(result, operator)
        ],
    }


def _line(values: Any) -> str:
    """Return where the line of a curve goes; what is beyond 0 to 1 is cut."""
    steps = len(values) - 1
    places = (
        f"{_EDGE + i / steps * _WIDTH:.1f},{_EDGE + (1 - min(max(v, 0), 1)) * _HEIGHT:.1f}"
        for i, v in enumerate(values)
    )
    return " ".join(places)

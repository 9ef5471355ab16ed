"""The robustness of an answer as a page: one HTML document that needs no network, and no script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hf_attrib.render import phrases
from hf_attrib.render.html.document import document
from hf_attrib.render.safe_text import label
from hf_attrib.robustness import Robustness, robust_accuracy

__all__ = ["robustness_page"]

#: Inputs listed for each token, at most.
_INPUTS = 20
#: Size of the curve, and of its margin, in units of its picture.
_WIDTH, _HEIGHT, _EDGE = 560, 200, 36
_RADII = 64


def robustness_page(result: Robustness, framed: bool = False) -> str:
    """Draw a result as a page, which loads nothing and sends nothing.

    Args:
        result: what to show.
        framed: whether a notebook holds the page.

    Returns:
        The HTML document.
    """
    run = result.run
    return document(
        "robustness.html.jinja",
        framed,
        title=phrases.line(run.model),
        about=phrases.about_attack(run),
        summary=phrases.summary(result),
        notes=run.notes,
        prompt=result.inputs.text,
        tokens=list(_tokens(result)),
        curve=_curve(result),
        cost=phrases.cost(run),
    )


def _tokens(result: Robustness) -> Iterator[dict[str, Any]]:
    """Yield what the page says of each generated token."""
    for t, piece in enumerate(result.response.pieces):
        to = result.flips_to_piece(t)
        yield {
            "label": label(piece),
            "probability": phrases.probability(float(result.probability[t])),
            "margin": f"{float(result.margin[t]):.3g}",
            "attacked": f"{float(result.attacked_margin[t]):.3g}",
            "radius": phrases.bracket(result, t),
            "to": "" if to is None else label(to),
            "inputs": list(_inputs(result, t)),
        }


def _inputs(result: Robustness, token: int) -> Iterator[dict[str, str]]:
    """Yield the inputs that were moved for a token, those that took most from its lead first."""
    drop = result.drop[token].nan_to_num(0)
    for n in drop.argsort(descending=True, stable=True)[:_INPUTS].tolist():
        if float(result.share[token, n]) > 0:
            turned, headed = result.turned(token, n), result.headed(token, n)
            yield {
                "label": label(result.inputs.pieces[n]),
                "drop": f"{float(drop[n]):.3g}",
                "share": f"{100 * float(result.share[token, n]):.1f} %",
                "nearest": "unchanged" if turned is None else label(turned),
                "towards": "" if headed is None else label(headed),
            }


def _curve(result: Robustness) -> dict[str, Any]:
    """Return where the lines of the curve go."""
    largest = result.run.eps
    curve = robust_accuracy(result, [largest * i / _RADII for i in range(_RADII + 1)])

    def line(shares: tuple[float, ...]) -> str:
        places = (
            f"{_EDGE + radius / largest * _WIDTH:.1f},{_EDGE + (1 - share) * _HEIGHT:.1f}"
            for radius, share in zip(curve.radii, shares, strict=True)
        )
        return " ".join(places)

    return {
        "width": _WIDTH + 2 * _EDGE,
        "height": _HEIGHT + 2 * _EDGE,
        "left": _EDGE,
        "right": _EDGE + _WIDTH,
        "top": _EDGE,
        "bottom": _EDGE + _HEIGHT,
        "tokens": line(curve.tokens),
        "answers": line(curve.answers),
        "largest": f"{largest:g}",
    }

"""Interactions as a page: one HTML document that needs no network, and no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hf_attrib.render import phrases
from hf_attrib.render.console.interactions import numbered, shown_groups
from hf_attrib.render.html.document import document
from hf_attrib.render.html.pieces import brief, shade_class
from hf_attrib.render.palette import Scale, largest
from hf_attrib.render.safe_text import label
from hf_attrib.results import Interactions

__all__ = ["interactions_page"]

#: Pairs listed of the response, and of each generated token.
_PAIRS, _BY_TOKEN = 20, 10


def interactions_page(result: Interactions, framed: bool = False) -> str:
    """Draw a result as a page, which loads nothing and sends nothing.

    Args:
        result: what to show.
        framed: whether a notebook holds the page.

    Returns:
        The HTML document.
    """
    run, gap = result.run, result.gap.tolist()
    every = [(None, result.total), *enumerate(result.matrix)]
    titles = ["Whole response", *(label(piece) for piece in result.response_pieces)]
    groups = shown_groups(result)
    tables = [
        _table(result, title, row, scores, groups)
        for title, (row, scores) in zip(titles, every, strict=True)
    ]
    for t, table in enumerate(tables[1:]):
        chance = phrases.probability(float(result.probability[t]))
        complete = "" if math.isnan(gap[t]) else f", gap {phrases.gap(gap[t])}"
        table["about"] = f"probability {chance}{complete}"
    return document(
        "interactions.html.jinja",
        framed,
        title=phrases.line(run.model),
        about=[*phrases.why(result), *phrases.about(run)],
        summary=phrases.pair_sums(result),
        meaning=phrases.of_pairs(result),
        notes=run.notes,
        prompt=result.inputs.text,
        response=result.response.text,
        tables=tables[:1] if len(result) == 1 else tables,
        cost=phrases.cost(run),
    )


def _table(
    result: Interactions, title: str, row: int | None, scores: Tensor, groups: Sequence[int]
) -> dict[str, Any]:
    """Return what the page says of one matrix."""
    rows = list(groups) if result.token is None else [result.token]
    values, names = scores.tolist(), [brief(text) + which for text, which in numbered(result)]
    scale = Scale(largest(scores.nan_to_num(0).flatten().tolist()), True, "full")
    pairs = result.strongest(_PAIRS if row is None else _BY_TOKEN, row)
    return {
        "title": title,
        "about": "",
        "heads": [names[g] for g in groups],
        "rows": [
            {
                "name": names[g],
                "cells": [
                    {
                        "number": scale.number(values[g][other]),
                        "classes": f"cell{shade_class(values[g][other], scale)}"
                        + " main" * (g == other),
                    }
                    for other in groups
                ],
            }
            for g in rows
        ],
        "pairs": [
            {
                "first": names[pair.first],
                "second": names[pair.second],
                "number": scale.number(pair.score),
                "classes": f"cell{shade_class(pair.score, scale)}",
            }
            for pair in pairs
        ],
    }

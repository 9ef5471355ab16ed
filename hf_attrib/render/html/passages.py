"""Passages and the answer that cites them as a page, which needs no network, and no script."""

from __future__ import annotations

from hf_attrib.render import phrases
from hf_attrib.render.console.passages import USED, finding, nats, of_whole
from hf_attrib.render.html.document import document
from hf_attrib.render.html.pieces import shade_class
from hf_attrib.render.palette import Scale, largest
from hf_attrib.render.safe_text import label, visible
from hf_attrib.results import Passages

__all__ = ["passages_page"]


def passages_page(result: Passages) -> str:
    """Draw a result as a page, which loads nothing and sends nothing.

    Args:
        result: what to show.

    Returns:
        The HTML document; a sentence links to the passages that it cites.
    """
    run, rows = result.run, result.documents
    scale = Scale(largest(result.score().tolist()), True, "full")
    return document(
        "passages.html.jinja",
        title=phrases.line(run.model),
        about=phrases.about(run),
        used=USED,
        summary=of_whole(result),
        notes=[phrases.line(note) for note in run.notes],
        errors=result.standard_error is not None,
        sentences=[
            {
                "text": visible(citation.text),
                "numbers": [passage.index + 1 for passage in citation.passages],
                "finding": finding(citation),
            }
            for citation in result.citations()
        ],
        passages=[
            {
                "number": row["index"] + 1,
                "name": label(row["name"]),
                "source": label(row["url"] or row["source"] or "")
                * bool(row["url"] or row["source"]),
                "score": scale.number(row["score"]),
                "classes": f"cell{shade_class(row['score'], scale)}",
                "share": f"{row['share']:.0%}",
                "error": nats(row["standard_error"]),
                "drop": nats(row["drop"]),
                "hold": nats(row["hold"]),
                "status": row["status"],
                "tokens": row["tokens"],
                "retrieved": row["retrieved_rank"],
                "used": row["used_rank"],
                "text": visible(result.passage_text(row["index"])),
            }
            for row in rows
        ],
        cost=phrases.cost(run),
    )

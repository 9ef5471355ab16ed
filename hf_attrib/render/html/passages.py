"""Passages and the answer that cites them as a page, which needs no network, and no script.

Who points at a sentence sees its passages lit, and the other way round. That is a rule of style for
each sentence and each passage, which the page lets through by the hash of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_attrib.render import phrases
from hf_attrib.render.console.passages import USED, finding, nats, of_whole, scale_of
from hf_attrib.render.html.document import document, hashed
from hf_attrib.render.html.pieces import shade_class
from hf_attrib.render.safe_text import label, visible
from hf_attrib.results import Passages

__all__ = ["cited", "passages_page"]

#: Characters of a passage that is folded, and of its beginning that is shown then.
_LONG, _BEGINNING = 700, 160
#: What is lit: the words say it where colours do not.
_LIT = '{--lit:var(--raised);--edge:var(--accent);--word:"%s"}'


def passages_page(result: Passages, framed: bool = False) -> str:
    """Draw a result as a page, which loads nothing and sends nothing.

    Links within a page that is held by another lead to that other page, which would be loaded into
    the frame: framed, it has none.

    Args:
        result: what to show.
        framed: whether a notebook holds the page.

    Returns:
        The HTML document; what a sentence cites is lit with it, and links lead there and back.
    """
    run = result.run
    return document(
        "passages.html.jinja",
        framed,
        title=phrases.line(run.model),
        about=phrases.about(run),
        notes=[phrases.line(note) for note in run.notes],
        cited=cited(result, linked=not framed),
        cost=phrases.cost(run),
    )


def cited(result: Passages, linked: bool) -> dict[str, Any]:
    """Return what ``cited.html.jinja`` draws of passages, on whatever page.

    Args:
        result: what to show.
        linked: whether what belongs together is linked.
    """
    sentences = [
        {
            "number": number,
            "text": visible(citation.text),
            "passages": [passage.index + 1 for passage in citation.passages],
            "finding": finding(citation),
        }
        for number, citation in enumerate(result.citations(), 1)
    ]
    passages = _passages(result, sentences)
    rules, rules_hash = hashed("\n".join(_rules(sentences, passages)))
    return {
        "linked": linked,
        "used": USED,
        "summary": of_whole(result),
        "errors": result.standard_error is not None,
        "retrieval": any(document.score is not None for document in result.run.documents),
        "sentences": sentences,
        "passages": passages,
        "rules": rules,
        "rules_hash": rules_hash,
    }


def _passages(result: Passages, sentences: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the page says of each passage."""
    scale = scale_of(result, "full")
    found = []
    for row in result.documents:
        number, source = row["index"] + 1, row["url"] or row["source"]
        said = visible(result.passage_text(row["index"]))
        found.append(
            {
                "number": number,
                "name": label(row["name"]),
                "source": label(source) if source else "",
                "score": scale.number(row["score"]),
                "classes": f"cell{shade_class(row['score'], scale)}",
                "share": f"{row['share']:.0%}",
                "error": nats(row["standard_error"]),
                "drop": nats(row["drop"]),
                "hold": nats(row["hold"]),
                "status": row["status"],
                "tokens": row["tokens"],
                "retrieval": _number(row["retrieval_score"]),
                "retrieved": row["retrieved_rank"],
                "used": row["used_rank"],
                "move": _move(row["retrieved_rank"] - row["used_rank"]),
                "text": said,
                "beginning": f"{said[:_BEGINNING]}…" if len(said) > _LONG else "",
                "sentences": [s["number"] for s in sentences if number in s["passages"]],
            }
        )
    return found


def _number(score: float | None) -> str:
    return "" if score is None else f"{score:.4g}"


def _move(places: int) -> str:
    """Say in words how far a passage came up from its place in the retrieval."""
    return f"up {places}" if places > 0 else f"down {-places}" if places else "same"


def _rules(
    sentences: Sequence[Mapping[str, Any]], passages: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the rules that light what belongs together, of numbers alone."""
    rules = []
    for sentence in sentences:
        if cited := sentence["passages"]:
            lit = ",".join(f"#passage-{n},#row-{n}" for n in cited)
            chosen = f"body:has(#sentence-{sentence['number']}:focus-within)"
            rules.append(f"{chosen} :is({lit})" + _LIT % "used by this sentence")
    for passage in passages:
        if citing := passage["sentences"]:
            lit = ",".join(f"#sentence-{n}" for n in citing)
            number = passage["number"]
            chosen = f"body:has(:is(#passage-{number},#row-{number}):focus-within)"
            rules.append(f"{chosen} :is({lit})" + _LIT % "uses this passage")
    return rules

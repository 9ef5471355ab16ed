"""Citations in the shapes that other programs read. Characters count from 0, ends are exclusive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.results.passages.citations import Citation, CitedPassage, known, numbered

__all__ = ["STYLES", "in_style"]


def in_style(style: str, answer: str, cited: Sequence[Citation]) -> Any:
    """Return citations in a style.

    Args:
        style: of :data:`STYLES`.
        answer: the text of the response.
        cited: its sentences.

    Raises:
        InputError: there is no such style.
    """
    if style not in STYLES:
        raise InputError(f"style is {style!r:.80}; expected None, {', '.join(map(repr, STYLES))}.")
    return STYLES[style](answer, cited)


def _markers(answer: str, cited: Sequence[Citation]) -> str:
    """Return the answer with the numbers of passages, from 1, behind each sentence."""
    parts, end = [], 0
    for citation in cited:
        marks = "".join(f"[{number}]" for number in numbered(citation.passages))
        parts += [answer[end : citation.end], f" {marks}" if marks else ""]
        end = citation.end
    return "".join(parts)  # and not what ends an answer: the special token, white space


def _langchain(answer: str, cited: Sequence[Citation]) -> list[dict[str, Any]]:
    """Return a LangChain ``Citation`` for each sentence and passage; indices are the answer's."""
    return [
        {
            "type": "citation",
            "url": passage.document.url,
            "title": passage.document.title,
            "start_index": citation.start,
            "end_index": citation.end,
            "cited_text": passage.text,
            "extras": _numbers(citation, passage),
        }
        for citation in cited
        for passage in citation.passages
    ]


def _anthropic(answer: str, cited: Sequence[Citation]) -> list[dict[str, Any]]:
    """Return blocks of text that make up the answer; indices are the document's."""
    blocks: list[dict[str, Any]] = []
    end = 0
    for citation in cited:
        found = [
            {
                "type": "char_location",
                "cited_text": passage.text,
                "document_index": passage.index,
                "document_title": passage.document.title,
                "start_char_index": passage.start,
                "end_char_index": passage.end,
            }
            for passage in citation.passages
        ]
        if answer[end : citation.start]:
            blocks.append({"type": "text", "text": answer[end : citation.start]})
        own: dict[str, Any] = {"citations": found} if found else {}
        blocks.append({"type": "text", "text": citation.text} | own)
        end = citation.end
    return blocks  # and not what ends an answer, as above


def _cohere(answer: str, cited: Sequence[Citation]) -> list[dict[str, Any]]:
    """Return a citation of Cohere's second interface for each sentence; indices are the answer's.

    Numbers stand with each document, where its fields are free.
    """
    return [
        {
            "start": citation.start,
            "end": citation.end,
            "text": citation.text,
            "sources": [
                {
                    "type": "document",
                    "id": _id(passage),
                    "document": _about(passage)
                    | {"id": _id(passage), "snippet": passage.text}
                    | {k: str(v) for k, v in _numbers(citation, passage).items() if v is not None},
                }
                for passage in citation.passages
            ],
            "content_index": 0,
            "type": "TEXT_CONTENT",
        }
        for citation in cited
        if citation.passages
    ]


def _openai(answer: str, cited: Sequence[Citation]) -> list[dict[str, Any]]:
    """Return annotations of the answer: of an address where the passage has one, else of a file."""
    found = []
    for citation in cited:
        for passage in citation.passages:
            place = {"start_index": citation.start, "end_index": citation.end}
            if passage.document.url is not None:
                title = passage.document.title or passage.document.url
                own = {"type": "url_citation", "url": passage.document.url, "title": title}
            else:
                name = passage.document.title or passage.document.source or _id(passage)
                own = {"type": "file_citation", "file_id": _id(passage), "filename": name}
            found.append(own | place)
    return found


def _id(passage: CitedPassage) -> str:
    return passage.document.id or f"doc:{passage.index}"


def _about(passage: CitedPassage) -> dict[str, str]:
    """Return what is known of where a passage comes from, as texts."""
    names = ("title", "source", "url")
    known_ = {name: getattr(passage.document, name) for name in names}
    return {name: value for name, value in known_.items() if value is not None}


def _numbers(citation: Citation, passage: CitedPassage) -> dict[str, Any]:
    """Return what other shapes have no place for: both spans, drops, holds and statuses."""
    return {
        "document_index": passage.index,
        "document_id": passage.document.id,
        "start_char_index": passage.start,
        "end_char_index": passage.end,
        "score": passage.score,
        "drop": known(passage.drop),
        "hold": known(passage.hold),
        "status": passage.status,
        "set_drop": known(citation.drop),
        "set_hold": known(citation.hold),
        "set_status": citation.status,
    }


#: Shapes of citations, by name.
STYLES: Mapping[str, Callable[[str, Sequence[Citation]], Any]] = {
    "markers": _markers,
    "langchain": _langchain,
    "anthropic": _anthropic,
    "cohere": _cohere,
    "openai": _openai,
}

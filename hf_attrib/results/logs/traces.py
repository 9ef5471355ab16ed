"""What traces hold: messages, an answer and documents as text, by the conventions of OpenInference.

A line is a span; attributes may be nested or flattened to keys with dots
(https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hf_attrib.results.logs.lines import LineError, listed, mapping, nested, text_of
from hf_attrib.results.logs.row import LogRow
from hf_attrib.text import Document

__all__ = ["Traces"]

_MADE_HERE = (
    "The log holds text and no ids: prompt and answer were tokenised here, and may be other tokens "
    "than those that ran."
)


class Traces:
    """Reads spans one after another, and remembers what was retrieved in each trace."""

    def __init__(self) -> None:
        self._retrieved: dict[str, list[Document]] = {}

    def rows(self, line: int, span: Mapping[str, Any]) -> Iterator[LogRow]:
        """Yield the row of a span that is a call of a language model; other spans have none.

        Args:
            line: its number in the log.
            span: with attributes of OpenInference.

        Raises:
            LineError: messages or answer are missing, or are no text.
        """
        span = nested(span)
        attributes = span.get("attributes", span)
        if not isinstance(attributes, Mapping):
            raise LineError(f"attributes is {attributes!r:.60}; expected an object")
        trace = _identity(span, "trace_id")
        documents = self._documents(attributes, trace)
        llm = attributes.get("llm")
        kind = _at(attributes, "openinference", "span", "kind")
        if kind not in (None, "LLM") or (kind is None and not isinstance(llm, Mapping)):
            return
        llm = mapping(llm, "llm")
        messages = _messages(llm.get("input_messages"), "llm.input_messages")
        answers = _messages(llm.get("output_messages"), "llm.output_messages")
        if len(answers) != 1:
            raise LineError(f"llm.output_messages are {len(answers)}; expected one answer")
        placed, note = _placed(messages, documents)
        yield LogRow(
            line=line,
            source="openinference",
            question={"prompt": messages, "response": answers[0]["content"]} | placed,
            text=answers[0]["content"],
            documents=tuple(documents),
            id=_identity(span, "span_id"),
            model=text_of(llm.get("model_name")),
            notes=(_MADE_HERE, *note),
        )

    def _documents(self, attributes: Mapping[str, Any], trace: str | None) -> list[Document]:
        """Return what was retrieved in a trace up to this span, each document once."""
        known = self._retrieved.setdefault(trace, []) if trace is not None else []
        for entry in listed(_at(attributes, "retrieval", "documents")):
            given = _at(entry, "document")
            text = text_of(_at(given, "content"))
            if text and text.strip() and all(text != document.text for document in known):
                known.append(Document.about(text, len(known), _read_metadata(given)))
        return list(known)


def _read_metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a document; its metadata may be JSON in a text."""
    metadata = given.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError):  # which names nothing, then
            metadata = None
    return {**given, "metadata": metadata}


def _messages(given: Any, name: str) -> list[dict[str, str]]:
    """Return messages as chat templates take them.

    Raises:
        LineError: there are none, or one is more than a text.
    """
    found = []
    for number, entry in enumerate(listed(given), 1):
        message = mapping(_at(entry, "message"), f"{name} {number}")
        if message.get("tool_calls"):
            raise LineError(f"message {number} of {name} calls tools, which is not read here")
        role, content = text_of(message.get("role")), _content(message)
        if role is None or content is None:
            raise LineError(f"message {number} of {name} has no role or no text")
        found.append({"role": role, "content": content})
    if not found:
        raise LineError(f"there are no {name}")
    return found


def _content(message: Mapping[str, Any]) -> str | None:
    """Return the text of a message, or ``None`` if it has none or other things than text."""
    if (content := text_of(message.get("content"))) is not None:
        return content
    parts = [_at(part, "message_content") for part in listed(message.get("contents"))]
    texts = [text_of(_at(part, "text")) for part in parts]
    known = [text for text in texts if text is not None]
    return "".join(known) if known and len(known) == len(texts) else None


def _placed(
    messages: list[dict[str, str]], documents: list[Document]
) -> tuple[dict[str, Any], list[str]]:
    """Return how ``explain`` is told of documents, and what must be said about it.

    A model read its messages, so documents are looked for in these: what stands there is a group,
    and is not placed a second time.
    """
    if not documents:
        return {}, []
    counts = [sum(m["content"].count(d.text.strip()) for m in messages) for d in documents]
    if not any(counts):
        return {"documents": [_given(document) for document in documents]}, [
            f"None of the {len(documents)} documents of the trace stands in its messages, so they "
            "were placed here as documents= places them; what was read may have been laid out "
            "otherwise."
        ]
    once = _apart(messages, [d for d, n in zip(documents, counts, strict=True) if n == 1])
    groups = {document.name: document.text.strip() for document in once}
    rest = [document.name for document in documents if document.name not in groups]
    notes = [
        f"{', '.join(rest)} of the trace: not in its messages word for word, there more than once, "
        "or sharing words with a document before it, so that it is no group."
    ]
    return {"groups": groups} if groups else {}, notes if rest else []


def _apart(messages: list[dict[str, str]], once: list[Document]) -> list[Document]:
    """Return those of documents that stand there once which share no words with one before them.

    Retrievers cut texts into pieces that overlap, and a token is of one group.
    """
    taken, found = list[tuple[int, int, int]](), []
    for document in once:
        text = document.text.strip()
        places = [(i, m["content"].find(text)) for i, m in enumerate(messages)]
        message, start = next(place for place in places if place[1] >= 0)
        stop = start + len(text)
        if all(message != own or stop <= a or b <= start for own, a, b in taken):
            taken.append((message, start, stop))
            found.append(document)
    return found


def _given(document: Document) -> dict[str, Any]:
    """Return a document as ``explain`` takes it."""
    known = ("id", "title", "source", "url", "score")
    named = {name: getattr(document, name) for name in known}
    return {"text": document.text} | {n: value for n, value in named.items() if value is not None}


def _identity(span: Mapping[str, Any], name: str) -> str | None:
    """Return an id of a span, which exporters write beside its name or within its context."""
    return text_of(_at(span, "context", name)) or text_of(span.get(name))


def _at(value: Any, *path: str) -> Any:
    """Return what stands at a path, or ``None``."""
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value

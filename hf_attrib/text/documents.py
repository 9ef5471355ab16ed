"""Documents as callers hold them: what they say, what came with them, and where they are to stand.

Texts, mappings, and objects of retrieval libraries are read by what they look like; none of those
libraries is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any
from uuid import UUID

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import is_frame

__all__ = ["Document", "Documents"]

#: Where mappings hold what a document says, the usual name first.
_TEXT = ("text", "content", "contents", "page_content", "body", "snippet")
#: Where mappings, or the metadata in them, hold what is known of a document.
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "doc_id", "document_id", "id_", "node_id", "_id"),
    "title": ("title",),
    "source": ("source", "file_path", "file_name"),
    "url": ("url", "uri", "link"),
    "score": ("score", "relevance_score"),
}
_METADATA = ("metadata", "meta")
_EXPECTED = (
    f"a text, a mapping with one of {', '.join(_TEXT)}, an object with page_content, text or "
    "get_content(), or a pair of one of these and a finite score"
)


@dataclass(frozen=True)
class Document:
    """A document that a model is given to answer from.

    Args:
        text: what it says.
        id: what its owner calls it.
        title: as it came with it.
        source: where it is from, such as a file.
        url: where it can be read.
        score: of its retrieval.
        index: its place among the documents that were given, from 0.
    """

    text: str
    id: str | None = None
    title: str | None = None
    source: str | None = None
    url: str | None = None
    score: float | None = None
    index: int = 0

    @classmethod
    def about(cls, text: str, index: int, *given: Mapping[str, Any]) -> Document:
        """Return a text as a document of which something is known.

        Args:
            text: what it says.
            index: its place among the documents.
            *given: what is known, by the names that documents have it under; the first counts.
        """
        return cls(text, index=index, **_known([*given, *_metadata(given[-1])]))

    @property
    def name(self) -> str:
        """What its tokens are called among the parts of a prompt, counted from 1."""
        return f"document {self.index + 1}"


@dataclass(frozen=True)
class _Given:
    """A document as a chat template is given it.

    Args:
        content: as it came, where that was a mapping; else its title and text.
        key: which entry is the text.
    """

    content: Mapping[str, Any]
    key: str

    def saying(self, text: str) -> dict[str, Any]:
        """Return the mapping with another text; entries that are ``None`` are no entries."""
        kept = {name: value for name, value in self.content.items() if value is not None}
        return kept | {self.key: text}


@dataclass(frozen=True)
class Documents:
    """The documents of one prompt, and where in it they are to stand.

    Args:
        each: the documents.
        given: as chat templates are given them.
        placement: ``"auto"`` or ``"template"``.
        template: a text with ``{documents}`` and ``{question}``, or ``None`` for the usual frame.
    """

    each: tuple[Document, ...]
    given: tuple[_Given, ...]
    placement: str = "auto"
    template: str | None = None

    def __len__(self) -> int:
        return len(self.each)

    @classmethod
    def of(cls, given: Any, placement: str = "auto", template: str | None = None) -> Documents:
        """Read documents as callers hold them.

        Args:
            given: the documents.
            placement: as the class has it.
            template: likewise.

        Raises:
            InputError: one has no text, there is none, or the template lacks a place.
        """
        if placement not in ("auto", "template"):
            raise InputError(f"placement is {placement!r:.80}; expected 'auto' or 'template'.")
        if template is not None:
            _check_template(template)
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise InputError(f"documents is a list of documents, each {_EXPECTED}; got one alone.")
        if is_frame(given):
            raise InputError(
                "documents came as a data frame; give its rows, as frame.to_dict('records')."
            )
        if isinstance(given, set | frozenset):
            raise InputError(
                "documents came as a set, which has no order to place and rank them by; give a "
                "list."
            )
        read = [_read(one, index) for index, one in enumerate(given)]
        if not read:
            raise InputError("documents is an empty list; give at least one, or leave it out.")
        each, forms = zip(*read, strict=True)
        return cls(each, forms, placement, template)

    def first(self, count: int) -> Documents:
        """Return so many of the documents, at the same place."""
        return replace(self, each=self.each[:count], given=self.given[:count])

    def forms(self, numbered: bool) -> list[tuple[_Given, ...]]:
        """Return how the documents may be given to a chat template, as they came first.

        Args:
            numbered: whether the template reads ``doc_id``, which is then filled where it is
                missing: by the id that is known, else by the number.
        """
        usual = tuple(_Given(_plain(one), "text") for one in self.each)
        found = [self.given] if self.given == usual else [self.given, usual]
        return [tuple(map(_numbered, self.each, one)) for one in found] if numbered else found


def _check_template(template: Any) -> None:
    for place in ("{documents}", "{question}"):
        count = template.count(place) if isinstance(template, str) else 0
        if count != 1:
            raise InputError(
                f"template holds {place} {count} times; it is a text that holds {{documents}} and "
                f"{{question}} once each. Got {template!r:.80}."
            )


def _plain(document: Document) -> dict[str, Any]:
    """Return a document by the names that chat templates know: title, if it has one, and text."""
    title = {} if document.title is None else {"title": document.title}
    return title | {"text": document.text}


def _numbered(document: Document, given: _Given) -> _Given:
    if given.content.get("doc_id") is not None:
        return given
    number = document.index + 1 if document.id is None else document.id
    return replace(given, content={"doc_id": number, **given.content})


def _read(given: Any, index: int) -> tuple[Document, _Given]:
    """Return a document as read from what a caller holds, and as templates are given it."""
    more: dict[str, Any] = {}
    if isinstance(given, tuple) and len(given) == 2 and _number(given[1]) is not None:
        given, more["score"] = given  # as vector stores return them
    if (node := _attribute(given, "node")) is not None:
        more |= {"score": _attribute(given, "score")}
        given = node
    if isinstance(given, str):
        document = Document(given, score=_number(more.get("score")), index=index)
        return document, _Given({"text": given}, "text")
    if isinstance(given, Mapping):
        document, form = _of_mapping(given, more, index)
    else:
        document = _of_object(given, more, index)
        form = _Given(_plain(document), "text")
    return document, form


def _of_mapping(
    given: Mapping[str, Any], more: Mapping[str, Any], index: int
) -> tuple[Document, _Given]:
    key = next((name for name in _TEXT if isinstance(given.get(name), str)), None)
    if key is not None:
        return Document.about(given[key], index, more, given), _Given(dict(given), key)
    data = given.get("data")  # as Cohere's clients take them
    if not isinstance(data, str | Mapping):
        raise _no_document(given, index)
    outer = {**{name: value for name, value in given.items() if name != "data"}, **more}
    if isinstance(data, Mapping):
        return _of_mapping(data, outer, index)
    document = Document.about(data, index, outer)
    return document, _Given(_plain(document), "text")


def _of_object(given: Any, more: Mapping[str, Any], index: int) -> Document:
    text = _attribute(given, "page_content")
    if not isinstance(text, str) and callable(get := _attribute(given, "get_content")):
        text = get()
    names = iter(("text", "content"))
    while not isinstance(text, str):
        if (name := next(names, None)) is None:
            raise _no_document(given, index)
        text = _attribute(given, name)
    own = {name: _attribute(given, name) for names in _KNOWN.values() for name in names}
    return Document(text, index=index, **_known([more, own, *_metadata(given)]))


def _metadata(given: Any) -> list[Mapping[str, Any]]:
    """Return what a mapping or an object holds beside its text."""
    if isinstance(given, Mapping):
        found = [given.get(name) for name in _METADATA]
    else:
        found = [_attribute(given, name) for name in _METADATA]
    return [one for one in found if isinstance(one, Mapping)]


def _known(places: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is known of a document; what stands first counts."""
    found: dict[str, Any] = {}
    for name, keys in _KNOWN.items():
        read = _number if name == "score" else _word
        values = (read(place.get(key)) for place in places for key in keys)
        found[name] = next((value for value in values if value is not None), None)
    return found


def _word(value: Any) -> str | None:
    """Return a text, a number or a UUID as text; anything else names nothing."""
    if isinstance(value, bool) or value == "":
        return None
    return str(value) if isinstance(value, str | Real | UUID) else None


def _number(value: Any) -> float | None:
    """Return a finite number, whatever counts it; anything else is none."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # too large, or several
        return None
    return number if math.isfinite(number) else None


def _attribute(given: Any, name: str) -> Any:
    """Return what an object has by a name; texts and mappings have none of these."""
    return None if isinstance(given, str | Mapping) else getattr(given, name, None)


def _no_document(given: Any, index: int) -> InputError:
    return InputError(f"document {index + 1} is {given!r:.80}; expected {_EXPECTED}.")

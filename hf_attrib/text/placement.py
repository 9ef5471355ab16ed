"""Documents into a prompt: where the chat template wants them, or in a numbered frame.

Where each of them stands is known by construction: they are laid between words that are written
here, and where a template writes them, it is run again with a rare character in the place of each.
What it writes around those characters must give, with the documents put back, the very prompt; that
is tried with the documents as they are, without the white space at their ends, and as the body of a
JSON string. A template that does anything else to them has no place for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from hf_attrib.errors import InputError
from hf_attrib.text import chat
from hf_attrib.text.calls import called
from hf_attrib.text.documents import Document, Documents
from hf_attrib.text.marks import Extent, forms_of, marks_beside

__all__ = ["laid_out", "placed"]

#: How documents and the question stand where neither a caller nor a chat template says.
_USUAL = "{documents}\n\n{question}"
_QUESTION = ("question", "question")
#: What a template may make of a document, and still each of its characters can be told.
_FORMS: tuple[Callable[[str], str], ...] = (str, str.strip, lambda text: forms_of(text)[1])
#: Runs a template with other texts in the place of the documents'; ``None`` where it refuses them.
_Write: TypeAlias = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True)
class _Frame:
    """Words around a question, some of which are documents.

    Args:
        before: pieces in front of the question; an integer stands for a document.
        behind: pieces behind it.
    """

    before: tuple[str | int, ...]
    behind: tuple[str | int, ...]

    @classmethod
    def of(cls, documents: Documents) -> _Frame:
        """Return the frame that is asked for: each document behind its number and its title."""
        pieces: list[str | int] = []
        for document in documents.each:
            # A line of its own, so that no token holds both the number and the first word.
            title = " ".join((document.title or "").split())
            break_before = "\n\n" if pieces else ""
            pieces += [f"{break_before}[{document.index + 1}]{' ' * bool(title)}{title}\n"]
            pieces += [document.index]
        template = _USUAL if documents.template is None else documents.template
        start, stop = (template.index(place) for place in ("{documents}", "{question}"))
        first, last = sorted((start, stop))
        opening = template[:first]
        middle = template[first:last].partition("}")[2]
        closing = template[last:].partition("}")[2]
        if start < stop:
            return cls((opening, *pieces, middle), (closing,))
        return cls((opening,), (middle, *pieces, closing))

    def written(self, texts: Sequence[str]) -> tuple[str, str]:
        """Return the words before the question and behind it, with these as the documents."""
        before, behind = (
            "".join(texts[p] if isinstance(p, int) else p for p in side)
            for side in (self.before, self.behind)
        )
        return before, behind


def laid_out(question: str, documents: Documents) -> chat.Rendered:
    """Return a prompt that is a text: documents and question in a frame.

    Args:
        question: a text.
        documents: that come with it.

    Raises:
        InputError: a slot of a chat template is asked for.
    """
    if documents.placement == "template" and documents.template is None:
        raise InputError(
            "placement='template' asks for the place of a chat template, but the prompt is a text; "
            "give template='... {documents} ... {question}', or messages."
        )
    frame, texts = _Frame.of(documents), _bare(documents)
    text, parts = "", []
    for piece in (*frame.before, None, *frame.behind):
        own = question if piece is None else texts[piece] if isinstance(piece, int) else piece
        start, text = len(text), text + own
        if start == len(text) or isinstance(piece, str):
            continue
        if piece is None:
            parts.append(chat.Part(start, len(text), "prompt", segment=_QUESTION))
        else:
            parts.append(_part(documents.each[piece], (start, len(text))))
    where = "the given template" if documents.template is not None else "a numbered frame"
    notes = (f"The documents stand in {where}.", *_empty(documents))
    return chat.Rendered(text, tuple(parts), notes)


def placed(
    tokenizer: Any,
    messages: chat.Messages,
    options: Mapping[str, Any],
    documents: Documents,
) -> chat.Rendered:
    """Render a conversation with documents, and find both in the result.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: the conversation.
        options: further arguments of the template.
        documents: that come with it.

    Raises:
        InputError: documents come twice, no place is found for them, or the template rejects the
            messages.
    """
    if options.get("documents") is not None:
        raise InputError("documents came twice, by name and in template_options; give one of them.")
    asked = documents.placement == "template"
    if asked and documents.template is not None:
        raise InputError(
            "placement='template' asks for the place that the chat template has, and template= "
            "names another; give one of them."
        )
    chat.check(tokenizer, messages, options)
    if documents.template is not None:
        return _in_turn(tokenizer, messages, options, documents, "")
    found = _in_slot(tokenizer, messages, options, documents)
    if found is not None:
        return found
    plain = chat.attempt(tokenizer, messages, options)
    written = chat.attempt(tokenizer, messages, {**options, "documents": _given(documents)})
    reason = (
        "the chat template has no place for them"
        if written in (None, plain)
        else "the chat template does not write each of them once and as it is"
    )
    if asked:
        raise InputError(
            f"placement='template' asks for the chat template's own place, but "
            f"{reason}; leave placement out to have them in the last turn of the user."
        )
    if plain is None and written is not None:
        raise InputError(
            f"no place was found for the documents: {reason}, and it writes nothing without any."
        )
    return _in_turn(tokenizer, messages, options, documents, reason)


def _given(documents: Documents) -> list[dict[str, Any]]:
    pairs = zip(documents.given, documents.each, strict=True)
    return [given.saying(document.text) for given, document in pairs]


def _in_slot(
    tokenizer: Any,
    messages: chat.Messages,
    options: Mapping[str, Any],
    documents: Documents,
) -> chat.Rendered | None:
    """Render documents where the template itself has a place for them, if it has one."""
    reads_numbers = "doc_id" in chat.source(tokenizer, options)
    for forms in documents.forms(reads_numbers):

        def options_of(texts: Sequence[str], forms: Any = forms) -> dict[str, Any]:
            pairs = zip(forms, texts, strict=True)
            return {**options, "documents": [form.saying(text) for form, text in pairs]}

        def write(texts: Sequence[str], options_of: Any = options_of) -> str | None:
            return chat.attempt(tokenizer, messages, options_of(texts))

        texts = [document.text for document in documents.each]
        extents = _located(texts, write)
        if extents is None:
            continue
        rendered = chat.render(tokenizer, messages, options_of(texts))
        notes = ["The documents stand in the chat template's own place for them."]
        if forms[0].content.get("doc_id") != documents.given[0].content.get("doc_id"):
            notes.append("The chat template reads doc_id of documents, which was filled.")
        parts = called(tokenizer, messages, options_of(texts), rendered)
        return _joined(rendered, messages, documents, [*parts, *_parts(documents, extents)], notes)
    return None


def _in_turn(
    tokenizer: Any,
    messages: chat.Messages,
    options: Mapping[str, Any],
    documents: Documents,
    reason: str,
) -> chat.Rendered:
    """Render documents in the last turn of the user, around what it says."""
    frame, texts = _Frame.of(documents), _bare(documents)
    slots = chat.contents(messages, chat.last_of_user(messages))
    if not slots:
        raise InputError(
            f"no place was found for the documents: {reason}, and no message of the user has a "
            "text that they could stand with."
        )

    def around(texts: Sequence[str]) -> chat.Around:
        before, behind = frame.written(texts)
        if len(slots) == 1:
            return {slots[0]: (before, behind)}
        return {slots[0]: (before, ""), slots[-1]: ("", behind)}

    def write(texts: Sequence[str]) -> str | None:
        return chat.attempt(tokenizer, chat.framed(messages, around(texts)), options)

    rendered = chat.render(tokenizer, messages, options, around(texts))
    extents = _located(texts, write)
    if extents is None:
        raise InputError(
            f"no place was found for the documents: {reason}, and it changes them in the last turn "
            "of the user, so that they could not be told from its own words. Write the prompt as "
            "a text, with template='... {documents} ... {question}'."
        )
    frame_name = "a numbered frame" if documents.template is None else "the given template"
    because = f", since {reason}" if documents.template is None else ""
    note = f"The documents stand in the last turn of the user, in {frame_name}{because}."
    parts = called(tokenizer, chat.framed(messages, around(texts)), options, rendered)
    return _joined(rendered, messages, documents, [*parts, *_parts(documents, extents)], [note])


def _joined(
    rendered: chat.Rendered,
    messages: chat.Messages,
    documents: Documents,
    more: Sequence[chat.Part],
    notes: Sequence[str],
) -> chat.Rendered:
    """Add documents and calls to the parts of a conversation, of which one is the question."""
    last = chat.last_of_user(messages)
    asks = None if last is None else chat.turn_names(messages)[last]
    parts = [
        replace(p, segment=_QUESTION) if p.turn == asks and p.segment is None else p
        for p in rendered.parts
    ]
    parts = sorted([*parts, *more], key=lambda part: part.start)
    return replace(
        rendered, parts=tuple(parts), notes=(*notes, *_empty(documents), *rendered.notes)
    )


def _parts(documents: Documents, extents: Sequence[Extent | None]) -> list[chat.Part]:
    pairs = zip(documents.each, extents, strict=True)
    return [_part(document, extent) for document, extent in pairs if extent is not None]


def _part(document: Document, extent: Extent) -> chat.Part:
    return chat.Part(*extent, "document", segment=("document", document.name), whole=True)


def _bare(documents: Documents) -> list[str]:
    """Return the texts without the white space at their ends, which a frame has of its own."""
    return [document.text.strip() for document in documents.each]


def _empty(documents: Documents) -> list[str]:
    """Say which documents say nothing."""
    names = [document.name for document in documents.each if not document.text.strip()]
    return [f"{name.capitalize()} is empty, so it has no tokens." for name in names]


def _located(texts: Sequence[str], write: _Write) -> list[Extent | None] | None:
    """Return where a template writes documents; ``None`` unless it writes each once, as it is.

    Args:
        texts: of the documents; those that are empty are nowhere.
        write: runs the template with other texts.
    """
    text = write(texts)
    marks = marks_beside(text, texts, len(texts))
    every = None if text is None or len(marks) < len(texts) else write(marks)
    if text is None or every is None or any(every.count(mark) != 1 for mark in marks):
        return None
    # A template may leave out what is empty, with all that it writes around it.
    spoken = {mark: i for i, mark in enumerate(marks) if texts[i].strip()}
    marked = write([m if m in spoken else own for m, own in zip(marks, texts, strict=True)])
    if marked is None or any(marked.count(mark) != 1 for mark in spoken):
        return None
    for form in _FORMS:
        found: list[Extent | None] = [None] * len(texts)
        made = ""
        for piece in re.split(f"([{''.join(spoken)}])", marked) if spoken else [marked]:
            start = len(made)
            made += form(texts[spoken[piece]]) if piece in spoken else piece
            if piece in spoken:
                found[spoken[piece]] = (start, len(made))
        if made == text:
            return found
    return None

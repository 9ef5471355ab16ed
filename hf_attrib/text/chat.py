"""Which tokens of a chat come from its messages, and which from the template around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from hf_attrib.errors import InputError

__all__ = ["Messages", "Part", "Prompts", "render"]

#: A conversation: mappings with ``role`` and ``content``, as ``apply_chat_template`` takes them.
Messages: TypeAlias = Sequence[Mapping[str, Any]]
#: Several prompts.
Prompts: TypeAlias = list[str] | list[Messages]


@dataclass(frozen=True)
class Part:
    """Characters of a rendered prompt that come from what was given, not from a template.

    Args:
        start: index of the first character.
        stop: index behind the last one.
        role: of its tokens.
        turn: what tells the message from the others, or ``None`` for a prompt that is a text.
    """

    start: int
    stop: int
    role: str
    turn: str | None = None


_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def render(
    tokenizer: Any, messages: Messages, template_options: Mapping[str, Any]
) -> tuple[str, list[Part]]:
    """Render messages through the chat template and find their contents in the result.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: the conversation.
        template_options: further arguments of the template, e.g. ``enable_thinking=False``.

    Returns:
        the rendered text, and the content of each message in it, as they follow in the text.

    Raises:
        InputError: there is no template, it rejects the messages, or contents cannot be found.
    """
    if tokenizer is None or getattr(tokenizer, "chat_template", None) is None:
        raise InputError(
            "messages were given, but the tokenizer has no chat template. Set "
            "tokenizer.chat_template, or pass the conversation as one string."
        )
    contents = [_content(message) for message in messages]
    text = _apply(tokenizer, messages, contents, template_options)
    # The same conversation with unmistakable contents shows what the template itself writes.
    marks = [f"\ue000{chr(0xE100 + i)}\ue001" for i in range(len(contents))]
    frame = _apply(tokenizer, messages, marks, template_options)
    spans = _align(text, frame, marks, contents) or _search(text, contents)
    given = [str(message["role"]) for message in messages]
    parts = [
        Part(*span, _ROLES.get(role, "tool"), role if given.count(role) == 1 else f"{role} {index}")
        for index, (span, role) in enumerate(zip(spans, given, strict=True))
    ]
    return text, sorted(parts, key=lambda part: part.start)


def _content(message: Mapping[str, Any]) -> str:
    if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
        raise InputError(f"a message needs a role and a content; got {message!r}.")
    content = message["content"]
    if content is None or isinstance(content, str):
        return content or ""  # calls of tools have none
    parts = content if isinstance(content, Sequence) else [content]
    if not all(isinstance(part, Mapping) and part.get("type") == "text" for part in parts):
        raise InputError(f"only text messages can be explained; got content {content!r}.")
    return "".join(str(part["text"]) for part in parts)


def _apply(
    tokenizer: Any, messages: Messages, contents: Sequence[str], options: Mapping[str, Any]
) -> str:
    filled = [{**m, "content": c} for m, c in zip(messages, contents, strict=True)]
    try:
        text = tokenizer.apply_chat_template(
            filled, tokenize=False, **{"add_generation_prompt": True, **options}
        )
    except Exception as error:  # templates raise whatever their authors chose
        raise InputError(f"the chat template rejects these messages: {error}") from error
    return str(text)


def _align(
    text: str, frame: str, marks: Sequence[str], contents: Sequence[str]
) -> list[tuple[int, int]] | None:
    """Find contents between the template's own words, or return ``None`` if those vary."""
    if any(frame.count(mark) != 1 for mark in marks):
        return None
    # Some templates move the system's message into a later turn.
    order = sorted(range(len(marks)), key=lambda i: frame.index(marks[i]))
    spans, rest, end = {}, frame, 0
    for place, i in enumerate(order):
        content = contents[i]
        before, _, rest = rest.partition(marks[i])
        last = place + 1 == len(order)
        following = rest if last else rest.partition(marks[order[place + 1]])[0]
        if not text.startswith(before, end):
            return None
        start = end + len(before)
        forms = (f for f in (content, content.strip()) if text.startswith(f + following, start))
        if (form := next(forms, None)) is None:
            return None
        end = start + len(form)
        spans[i] = (start, end)
    return [spans[i] for i in range(len(marks))] if text[end:] == rest else None


def _search(text: str, contents: Sequence[str]) -> list[tuple[int, int]]:
    """Find the contents themselves, if each can be only in one place."""
    spans = []
    for content in contents:
        start = text.find(content.strip())
        if start < 0 or text.count(content.strip()) > 1:
            raise InputError(
                f"the chat template changes the message {content[:40]!r}, so its tokens cannot be "
                "told from the template's. Render the chat yourself and pass it as a string."
            )
        spans.append((start, start + len(content.strip())))
    return spans

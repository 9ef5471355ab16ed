"""Which characters of a chat come from its messages, and which from the template around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from hf_attrib.errors import InputError
from hf_attrib.text.tracing import Trace, trace

__all__ = [
    "Around",
    "Messages",
    "Part",
    "Prompts",
    "Rendered",
    "Slot",
    "applied",
    "attempt",
    "changed",
    "check",
    "contents",
    "framed",
    "last_of_user",
    "render",
    "role_of",
    "source",
    "turn_names",
]

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
        turn: what tells the message from the others, or ``None`` for what is of no message.
        segment: kind and name of what it is beside that, such as a document.
        whole: whether a token that reaches beyond it is none of it.
    """

    start: int
    stop: int
    role: str
    turn: str | None = None
    segment: tuple[str, str] | None = None
    whole: bool = False


@dataclass(frozen=True)
class Rendered:
    """A conversation as a model reads it.

    Args:
        text: what the template wrote.
        parts: what of it comes from messages, as it follows in the text.
        notes: what the template left out or changed.
    """

    text: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
#: Where a message holds words; the last three are names of what a model thought before it answered.
_FIELDS = ("content", "reasoning_content", "reasoning", "thinking")
#: Where a part of a content holds what is no words of it.
_LABELS = ("type", "id", "tool_call_id", "cache_control")
_CALLS = ("tool_calls", "function_call")
_MEDIA = re.compile("image|audio|video", re.IGNORECASE)
#: What ``apply_chat_template`` takes for the tokenizer and not for the template.
_OF_TOKENIZER = {
    "max_length", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors",
    "sanitize_control_tokens", "tokenize", "tokenizer_kwargs", "truncation",
}  # fmt: skip

#: The way to a value within a message.
_Way: TypeAlias = tuple[int | str, ...]
#: A message, by its place, and the way to a text within it.
Slot: TypeAlias = tuple[int, _Way]
#: Words that are written before a text of a message, and behind it.
Around: TypeAlias = Mapping[Slot, tuple[str, str]]


def render(
    tokenizer: Any,
    messages: Messages,
    template_options: Mapping[str, Any],
    around: Around = MappingProxyType({}),
) -> Rendered:
    """Render messages through the chat template and find their contents in the result.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: the conversation.
        template_options: further arguments of the template, e.g. ``enable_thinking=False``.
        around: words that are written around texts of messages, and are none of theirs.

    Raises:
        InputError: there is no template, or it rejects the messages.
    """
    slots = check(tokenizer, messages, template_options)
    whole = framed(messages, around)
    text = applied(tokenizer, whole, template_options)
    given = [_value(messages[index], way) for index, way in slots]

    def again(values: Sequence[Any]) -> str | None:
        pairs = zip(slots, given, values, strict=True)
        other = {slot: value for slot, own, value in pairs if value is not own}
        return attempt(tokenizer, framed(changed(whole, other), around, other), template_options)

    traces = trace(text, given, again)
    turns = turn_names(messages)
    parts = [
        Part(*extent, role_of(messages[index]), turns[index])
        for (index, _), found in zip(slots, traces, strict=True)
        for extent in found.extents
        if extent[0] < extent[1]
    ]
    notes = _left_out(turns, [index for index, _ in slots], given, traces)
    notes += _unused(tokenizer, whole, template_options, text, turns)
    return Rendered(text, tuple(sorted(parts, key=lambda part: part.start)), tuple(notes))


def check(tokenizer: Any, messages: Messages, template_options: Mapping[str, Any]) -> list[Slot]:
    """Return the places of all that messages say; arguments as for :func:`render`.

    Raises:
        InputError: there is no template, or something is no message.
    """
    named = template_options.get("chat_template")
    if tokenizer is None or (getattr(tokenizer, "chat_template", None) or named) is None:
        raise InputError(
            "messages were given, but the tokenizer has no chat template. Set "
            "tokenizer.chat_template, or pass the conversation as one string."
        )
    if foreign := sorted(_OF_TOKENIZER & set(template_options)):
        raise InputError(
            f"template_options are what the chat template reads, but {', '.join(foreign)} would "
            "say how to tokenize; leave it out."
        )
    return [(index, way) for index, one in enumerate(messages) for way in _words(one)]


def source(tokenizer: Any, template_options: Mapping[str, Any]) -> str:
    """Return the text of the chat template that these options choose, or nothing."""
    try:
        named, tools = template_options.get("chat_template"), template_options.get("tools")
        return str(tokenizer.get_chat_template(named, tools))
    except (AttributeError, TypeError, ValueError):
        return str(getattr(tokenizer, "chat_template", None) or "")


def last_of_user(messages: Messages) -> int | None:
    """Return the place of the last message of the user, if there is one."""
    places = [i for i, message in enumerate(messages) if message["role"] == "user"]
    return places[-1] if places else None


def contents(messages: Messages, index: int | None) -> list[Slot]:
    """Return where the texts of a message's content are; of ``None`` there are none."""
    found = [] if index is None else [(index, way) for way in _words(messages[index])]
    return [
        (i, way)
        for i, way in found
        if way[0] == "content" and isinstance(_value(messages[i], way), str)
    ]


def changed(messages: Messages, values: Mapping[Slot, Any]) -> list[Mapping[str, Any]]:
    """Return messages with other values in some places."""
    found = list(messages)
    for (index, way), value in values.items():
        found[index] = _with(found[index], way, value)
    return found


def framed(
    messages: Messages, around: Around, only: Iterable[Slot] | None = None
) -> list[Mapping[str, Any]]:
    """Return messages with words around some of their texts.

    Args:
        messages: the conversation.
        around: the words.
        only: places to look at, if not all.
    """
    slots = around if only is None else [slot for slot in only if slot in around]
    return changed(
        messages,
        {(i, way): _value(messages[i], way).join(around[i, way]) for i, way in slots},
    )


def role_of(message: Mapping[str, Any]) -> str:
    """Return the role that a message's tokens have."""
    return _ROLES.get(str(message["role"]), "tool")


def turn_names(messages: Messages) -> list[str]:
    """Return what tells each message from the others."""
    roles = [str(message["role"]) for message in messages]
    return [
        role if roles.count(role) == 1 else f"{role} {index}" for index, role in enumerate(roles)
    ]


def _words(message: Mapping[str, Any]) -> Iterator[_Way]:
    """Yield the ways to all that a message says.

    Raises:
        InputError: it is no message, or says something that is no text.
    """
    # A call of a tool needs no words.
    if (
        not isinstance(message, Mapping)
        or "role" not in message
        or not ("content" in message or message["role"] == "assistant")
    ):
        raise InputError(f"a message needs a role and a content; got {message!r}.")
    for name in _FIELDS:
        if name == "content" and not isinstance(message.get(name), str | Sequence | Mapping | None):
            raise _no_text(message[name])
        yield from _leaves(message.get(name), (name,))


def _leaves(value: Any, way: _Way) -> Iterator[_Way]:
    """Yield the ways to the texts within a value."""
    if isinstance(value, Mapping):
        if _MEDIA.search(str(value.get("type", ""))) or any(map(_MEDIA.fullmatch, value)):
            raise _no_text(value)
        if "type" not in value and "text" not in value:
            yield way  # an answer of a tool, which templates write as JSON
            return
        for name, inner in value.items():
            if name == "text" and isinstance(inner, int | float):
                yield (*way, name)
            elif name not in _LABELS:
                yield from _leaves(inner, (*way, name))
    elif isinstance(value, bytes | bytearray | memoryview):
        raise InputError(f"a message holds bytes, {bytes(value)!r:.80}; decode them to a text.")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*way, index))
    elif isinstance(value, str):
        yield way


def _no_text(content: Any) -> InputError:
    return InputError(f"only text messages can be explained; got content {content!r:.80}.")


def _value(message: Any, way: _Way) -> Any:
    for name in way:
        message = message[name]
    return message


def _with(value: Any, way: _Way, leaf: Any) -> Any:
    """Return a copy of a value with another leaf."""
    if not way:
        return leaf
    name, *rest = way
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[name] = _with(value[name], tuple(rest), leaf)  # type: ignore[index]
    return copy


def applied(tokenizer: Any, messages: Messages, options: Mapping[str, Any]) -> str:
    """Return what a chat template writes.

    Raises:
        InputError: it rejects the messages.
    """
    # One excludes the other; without a word about either, an answer begins.
    begins = {"add_generation_prompt": not options.get("continue_final_message")}
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **{**begins, **options})
    except Exception as error:  # templates raise whatever their authors chose
        raise InputError(f"the chat template rejects these messages: {error}") from error
    return str(text)


def attempt(tokenizer: Any, messages: Messages, options: Mapping[str, Any]) -> str | None:
    """Return what a template writes, or ``None`` where it rejects what it is given."""
    try:
        return applied(tokenizer, messages, options)
    except InputError:
        return None


def _left_out(
    turns: Sequence[str], of: Sequence[int], given: Sequence[Any], traces: Sequence[Trace]
) -> list[str]:
    """Return notes on what a template does not write as it is given.

    Args:
        turns: the names of all messages.
        of: which message each text is of.
        given: the texts.
        traces: where they came out.
    """
    lost: dict[str, int] = {}
    trimmed: list[str] = []
    changed: list[str] = []
    doubtful: dict[str, int] = {}
    unknown: list[str] = []
    for index, own, found in zip(of, given, traces, strict=True):
        turn = repr(turns[index])
        if not found.known:
            unknown.append(turn)
        elif found.changed:
            if isinstance(own, str):
                changed.append(turn)
        elif isinstance(own, str):
            missing = found.missing(own)
            count = sum(not own[i].isspace() for i in missing)
            if found.doubtful:
                doubtful[turn] = doubtful.get(turn, 0) + len(missing)
            elif count:
                lost[turn] = lost.get(turn, 0) + count
            elif missing:
                trimmed.append(turn)
        elif own is not None and not found.extents:
            lost[turn] = lost.get(turn, 0) + len(str(own))

    def each(counts: Mapping[str, int]) -> list[str]:
        return [f"{count} character{'s' * (count > 1)} of {turn}" for turn, count in counts.items()]

    sentences = (
        ("The chat template leaves out {}, which the model never reads.", each(lost)),
        ("The chat template trims white space of {}.", trimmed),
        ("The chat template changes the words of {}; what it writes instead counts as theirs.",
         changed),
        ("The chat template makes something else of {}, which counts as the template's.",
         each(doubtful)),
        ("The chat template changes {}, so that its words cannot be told from the template's and "
         "count as those; render the chat yourself and pass it as a string to score them.",
         unknown),
    )  # fmt: skip
    return [say.format(", ".join(dict.fromkeys(names))) for say, names in sentences if names]


def _unused(
    tokenizer: Any,
    messages: Messages,
    options: Mapping[str, Any],
    text: str,
    turns: Sequence[str],
) -> list[str]:
    """Return a note on tools, documents and calls that a template does not write at all."""
    unused = []
    for name in ("tools", "documents"):
        rest = {key: value for key, value in options.items() if key != name}
        if options.get(name) and attempt(tokenizer, messages, rest) == text:
            unused.append(name)
    for index, message in enumerate(messages):
        if any(message.get(name) for name in _CALLS):
            bare = {key: value for key, value in message.items() if key not in _CALLS}
            others = [*messages[:index], bare, *messages[index + 1 :]]
            if attempt(tokenizer, others, options) == text:
                unused.append(f"the calls of {turns[index]!r}")
    return [f"The chat template does not write {', '.join(unused)}."] if unused else []

"""Where a chat template writes the calls of tools that messages hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from hf_attrib.text import chat
from hf_attrib.text.tracing import Trace, trace

__all__ = ["called"]


def called(
    tokenizer: Any,
    messages: chat.Messages,
    options: Mapping[str, Any],
    rendered: chat.Rendered,
) -> list[chat.Part]:
    """Return the characters of each call: from its name to its arguments, or the other way round.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: the conversation as it was rendered.
        options: further arguments of the template.
        rendered: what it wrote, and the contents of messages in it.
    """
    calls = list(_calls(messages))
    if not calls:
        return []
    slots = [slot for call in calls for slot in call]
    given = [_value(messages, slot) for slot in slots]

    def again(values: Sequence[Any]) -> str | None:
        pairs = zip(slots, given, values, strict=True)
        other = {slot: value for slot, own, value in pairs if value is not own}
        return chat.attempt(tokenizer, chat.changed(messages, other), options)

    traces = dict(zip(slots, trace(rendered.text, given, again), strict=True))
    turns, numbers, found = chat.turn_names(messages), count(1), []
    for call in calls:
        number, name = next(numbers), _value(messages, call[0])
        if extent := _extent([traces[slot] for slot in call], rendered.parts):
            index = call[0][0]
            segment = "call", f"call {number}: {name}"
            role = chat.role_of(messages[index])
            found.append(chat.Part(*extent, role, turns[index], segment))
    return found


def _calls(messages: chat.Messages) -> Iterator[list[chat.Slot]]:
    """Yield where the name and the arguments of each call are."""
    for index, message in enumerate(messages):
        ways: list[tuple[int | str, ...]] = [
            ("tool_calls", number) for number, _ in enumerate(message.get("tool_calls") or [])
        ]
        for way in (*ways, ("function_call",)):
            call: Any = message
            for step in way:
                call = call.get(step) if isinstance(call, Mapping) else call[step]
            if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
                way, call = (*way, "function"), call["function"]
            if isinstance(call, Mapping) and isinstance(call.get("name"), str):
                names = [name for name in ("name", "arguments", "parameters") if call.get(name)]
                yield [(index, (*way, name)) for name in names]


def _value(messages: chat.Messages, slot: chat.Slot) -> Any:
    value: Any = messages[slot[0]]
    for step in slot[1]:
        value = value[step]
    return value


def _extent(traces: Sequence[Trace], parts: Sequence[chat.Part]) -> tuple[int, int] | None:
    """Return the characters from the first to the last of a call, if it is written once."""
    extents = [extent for one in traces for extent in one.extents]
    if not extents or any(len(one.extents) > 1 for one in traces):
        return None
    start, stop = min(a for a, _ in extents), max(b for _, b in extents)
    apart = all(part.stop <= start or stop <= part.start for part in parts)
    return (start, stop) if apart else None

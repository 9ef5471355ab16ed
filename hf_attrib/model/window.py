"""What a model has room for: how long an answer may be, and how many documents fit before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.model.choice import said
from hf_attrib.model.positions import positions
from hf_attrib.text import Documents

__all__ = ["check_window", "limit_length", "most_new_tokens"]

#: Length of a response when neither the call nor the model's generation config says one.
_DEFAULT_NEW_TOKENS = 64
#: What transformers writes when a call stops generation by other means than a length.
_LIBRARY_NEW_TOKENS = 20


def check_window(
    model: Any,
    prompt: int,
    answer: int,
    documents: Documents,
    length_of: Callable[[Documents], int],
) -> None:
    """Refuse a prompt that leaves no room for its answer.

    Args:
        model: what reads both.
        prompt: how many tokens the prompt has.
        answer: how many its answer has, or will have at least.
        documents: that came with the prompt.
        length_of: returns how many tokens the prompt has with other documents.

    Raises:
        InputError: saying by how many tokens it is too long, and which documents fit.
    """
    encodes = model.config.is_encoder_decoder
    limit = positions(model, "encoder" if encodes else "decoder")
    # The last token of an answer is not read; an encoder reads none of them.
    room = limit if encodes else limit - (answer - 1)
    if not limit or prompt <= room:
        return
    count = len(documents)
    fits = _most(count, lambda some: length_of(documents.first(some)) <= room)
    behind = "" if encodes else f" and {answer:,} token{'s' * (answer > 1)} of its answer"
    many = f"{count} documents" if count > 1 else "document"
    excess = prompt - room
    raise InputError(
        f"the prompt with its {many} has {prompt:,} tokens, but {type(model).__name__} reads at "
        f"most {limit:,}: with it{behind} that is {excess:,} token{'s' * (excess > 1)} too many. "
        f"{_said(fits, count)}"
    )


def _said(fits: int, count: int) -> str:
    """Say which documents fit."""
    if not fits:
        return (
            "Not even the first document fits; shorten it, or the question."
            if count > 1
            else "Shorten the document, or the question."
        )
    first = "document 1 fits" if fits == 1 else f"documents 1 to {fits} fit"
    return f"In the given order {first}; leave out the rest, or shorten it."


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number below ``count`` that fits, where more never fit if fewer do not."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def limit_length(model: Any, arguments: dict[str, Any], prompt: int) -> None:
    """Keep generation within the model's positions, and within a default length.

    Args:
        model: what generates.
        arguments: of ``generate``; a length is added to them if nothing sets one.
        prompt: how many tokens the prompt has.

    Raises:
        InputError: no tokens are asked for, or more than there is room for.
    """
    config = arguments.get("generation_config") or model.generation_config
    room, asked = _room(model, prompt), arguments.get("max_new_tokens")
    for name in ("max_new_tokens", "max_length"):
        given = arguments.get(name)
        if given is not None and (isinstance(given, bool) or not isinstance(given, Integral)):
            raise InputError(f"{name} is {given!r:.80}; expected a whole number.")
    if room is not None and room < 1:
        raise InputError(
            f"the prompt has {prompt:,} tokens, but {type(model).__name__} reads at most "
            f"{positions(model):,}, so that no token can follow. Shorten the prompt."
        )
    if asked is not None and asked < 1:
        raise InputError(f"max_new_tokens is {asked}; allow at least one new token.")
    if asked is not None and room is not None and asked > room:
        raise InputError(
            f"max_new_tokens is {asked}, but {type(model).__name__} has room for {room} "
            f"tokens after this prompt. Ask for fewer."
        )
    lengths = ("max_new_tokens", "max_length", "max_time", "stopping_criteria")
    if config.max_new_tokens is config.max_length is None and not set(lengths) & set(arguments):
        most = _DEFAULT_NEW_TOKENS if room is None else min(_DEFAULT_NEW_TOKENS, room)
        arguments["max_new_tokens"] = most


def most_new_tokens(model: Any, generation: Mapping[str, Any], prompt: int) -> int:
    """Return how many tokens ``generate`` would write at most.

    Args:
        model: what would generate.
        generation: arguments of ``generate``.
        prompt: how many tokens the prompt has.

    Raises:
        InputError: it would write none.
    """
    arguments = dict(generation)
    limit_length(model, arguments, prompt)

    most = said("max_new_tokens", arguments, model)
    read = 1 if model.config.is_encoder_decoder else prompt
    if most is None:
        length = said("max_length", arguments, model)
        most = _LIBRARY_NEW_TOKENS if length is None else length - read
    room = _room(model, prompt)
    most = int(most) if room is None else min(int(most), room)
    if most < 1:
        raise InputError(
            f"the prompt has {prompt:,} tokens, and with them generation has reached the length "
            "that it is allowed. Raise max_length, or set max_new_tokens to at least 1."
        )
    return most


def _room(model: Any, prompt: int) -> int | None:
    """Return how many tokens fit behind a prompt, or ``None`` if there is no limit."""
    limit, read = positions(model), 0 if model.config.is_encoder_decoder else prompt
    # The last generated token is not read again.
    return limit - read + 1 if limit else None

"""How many tokens a model reads, and how many generation writes at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_attrib.errors import InputError

__all__ = ["limit_length", "most_new_tokens", "positions"]

#: Length of a response when neither the call nor the model's generation config says one.
_DEFAULT_NEW_TOKENS = 64
#: What transformers writes when a call stops generation by other means than a length.
_LIBRARY_NEW_TOKENS = 20


def positions(model: Any) -> int:
    """Return how many positions a model has, or 0 if it sets no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0
    return max(0, int(limit))  # XLNet says -1


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

    def said(name: str) -> Any:
        given = arguments.get(name)
        for config in (arguments.get("generation_config"), model.generation_config):
            given = getattr(config, name, None) if given is None else given
        return given

    most, read = said("max_new_tokens"), 1 if model.config.is_encoder_decoder else prompt
    if most is None:
        length = said("max_length")
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

"""Documents that a model has no room for are refused, and it is said for which there is room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.model.positions import positions
from hf_attrib.text import Documents

__all__ = ["check_window"]


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

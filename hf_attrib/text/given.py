"""Ids as callers hold them, cut to what they are given for: a prompt, or the answer to one.

What ``generate`` returns begins with the prompt or with the decoder's start, rows of a batch are
padded, and labels hide tokens behind -100. What is surely not of the answer is cut; where nothing
tells, a note or a refusal says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import InputError

__all__ = [
    "Ids",
    "Marks",
    "answer_ids",
    "as_ids",
    "check_mask_of_text",
    "read_ids",
    "tokenizer_of",
]

#: Token ids as callers hold them.
Ids: TypeAlias = Sequence[int] | Tensor
#: What labels hold where no loss is taken.
_IGNORED = -100


@dataclass(frozen=True)
class Marks:
    """Ids that tell where a prompt or an answer begins and ends.

    Args:
        start: what the decoder starts from; empty on decoder-only models.
        ends: of a text, and on decoder-only models what one begins with.
        pads: that fill up the rows of a batch.
        words: those of ``pads`` that text may hold as well.
        special: that no text holds.
    """

    start: tuple[int, ...]
    ends: frozenset[int]
    pads: frozenset[int]
    words: frozenset[int]
    special: frozenset[int]


def tokenizer_of(given: Any) -> Any:
    """Return a tokenizer, out of a processor if it came in one.

    Args:
        given: what came in its place; ``None`` stays as it is.

    Raises:
        InputError: it is none of transformers.
    """
    inner = getattr(given, "tokenizer", None)
    tokenizer = given if inner is None else inner
    usual = ("decode", "convert_ids_to_tokens", "all_special_ids", "is_fast")
    if tokenizer is None or (callable(tokenizer) and all(hasattr(tokenizer, n) for n in usual)):
        return tokenizer
    raise InputError(
        f"expected a tokenizer of transformers, such as AutoTokenizer loads; got "
        f"{type(given).__name__}. Load or wrap it (PreTrainedTokenizerFast(tokenizer_object=...))."
    )


#: More ids than any vocabulary has, and fewer than tokenizers can count.
_MOST_IDS = 2**31


def as_ids(ids: Ids | None, name: str) -> list[int]:
    """Return one sequence of ids as integers.

    Raises:
        InputError: they are no non-empty list of integers.
    """
    try:
        tensor = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError):
        tensor = torch.empty(0)
    if tensor.dim() == 2 and len(tensor) == 1:
        tensor = tensor[0]  # a batch of one, as tokenizers return it
    if tensor.dim() == 2 and len(tensor) > 1:
        raise InputError(
            f"{name} hold {len(tensor)} rows, but one sequence is explained at a time; give a list "
            "of prompts, or one row."
        )
    plain = tensor.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8)
    if tensor.dim() != 1 or len(tensor) == 0 or not plain or int(tensor.min()) < 0:
        raise InputError(
            f"{name} must be a non-empty list of token ids, whole numbers from 0 to "
            f"{_MOST_IDS - 1:,}; got {ids!r:.80}."
        )
    if int(tensor.max()) >= _MOST_IDS:
        raise InputError(f"{name} hold {int(tensor.max())}, which is in no vocabulary.")
    return [int(i) for i in tensor]


def read_ids(ids: list[int], mask: Any, marks: Marks) -> list[int]:
    """Return the ids of a prompt that are read.

    Args:
        ids: of the prompt, perhaps with the padding of a batch around it.
        mask: which of them are read, as ``generate`` takes it; ``None`` if it did not come.
        marks: what tells padding.

    Raises:
        InputError: the mask hides what is not at an end, or there is padding that no mask hides.
    """
    if mask is not None:
        read = _mask(mask, len(ids))
        start, stop = read.index(True), len(read) - read[::-1].index(True)
        if not all(read[start:stop]):
            raise InputError(
                "attention_mask hides tokens between others, which would be another prompt; give "
                "the tokens to read, and leave it out."
            )
        return ids[start:stop]
    # A lone end of the text may stand at either side; padding that is a word may be meant.
    for where, own in (("begin", ids), ("end", ids[::-1])):
        pad = own[0]
        lone = len(own) > 1 and own[1] != pad
        if pad in marks.pads - marks.words and not (pad in marks.ends and lone) and len(own) > 1:
            raise InputError(
                f"input_ids {where} with padding (id {pad}), which would be read; cut it off, or "
                "pass the attention_mask that says which tokens are read."
            )
    return ids


def check_mask_of_text(mask: Any, length: int) -> None:
    """Refuse an attention mask that hides tokens of a prompt that is a text.

    Raises:
        InputError: it is none for so many tokens, or hides some.
    """
    if mask is not None and not all(_mask(mask, length)):
        raise InputError(
            "attention_mask hides tokens of the prompt, which would be another one; leave it out, "
            "or give input_ids."
        )


def _mask(mask: Any, length: int) -> list[bool]:
    try:
        flags = torch.as_tensor(mask)
    except (TypeError, ValueError, RuntimeError):
        flags = torch.empty(0)
    if flags.dim() == 2 and len(flags) == 1:
        flags = flags[0]
    if flags.dim() != 1 or len(flags) == 0 or not bool(((flags == 0) | (flags == 1)).all()):
        raise InputError(f"attention_mask must be a list of 0 and 1; got {mask!r:.80}.")
    if len(flags) != length:
        raise InputError(f"attention_mask has {len(flags)} entries for {length} tokens.")
    if not bool(flags.any()):
        raise InputError("attention_mask hides every token; mark with 1 what is read.")
    return [bool(flag) for flag in flags]


def answer_ids(ids: Ids | None, prompt: list[int], marks: Marks) -> tuple[list[int], list[str]]:
    """Return the ids of an answer, and notes about what was left out or may be no part of it.

    Args:
        ids: as ``generate`` returned them, as labels, or as a row of a batch.
        prompt: that they answer.
        marks: what tells padding, ends and the decoder's start.

    Raises:
        InputError: they are no ids, hide some between others, or are the prompt alone.
    """
    row = _dimensions(ids) == 2
    given = as_ids(_without_ignored(ids), "response_ids")
    if marks.start:
        answer, notes = _behind_start(given, marks)
    else:
        answer, notes = _behind(given, prompt, marks, row)
    between = not marks.start and len(answer) < len(given)
    cut = _without_padding(answer, marks)
    left_out = len(answer) - len(cut)
    if left_out and answer[-1] in marks.ends:  # which may have been written as well
        notes.append(f"{left_out} repetitions of the end behind the response were left out.")
    first = _first_word(cut, marks)
    return cut[first:], [*notes, *_padded(cut, first, marks, between)]


def _dimensions(ids: Any) -> int:
    """Return how many dimensions ids have, or 0 if they are none."""
    try:
        return torch.as_tensor(ids).dim()
    except (TypeError, ValueError, RuntimeError):
        return 0


def _without_ignored(ids: Any) -> Any:
    """Cut off what labels hide in front of an answer and behind it."""
    try:
        tensor = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError):
        return ids
    tensor = tensor[0] if tensor.dim() == 2 and len(tensor) == 1 else tensor
    if tensor.dim() != 1 or tensor.is_floating_point() or not bool((tensor == _IGNORED).any()):
        return ids
    places = (tensor != _IGNORED).nonzero()[:, 0].tolist()
    if not places:
        raise InputError("response_ids are -100 throughout, which labels nothing; give token ids.")
    answer = tensor[places[0] : places[-1] + 1]
    if len(answer) > len(places):
        raise InputError(
            "response_ids hold -100 between tokens, so that no answer stands in one piece; give "
            "the token ids of one answer."
        )
    return answer


def _behind_start(answer: list[int], marks: Marks) -> tuple[list[int], list[str]]:
    """Cut off what a decoder starts from, which ``generate`` returns in front of an answer."""
    start = len(marks.start)
    if len(answer) <= start or tuple(answer[:start]) != marks.start:
        return answer, []
    answer = answer[start:]
    if tuple(answer[:start]) != marks.start:
        return answer, []
    return answer, [  # so that the model does write it, too
        "response_ids began twice with what the decoder starts from; the first was left out, since "
        "generate puts it there, and if the other is padding, cut it off."
    ]


def _behind(
    answer: list[int], prompt: list[int], marks: Marks, row: bool
) -> tuple[list[int], list[str]]:
    """Cut off a prompt that stands before its answer, if it is surely that.

    Raises:
        InputError: nothing stands behind a prompt that no answer could repeat.
    """
    count = len(prompt)
    padding = next((i for i, one in enumerate(answer) if one not in marks.pads), 0)
    places = range(padding + 1)
    at = next((i for i in places if answer[i : i + count] == prompt), None)
    if at is None:
        return answer, []
    tokens = f"the {count} token{'s' * (count > 1)} of the prompt"
    unique = bool(set(prompt) & marks.special)  # no answer holds them
    if set(answer[at + count :]) <= marks.pads - marks.words - marks.ends:
        if unique:
            raise InputError(
                f"response_ids are {tokens} and no answer to it; give what was generated behind it."
            )
        if len(answer) == 1:
            return answer, []  # an answer may well repeat a word
        return answer, [
            f"response_ids are {tokens}, which were explained as its answer; if generate returned "
            "them, it wrote nothing, so give an answer."
        ]
    # A single word is soon repeated, by whatever the answer came in.
    if unique or (count > 1 and (at or row)):
        note = f"response_ids began with {tokens}, which {_were(count)} left out."
        return answer[at + count :], [note]
    return answer, [
        f"response_ids begin with {tokens}, which {_were(count)} explained as part of the answer; "
        "if generate returned the prompt along, cut it off."
    ]


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _first_word(ids: list[int], marks: Marks) -> int:
    """Return how many ids in front of an answer are surely the padding of a batch."""
    pad, count = ids[0], _run(ids)
    lone = count == 1 and (pad in marks.ends or (pad,) == marks.start)
    sure = pad in marks.pads - marks.words and not lone
    return count if sure and count < len(ids) else 0


def _run(ids: Sequence[int]) -> int:
    """Return how often the first id stands in front of others."""
    return next((i for i, one in enumerate(ids) if one != ids[0]), len(ids))


def _padded(ids: list[int], first: int, marks: Marks, between: bool) -> list[str]:
    """Say what of an answer is padding, or may be.

    Args:
        ids: of the answer.
        first: how many of them are left out in front of it.
        marks: what tells padding.
        between: whether those stand between the prompt and its answer.
    """
    pad, count, notes = ids[0], _run(ids), []
    if first:
        where = "between prompt and answer" if between else "in front of the answer"
        cause = ", though generate wrote the answer behind it; pad prompts on the left"
        notes.append(
            f"Padding {where} ({first} times id {pad}) was left out{cause if between else ''}."
        )
    elif pad in marks.pads and count == len(ids) and pad not in marks.ends | marks.words:
        notes.append(
            f"response_ids are padding throughout (id {pad}), which was explained as the answer; "
            "give what was generated."
        )
    elif count < len(ids) and (
        (pad in marks.words and (count > 1 or between)) or (pad in marks.ends and not marks.start)
    ):
        notes.append(
            f"response_ids begin with what may be padding or the mark of a text ({count} times id "
            f"{pad}), which was explained as part of the answer; if it is none, cut it off."
        )
    inner = [one for one in ids[count:-1] if one in marks.pads]
    if inside := sorted(set(inner) - marks.words - marks.ends):
        notes.append(
            f"response_ids hold padding between other tokens (id {inside[0]}), which was explained "
            "as part of the answer; if it is none, give the ids of the answer alone."
        )
    return notes


def _without_padding(ids: list[int], marks: Marks) -> list[int]:
    """Cut the padding that a batch leaves behind a shorter answer."""
    pad = ids[-1]
    kept = len(ids)
    while kept and ids[kept - 1] == pad:
        kept -= 1
    if pad not in marks.pads or not kept:
        return ids
    if ids[kept - 1] in marks.ends:
        return ids[:kept]
    if pad in marks.ends:
        return ids[: kept + 1]  # the first of them is the end itself
    return ids if pad in marks.words else ids[:kept]

"""Which ids carry no content: those that a tokenizer or a model sets apart, ends and padding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from hf_attrib.model.sites import sites_of, vocabulary
from hf_attrib.text import settings_kept
from hf_attrib.text.given import Marks

__all__ = ["marks_of", "ordinary_ids", "special_ids"]


def special_ids(model: Any, tokenizer: Any) -> set[int]:
    """Return ids of tokens that carry no content: the tokenizer's, and the model's own.

    Padding is not among them: it is cut from whatever is given, so that what is left of it is a
    word of the text, as "!" is to models that are padded with their first token. Nor is an end
    that is an ordinary word, such as the end of a line.

    Args:
        model: that generates.
        tokenizer: its tokenizer, or ``None``.
    """
    config = model.generation_config
    ids = _several(config.bos_token_id) | _several(config.eos_token_id)
    if tokenizer is None:
        return ids
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    # The unknown token stands for content, unless it is the end of the text too (GPT-2).
    named = {int(i) for i in tokenizer.all_special_ids}
    apart = (named | _set_apart(tokenizer)) - {tokenizer.unk_token_id, tokenizer.pad_token_id}
    added = set(getattr(tokenizer, "added_tokens_decoder", None) or ())
    words = {i for i in named - added - _set_apart(tokenizer) if _in_text(tokenizer, i)}
    return (apart | (ends - {None}) | (ids & (named | added))) - words


def ordinary_ids(model: Any, tokenizer: Any) -> Tensor:
    """Return the ids of all tokens that carry content, in order.

    Args:
        model: that generates.
        tokenizer: its tokenizer, or ``None``.
    """
    size = min(map(vocabulary, sites_of(model).modules.values()))
    apart = special_ids(model, tokenizer)
    if tokenizer is None:
        known: Iterable[int] = range(size)
    else:
        known = tokenizer.get_vocab().values()
        apart |= {tokenizer.unk_token_id, tokenizer.pad_token_id, *tokenizer.all_special_ids}
    return torch.tensor(sorted({i for i in known if i < size} - apart), dtype=torch.int64)


def marks_of(model: Any, tokenizer: Any, start: tuple[int, ...], special: set[int]) -> Marks:
    """Return what tells padding and ends of a model's sequences.

    Args:
        model: that generates.
        tokenizer: its tokenizer, or ``None``.
        start: what its decoder starts from; empty on decoder-only models.
        special: what :func:`special_ids` returned.
    """
    config = model.generation_config
    pads = _several(config.pad_token_id) | _several(getattr(tokenizer, "pad_token_id", None))
    ends = _several(config.eos_token_id) | _several(config.bos_token_id)
    # Without a tokenizer, nothing tells whether a padding token is a word.
    known = pads if tokenizer is None else _set_apart(tokenizer) | ends
    return Marks(start, *map(frozenset, (ends, pads, pads - known, special)))


def _several(ids: Any) -> set[int]:
    """Return the ids that a config names: one, several or none."""
    return {int(i) for i in (ids if isinstance(ids, list | tuple) else [ids]) if i is not None}


def _set_apart(tokenizer: Any) -> set[int]:
    """Return ids that a tokenizer keeps apart from text, which are no words of it."""
    added = getattr(tokenizer, "added_tokens_decoder", None)
    every = {int(i) for i in tokenizer.all_special_ids}
    return every if added is None else {int(i) for i, token in added.items() if token.special}


def _in_text(tokenizer: Any, token: int) -> bool:
    """Whether a tokenizer reads the text of a token as that token, as it does words."""
    text = tokenizer.decode([token], skip_special_tokens=False)
    with settings_kept(tokenizer):  # some read a text's first word only with a space before it
        read = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in (text, f"\n{text}")]
    return any(token in ids for ids in read)

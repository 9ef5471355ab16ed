"""Baselines: the reference embedding x' that stands for "this token says nothing"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import InputError

__all__ = ["Baseline", "BaselineLike", "Embedder", "parse"]

#: How callers say a baseline: ``"mean"``, ``"zero"``, ``"token:TEXT"``, a token id, or embeddings.
BaselineLike: TypeAlias = str | int | Tensor

#: Rows of the embedding table looked up at once for the mean.
_ROWS = 8192


class Embedder(Protocol):
    """Token embeddings as the hooked module gives them, after any scaling it does."""

    vocabulary: int

    def __call__(self, ids: Tensor) -> Tensor:
        """Return embeddings [M, D], float32 or better, of ids [M]."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """A reference for every input position.

    Args:
        name: what it is, in words.
        embedding: maps an embedder to x', [D] or [N, D].
    """

    name: str
    embedding: Callable[[Embedder], Tensor]


def zero() -> Baseline:
    """Return the zero vector, which is singular on models with RMSNorm: prefer the mean."""
    return Baseline("zero embedding", lambda embed: torch.zeros_like(embed(torch.tensor([0]))[0]))


def mean() -> Baseline:
    """Return the mean embedding over the vocabulary."""

    def average(embed: Embedder) -> Tensor:
        parts = torch.arange(embed.vocabulary).split(_ROWS)
        return torch.stack([embed(ids).sum(0) for ids in parts]).sum(0) / embed.vocabulary

    return Baseline("mean embedding", average)


def token(token_id: int, name: str) -> Baseline:
    """Return the embedding of one token."""

    def one(embed: Embedder) -> Tensor:
        if not 0 <= token_id < embed.vocabulary:
            raise InputError(
                f"baseline token {token_id} is outside the vocabulary of {embed.vocabulary} tokens."
            )
        return embed(torch.tensor([token_id]))[0]

    return Baseline(name, one)


def given(embeddings: Tensor) -> Baseline:
    """Return embeddings as they are: [D], or one for each input position, [N, D]."""
    fits = embeddings.dim() in (1, 2) and embeddings.is_floating_point()
    if not fits or not bool(torch.isfinite(embeddings).all()):
        raise InputError(
            f"a baseline tensor must be [D] or [N, D], floating point and finite; got "
            f"{tuple(embeddings.shape)} {embeddings.dtype}."
        )
    return Baseline("given embeddings", lambda embed: embeddings.detach())


def parse(spec: BaselineLike, tokenizer: Any) -> Baseline:
    """Turn what a caller said into a baseline.

    Args:
        spec: see :data:`BaselineLike`.
        tokenizer: for ``"token:TEXT"``.

    Raises:
        InputError: it names no baseline, or text that is not exactly one token.
    """
    if not isinstance(spec, str):
        try:
            number = torch.as_tensor(spec)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"a baseline cannot be {spec!r:.80}.") from None
        if number.dim() == 0 and number.dtype == torch.int64:
            return token(int(number), f"token {int(number)}")
        return given(number)
    if spec in ("mean", "zero"):
        return mean() if spec == "mean" else zero()
    kind, _, text = spec.partition(":")
    if kind != "token":
        raise InputError(
            f"baseline {spec!r} is unknown; expected mean, zero, token:TEXT, an id or a tensor."
        )
    return token(single_token(tokenizer, text), f"token {text!r}")


def single_token(tokenizer: Any, text: str) -> int:
    """Return the id of a text that is exactly one token.

    Raises:
        InputError: it is not.
    """
    if tokenizer is None:
        raise InputError(f"the token {text!r} needs a tokenizer; give its id.")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        pieces = tokenizer.convert_ids_to_tokens(ids)
        raise InputError(
            f"{text!r} is {len(ids)} tokens here ({pieces}), not one; try it with a leading space, "
            "another word, or a token id."
        )
    if ids[0] == tokenizer.unk_token_id and text != tokenizer.unk_token:
        raise InputError(f"the tokenizer does not know {text!r}; give a token it knows, or an id.")
    return int(ids[0])

"""Baselines: the reference embedding x' that stands for "this token says nothing"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Table
from hf_attrib.integration import generator
from hf_attrib.text.given import as_ids

__all__ = [
    "NAMES",
    "STAND_IN",
    "Baseline",
    "BaselineLike",
    "Draw",
    "check_name",
    "parse",
    "single_token",
    "stand_in",
]

#: How callers say a baseline: one of :data:`NAMES`, ``"token:TEXT"``, a token id, embeddings, or
#: other prompts, as texts.
BaselineLike: TypeAlias = str | int | Tensor | Sequence[str]

#: Tokens that a tokenizer may have, by the name of its attribute.
_SPECIAL = ("pad", "eos", "unk", "mask")
_DISTRIBUTIONS = ("noise", "vocabulary")
NAMES = ("mean", "zero", *_SPECIAL, *_DISTRIBUTIONS)

#: The baseline of a method that takes a token in the place of others, unless one is named: the
#: first of these that the tokenizer has.
STAND_IN = "stand-in"
_STANDING_IN = ("unk", "mask", "pad", "eos")


@dataclass(frozen=True, eq=False)
class Draw:
    """What a reference is drawn for.

    Args:
        sample: number of the sample.
        count: M, how many inputs of a sequence move.
        seed: of the random ones.
        table: number of the table that embeds these inputs.
    """

    sample: int
    count: int
    seed: int
    table: int

    @property
    def generator(self) -> torch.Generator:
        """Random numbers for this draw alone."""
        return generator(self.seed, "reference", self.sample, self.table)


@dataclass(frozen=True, eq=False)
class Baseline:
    """A reference for every input position.

    Args:
        name: what it is, in words.
        embedding: maps a table and a draw to x': [D], or [M, D] for the inputs that move.
        distribution: whether draws differ.
        given: embeddings of the caller's, [D], or laid out for all N scored positions, [N, D].
        ids: of the tokens that it looks up.
    """

    name: str
    embedding: Callable[[Table, Draw], Tensor]
    distribution: bool = False
    given: Tensor | None = None
    ids: tuple[int, ...] = ()

    @property
    def laid_out(self) -> Tensor | None:
        """Embeddings for all N scored positions, [N, D], if they came so."""
        return None if self.given is None or self.given.dim() == 1 else self.given

    def check(self, tables: Sequence[Table], scored: Sequence[int] | None) -> None:
        """Refuse tokens that a model does not have, and embeddings of another shape.

        Args:
            tables: the embeddings of the model's tokens.
            scored: N of each prompt, where they are known.

        Raises:
            InputError: it does not fit.
        """
        for table in tables:
            for one in (min(self.ids), max(self.ids)) if self.ids else ():
                if not 0 <= one < table.size:
                    raise InputError(
                        f"baseline token {one} is outside the vocabulary of {table.size} tokens."
                    )
        if self.given is None:
            return
        width = tables[-1].width
        if self.laid_out is not None and scored is not None:
            if len(scored) != 1 or tuple(self.laid_out.shape) != (scored[0], width):
                raise InputError(
                    f"the baseline is {tuple(self.laid_out.shape)}; expected one prompt and "
                    f"{(scored[0], width)} (its scored tokens, embedding width)."
                )
        elif self.given.shape[-1] != width:
            raise InputError(
                f"the baseline is {self.given.shape[-1]} wide; the embeddings are {width}."
            )


def parse(spec: BaselineLike, tokenizer: Any) -> Baseline:
    """Turn what a caller said into a baseline.

    Args:
        spec: see :data:`BaselineLike`.
        tokenizer: for whatever is said in words.

    Raises:
        InputError: it names no baseline, or text that is not exactly one token.
    """
    if isinstance(spec, str):
        return _named(spec, tokenizer)
    if isinstance(spec, list | tuple) and not spec:
        raise InputError("the list of baseline prompts is empty; give at least one.")
    if isinstance(spec, list | tuple) and all(isinstance(one, str) for one in spec):
        return _prompts(spec, tokenizer)
    try:
        number = torch.as_tensor(spec)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"a baseline cannot be {spec!r:.80}.") from None
    if number.dim() == 0 and number.dtype == torch.int64:
        return _token(int(number), f"token {int(number)}")
    return _given(number)


def _named(spec: str, tokenizer: Any) -> Baseline:
    check_name(spec)
    if spec == "mean":
        return Baseline("mean embedding", lambda table, draw: table.mean)
    if spec == "zero":
        return Baseline(
            "zero embedding", lambda table, draw: torch.zeros(table.width, dtype=torch.float32)
        )
    if spec == "noise":
        return Baseline("noise around the mean embedding", _noise, distribution=True)
    if spec == "vocabulary":
        return Baseline("random tokens of the vocabulary", _vocabulary, distribution=True)
    if spec in _SPECIAL:
        return _special(spec, tokenizer)
    text = spec.partition(":")[2]
    return _token(single_token(tokenizer, text), f"token {text!r}")


def check_name(spec: str) -> None:
    """Refuse a word that names no baseline, before a tokenizer is there to look it up.

    Raises:
        InputError: it names none.
    """
    if spec not in NAMES and not spec.startswith("token:"):
        raise InputError(
            f"baseline {spec!r} is unknown; expected {', '.join(NAMES)}, token:TEXT, an id, a "
            "tensor or a list of other prompts."
        )


def _special(name: str, tokenizer: Any) -> Baseline:
    """Return the embedding of a token that the tokenizer names."""
    if tokenizer is None:
        raise InputError(f"the {name} token needs a tokenizer; give its id.")
    found = getattr(tokenizer, f"{name}_token_id")
    if found is None:
        known = [n for n in _SPECIAL if getattr(tokenizer, f"{n}_token_id") is not None]
        raise InputError(
            f"this tokenizer has no {name} token; it has {', '.join(known) or 'none of these'}."
        )
    return _token(int(found), f"{name} token {getattr(tokenizer, f'{name}_token')!r}")


def _token(token_id: int, name: str) -> Baseline:
    """Return the embedding of one token."""

    def one(table: Table, draw: Draw) -> Tensor:
        return table.embed(torch.tensor([token_id]))[0]

    return Baseline(name, one, ids=(token_id,))


def _noise(table: Table, draw: Draw) -> Tensor:
    """Return normal noise with the mean and the spread of the table."""
    noise = torch.randn(draw.count, len(table.mean), generator=draw.generator, dtype=torch.float32)
    return table.mean + table.scale * noise.to(table.mean)


def _vocabulary(table: Table, draw: Draw) -> Tensor:
    """Return tokens drawn evenly from the vocabulary, one for each position."""
    return table.embed(torch.randint(table.size, (draw.count,), generator=draw.generator))


def _prompts(texts: Sequence[str], tokenizer: Any) -> Baseline:
    """Return other prompts, each repeated or cut to the length that is needed.

    They come in random order, all of them before any comes again.
    """
    if tokenizer is None:
        raise InputError("baseline prompts need a tokenizer; give embeddings.")
    every = [_known(tokenizer, text) for text in texts]

    def one(table: Table, draw: Draw) -> Tensor:
        turn, place = divmod(draw.sample, len(every))
        shuffled = generator(draw.seed, "prompts", turn)
        ids = torch.tensor(every[int(torch.randperm(len(every), generator=shuffled)[place])])
        return table.embed(ids.repeat(draw.count // len(ids) + 1)[: draw.count])

    name = f"{len(every)} other prompts" if len(every) > 1 else f"the prompt {texts[0]!r:.60}"
    known = {i for ids in every for i in ids}
    return Baseline(name, one, distribution=len(every) > 1, ids=tuple(sorted(known)))


def _known(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text whose words the tokenizer knows."""
    ids = as_ids(tokenizer(text, add_special_tokens=False)["input_ids"], "baseline prompt")
    if set(ids) == {tokenizer.unk_token_id}:
        raise InputError(f"the tokenizer knows nothing of the baseline prompt {text!r:.80}.")
    return ids


def _given(embeddings: Tensor) -> Baseline:
    """Return embeddings as they are: [D], or one for each scored position, [N, D]."""
    fits = embeddings.dim() in (1, 2) and embeddings.is_floating_point()
    if not fits or not bool(torch.isfinite(embeddings).all()):
        raise InputError(
            f"a baseline tensor must be [D] or [N, D], floating point and finite; got "
            f"{tuple(embeddings.shape)} {embeddings.dtype}."
        )
    embeddings = embeddings.detach()
    return Baseline("given embeddings", lambda table, draw: embeddings, given=embeddings)


def stand_in(baseline: Baseline | None, tokenizer: Any) -> Baseline | None:
    """Return the token that stands for nothing: the baseline's, or one that is named so.

    Args:
        baseline: what references are, if that is said.
        tokenizer: that may name an unknown, a mask, a padding or an end token.
    """
    if baseline is not None and len(baseline.ids) == 1:
        return baseline
    named = [n for n in _STANDING_IN if getattr(tokenizer, f"{n}_token_id", None) is not None]
    return _special(named[0], tokenizer) if named else None


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

"""The prompts of a call with what was given as responses, and a prompt and response as ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import is_frame
from hf_attrib.text.chat import Messages
from hf_attrib.text.documents import Documents
from hf_attrib.text.given import Ids
from hf_attrib.text.tokens import Tokens

__all__ = ["Request", "Requests", "TokenSequence"]


@dataclass(frozen=True)
class Request:
    """One prompt, and perhaps the response to it.

    Args:
        prompt: a text, or messages for the chat template.
        input_ids: the prompt as token ids, instead.
        response: a text.
        response_ids: the response as token ids, instead.
        template_options: further arguments of the chat template.
        attention_mask: which of the ids are read, as tokenizers return it.
        documents: that the prompt comes with, and where in it they are to stand.
        contrast: another answer, which the response is explained against: a text, or token ids.
    """

    prompt: str | Messages | None = None
    input_ids: Ids | None = None
    response: str | None = None
    response_ids: Ids | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    attention_mask: Any = None
    documents: Documents | None = None
    contrast: str | Ids | None = None

    def check(self) -> None:
        """Refuse a request without a prompt, or with two of one thing.

        Raises:
            InputError: there is no prompt, or something came twice.
        """
        if (self.prompt is None) == (self.input_ids is None):
            given = "neither" if self.prompt is None else "both"
            raise InputError(f"give a prompt or input_ids; {given} came.")
        if self.response is not None and self.response_ids is not None:
            raise InputError("response and response_ids were both given; give one of them.")
        if self.documents is not None and self.prompt is None:
            raise InputError(
                "documents came with input_ids, which hold all that is read; give the question as "
                "a text or as messages, or leave documents out."
            )

    @property
    def answered(self) -> bool:
        """Whether the response came with the prompt, so that none is generated."""
        return self.response is not None or self.response_ids is not None


@dataclass(frozen=True, eq=False)
class TokenSequence:
    """A prompt and the response to it, as token ids.

    Args:
        prompt: the P prompt tokens; on encoder-decoder models the encoder's.
        start: what the decoder starts from, before any generated token; empty on decoder-only.
        response: the T generated tokens.
        notes: what a reader must know of how the response came about.
        unlikely: what to say of tokens that are not the model's likeliest, if they should be.
        contrast: another answer, as it came with the prompt.
    """

    prompt: Tokens
    start: Tokens
    response: Tokens
    notes: tuple[str, ...] = ()
    unlikely: str | None = None
    contrast: str | Ids | None = None

    def bare(self) -> TokenSequence:
        """Return the tokens alone: what is said of how they came about goes to a run's notes."""
        return TokenSequence(self.prompt, self.start, self.response)

    @property
    def inputs(self) -> Tokens:
        """All tokens that the model reads: every one but the last generated."""
        return self.prompt + self.start + self.response[:-1]

    def scored(self, attribute_to: str) -> Tokens:
        """Return the N inputs that are scored: they are the first of :attr:`inputs`.

        Args:
            attribute_to: ``"prompt"``, or ``"all"`` for the decoder's start and the generated
                prefix as well.
        """
        return self.prompt if attribute_to == "prompt" else self.inputs

    def check_parts(self, inputs: Tokens, response: Tokens, attribute_to: str) -> None:
        """Refuse tokens that are not the scored inputs and the response of this sequence."""
        pairs = ((inputs, self.scored(attribute_to)), (response, self.response))
        if not all(torch.equal(given.ids, own.ids) for given, own in pairs):
            raise ValueError("inputs and response are not those of the sequence")


@dataclass(frozen=True)
class Requests:
    """One request for each prompt.

    Args:
        each: the requests.
        many: whether a list of prompts was given, which is answered by a list.
        on_error: ``"raise"``, or ``"return"`` to have errors in the places of results.
    """

    each: Sequence[Request]
    many: bool
    on_error: str = "raise"

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "return"):
            raise InputError(f"on_error is {self.on_error!r}; expected 'raise' or 'return'.")

    @classmethod
    def of(
        cls,
        prompt: Any,
        input_ids: Any = None,
        response: Any = None,
        response_ids: Any = None,
        template_options: Any = None,
        attention_mask: Any = None,
        on_error: str = "raise",
        documents: Any = None,
        placement: str = "auto",
        template: str | None = None,
        contrast: Any = None,
    ) -> Requests:
        """Return the requests of arguments that are as for :meth:`Explainer.explain`.

        Raises:
            InputError: the prompts are an empty list, or have not one response each.
        """
        prompt = _listed(prompt)
        if isinstance(prompt, list) and not prompt:
            raise InputError("the list of prompts is empty; give at least one.")
        many = isinstance(prompt, list) and not isinstance(prompt[0], Mapping)
        prompts: list[Any] = prompt if many else [prompt]
        if many and not (input_ids is attention_mask is None):
            raise InputError("a list of prompts came with ids of one prompt; give one of them.")
        texts = _each(response, "response", many, len(prompts))
        ids = _each(response_ids, "response_ids", many, len(prompts))
        if documents is None and template is not None:
            raise InputError("template says where documents stand, but none came; give documents.")
        if documents is None and placement != "auto":
            raise InputError("placement says where documents stand, but none came; give documents.")
        read = _documents(documents, placement, template, many, len(prompts))
        others = _contrasts(contrast, many, len(prompts))
        given = zip(prompts, texts, ids, read, others, strict=True)
        options = template_options or {}
        requests = [
            Request(_listed(one), input_ids, text, own, options, attention_mask, beside, other)
            for one, text, own, beside, other in given
        ]
        return cls(requests, many, on_error)

    @property
    def contrasted(self) -> bool:
        """Whether answers are explained against others."""
        return any(request.contrast is not None for request in self.each)


def _listed(prompt: Any) -> Any:
    """Return several prompts, or messages, as a list, whatever holds them.

    A column of a data set, a tuple or an array of texts is a list in all but name.

    Raises:
        InputError: a data frame holds them, and other things beside them.
    """
    if is_frame(prompt):
        raise InputError(
            "prompts came as a data frame; give the column that holds them, as frame['prompt']."
        )
    single = isinstance(prompt, str | bytes | Mapping | set | frozenset | list)
    if single or not hasattr(prompt, "__len__") or not hasattr(prompt, "__iter__"):
        return prompt
    return list(prompt)


def _documents(
    given: Any, placement: str, template: str | None, batch: bool, size: int
) -> list[Documents | None]:
    """Return the documents of each of ``size`` prompts: a list for each, or the same for all."""
    if given is None:
        return [None] * size
    refused = isinstance(given, str | bytes | Mapping | set | frozenset) or is_frame(given)
    if not refused and isinstance(given, Iterable):
        given = list(given)
    apart = batch and isinstance(given, list) and bool(given)
    if not apart or not all(isinstance(one, list) for one in given):
        return [Documents.of(given, placement, template)] * size
    read: list[Documents | None] = []
    for number, one in enumerate(_each(given, "documents", batch, size), 1):
        try:
            read.append(Documents.of(one, placement, template))
        except InputError as error:
            raise InputError(f"prompt {number} of {size}: {error}") from None
    return read


def _contrasts(given: Any, batch: bool, size: int) -> list[Any]:
    """Return the contrast of each of ``size`` prompts: one for each, or the same for all."""
    if isinstance(given, str) or not batch or given is None:
        return [given] * size
    if hasattr(given, "__len__") and len(given) and all(isinstance(i, Integral) for i in given):
        return [given] * size
    found = _each(given, "contrast", batch, size)
    if any(one is None for one in found):
        raise InputError("some prompts have a contrast and others none; explain them in two calls.")
    return found


def _each(given: Any, name: str, batch: bool, size: int) -> list[Any]:
    """Return what was given for each of ``size`` prompts."""
    if not batch or given is None:
        return [given] * size
    single = isinstance(given, str) or is_frame(given)
    if single or not hasattr(given, "__len__") or len(given) != size:
        raise InputError(f"{size} prompts need a list of {size} of {name}; got {given!r:.80}.")
    return list(given)

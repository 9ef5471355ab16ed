"""The prompts of a call with what was given as responses, and a prompt and response as ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from hf_attrib.errors import InputError
from hf_attrib.text.chat import Messages
from hf_attrib.text.encoding import Ids
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

    Raises:
        InputError: there is no prompt, or something came twice.
    """

    prompt: str | Messages | None = None
    input_ids: Ids | None = None
    response: str | None = None
    response_ids: Ids | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.input_ids is None):
            given = "neither" if self.prompt is None else "both"
            raise InputError(f"give a prompt or input_ids; {given} came.")
        if self.response is not None and self.response_ids is not None:
            raise InputError("response and response_ids were both given; give one of them.")

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
    """

    prompt: Tokens
    start: Tokens
    response: Tokens

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
    """

    each: Sequence[Request]
    many: bool

    @classmethod
    def of(
        cls,
        prompt: Any,
        input_ids: Any = None,
        response: Any = None,
        response_ids: Any = None,
        template_options: Any = None,
    ) -> Requests:
        """Return the requests of arguments that are as for :meth:`Explainer.explain`.

        Raises:
            InputError: the prompts are an empty list, or have not one response each.
        """
        if isinstance(prompt, list) and not prompt:
            raise InputError("the list of prompts is empty; give at least one.")
        many = isinstance(prompt, list) and not isinstance(prompt[0], Mapping)
        prompts: list[Any] = prompt if many else [prompt]
        texts = _each(response, "response", many, len(prompts))
        ids = _each(response_ids, "response_ids", many, len(prompts))
        given = zip(prompts, texts, ids, strict=True)
        options = template_options or {}
        return cls([Request(one, input_ids, text, own, options) for one, text, own in given], many)


def _each(given: Any, name: str, batch: bool, size: int) -> list[Any]:
    """Return what was given for each of ``size`` prompts."""
    if not batch or given is None:
        return [given] * size
    if isinstance(given, str) or len(given) != size:
        raise InputError(f"{size} prompts need a list of {size} of {name}; got {given!r:.80}.")
    return list(given)

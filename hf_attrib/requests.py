"""The prompts of one call, and what was given as responses to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.sequence import Request

__all__ = ["Requests"]


@dataclass(frozen=True)
class Requests:
    """One request for each prompt.

    Args:
        each: the requests.
        many: whether a list of prompts was given, which is answered by a list.
        template_options: further arguments of the chat template.
    """

    each: Sequence[Request]
    many: bool
    template_options: Mapping[str, Any]

    @classmethod
    def of(
        cls, prompt: Any, input_ids: Any, response: Any, response_ids: Any, template_options: Any
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
        requests = [Request(one, input_ids, text, own) for one, text, own in given]
        return cls(requests, many, template_options or {})


def _each(given: Any, name: str, batch: bool, size: int) -> list[Any]:
    """Return what was given for each of ``size`` prompts."""
    if not batch or given is None:
        return [given] * size
    if isinstance(given, str) or len(given) != size:
        raise InputError(f"{size} prompts need a list of {size} of {name}; got {given!r:.80}.")
    return list(given)

"""What a call of ``evaluate`` may be given by name, and what that means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from torch import Tensor

from hf_attrib.engine.options import GenerateOptions, field_names
from hf_attrib.errors import InputError
from hf_attrib.execution import Progress, silent
from hf_attrib.hyperparameters import listed
from hf_attrib.text import Grouping, Ids, Request, Requests
from hf_attrib.validation.contest import Contest
from hf_attrib.validation.evaluation import Settings

__all__ = ["EVALUATE_DEFAULTS", "EvaluateOptions", "SanityOptions", "contest_of"]


class SanityOptions(GenerateOptions, total=False):
    """What :meth:`hf_attrib.Explainer.sanity` may be given by name.

    Args:
        responses: answers to explain instead of generating them: a text or ids for each prompt.
        target: what methods explain.
        groups: what is scored as one, as for ``explain``; tokens by default.
        attribute_to: ``"prompt"``, or ``"all"`` for the generated prefix as well.
        movable: which tokens are scored, as for ``explain``.
        seed: of random weights, of what moves inputs a little, and of seeds that are compared.
        template_options: further arguments of the chat template.
        **arguments: go to ``generate``.
    """

    responses: Sequence[str | Ids] | str | None
    target: str
    groups: Grouping | None
    attribute_to: str
    movable: str | Sequence[bool]
    seed: int
    template_options: Mapping[str, Any] | None


class EvaluateOptions(GenerateOptions, total=False):
    """What :meth:`hf_attrib.Explainer.evaluate` may be given by name.

    Args:
        responses: answers to judge by instead of generating them: a text or ids for each prompt.
        metrics: of :data:`hf_attrib.validation.METRICS`, or ``"all"``; by default ``morf_lerf``,
            the areas of deletion and insertion and their excess, and the LDS.
        operators: ways to take units away: ``"drop"``, ``"token"`` (by one that stands for
            nothing), ``"embed"`` (by the mean embedding), ``"attention"``, and ``"random"`` (by
            other tokens of the vocabulary), which no method uses itself.
        target: what methods explain, and what s is a mean of over the tokens of an answer.
        groups: what is taken away as one, as for ``explain``; tokens by default.
        attribute_to: ``"prompt"``, or ``"all"`` for the generated prefix as well.
        movable: which tokens may be taken away, as for ``explain``.
        per_token: give each generated token an order and values of its own, at T times the rows.
        random_orders: how many random orders each method is compared with; ``choose`` takes ten
            for each method, less one, unless you say, so that an adjusted p can be 0.1.
        subsets: how many random subsets metrics such as the LDS take.
        seed: of random orders and subsets.
        template_options: further arguments of the chat template.
        resume: a JSONL file that findings are written to as they come, and taken from if a call
            with the same question ended early.
        progress: called with (done, in all) of prompts explained by a method or judged.
        **arguments: go to ``generate``.
    """

    responses: Sequence[str | Ids] | str | None
    metrics: str | Sequence[str]
    operators: str | Sequence[str]
    target: str
    groups: Grouping | None
    attribute_to: str
    movable: str | Sequence[bool]
    per_token: bool
    random_orders: int | None
    subsets: int
    seed: int
    template_options: Mapping[str, Any] | None
    resume: str | os.PathLike[str] | None
    progress: Progress


_SETTINGS = {f.name: f.default for f in fields(Settings)}
_CONTEST = ("target", "groups", "attribute_to", "movable", "resume", "progress")

#: What ``evaluate`` does when nothing is said.
EVALUATE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {**_SETTINGS, "target": "log_prob", "attribute_to": "prompt", "movable": "content"}
)


def contest_of(
    prompts: Any, methods: Any, options: Mapping[str, Any]
) -> tuple[Requests, Contest, dict[str, Any]]:
    """Return what a call asks: of which prompts, of whom, and what it gave for ``generate``.

    Args:
        prompts: one or several.
        methods: who takes part.
        options: by the names of :class:`EvaluateOptions`.

    Raises:
        InputError: there is no prompt, not one response for each, or a hyperparameter that no
            method can be meant by.
    """
    rest = dict(options)
    own = {name: rest.pop(name) for name in _SETTINGS if name in rest}
    given = {name: rest.pop(name) for name in _CONTEST if name in rest}
    asked = {name: value for name, value in given.items() if value is not None}
    if not callable(asked.get("progress", silent)):
        raise InputError(
            f"progress is {asked['progress']!r:.80}; expected a function of (done, in all)."
        )
    asked |= {"settings": Settings(**own)}
    responses, template = rest.pop("responses", None), rest.pop("template_options", None)
    if fields_of_methods := sorted(set(rest) & field_names()):
        raise InputError(
            f"{', '.join(fields_of_methods)} could be meant for any of the methods; say it there: "
            f"methods=['name({fields_of_methods[0]}=...)']."
        )
    return _requests(prompts, responses, template or {}), Contest(methods, **asked), rest


def _requests(prompts: Any, responses: Any, template: Mapping[str, Any]) -> Requests:
    several = _several(prompts)
    if not several:
        raise InputError("there are no prompts; give a text or messages, or a list of them.")
    if responses is None:
        given: list[Any] = [None] * len(several)
    elif _are_ids(responses):
        given = [responses]
    else:
        given = listed("responses", responses, "a text or ids for each prompt")
    if len(given) != len(several):
        raise InputError(f"{len(several)} prompts came with {len(given)} responses; give one each.")
    each = zip(several, given, strict=True)
    return Requests([_request(prompt, answer, template) for prompt, answer in each], many=True)


def _several(prompts: Any) -> list[Any]:
    """Return prompts as a list: a text is one, and so are messages, and ids."""
    if prompts is None:
        return []
    if isinstance(prompts, str | Mapping) or _are_ids(prompts):
        return [prompts]
    several = listed("prompts", prompts, "a text, messages or ids, or a list of them")
    return [several] if several and isinstance(several[0], Mapping) else several


def _are_ids(given: Any) -> bool:
    """Tell token ids from texts and messages."""
    if isinstance(given, Tensor):
        return True
    return isinstance(given, Sequence) and len(given) > 0 and isinstance(given[0], int)


def _request(prompt: Any, answer: Any, template: Mapping[str, Any]) -> Request:
    ids, text = _are_ids(prompt), isinstance(answer, str)
    return Request(
        prompt=None if ids else prompt,
        input_ids=prompt if ids else None,
        response=answer if text else None,
        response_ids=None if text else answer,
        template_options=template,
    )

"""What a call was given, told apart: what belongs to prompts, and what is asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from hf_attrib.engine.options import check_names
from hf_attrib.text import Requests

__all__ = ["given_to", "is_answer"]

#: What belongs to a prompt, and not to what is asked about it.
_REQUEST = (
    "input_ids",
    "response",
    "response_ids",
    "template_options",
    "attention_mask",
    "on_error",
    "documents",
    "placement",
    "template",
)


def given_to(
    model: Any, prompt: Any, options: Mapping[str, Any], kind: Any, call: str
) -> tuple[Requests, dict[str, Any]]:
    """Return the requests of a call, and what else it was given by name.

    Args:
        model: that is asked about them.
        prompt: a text, messages, or a list of either.
        options: what came by name.
        kind: which names there are.
        call: what it is called.

    Raises:
        InputError: there is no such name, or what belongs to a prompt makes no sense.
    """
    check_names(options, kind, call, model)
    requested = {name: options[name] for name in _REQUEST if name in options}
    # A contest of methods has no place for any contrast.
    if is_answer(options.get("contrast")) and options.get("method") != "auto":
        requested["contrast"] = options["contrast"]
    rest = {name: value for name, value in options.items() if name not in requested}
    if options.get("documents") is not None:
        rest.setdefault("groups", "document")
    return Requests.of(prompt, **requested), rest


def is_answer(contrast: Any) -> bool:
    """Tell another answer, which belongs to its prompt, from the id of one token."""
    one_token = isinstance(contrast, Integral) and not isinstance(contrast, bool)
    return contrast is not None and not one_token

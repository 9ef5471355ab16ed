"""One row of a data set: what is read from it, its id, and what is written about it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.results import Attribution, to_json
from hf_attrib.text import ROLES

__all__ = [
    "INPUTS",
    "KINDS",
    "UNREADABLE",
    "checked_lengths",
    "columns_of",
    "entries_of",
    "failure",
    "features_of",
    "id_of",
    "plain",
    "record_of",
    "request_of",
    "valid",
]

#: What a row may hold, by the names that ``explain`` has for it; ``messages`` are a prompt, too.
INPUTS = (
    "prompt",
    "messages",
    "input_ids",
    "documents",
    "response",
    "response_ids",
    "contrast",
)
#: In the place of columns: what is to be said of a row that could not be read.
UNREADABLE = "hf_attrib: unreadable"
_PROMPTS = ("prompt", "messages", "input_ids")
#: Of these a text is read as JSON, as files without lists hold them.
_JSON = ("messages", "input_ids", "documents", "response_ids")

_MASS = {f"mass_{role}": "float" for role in ROLES}
#: What is written about a row, and of which kind each value is; ``s`` marks a list.
KINDS: Mapping[str, str] = {
    "id": "text",
    "answer": "text",
    "tokens": "ints",
    "answer_ids": "ints",
    "groups": "texts",
    "roles": "texts",
    "targets": "texts",
    "scores": "matrix",
    "logprob": "floats",
    "value": "floats",
    "reference_value": "floats",
    "gap": "floats",
    "bound": "floats",
    "converged": "flags",
    **_MASS,
    "notes": "texts",
    "method": "text",
    "baseline": "text",
    "model": "text",
    "revision": "text",
    "version": "text",
    "rows": "int",
    "seconds": "float",
    "error": "text",
    "result": "text",
}
#: What stands where there is nothing: never None, of which engines could infer no type.
_NOTHING = {"text": "", "int": 0, "float": math.nan}


def columns_of(there: Collection[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the columns that rows are read from, by the names that ``explain`` has for them.

    Args:
        there: names of all columns.
        mapping: of those that are called otherwise.

    Raises:
        InputError: one that was named is not there, or none holds prompts.
    """
    if unknown := [name for name in mapping if name not in INPUTS]:
        raise InputError(
            f"columns name {unknown[0]!r}, which no row has; expected some of {', '.join(INPUTS)}."
        )
    shown = ", ".join(sorted(map(repr, there))) or "none"  # names of a data frame may be numbers
    for name, column in mapping.items():
        if column not in there:
            raise InputError(f"there is no column {column!r} for {name}; the columns are {shown}.")
    # A column that was said to hold one thing is not read as what its own name says, too.
    names = {name: name for name in INPUTS if name not in mapping.values()} | dict(mapping)
    found = {name: names[name] for name in INPUTS if name in names and names[name] in there}
    if not set(found) & set(_PROMPTS):
        raise InputError(
            f"no column holds prompts; the columns are {shown}. Say which one does, as in "
            "columns={'prompt': 'question'} (--column prompt=question)."
        )
    return found


def entries_of(batch: Mapping[str, Any], column: str) -> list[Any]:
    """Return the entries of a column of a batch, one for each row.

    Args:
        batch: columns by name.
        column: the name of one that is there.

    Raises:
        InputError: it is a single value, such as the text of one row.
    """
    entries = batch[column]
    # The letters of a text would be rows of their own.
    if isinstance(entries, str | bytes | Mapping) or not isinstance(entries, Iterable):
        raise InputError(
            f"column {column!r:.80} of the batch is {entries!r:.80}; expected a list with an entry "
            "for each row, as Dataset.map gives with batched=True."
        )
    return list(entries)


def plain(value: Any) -> Any:
    """Return a value as JSON has it, out of whatever a table holds it in.

    Arrays become lists, NaN and missing entries ``None``. Arrow gives all mappings of a column the
    same keys; those that are ``None`` are left out again, but for a message's ``content``.
    """
    if isinstance(value, np.generic | np.ndarray | Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        kept = {key: plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not None or key == "content"}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    missing = isinstance(value, float) and math.isnan(value)
    return None if missing or type(value).__name__ == "NAType" else value


def id_of(values: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    """Return what tells a row with its question from all others, whatever else is in the table.

    Args:
        values: of the columns that are read, by the names of :data:`INPUTS`.
        question: what is asked of it, as JSON can say it.
    """
    given = {name: value for name, value in values.items() if value is not None}
    written = json.dumps([given, question], sort_keys=True, default=repr)
    return hashlib.sha256(written.encode()).hexdigest()[:20]


def request_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``explain`` that a row stands for.

    Args:
        values: as for :func:`id_of`.

    Raises:
        InputError: it holds no prompt, several, or something that is none.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if UNREADABLE in given:
        raise InputError(given[UNREADABLE])
    for name in _JSON:
        if isinstance(text := given.get(name), str):
            try:
                given[name] = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{name} is a text that is not JSON ({error}).") from None
    prompts = [name for name in _PROMPTS if name in given]
    if len(prompts) != 1:
        came = " and ".join(prompts) or "none of them"
        raise InputError(f"a row needs one of {', '.join(_PROMPTS)}; {came} came.")
    if not isinstance(given.get("prompt", ""), str):
        raise InputError(
            f"prompt is {given['prompt']!r:.80}; expected a text. A chat is read as messages: "
            "columns={'messages': 'prompt'} (--column messages=prompt)."
        )
    messages = given.pop("messages", None)
    if messages is not None:
        if not (isinstance(messages, list) and messages and all(map(_mapping, messages))):
            raise InputError(f"messages are {messages!r:.80}; expected a list of messages.")
        given["prompt"] = messages
    return given


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def record_of(row_id: str, result: Attribution, whole: bool) -> dict[str, Any]:
    """Return what is written about a row that was explained, by the names of :data:`KINDS`.

    Args:
        row_id: of the row.
        result: what was found.
        whole: whether all of the result is kept as well, as JSON.
    """
    run = result.run
    bound = [math.nan] * len(result) if result.bound is None else result.bound.tolist()
    return {
        "id": row_id,
        "answer": result.response.text,
        "tokens": result.input_ids.tolist(),
        "answer_ids": result.response_ids.tolist(),
        "groups": list(result.pieces),
        "roles": list(result.roles),
        "targets": list(result.response_pieces),
        "scores": result.scores.tolist(),
        "logprob": _log_probability(result),
        "value": result.value.tolist(),
        "reference_value": result.reference_value.tolist(),
        "gap": result.gap.tolist(),
        "bound": bound,
        "converged": result.converged.tolist(),
        **_masses(result),
        "notes": list(result.notes),
        "method": run.method,
        "baseline": run.baseline or "",
        "model": run.model,
        "revision": run.model_revision or "",
        "version": run.versions["hf_attrib"],
        "rows": run.forward_rows + run.backward_rows + run.directional_rows,
        "seconds": run.seconds,
        "error": "",
        "result": to_json(result) if whole else "",
    }


def _log_probability(result: Attribution) -> list[float]:
    """Return log p of each target; f itself, where it is that: p of long spans is 0 in floats."""
    run = result.run
    drawn = result.standard_error is not None  # f is then a mean over samples
    if run.target == "log_prob" and run.contrast_ids is None and not drawn:
        return list(result.value.tolist())
    return list(result.probability.double().log().tolist())


def _masses(result: Attribution) -> dict[str, float]:
    r"""Return the share of each role: :math:`\sum_{n \in r} |\sum_t A_{t,n}|` of that of all n."""
    size = result.total.double().abs()
    found = dict.fromkeys(_MASS, math.nan)
    for role in set(result.roles):
        own = [n for n, other in enumerate(result.roles) if other == role]
        found[f"mass_{role}"] = float(size[own].sum() / size.sum())
    return found


def failure(row_id: str, error: Exception | str) -> dict[str, Any]:
    """Return what is written about a row that has no result.

    Args:
        row_id: of the row.
        error: why; the message of an error that is not of this package follows its name.
    """
    text = str(error)
    if not isinstance(error, str | InputError):
        text = f"{type(error).__name__}: {text}"
    nothing = {name: _NOTHING.get(k, []) for name, k in KINDS.items()}
    return {**nothing, "id": row_id, "error": valid(text)}


def valid(text: str) -> str:
    """Return a text that UTF-8 can hold: halves of surrogate pairs are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def features_of(kinds: Mapping[str, str], scalar: Mapping[str, Any], listed: Any) -> dict[str, Any]:
    """Return the type of each column in the words of some library.

    Args:
        kinds: of columns, as :data:`KINDS`.
        scalar: types of ``text``, ``int``, ``float`` and ``flag``.
        listed: makes of a type that of a list.
    """

    def of(kind: str) -> Any:
        if kind == "matrix":
            return listed(listed(scalar["float"]))
        return scalar[kind] if kind in scalar else listed(scalar[kind.removesuffix("s")])

    return {name: of(kind) for name, kind in kinds.items()}


def checked_lengths(given: Mapping[str, Sequence[Any]]) -> int:
    """Return how many rows a batch has.

    Raises:
        InputError: its columns have different lengths.
    """
    lengths = {name: len(column) for name, column in given.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"the columns of a batch have different lengths: {said}.")
    return next(iter(lengths.values()))

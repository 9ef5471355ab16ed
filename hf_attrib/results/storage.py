"""Attributions as JSON files: lossless, whole or absent, and never code."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.results.attribution import Attribution
from hf_attrib.results.formats import FORMATS, Format
from hf_attrib.results.json_value import Value, encoded, record
from hf_attrib.results.run import Run
from hf_attrib.text import Segment, Span, Tokens, TokenSequence

__all__ = ["span_read", "tokens_read", "tokens_written"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_TENSORS = ("scores", "value", "reference_value", "probability")
#: Of a sequence.
_PARTS = ("prompt", "start", "response")
_ERRORS = ("standard_error", "sum_standard_error", "error_bound")


def _written(result: Attribution) -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["run"] = asdict(result.run)
    for part in ("sizes", "contest"):
        numbers = getattr(result.run, part).items()
        content["run"][part] = {name: encoded(list(each)) for name, each in numbers}
    content |= tokens_written(result)
    for name in ("rows", "columns"):
        content[name] = [[s.start, s.stop, s.name] for s in getattr(result, name)]
    content["scores_dtype"] = str(result.scores.dtype).removeprefix("torch.")
    for name in (*_TENSORS, *_ERRORS):
        values = getattr(result, name)
        content[name] = None if values is None else encoded(values.tolist())
    # Derived, for readers of the file; reading computes them anew.
    content["gap"] = encoded(result.gap.tolist())
    content["converged"] = result.converged.tolist()
    content["status"] = list(result.status)
    return content


def _tokens_content(some: Tokens) -> dict[str, Any]:
    content = {name: getattr(some, name) for name in ("pieces", "roles", "offsets", "text")}
    segments = [[s.start, s.stop, s.kind, s.name, s.parent] for s in some.segments]
    return {"ids": some.ids.tolist(), **content, "segments": segments}


def tokens_written(result: Any) -> dict[str, Any]:
    """Return what a result knows of its tokens as JSON can say it, for :func:`tokens_read`.

    Args:
        result: has ``sequence``, ``inputs`` and ``response``; the latter two are written only
            where no sequence is known that they follow from.
    """
    if result.sequence is None:
        both = {name: _tokens_content(getattr(result, name)) for name in ("inputs", "response")}
        return {"sequence": None, **both}
    return {"sequence": {name: _tokens_content(getattr(result.sequence, name)) for name in _PARTS}}


def tokens_read(file: Value, version: int, attribute_to: str) -> dict[str, Any]:
    """Return the arguments ``sequence``, ``inputs`` and ``response`` of a result.

    Args:
        file: the content of a file.
        version: of its format; files of version 1 have neither sequence nor segments.
        attribute_to: which inputs are scored, ``"prompt"`` or ``"all"``.
    """
    tokens = partial(_tokens, version=version)

    def together(value: Value) -> TokenSequence:
        prompt, start, response = (tokens(value.field(name)) for name in _PARTS)
        return TokenSequence(prompt, start, response)

    sequence = None if version == 1 else file.field("sequence").optional(together)
    if sequence is None:
        inputs, response = tokens(file.field("inputs")), tokens(file.field("response"))
    else:
        inputs, response = sequence.scored(attribute_to), sequence.response
    return {"sequence": sequence, "inputs": inputs, "response": response}


def _read(file: Value, version: int) -> Attribution:
    dtype = _DTYPES.get(file.field("scores_dtype").text())
    if dtype is None:
        raise file.field("scores_dtype").wrong(" or ".join(_DTYPES))
    run = record(file.field("run"), Run)
    read = tokens_read(file, version, run.attribute_to)
    rows, columns = (file.field(name).list_of(span_read) for name in ("rows", "columns"))
    for name, spans, of in (("rows", rows, read["response"]), ("columns", columns, read["inputs"])):
        if len(of) and not spans:
            raise ValueError(f"its {name} are empty")
    vector = partial(_vector, count=len(rows), dtype=dtype)
    matrix = partial(_matrix, shape=(len(rows), len(columns)), dtype=dtype)
    return Attribution(
        scores=matrix(file.field("scores")),
        **read,
        value=vector(file.field("value")),
        reference_value=vector(file.field("reference_value")),
        probability=vector(file.field("probability")),
        run=run,
        rows=rows,
        columns=columns,
        standard_error=file.field("standard_error").optional(matrix),
        sum_standard_error=file.field("sum_standard_error").optional(vector),
        error_bound=file.field("error_bound").optional(vector),
    )


def span_read(value: Value) -> Span:
    """Return a span from its start, its stop and its name."""
    start, stop, name = value.entries(3)
    return Span(start.whole(), stop.whole(), name.optional(Value.text))


def _extent(value: Value) -> tuple[int, int]:
    start, stop = value.entries(2)
    return start.whole(), stop.whole()


def _segment(value: Value) -> Segment:
    start, stop, kind, name, parent = value.entries(5)
    return Segment(
        start.whole(), stop.whole(), kind.text(), name.text(), parent.optional(Value.whole)
    )


def _tokens(value: Value, version: int) -> Tokens:
    return Tokens(
        ids=torch.tensor(value.field("ids").list_of(Value.whole), dtype=torch.int64),
        pieces=value.field("pieces").list_of(Value.text),
        roles=value.field("roles").list_of(Value.text),
        offsets=value.field("offsets").list_of(_extent),
        text=value.field("text").text(),
        segments=() if version == 1 else value.field("segments").list_of(_segment),
    )


def _vector(value: Value, count: int, dtype: torch.dtype) -> Tensor:
    exact = torch.tensor([v.number() for v in value.entries(count)], dtype=torch.float64)
    tensor = exact.to(dtype)
    if not torch.equal(tensor.isfinite(), exact.isfinite()):
        raise ValueError(f"its {value.where} has numbers too large for its scores_dtype")
    return tensor


def _matrix(value: Value, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.stack([_vector(row, shape[1], dtype) for row in value.entries(shape[0])])


FORMATS[Attribution] = Format("hf_attrib.attribution", "attribution", 2, _written, _read)

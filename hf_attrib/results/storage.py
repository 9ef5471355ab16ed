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
from hf_attrib.results.passages.result import Passages
from hf_attrib.results.run import Run
from hf_attrib.results.tokens_storage import span_read, tokens_read, tokens_written

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_TENSORS = ("scores", "value", "reference_value", "probability")
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
    table = result.passages
    content["passages"] = None if table is None else FORMATS[Passages].write(table)
    return content


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
        # Which is not in files from before there was any.
        passages=Value(file.mapping().get("passages"), "passages").optional(_passages),
    )


def _passages(value: Value) -> Passages:
    read: Passages = FORMATS[Passages].read(value, FORMATS[Passages].version)
    return read


def _vector(value: Value, count: int, dtype: torch.dtype) -> Tensor:
    exact = torch.tensor([v.number() for v in value.entries(count)], dtype=torch.float64)
    tensor = exact.to(dtype)
    if not torch.equal(tensor.isfinite(), exact.isfinite()):
        raise ValueError(f"its {value.where} has numbers too large for its scores_dtype")
    return tensor


def _matrix(value: Value, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.stack([_vector(row, shape[1], dtype) for row in value.entries(shape[0])])


FORMATS[Attribution] = Format("hf_attrib.attribution", "attribution", 2, _written, _read)

"""Interactions as JSON files: lossless, whole or absent, and never code."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.results.formats import FORMATS, Format
from hf_attrib.results.interactions import Interactions
from hf_attrib.results.json_value import Value, encoded, record
from hf_attrib.results.run import Run
from hf_attrib.results.tokens_storage import span_read, tokens_read, tokens_written

_VECTORS = ("start_value", "end_value", "probability")
#: Version of the format of tokens.
_TOKENS = 2


def _written(result: Interactions) -> dict[str, Any]:
    sizes = {name: encoded(list(each)) for name, each in result.run.sizes.items()}
    content: dict[str, Any] = {"run": asdict(result.run) | {"sizes": sizes}}
    content |= tokens_written(result) | {"token": result.token}
    for name in ("rows", "columns"):
        content[name] = [[s.start, s.stop, s.name] for s in getattr(result, name)]
    for name in ("matrix", "attribution", "standard_error", *_VECTORS):
        values = getattr(result, name)
        content[name] = None if values is None else encoded(values.tolist())
    # Derived, for readers of the file; reading computes it anew.
    content["gap"] = encoded(result.gap.tolist())
    return content


def _read(file: Value, version: int) -> Interactions:
    run = record(file.field("run"), Run)
    rows, columns = (file.field(name).list_of(span_read) for name in ("rows", "columns"))
    count, groups = len(rows), len(columns)
    if not rows or not columns:
        raise ValueError("its rows or columns are empty")
    cube = partial(_numbers, shape=(count, groups, groups))
    vectors: dict[str, Any] = {n: _numbers(file.field(n), (count,)) for n in _VECTORS}
    return Interactions(
        **tokens_read(file, _TOKENS, run.attribute_to),
        **vectors,
        matrix=cube(file.field("matrix")),
        attribution=_numbers(file.field("attribution"), (count, groups)),
        standard_error=file.field("standard_error").optional(cube),
        run=run,
        rows=rows,
        columns=columns,
        token=file.field("token").optional(Value.whole),
    )


def _numbers(value: Value, shape: tuple[int, ...]) -> Tensor:
    """Return numbers of a shape, from lists within lists."""
    entries = value.entries(shape[0])
    if len(shape) == 1:
        return torch.tensor([each.number() for each in entries], dtype=torch.float64)
    return torch.stack([_numbers(each, shape[1:]) for each in entries])


FORMATS[Interactions] = Format("hf_attrib.interactions", "interactions", 1, _written, _read)

"""Results about passages as JSON files: lossless, whole or absent, and never code."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.results.formats import FORMATS, Format
from hf_attrib.results.json_value import Value, encoded, record
from hf_attrib.results.passages.coalitions import Coalitions, players_of
from hf_attrib.results.passages.result import Passages
from hf_attrib.results.run import Run
from hf_attrib.results.tokens_storage import span_read, tokens_read, tokens_written

#: Version of the format of tokens.
_TOKENS = 2


def _written(result: Passages) -> dict[str, Any]:
    sizes = {name: encoded(list(each)) for name, each in result.run.sizes.items()}
    content: dict[str, Any] = {"run": asdict(result.run) | {"sizes": sizes}}
    content |= tokens_written(result) | {"threshold": result.threshold}
    content["spans"] = [[s.start, s.stop, s.name] for s in result.spans]
    content["extents"] = [list(extent) for extent in result.extents]
    # Of each subset the numbers of those that are kept.
    content["subsets"] = [
        [i for i, kept in enumerate(row) if kept] for row in result.table.subsets.tolist()
    ]
    content["values"] = encoded(result.table.values.tolist())
    for name in ("scores", "standard_error", "probability"):
        values = getattr(result, name)
        content[name] = None if values is None else encoded(values.tolist())
    content["sentences"] = None if result.sentences is None else _written(result.sentences)
    return content


def _read(file: Value, version: int) -> Passages:
    run = record(file.field("run"), Run)
    tokens = tokens_read(file, _TOKENS, run.attribute_to)
    spans, targets = file.field("spans").list_of(span_read), len(tokens["response"])
    count = len(spans)
    members = file.field("subsets").list_of(_players if version == 1 else _numbers)
    if any(i >= count for some in members for i in some):
        raise ValueError(f"its subsets are not of {count} passages")
    kept = torch.zeros(len(members), count, dtype=torch.bool)
    for row, some in zip(kept, members, strict=True):
        row[list(some)] = True
    by_passage = partial(_matrix, shape=(count, targets))
    probability = file.field("probability").entries(targets)
    return Passages(
        **tokens,
        table=Coalitions(kept, _matrix(file.field("values"), (len(members), targets))),
        scores=by_passage(file.field("scores")),
        spans=spans,
        extents=file.field("extents").list_of(_extent),
        probability=torch.tensor([each.number() for each in probability], dtype=torch.float64),
        run=run,
        threshold=file.field("threshold").number(),
        standard_error=file.field("standard_error").optional(by_passage),
        # Which files of version 1 do not have.
        sentences=Value(file.mapping().get("sentences"), "sentences").optional(
            partial(_read, version=version)
        ),
    )


def _players(value: Value) -> tuple[int, ...]:
    """Return the members of a subset as files of version 1 have it: a number's bits."""
    return players_of(value.whole())


def _numbers(value: Value) -> tuple[int, ...]:
    return value.list_of(Value.whole)


def _extent(value: Value) -> tuple[int, int]:
    start, stop = value.entries(2)
    return start.whole(), stop.whole()


def _matrix(value: Value, shape: tuple[int, int]) -> Tensor:
    rows = [[each.number() for each in row.entries(shape[1])] for row in value.entries(shape[0])]
    return torch.tensor(rows, dtype=torch.float64).reshape(shape)


FORMATS[Passages] = Format("hf_attrib.passages", "result about passages", 2, _written, _read)

"""Robustness results as JSON files: lossless, whole or absent, and never code."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.results import FORMATS, Format, tokens_read, tokens_written
from hf_attrib.results.json_value import Value, encoded, record
from hf_attrib.robustness.result import AttackRun, Robustness

_VECTORS = ("probability", "margin", "radius", "failed", "attacked_margin")
_MATRICES = ("drop", "share")
_IDS = ("nearest", "towards")


def _written(result: Robustness) -> dict[str, Any]:
    content: dict[str, Any] = {"run": asdict(result.run)}
    content |= tokens_written(result)
    content |= {n: encoded(getattr(result, n).tolist()) for n in (*_VECTORS, *_MATRICES)}
    content["flips_to"] = result.flips_to.tolist()
    # Files have no negative ids: null stands for none.
    for name in _IDS:
        rows = getattr(result, name).tolist()
        content[name] = [[None if i < 0 else i for i in row] for row in rows]
    content["names"] = [[i, name] for i, name in result.names.items()]
    return content


def _read(file: Value, version: int) -> Robustness:
    run = record(file.field("run"), AttackRun)
    read = tokens_read(file, version, run.attribute_to)
    targets, inputs = len(read["response"]), len(read["inputs"])
    vector = partial(_numbers, count=targets)

    def matrix(value: Value, entries: Any) -> Tensor:
        rows = [entries(row, count=inputs) for row in value.entries(targets)]
        return torch.stack(rows) if rows else torch.zeros(0, inputs)

    tensors: dict[str, Any] = {n: vector(file.field(n)) for n in _VECTORS}
    tensors |= {n: matrix(file.field(n), _numbers) for n in _MATRICES}
    tensors |= {n: matrix(file.field(n), _ids) for n in _IDS}
    return Robustness(
        **read,
        **tensors,
        flips_to=_ids(file.field("flips_to"), count=targets),
        names=dict(map(_name, file.field("names").entries())),
        run=run,
    )


def _numbers(value: Value, count: int) -> Tensor:
    return torch.tensor([v.number() for v in value.entries(count)], dtype=torch.float64)


def _ids(value: Value, count: int) -> Tensor:
    found = [v.optional(Value.whole) for v in value.entries(count)]
    return torch.tensor([-1 if i is None else i for i in found], dtype=torch.int64)


def _name(value: Value) -> tuple[int, str]:
    token, name = value.entries(2)
    return token.whole(), name.text()


FORMATS[Robustness] = Format("hf_attrib.robustness", "robustness result", 2, _written, _read)

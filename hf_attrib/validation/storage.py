"""Evaluations as JSON files: lossless, whole or absent, and never code."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_attrib.results import FORMATS, Format
from hf_attrib.results.json_value import Value, encoded, record
from hf_attrib.validation.evaluation import OPERATORS
from hf_attrib.validation.metrics import Array
from hf_attrib.validation.result import Contestant, Evaluation, EvaluationRun, JudgedPrompt

__all__ = ["numbers"]

_NUMBERS = ("values", "controls", "curves", "random_curves", "seconds", "gap")
_COUNTS = ("forward_rows", "backward_rows")


def numbers(value: Value) -> Array:
    """Return nested lists of numbers as an array.

    Args:
        value: of a file.

    Raises:
        ValueError: they are none, or lists of several lengths.
    """

    def read(each: Value) -> Any:
        return [read(e) for e in each.entries()] if type(each.content) is list else each.number()

    return np.asarray(read(value), dtype=np.float64)


def _written(result: Evaluation) -> dict[str, Any]:
    content: dict[str, Any] = {"run": asdict(result.run)}
    content |= {n: [asdict(each) for each in getattr(result, n)] for n in ("methods", "prompts")}
    content |= {n: encoded(getattr(result, n).tolist()) for n in _NUMBERS}
    content |= {n: getattr(result, n).tolist() for n in _COUNTS}
    # Derived, for readers of the file; reading computes it anew.
    content["table"] = [{n: _plain(v) for n, v in row.items()} for row in result.table()]
    return content


def _plain(value: Any) -> Any:
    return encoded(value) if isinstance(value, float) else value


def _read(file: Value, version: int) -> Evaluation:
    tensors: dict[str, Tensor] = {n: torch.from_numpy(numbers(file.field(n))) for n in _NUMBERS}
    for name in _COUNTS:
        rows = file.field(name).list_of(lambda row: row.list_of(Value.whole))
        tensors[name] = torch.tensor(rows, dtype=torch.int64)
    run = record(file.field("run"), EvaluationRun)
    if unknown := [name for name in run.operators if name not in OPERATORS]:
        raise ValueError(f"operator {unknown[0]!r} is unknown")
    return Evaluation(
        **tensors,
        methods=file.field("methods").list_of(partial(record, kind=Contestant)),
        prompts=file.field("prompts").list_of(partial(record, kind=JudgedPrompt)),
        run=run,
    )


FORMATS[Evaluation] = Format("hf_attrib.evaluation", "evaluation", 1, _written, _read)

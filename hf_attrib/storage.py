"""Attributions as JSON files: lossless, whole or absent, and never code."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from hf_attrib.attribution import Attribution
from hf_attrib.errors import InputError, ResultFileError
from hf_attrib.run import Run
from hf_attrib.tokens import Span, Tokens

__all__ = ["load", "save", "to_json", "write_atomically"]

_FORMAT = "hf_attrib.attribution"
_FORMAT_VERSION = 1
_TENSORS = ("scores", "value", "reference_value", "probability")
_ERRORS = ("standard_error", "sum_standard_error")


def write_atomically(path: Path, content: str) -> None:
    """Write a text file so that readers see the old or the new one, never half of it.

    Raises:
        InputError: the path is a device, a folder or the like, which a rename would replace.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {path}: it is no regular file.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp hides the file from everyone else
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(result: Attribution, path: str | os.PathLike[str]) -> None:
    """Write a result as JSON, whole or not at all."""
    write_atomically(Path(path), to_json(result))


def to_json(result: Attribution) -> str:
    """Return a result as JSON text; :func:`load` gives the same result back, to the last bit."""
    return json.dumps(_to_json(result), indent=1, allow_nan=False) + "\n"


def load(path: str | os.PathLike[str]) -> Attribution:
    """Read a result that :meth:`Attribution.save` wrote.

    Raises:
        ResultFileError: the file is no saved attribution or comes from a newer version.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ResultFileError(f"{path} is not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path} is not JSON ({error}).") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ResultFileError(f"{path} is not a saved attribution: expected format {_FORMAT!r}.")
    if content.get("format_version") != _FORMAT_VERSION:
        raise ResultFileError(
            f"{path} has format version {content.get('format_version')}; this hf_attrib reads "
            f"{_FORMAT_VERSION}. Update hf_attrib."
        )
    try:
        return _from_json(content)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ResultFileError(f"{path} is damaged: {error!r}.") from None


def _to_json(result: Attribution) -> dict[str, Any]:
    content: dict[str, Any] = {"format": _FORMAT, "format_version": _FORMAT_VERSION}
    content["run"] = asdict(result.run)
    for name in ("inputs", "response"):
        tokens: Tokens = getattr(result, name)
        content[name] = {
            "ids": tokens.ids.tolist(),
            "pieces": tokens.pieces,
            "roles": tokens.roles,
            "offsets": tokens.offsets,
            "text": tokens.text,
        }
    for name in ("rows", "columns"):
        content[name] = [[s.start, s.stop, s.name] for s in getattr(result, name)]
    content["scores_dtype"] = str(result.scores.dtype).removeprefix("torch.")
    for name in (*_TENSORS, *_ERRORS):
        values = getattr(result, name)
        content[name] = None if values is None else _plain(values.tolist())
    # Derived, for readers of the file; `load` computes them anew.
    content["gap"] = _plain(result.gap.tolist())
    content["converged"] = result.converged.tolist()
    return content


def _from_json(content: Mapping[str, Any]) -> Attribution:
    dtype = {"float32": torch.float32, "float64": torch.float64}[content["scores_dtype"]]

    def tensor(name: str) -> Tensor:
        return torch.tensor(_numbers(content[name]), dtype=dtype)

    def spans(name: str) -> tuple[Span, ...]:
        named = [(int(a), int(b), text) for a, b, text in content[name]]
        return tuple(Span(a, b, None if text is None else "".join([text])) for a, b, text in named)

    def tokens(name: str) -> Tokens:
        part = content[name]
        return Tokens(
            ids=torch.tensor(part["ids"], dtype=torch.int64),
            pieces=tuple("".join([piece]) for piece in part["pieces"]),
            roles=tuple(part["roles"]),
            offsets=tuple((int(a), int(b)) for a, b in part["offsets"]),
            text="".join([part["text"]]),  # join takes nothing but text
        )

    rows, columns = spans("rows"), spans("columns")
    errors = {name: tensor(name) for name in _ERRORS if content[name] is not None}
    return Attribution(
        inputs=tokens("inputs"),
        response=tokens("response"),
        run=_run(content["run"]),
        rows=rows,
        columns=columns,
        **{name: tensor(name) for name in _TENSORS},
        **errors,
    )


def _run(content: Mapping[str, Any]) -> Run:
    """Return the record of a run, refusing values of another type than it had."""
    lists: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in content.items()
    }
    run = Run(**lists)
    for name, hint in get_type_hints(Run).items():
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        plain = tuple(get_origin(kind) or kind for kind in kinds)
        value = getattr(run, name)
        # JSON writes 1.0 as 1 in other hands; too large a number overflows here, not later.
        whole = hint is float and type(value) is int
        if not isinstance(float(value) if whole else value, plain):
            raise TypeError(f"{name} is {value!r:.40}")
        if isinstance(value, tuple):
            entry = int if name == "contrast_ids" else str
            if not all(type(one) is entry for one in value):
                raise TypeError(f"{name} is {value!r:.40}")
    return run


def _plain(values: Any) -> Any:
    """Replace what JSON cannot say (NaN, infinities) by None or a word."""
    if isinstance(values, list):
        return [_plain(v) for v in values]
    if math.isnan(values):
        return None
    return values if math.isfinite(values) else str(values)


def _numbers(values: Any) -> Any:
    if isinstance(values, list):
        return [_numbers(v) for v in values]
    return math.nan if values is None else float(values)

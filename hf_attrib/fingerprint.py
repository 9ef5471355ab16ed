"""Short texts that tell whether two processes hold the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["fingerprint"]


def fingerprint(thing: Any) -> str:
    """Return a text that is the same wherever a thing has the same content.

    Tensors count by all of their content and not by their device, functions by their name.
    """
    return _hash(_written(thing).encode())


def _hash(content: Any) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _written(thing: Any) -> str:
    """Write a thing down with all that it holds, but not where in memory it is."""
    if isinstance(thing, str):
        return repr(thing)
    if isinstance(thing, Tensor):
        # As bytes, since numpy lacks some types.
        content = thing.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return f"{thing.dtype} {tuple(thing.shape)} {_hash(content)}"
    if isinstance(thing, np.ndarray):
        return _written(thing.tolist())
    if is_dataclass(thing) and not isinstance(thing, type):
        values = {f.name: getattr(thing, f.name) for f in fields(thing)}
        return type(thing).__name__ + _written(values)
    if isinstance(thing, Mapping):
        return _written(sorted((_written(k), _written(v)) for k, v in thing.items()))
    if isinstance(thing, list | tuple):
        return f"[{', '.join(map(_written, thing))}]"
    if isinstance(thing, set | frozenset):
        return _written(sorted(map(_written, thing)))
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))

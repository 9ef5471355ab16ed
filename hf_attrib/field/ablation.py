"""How an input is taken away, where methods ask what f would be without it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["MODES"]

#: Ways to take inputs away, by name. Only ``embed`` lies on a path of embeddings; the others are
#: answered by a model alone.
MODES: Mapping[str, str] = MappingProxyType(
    {
        "embed": "their embeddings are those of the reference x'",
        "token": "their ids are those of a token that stands for nothing",
        "attention": "nothing attends to them; positions stay what they are",
        "drop": "they are cut out of the sequence, so that what follows moves up",
    }
)

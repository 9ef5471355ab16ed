"""The beginning of a prompt that never moves: run once, its keys and values serve every row."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

__all__ = ["Prefix", "unmoving"]

#: Layers that hold keys and values and nothing else. States of recurrent layers are not among
#: them: several models continue wrongly from these with more than one token.
_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of the first positions of B sequences.

    Args:
        length: how many positions.
        cache: what a model returned for them.
    """

    length: int
    cache: DynamicCache

    @classmethod
    def of(cls, model: Any, inputs: dict[str, Tensor]) -> Prefix | None:
        """Run a prefix; return ``None`` if what the model keeps of it is not keys and values.

        Args:
            model: a causal language model.
            inputs: ids and mask of the prefixes, [B, p].
        """
        with torch.no_grad():
            cache = model(**inputs, use_cache=True, return_dict=True).get("past_key_values")
        if type(cache) is not DynamicCache or {type(s) for s in cache.layers} - set(_LAYERS):
            return None
        return cls(inputs["input_ids"].shape[1], cache)

    def rows(self, sequence: Tensor) -> DynamicCache:
        """Return a copy for rows of these sequences, [R], that a forward pass may add to."""
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(sequence)
        return cache


def unmoving(movable: Tensor, positions: Tensor) -> int:
    """Return how many decoder positions come before any that moves or predicts a target.

    Args:
        movable: [B, L] bool.
        positions: where targets are predicted, [B, T].
    """
    moves = movable.any(0).nonzero()[:1, 0]
    return int(torch.cat([moves, positions.flatten()]).min())

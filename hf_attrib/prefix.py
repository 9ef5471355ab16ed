"""The beginning of a prompt that never moves: run once, its keys and values serve every row."""

from __future__ import annotations

import copy
from collections.abc import Iterable
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
    def of(cls, model: Any, sequences: Iterable[dict[str, Any]]) -> Prefix | None:
        """Run prefixes; return ``None`` if what the model keeps of them is not keys and values.

        Args:
            model: a causal language model.
            sequences: for each, ids and mask of its prefix, [1, p].
        """
        caches = []
        for inputs in sequences:  # one by one, which takes no more memory than a row
            with torch.no_grad():
                cache = model(**inputs, use_cache=True, return_dict=True).get("past_key_values")
            if type(cache) is not DynamicCache or {type(s) for s in cache.layers} - set(_LAYERS):
                return None
            caches.append(cache)
        for layers in zip(*(cache.layers for cache in caches), strict=True):
            for name in ("keys", "values"):
                setattr(layers[0], name, torch.cat([getattr(layer, name) for layer in layers]))
        return cls(inputs["input_ids"].shape[1], caches[0])

    def rows(self, sequence: Tensor) -> DynamicCache:
        """Return a copy for rows of these sequences, [R], that a forward pass may add to."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[sequence], layer.values[sequence]
        return cache


def unmoving(movable: Tensor, positions: Tensor) -> int:
    """Return how many decoder positions come before any that moves or predicts a target.

    Args:
        movable: [B, L] bool.
        positions: where targets are predicted, of any shape.
    """
    moves = movable.any(0).nonzero()[:1, 0]
    return int(torch.cat([moves, positions.flatten()]).min())

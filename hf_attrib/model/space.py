"""The embedding space of a transformers model around a batch: tables and references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_attrib.baselines import Baseline, Draw
from hf_attrib.errors import InputError
from hf_attrib.field import Space, Table
from hf_attrib.model.batch import Batch
from hf_attrib.model.devices import device_of
from hf_attrib.model.sites import Sites, vocabulary

__all__ = ["space_of", "table_of"]


def table_of(module: nn.Module) -> Table:
    """Look embeddings up through the hooked module itself, so that its scaling is included.

    Args:
        module: a token embedding module.
    """
    device = device_of(module)

    def embed(ids: Tensor) -> Tensor:
        with torch.no_grad():
            embeddings: Tensor = module(ids[None].to(device))[0]
        return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))

    return Table(embed, vocabulary(module))


def space_of(
    model: Any, sites: Sites, batch: Batch, baseline: Baseline, x: Tensor, scored: int
) -> Space:
    """Return the space around a batch.

    Args:
        model: the model.
        sites: its embedding modules.
        batch: B sequences.
        baseline: what references are.
        x: embeddings of the batch, [B, 1, N, D].
        scored: how many inputs of the first sequence are scored.

    Raises:
        InputError: the baseline does not fit the embeddings.
    """
    if baseline.given is not None:
        _check_given(baseline.given, x, scored)
    tables = tuple(table_of(module) for module in sites.modules.values())
    encoder, decoder = batch.encoder_ids.shape[1], batch.decoder_ids.shape[1]
    owner = torch.tensor([0] * encoder + [len(tables) - 1] * decoder)
    places = _Places(batch, baseline, tables, owner, x, model.dtype)
    return Space(tables, owner, places.reference)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where references go: to the positions of a batch that move."""

    batch: Batch
    baseline: Baseline
    tables: tuple[Table, ...]
    owner: Tensor
    x: Tensor
    dtype: torch.dtype

    def reference(self, sample: int, seed: int) -> Tensor:
        """Return reference embeddings, [B, 1, N, D]: x wherever inputs do not move."""
        moved = self.x[:, 0].clone()
        if self.baseline.given is not None:
            moved[0, : len(self.baseline.given)] = self.baseline.given.to(self.x)
        else:
            self._draw(moved, sample, seed)
        # What the model will see: a reference rounded to its own precision.
        rounded = moved[:, None].to(self.dtype).to(self.x)
        return torch.where(self.batch.movable[:, None, :, None].to(self.x.device), rounded, self.x)

    def _draw(self, into: Tensor, sample: int, seed: int) -> None:
        """Draw for each sequence and table anew, whatever else is in the batch."""
        for b, moves in enumerate(self.batch.movable):
            for side, table in enumerate(self.tables):
                places = (moves & (self.owner == side)).nonzero()[:, 0]
                if len(places):
                    draw = Draw(sample, len(places), seed, side)
                    drawn = self.baseline.embedding(table, draw)
                    _check_width(drawn, into)
                    into[b, places.to(into.device)] = drawn.to(into)


def _check_given(embeddings: Tensor, x: Tensor, scored: int) -> None:
    if len(x) != 1 or tuple(embeddings.shape) != (scored, x.shape[-1]):
        raise InputError(
            f"the baseline is {tuple(embeddings.shape)}; expected one prompt and "
            f"{(scored, x.shape[-1])} (its scored tokens, embedding width)."
        )


def _check_width(drawn: Tensor, x: Tensor) -> None:
    if drawn.shape[-1] != x.shape[-1]:
        raise InputError(
            f"the baseline is {drawn.shape[-1]} wide; the embeddings are {x.shape[-1]}."
        )

"""The embedding space of a transformers model around a batch: tables and references."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hf_attrib.baselines import Baseline, Draw
from hf_attrib.field import Space, Table
from hf_attrib.model.batch import Batch
from hf_attrib.model.devices import device_of
from hf_attrib.model.sites import Sites, vocabulary

__all__ = ["space_of", "tables_of"]


def _table_of(module: nn.Module) -> Table:
    """Look embeddings up through the hooked module itself, so that its scaling is included.

    Args:
        module: a token embedding module.
    """
    device = device_of(module)

    def embed(ids: Tensor) -> Tensor:
        with torch.no_grad():
            embeddings: Tensor = module(ids[None].to(device))[0]
        # A hook of the user's may make it require a gradient, as training adapters takes.
        return embeddings.detach().to(torch.promote_types(embeddings.dtype, torch.float32))

    return Table(embed, vocabulary(module))


def tables_of(sites: Sites) -> tuple[Table, ...]:
    """Return the tables that embed tokens: one, or an encoder's and a decoder's.

    Args:
        sites: a model's embedding modules.
    """
    return tuple(_table_of(module) for module in sites.modules.values())


def space_of(
    dtype: torch.dtype,
    tables: tuple[Table, ...],
    batch: Batch,
    baseline: Baseline,
    x: Tensor,
    stand_in: int | None,
) -> Space:
    """Return the space around a batch.

    Args:
        dtype: the model's, to which references are rounded.
        tables: that embed tokens.
        batch: B sequences.
        baseline: what references are, which fits the tables.
        x: embeddings of the batch, [B, 1, N, D].
        stand_in: id of a token that stands for nothing, if there is one.
    """
    encoder, decoder = batch.encoder_ids.shape[1], batch.decoder_ids.shape[1]
    table_of = torch.tensor([0] * encoder + [len(tables) - 1] * decoder)
    places = _Places(dtype, tables, table_of, batch, baseline, x)
    return Space(tables, table_of, places.reference, x, stand_in)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where references go: to the positions of a batch that move."""

    dtype: torch.dtype
    tables: tuple[Table, ...]
    table_of: Tensor
    batch: Batch
    baseline: Baseline
    x: Tensor

    def reference(self, sample: int, seed: int) -> Tensor:
        """Return reference embeddings, [B, 1, N, D]: x wherever inputs do not move."""
        moved, laid_out = self.x[:, 0].clone(), self.baseline.laid_out
        if laid_out is not None:
            moved[0, : len(laid_out)] = laid_out.to(self.x)
        else:
            self._draw(moved, sample, seed)
        # What the model will see: a reference rounded to its own precision.
        rounded = moved[:, None].to(self.dtype).to(self.x)
        return torch.where(self.batch.movable[:, None, :, None].to(self.x.device), rounded, self.x)

    def _draw(self, into: Tensor, sample: int, seed: int) -> None:
        """Draw for each sequence and table anew, whatever else is in the batch."""
        for b, moves in enumerate(self.batch.movable):
            for side, table in enumerate(self.tables):
                places = (moves & (self.table_of == side)).nonzero()[:, 0]
                if len(places):
                    drawn = self.baseline.embedding(table, Draw(sample, len(places), seed, side))
                    into[b, places.to(into.device)] = drawn.to(into)

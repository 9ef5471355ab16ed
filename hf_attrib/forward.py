"""A forward pass of a transformers model over rows of a batch, with its embeddings replaced."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hf_attrib.batch import Batch
from hf_attrib.errors import UnsupportedModelError
from hf_attrib.inject import Sites

__all__ = ["Forward", "inputs_of", "select"]


class Forward:
    """Runs rows of a batch through a model.

    Args:
        model: a causal or encoder-decoder language model.
        sites: its embedding modules.
        batch: B sequences.
    """

    def __init__(self, model: Any, sites: Sites, batch: Batch) -> None:
        self.model = model
        self.sites = sites
        self.batch = batch
        self.device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._selects_logits = "logits_to_keep" in accepted
        self._takes_positions = "position_ids" in accepted and sites.encoder is None

    def reach(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return how many decoder positions must run for each column of targets [R, C], [C]."""
        return self.batch.positions[sequence].gather(1, target).amax(0) + 1

    def logits(self, sequence: Tensor, target: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Run rows forward; return logits [R, M, V] and the place of each target in M, [R, C].

        Nothing behind the first ``length`` decoder positions is run.
        """
        batch, rows = self.batch, sequence
        positions = batch.positions[sequence].gather(1, target)
        keep, index = positions.unique(return_inverse=True)
        ids, mask = batch.decoder_ids[rows, :length], batch.decoder_mask[rows, :length]
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.sites.encoder is not None:
            inputs = {f"decoder_{name}": value for name, value in inputs.items()}
            inputs["input_ids"] = batch.encoder_ids[rows]
            inputs["attention_mask"] = batch.encoder_mask[rows]
        if self._takes_positions:
            # As generate() passes them; the RoBERTa family counts differently by itself.
            inputs["position_ids"] = torch.arange(length).expand(len(rows), -1)
        if self._selects_logits:
            inputs["logits_to_keep"] = keep
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        logits = self.model(**inputs, use_cache=False, return_dict=True).logits
        if logits.shape[1] == length:  # all of them came, or all were asked for
            index = positions
        elif logits.shape[1] != len(keep):
            raise UnsupportedModelError(
                f"{type(self.model).__name__} returned logits for {logits.shape[1]} positions; "
                f"expected {len(keep)} selected ones or all {length}."
            )
        return logits, index

    def join(self, embeddings: dict[str, Tensor]) -> Tensor:
        """Join the sites' embeddings to [R, N, D]."""
        sides = [embeddings[site].to(self.device) for site in self.sites.modules]
        if len({side.shape[-1] for side in sides}) > 1:
            raise UnsupportedModelError(
                f"{type(self.model).__name__} embeds encoder and decoder tokens in different "
                f"widths, {[side.shape[-1] for side in sides]}; one width is needed."
            )
        return torch.cat(sides, 1)

    def split(self, points: Tensor, length: int) -> dict[str, Tensor]:
        """Split points [R, N, D] into the sites' embeddings, the decoder's of some length."""
        encoder = self.batch.encoder_ids.shape[1]
        sides = {"encoder": points[:, :encoder], "decoder": points[:, encoder : encoder + length]}
        return {site: sides[site] for site in self.sites.modules}


def select(logits: Tensor, index: Tensor) -> Tensor:
    """Return logits [R, C, V] at places [R, C] (on the CPU) of [R, M, V]."""
    rows = len(index)
    if torch.equal(index, torch.arange(logits.shape[1]).expand(rows, -1)):
        return logits  # all of them in order: no copy of the largest tensor of the run
    return logits[torch.arange(rows)[:, None].to(logits.device), index.to(logits.device)]


@contextmanager
def inputs_of(head: nn.Module | None, into: list[Tensor]) -> Iterator[None]:
    """Collect what a module is called with inside the context."""
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda module, args: into.extend(args[:1]))
    try:
        yield
    finally:
        handle.remove()

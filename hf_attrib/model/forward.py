"""A forward pass of a transformers model over rows of a batch, with its embeddings replaced.

The beginning of a prompt that never moves is run once; its keys and values serve every row. So do
those of longer beginnings, for rows that begin as the prompt does and differ later.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.model.batch import Batch
from hf_attrib.model.devices import device_of
from hf_attrib.model.hooks import hooked
from hf_attrib.model.sites import Sites

__all__ = ["Forward", "Prefix", "Starts", "inputs_of", "run_once", "select", "unmoving"]


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
        self.device = device_of(sites.modules["decoder"])
        accepted = inspect.signature(model.forward).parameters
        self._selects_logits = "logits_to_keep" in accepted
        self._takes_positions = "position_ids" in accepted and sites.encoder is None
        self._takes_cache = "past_key_values" in accepted and sites.encoder is None
        #: Positions that are not run again, if any.
        self.prefix: Prefix | None = None
        #: What the model keeps of its passes, where somebody asks for it.
        self.kept: list[Any] | None = None
        #: What the model returns with its attention, where somebody asks for it.
        self.attending: list[Any] | None = None

    @property
    def skipped(self) -> int:
        """How many positions the prefix stands for."""
        return 0 if self.prefix is None else self.prefix.length

    def reuse(self, length: int) -> None:
        """Run the first positions of all sequences once for all rows, where the model allows it."""
        if self._takes_cache:
            every = torch.arange(len(self.batch.decoder_ids)).split(1)
            self.prefix = Prefix.of(self.model, (self._prefix(b, length) for b in every))

    def reach(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return how many decoder positions must run for each entry of targets [R, C], [C]."""
        return self.batch.positions[sequence].gather(1, target).amax(0) + 1

    def _prefix(self, sequence: Tensor, length: int) -> dict[str, Any]:
        """Return what the model is called with for a prefix; its logits are not needed."""
        inputs: dict[str, Any] = self._inputs(sequence, length)
        return inputs | ({"logits_to_keep": 1} if self._selects_logits else {})

    def places(self, sequence: Tensor, target: Tensor) -> Tensor:
        """Return where targets [R, C] are predicted among the positions that run, [R, C]."""
        # Padding says 0, wherever the positions begin.
        return (self.batch.positions[sequence].gather(1, target) - self.skipped).clamp_min(0)

    def logits(self, sequence: Tensor, target: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Run rows forward; return logits [R, M, V] and the place of each target in M, [R, C].

        Nothing behind the first ``length`` decoder positions is run.
        """
        positions = self.places(sequence, target)
        keep, index = positions.unique(return_inverse=True)
        inputs: dict[str, Any] = self._inputs(sequence, length)
        if self._selects_logits:
            inputs["logits_to_keep"] = keep.to(self.device)
        if self.prefix is not None:
            inputs["past_key_values"] = self.prefix.rows(sequence)
        cached = self.prefix is not None or self.kept is not None
        if self.attending is not None:
            inputs["output_attentions"] = True
        output = self.model(**inputs, use_cache=cached, return_dict=True)
        if self.attending is not None:
            self.attending.append(output)
        if self.kept is not None:
            self.kept.append(output.get("past_key_values"))
        logits = output.logits
        if logits.shape[1] == length - self.skipped:  # all of them came, or all were asked for
            index = positions
        elif logits.shape[1] != len(keep):
            more = logits.shape[1] - (length - self.skipped)
            cause = (
                f", so it reads {more} of its own besides, as adapters with virtual tokens do; "
                "explain it without them"
            )
            raise UnsupportedModelError(
                f"{type(self.model).__name__} returned logits for {logits.shape[1]} positions; "
                f"expected {len(keep)} selected ones or all {length - self.skipped}"
                f"{cause if more > 0 else ''}."
            )
        return logits, index

    def _inputs(self, rows: Tensor, length: int) -> dict[str, Tensor]:
        """Return what the model is called with for rows [R] up to a decoder position."""
        batch, run = self.batch, slice(self.skipped, length)
        inputs = {
            "input_ids": batch.decoder_ids[rows, run],
            "attention_mask": batch.decoder_mask[rows, :length],
        }
        if self.sites.encoder is not None:
            inputs = {f"decoder_{name}": value for name, value in inputs.items()}
            inputs["input_ids"] = batch.encoder_ids[rows]
            inputs["attention_mask"] = batch.encoder_mask[rows]
        if self._takes_positions:
            # As generate() passes them; the RoBERTa family counts differently by itself.
            inputs["position_ids"] = torch.arange(length)[run].expand(len(rows), -1)
        return {name: value.to(self.device) for name, value in inputs.items()}

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
        """Split points [R, N, D] into the sites' embeddings, the decoder's up to some length."""
        encoder = self.batch.encoder_ids.shape[1]
        run = slice(encoder + self.skipped, encoder + length)
        sides = {"encoder": points[:, :encoder], "decoder": points[:, run]}
        return {site: sides[site] for site in self.sites.modules}


@torch.no_grad()
def run_once(model: Any, prompt: Tensor, written: Tensor) -> None:
    """Run a model once over all that it read and wrote.

    Args:
        model: a causal or encoder-decoder language model.
        prompt: what it was given, [1, S].
        written: what ``generate`` returned; a decoder-only model repeats the prompt there.
    """
    sides = {"input_ids": written}
    if model.config.is_encoder_decoder:
        sides = {"input_ids": prompt, "decoder_input_ids": written}
    model(**sides, use_cache=False)


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
    with hooked(head, "before", lambda module, args: into.extend(args[:1])):
        yield


#: Layers that hold keys and values and nothing else. States of recurrent layers are not among
#: them: several models continue wrongly from these with more than one token.
_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of the first positions of B sequences.

    Args:
        length: how many positions.
        cache: what a model returned for them.
        owner: which of the B sequences each of other sequences begins as, if these are others.
    """

    length: int
    cache: DynamicCache
    owner: Tensor | None = None

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
        sequence = sequence if self.owner is None else self.owner[sequence]
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[sequence], layer.values[sequence]
        return cache


class Starts:
    """Beginnings of sequences as they are, each run once for all rows that have it.

    Args:
        forwards: of these sequences, with prefixes of growing length; the first is for any row.
        x: their inputs, [B, N, D].
    """

    def __init__(self, forwards: Sequence[Forward], x: Tensor) -> None:
        self._forwards, self._x = forwards, x
        self._lengths = torch.tensor([forward.skipped for forward in forwards[1:]])

    def of(self, points: Tensor, sequence: Tensor) -> list[tuple[Forward, Tensor]]:
        """Return what runs rows of points [R, N, D], and which rows, [M] on the CPU."""
        same = (points == self._x[sequence.to(self._x.device)]).all(-1)
        return [(self._forwards[n], rows) for n, rows in self._by_length(same)]

    def of_cut(self, forward: Forward, kept: Tensor, owner: Tensor) -> list[tuple[Forward, Tensor]]:
        """Return what runs rows from which tokens were cut out, and which rows, [M].

        Args:
            forward: of these rows.
            kept: which inputs stay, [R, N] bool.
            owner: which sequence each row is made of, [R].
        """
        batch, parts = forward.batch, []
        behind = torch.where(batch.valid, batch.positions, kept.shape[1]).amin(1, keepdim=True)
        same = kept & (torch.arange(kept.shape[1]) < behind)  # what a target is predicted at, runs
        for n, rows in self._by_length(same):
            own, prefix = copy.copy(forward), self._forwards[n].prefix
            own.prefix = None if prefix is None else replace(prefix, owner=owner)
            parts.append((own, rows))
        return parts

    def _by_length(self, same: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield which beginning rows have that are the same at some inputs, [R, N] bool."""
        place = torch.bucketize(same.long().cumprod(1).sum(1).cpu(), self._lengths, right=True)
        for n in place.unique().tolist():
            yield n, (place == n).nonzero()[:, 0]


def unmoving(movable: Tensor, positions: Tensor) -> int:
    """Return how many decoder positions come before any that moves or predicts a target.

    Args:
        movable: [B, L] bool.
        positions: where targets are predicted, of any shape.
    """
    moves = movable.any(0).nonzero()[:1, 0]
    return int(torch.cat([moves, positions.flatten()]).min())

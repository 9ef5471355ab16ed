"""The field of a transformers model. Together with :mod:`inject`, all that touches one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_attrib.batch import Batch
from hf_attrib.errors import UnsupportedModelError
from hf_attrib.field import Field, Linearisation, Progress, silent
from hf_attrib.inject import Sites, captured, injected
from hf_attrib.targets import TARGETS, Target

__all__ = ["EmbeddingField", "Observation"]

#: Tokens in flight when no batch size is given: some GB of activations on a 7B model.
_TOKENS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Observation:
    """What a model does with a batch left as it is.

    Args:
        x: embeddings at the hooked modules, [B, 1, N, D], float32 or better.
        value: F(x), [B, T].
        probability: of each generated token, [B, T].
    """

    x: Tensor
    value: Tensor
    probability: Tensor

    def of_spans(self, members: Tensor) -> Observation:
        """Return the same of sums of targets: value and probability [B, S].

        Args:
            members: which targets each span adds up, [B, S, T] bool, on the CPU.
        """
        weights = members.to(self.value)
        value = torch.einsum("bt,bst->bs", self.value, weights)
        chances = torch.where(weights > 0, self.probability[:, None], 1)
        return Observation(self.x, value, chances.prod(-1))


class EmbeddingField(Field):
    """A target of a transformers model as a function of its token embeddings.

    One teacher-forced forward gives all T targets, since causal attention keeps later tokens out
    of each of them. The head is differentiated once: its T gradients are seeds for T pullbacks
    through the body, so the vocabulary is paid for once and not T times.

    Args:
        model: a causal or encoder-decoder language model, evaluated in place.
        sites: its embedding modules.
        batch: B sequences.
        target: the scalar to explain.
        batch_size: rows run at once; by default as many as hold about 1,024 tokens.
        progress: called with (nodes done, nodes in all).
    """

    def __init__(
        self,
        model: Any,
        sites: Sites,
        batch: Batch,
        target: Target,
        batch_size: int | None = None,
        progress: Progress = silent,
    ) -> None:
        count, width = batch.movable.shape
        rows = batch_size or max(1, _TOKENS_AT_ONCE // width)
        super().__init__(count, batch.targets.shape[1], batch.movable, rows, progress)
        self.model = model
        self.sites = sites
        self.batch = batch
        self.target = target
        self.resolution = target.resolution
        self.precision = torch.finfo(model.dtype).eps
        self.device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._selects_logits = "logits_to_keep" in accepted
        self._takes_positions = "position_ids" in accepted and sites.encoder is None

    def observe(self) -> Observation:
        """Run the batch as it is."""
        rows = torch.arange(self.sequences).split(self.row_budget)
        parts = zip(*(self._observe(some) for some in rows), strict=True)
        self.forward_rows += 1
        return Observation(*(torch.cat(some) for some in parts))

    def _observe(self, sequence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        target = torch.arange(self.targets).expand(len(sequence), -1)
        found: dict[str, Tensor] = {}
        with torch.no_grad(), captured(self.sites, found):
            logits, index = self._logits(sequence, target)
            value = self._value(logits, index, sequence, target)
            ids = self.batch.targets[sequence].to(logits.device)
            chosen = _select(logits, index).to(_precise(logits.dtype))
            probability = TARGETS["prob"](chosen, ids, None)
        x = self._pack(found)
        if x.shape[:2] != self.batch.movable[sequence].shape:
            raise UnsupportedModelError(
                f"the embeddings of {type(self.model).__name__} are {tuple(x.shape)} where "
                f"{tuple(self.batch.movable[sequence].shape)} (sequences, tokens) were expected."
            )
        return x[:, None].to(_precise(x.dtype)), value, probability

    def valid(self) -> Tensor:
        """Return which targets are no padding of the batch, [B, T] bool."""
        return self.batch.valid

    def reads(self) -> Tensor:
        """Return which inputs each target can depend on, [B, T, N]: none behind its position."""
        encoder, decoder = self.batch.encoder_ids.shape[1], self.batch.decoder_ids.shape[1]
        behind = torch.arange(decoder) > self.batch.positions[..., None]
        return torch.nn.functional.pad(~behind, (encoder, 0), value=True)

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F at injected embeddings, [R, C]."""
        with torch.no_grad(), injected(self.sites, self._unpack(points)):
            return self._value(*self._logits(sequence, target), sequence, target)

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return F at injected embeddings and its pullback."""
        leaf = points.detach().requires_grad_()
        cut: list[Tensor] = []
        with (
            torch.enable_grad(),
            injected(self.sites, self._unpack(leaf)),
            _inputs_of(self.sites.head, cut),
        ):
            logits, index = self._logits(sequence, target)
            value = self._value(logits, index, sequence, target)
        # Where hidden states do not pass through one head, the graph is cut at the logits.
        hidden = [h for h in cut if h.requires_grad and h.shape[:-1] == logits.shape[:-1]]
        split = hidden[0] if len(hidden) == 1 else logits
        seeds = torch.autograd.grad(value.sum(), split)[0]
        nowhere = torch.zeros(seeds.shape[:2]).to(value)

        def pullback(weights: Tensor) -> Tensor:
            here = nowhere.scatter_add(1, index.to(value.device), weights.to(value))[..., None]
            # Where the weight is 0, the seed is, even if it overflows there.
            seed = torch.where(here != 0, here.to(seeds) * seeds, 0)
            return torch.autograd.grad(split, leaf, seed, retain_graph=True)[0]

        return Linearisation(value.detach(), pullback)

    def _logits(self, sequence: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Run rows forward; return logits [R, M, V] and the place of each target in M, [R, C]."""
        batch, rows = self.batch, sequence
        positions = batch.positions[sequence].gather(1, target)
        keep, index = positions.unique(return_inverse=True)
        length = batch.decoder_ids.shape[1]
        inputs = {"input_ids": batch.decoder_ids[rows], "attention_mask": batch.decoder_mask[rows]}
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

    def _value(self, logits: Tensor, index: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F from logits [R, M, V], [R, C]; 0 for targets that only pad the batch."""
        chosen = _select(logits, index)

        def pick(table: Tensor) -> Tensor:
            return table[sequence].gather(1, target).to(logits.device)

        contrast = None if self.batch.contrast is None else pick(self.batch.contrast)
        # Low precision ends here: log-softmax over a large vocabulary needs float32.
        value = self.target(chosen.to(_precise(chosen.dtype)), pick(self.batch.targets), contrast)
        return value.masked_fill(~pick(self.batch.valid), 0)

    def _pack(self, embeddings: dict[str, Tensor]) -> Tensor:
        """Join the sites' embeddings to [R, N, D]."""
        sides = [embeddings[site].to(self.device) for site in self.sites.modules]
        if len({side.shape[-1] for side in sides}) > 1:
            raise UnsupportedModelError(
                f"{type(self.model).__name__} embeds encoder and decoder tokens in different "
                f"widths, {[side.shape[-1] for side in sides]}; one width is needed."
            )
        return torch.cat(sides, 1)

    def _unpack(self, points: Tensor) -> dict[str, Tensor]:
        """Split points [R, N, D] into the sites' embeddings."""
        length = self.batch.encoder_ids.shape[1]
        if self.sites.encoder is None:
            return {"decoder": points}
        return {"encoder": points[:, :length], "decoder": points[:, length:]}


def _select(logits: Tensor, index: Tensor) -> Tensor:
    """Return logits [R, C, V] at places [R, C] (on the CPU) of [R, M, V]."""
    rows = len(index)
    if torch.equal(index, torch.arange(logits.shape[1]).expand(rows, -1)):
        return logits  # all of them in order: no copy of the largest tensor of the run
    return logits[torch.arange(rows)[:, None].to(logits.device), index.to(logits.device)]


def _precise(dtype: torch.dtype) -> torch.dtype:
    """Return the type to compute in: float64 for float64, float32 for the rest."""
    return torch.promote_types(dtype, torch.float32)


@contextmanager
def _inputs_of(head: nn.Module | None, into: list[Tensor]) -> Iterator[None]:
    """Collect what a module is called with inside the context."""
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda module, args: into.extend(args[:1]))
    try:
        yield
    finally:
        handle.remove()

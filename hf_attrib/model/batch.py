"""B token sequences as one padded batch of model inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from hf_attrib.text import Span, TokenSequence

__all__ = ["Batch", "alone", "collate", "padded"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids of B sequences, padded on the right, which is exact where left padding is not.

    The N input positions are those of the encoder (S, none on decoder-only models) followed by
    those of the decoder (L). All tensors are on the CPU.

    Args:
        encoder_ids: [B, S].
        encoder_mask: 1 for tokens, 0 for padding, [B, S].
        decoder_ids: [B, L]; on decoder-only models the prompt and the response but its last.
        decoder_mask: [B, L].
        positions: decoder position whose logits predict each target, [B, T].
        targets: ids of the generated tokens, [B, T].
        valid: False where a sequence has fewer than T targets, [B, T].
        contrast: ids the targets are contrasted with, [B, T], or ``None``.
        movable: input positions that may leave their embedding, [B, N].
    """

    encoder_ids: Tensor
    encoder_mask: Tensor
    decoder_ids: Tensor
    decoder_mask: Tensor
    positions: Tensor
    targets: Tensor
    valid: Tensor
    contrast: Tensor | None
    movable: Tensor

    @property
    def reach(self) -> Tensor:
        """How many of the N input positions each target can depend on, [B, T]: none behind it."""
        return self.encoder_ids.shape[1] + self.positions + 1

    @property
    def reads(self) -> tuple[int, int]:
        """How many positions the encoder and the decoder read."""
        return self.encoder_ids.shape[1], self.decoder_ids.shape[1]

    def places(self, sequence: int) -> Tensor:
        """Return which of the N positions hold tokens of one sequence, in order."""
        return torch.cat([self.encoder_mask[sequence], self.decoder_mask[sequence]]).nonzero()[:, 0]

    def members(self, spans: Sequence[Sequence[Span]]) -> Tensor:
        """Return which targets spans of the responses add up, [B, S, T] bool."""
        members = torch.zeros(
            len(spans), max(map(len, spans)), self.targets.shape[1], dtype=torch.float32
        )
        for b, own in enumerate(spans):
            for s, span in enumerate(own):
                members[b, s, span.start : span.stop] = 1
        return members.bool()

    def owners(self, spans: Sequence[Sequence[Span]]) -> Tensor:
        """Return which of the spans of its tokens each input is in, [B, N]; 0 for other inputs."""
        owners = torch.zeros(self.movable.shape, dtype=torch.int64)
        for b, own in enumerate(spans):
            sizes = torch.tensor([span.stop - span.start for span in own])
            places = self.places(b)[: int(sizes.sum())]
            owners[b, places] = torch.arange(len(own)).repeat_interleave(sizes)
        return owners

    def rows(self, sequence: Tensor) -> Batch:
        """Return a batch of R rows, each a sequence of this one; which may come more than once.

        Args:
            sequence: which of the B sequences each row is, [R].
        """
        tables = [getattr(self, f.name) for f in fields(self)]
        chosen: list[Any] = [table if table is None else table[sequence] for table in tables]
        return Batch(*chosen)

    def step(self, target: int) -> Batch:
        """Return a batch of one sequence cut off where one of its targets is predicted."""
        return self.until(target, slice(target, target + 1))

    def of(self, targets: Sequence[int]) -> Batch:
        """Return the same batch with some of its targets."""
        kept = list(targets)
        return replace(
            self,
            positions=self.positions[:, kept],
            targets=self.targets[:, kept],
            valid=self.valid[:, kept],
            contrast=None if self.contrast is None else self.contrast[:, kept],
        )

    def until(self, target: int, kept: slice) -> Batch:
        """Return a batch of one sequence cut off where one of its targets is predicted.

        Args:
            target: the last one that is predicted.
            kept: which of the targets remain.
        """
        end = int(self.positions[0, target]) + 1
        return replace(
            self,
            decoder_ids=self.decoder_ids[:, :end],
            decoder_mask=self.decoder_mask[:, :end],
            positions=self.positions[:, kept],
            targets=self.targets[:, kept],
            valid=self.valid[:, kept],
            contrast=None if self.contrast is None else self.contrast[:, kept],
            movable=self.movable[:, : self.encoder_ids.shape[1] + end],
        )


def alone(sequence: TokenSequence) -> Batch:
    """Return a batch of one sequence, which nothing pads and all of which may move."""
    every = torch.ones(len(sequence.inputs), dtype=torch.bool)
    return collate([sequence], [every], None, int(sequence.prompt.ids[0]))


def collate(
    sequences: Sequence[TokenSequence],
    movable: Sequence[Tensor],
    contrast: Sequence[Tensor] | None,
    pad: int,
) -> Batch:
    """Pad B sequences to one batch.

    Args:
        sequences: B sequences.
        movable: for each, which of its input tokens may move, bool.
        contrast: for each, T contrast ids, or ``None``.
        pad: any valid token id; padding is masked.
    """
    encoder_decoder = len(sequences[0].start) > 0
    encoders, decoders, positions = [], [], []
    for s in sequences:
        encoder, decoder = (s.prompt, s.start) if encoder_decoder else (s.prompt[:0], s.prompt)
        encoders.append(encoder.ids)
        decoders.append(torch.cat([decoder.ids, s.response.ids[:-1]]))
        positions.append(torch.arange(len(s.response)) + len(decoder) - 1)
    sides = [m.split([len(e), len(d)]) for m, e, d in zip(movable, encoders, decoders, strict=True)]
    responses = [s.response.ids for s in sequences]
    return Batch(
        encoder_ids=padded(encoders, pad),
        encoder_mask=padded([torch.ones_like(e) for e in encoders], 0),
        decoder_ids=padded(decoders, pad),
        decoder_mask=padded([torch.ones_like(d) for d in decoders], 0),
        positions=padded(positions, 0),
        targets=padded(responses, pad),
        valid=padded([torch.ones_like(r, dtype=torch.bool) for r in responses], False),
        contrast=None if contrast is None else padded(contrast, pad),
        movable=torch.cat(
            [padded([e for e, _ in sides], False), padded([d for _, d in sides], False)], 1
        ),
    )


def padded(rows: Sequence[Tensor], value: int | bool) -> Tensor:
    """Stack rows of different lengths, filled up on the right.

    Args:
        rows: each [L] of its own length.
        value: what they are filled up with.
    """
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)

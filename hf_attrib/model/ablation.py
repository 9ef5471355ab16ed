"""Rows of a batch with some inputs taken away: what the model is asked instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, nn

from hf_attrib.errors import InputError, UnsupportedModelError
from hf_attrib.model.batch import Batch, padded
from hf_attrib.model.forward import Forward, Starts
from hf_attrib.model.sites import Sites

__all__ = ["check_mask", "crosses", "cut", "survives", "without"]

#: Names in configs of what a model computes differently at some length of a pass.
_LENGTH = re.compile("position|window|chunk|block|length|limit|distance|span")

#: Models whose attention mask was seen to act.
_MASKED: WeakSet[nn.Module] = WeakSet()


def without(
    batch: Batch, kept: Tensor, sequence: Tensor, mode: str, stand_in: int | Tensor | None
) -> Batch:
    """Return a batch of R sequences, each one of the batch without some of its inputs.

    Args:
        batch: B sequences.
        kept: which inputs stay, [R, N] bool.
        sequence: which of the B sequences each row is made of, [R].
        mode: ``"token"``, ``"attention"`` or ``"drop"``; see :data:`hf_attrib.field.MODES`.
        stand_in: the id that takes their place in mode ``"token"``, or one for each, [R, N].

    Raises:
        InputError: no token stands for nothing, or nothing would be left to read.
    """
    rows = batch.rows(sequence)
    encoder, decoder = kept.split([rows.encoder_ids.shape[1], rows.decoder_ids.shape[1]], 1)
    if mode != "token" and not bool(survives(rows, kept).all()):
        raise InputError(
            "taking these inputs away leaves nothing to predict from; hold a token "
            "(movable='content' holds the start of the sequence), or take mode 'embed' or 'token'."
        )
    if mode == "attention":
        masks = rows.encoder_mask * encoder, rows.decoder_mask * decoder
        return replace(rows, encoder_mask=masks[0], decoder_mask=masks[1])
    if mode == "token":
        if stand_in is None:
            raise InputError(
                "no token of this tokenizer stands for nothing (unk, mask, pad, eos); name one, as "
                "in baseline='token:TEXT', or take another mode."
            )
        others = torch.as_tensor(stand_in).expand(kept.shape)
        sides = others.split([encoder.shape[1], decoder.shape[1]], 1)
        return replace(
            rows,
            encoder_ids=torch.where(encoder, rows.encoder_ids, sides[0]),
            decoder_ids=torch.where(decoder, rows.decoder_ids, sides[1]),
        )
    return _cut(rows, encoder & rows.encoder_mask.bool(), decoder & rows.decoder_mask.bool())


def survives(rows: Batch, kept: Tensor) -> Tensor:
    """Return whether each target is predicted from a token that stays, [R] bool, not from padding.

    Args:
        rows: R sequences.
        kept: which of their inputs stay, [R, N] bool.
    """
    encoder, decoder = kept.split([rows.encoder_ids.shape[1], rows.decoder_ids.shape[1]], 1)
    before = (decoder & rows.decoder_mask.bool()).cumsum(1).gather(1, rows.positions)
    found: Tensor = ((before > 0) | ~rows.valid).all(1)
    if encoder.shape[1]:
        found &= (encoder & rows.encoder_mask.bool()).any(1)
    return found


class Pass(NamedTuple):
    """A pass over rows of one length, from which tokens were cut out.

    Args:
        forward: what runs it.
        own: its rows, by their number there, [M].
        rows: the same, by their number among all rows, [M].
        target: which targets it is asked for, [M, C].
        wanted: which of these are no stand-ins, [M, C] bool.
    """

    forward: Forward
    own: Tensor
    rows: Tensor
    target: Tensor
    wanted: Tensor


def cut(
    model: Any,
    sites: Sites,
    batch: Batch,
    kept: Tensor,
    sequence: Tensor,
    target: Tensor,
    starts: Starts | None,
) -> Iterator[Pass]:
    """Yield the passes over rows of the inputs that stay.

    Args:
        model: the model.
        sites: its embedding modules.
        batch: B sequences.
        kept: which inputs stay, [R, N] bool.
        sequence: which of the B sequences each row is made of, [R].
        target: which targets are asked for, [R, C].
        starts: beginnings of the sequences that need not be run again, if any.
    """
    config = model.config.to_dict()
    for part in _of_one_length(batch, kept, sequence):
        rows = without(batch, kept[part], sequence[part], "drop", None)
        forward, asked = Forward(model, sites, rows), target[part]
        begun = [(forward, torch.arange(len(part)))]
        if starts is not None:
            begun = starts.of_cut(forward, kept[part], sequence[part])
        for together in _between_lengths(config, rows, asked):
            for one, some in begun:
                own = some[together[some].any(1)]
                if len(own):
                    # What is not asked in this pass stands for what is.
                    stand = asked[own].gather(1, together[own].long().argmax(1, keepdim=True))
                    here = torch.where(together[own], asked[own], stand)
                    yield Pass(one, own, part[own], here, together[own])


def _of_one_length(batch: Batch, kept: Tensor, sequence: Tensor) -> list[Tensor]:
    """Return which rows have as many tokens left as each other, [M] for each such length.

    What a pass computes may depend on how long it is, and on padding where masks are ignored.

    Args:
        batch: B sequences.
        kept: which inputs stay, [R, N] bool.
        sequence: which of the B sequences each row is made of, [R].
    """
    rows = batch.rows(sequence)
    masks = torch.cat([rows.encoder_mask, rows.decoder_mask], 1).bool() & kept
    sides = masks.split([rows.encoder_ids.shape[1], rows.decoder_ids.shape[1]], 1)
    lengths = torch.stack([side.sum(1) for side in sides], 1)
    _, number = lengths.unique(dim=0, return_inverse=True)
    return [(number == n).nonzero()[:, 0] for n in range(int(number.max()) + 1)]


def crosses(config: Mapping[str, Any], rows: Batch, kept: Tensor) -> Tensor:
    """Return whether a row, cut, is shorter than a length that a config names, [R] bool.

    What passes of the sequence's own lengths compute is looked at before they are explained, and so
    lengths matter that the first target is not behind of any more.

    Args:
        config: of the model.
        rows: R sequences.
        kept: which of their inputs stay, [R, N] bool.
    """
    decoder = kept[:, rows.encoder_ids.shape[1] :] & rows.decoder_mask.bool()
    before = rows.positions[:, :1] + 1
    left = decoder.cumsum(1).gather(1, before - 1)
    named = _named(config)
    found: Tensor = ((left <= named) & (named <= before) & (left < before)).any(1)
    return found


def _between_lengths(config: Mapping[str, Any], rows: Batch, target: Tensor) -> list[Tensor]:
    """Return which targets may share a pass, [R, C] bool for each pass that rows take.

    Those of a row share one whose prefixes have no length between them that a config names.

    Args:
        config: of the model.
        rows: R sequences.
        target: which of their targets are asked for, [R, C].
    """
    reach = rows.positions.gather(1, target) + 1
    last = torch.where(rows.valid.gather(1, target), reach, 0).amax(1, keepdim=True)
    reach = torch.where(rows.valid.gather(1, target), reach, last)  # padding goes with any
    place = torch.bucketize(reach, _named(config))
    return [place == number for number in place.unique()]


def _named(config: Mapping[str, Any]) -> Tensor:
    """Return the lengths of passes that a config names, in order."""
    return torch.tensor(sorted(set(_lengths(config))), dtype=torch.int64)


def _lengths(value: Any, key: str = "") -> Iterator[int]:
    """Yield the whole numbers in a config that are called a length of passes."""
    if isinstance(value, int) and not isinstance(value, bool) and _LENGTH.search(key):
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _lengths(one, str(name))
    elif isinstance(value, list | tuple) and len(value) < 1000:
        for one in value:
            yield from _lengths(one, key)


def check_mask(model: Any, sites: Sites, batch: Batch) -> None:
    """Demand, once for each model, that its attention mask acts on what it says.

    Args:
        model: the model.
        sites: its embedding modules.
        batch: any sequences.

    Raises:
        UnsupportedModelError: it does not.
    """
    if model in _MASKED:
        return
    one = torch.zeros(1, dtype=torch.int64)
    every = torch.arange(batch.targets.shape[1])[None]
    said = []
    some = ~batch.movable[:1]
    if not bool(survives(batch.rows(one), some)):
        some[0, batch.movable[0].nonzero()[-1]] = True  # as something has to be left
        if bool(some.all()):
            return  # and nothing else is there to take away
    for kept in (torch.ones_like(some), some):
        rows = without(batch, kept, one, "attention", None)
        forward = Forward(model, sites, rows)
        with torch.no_grad():
            said.append(forward.logits(one, every, int(forward.reach(one, every).max()))[0])
    if torch.equal(*said):
        raise UnsupportedModelError(
            f"{type(model).__name__} says the same whatever its attention_mask is, so nothing can "
            "be taken away by mode 'attention'; take 'embed', 'token' or 'drop'."
        )
    _MASKED.add(model)


def _cut(rows: Batch, encoder: Tensor, decoder: Tensor) -> Batch:
    """Return rows of the tokens that stay alone, [R, S] and [R, L] bool."""
    # A target is predicted at the last of those tokens up to its position that are left.
    left = decoder.cumsum(1).gather(1, rows.positions)
    sides = {}
    for name, ids, stays in (
        ("encoder", rows.encoder_ids, encoder),
        ("decoder", rows.decoder_ids, decoder),
    ):
        shorter = [own[flags] for own, flags in zip(ids, stays, strict=True)]
        sides[f"{name}_ids"] = padded(shorter, 0)
        sides[f"{name}_mask"] = padded([torch.ones_like(own) for own in shorter], 0)
    return replace(rows, positions=(left - 1).clamp_min(0), **sides)

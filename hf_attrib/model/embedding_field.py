"""The field of a transformers model. With ``sites`` and ``forward``, what runs one."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import ProcessError, UnsupportedModelError
from hf_attrib.execution import Progress, RowRunner, silent
from hf_attrib.execution.rows import default_rows
from hf_attrib.field import (
    NEVER,
    DirectionCost,
    Field,
    Groups,
    Layered,
    Linearisation,
    Pushforward,
    Space,
    Targets,
)
from hf_attrib.model.ablation import (
    between_lengths,
    check_mask,
    crosses,
    of_one_length,
    survives,
    without,
)
from hf_attrib.model.batch import Batch
from hf_attrib.model.devices import device_of
from hf_attrib.model.forward import Forward, inputs_of, select, unmoving
from hf_attrib.model.forward_mode import lacks, push
from hf_attrib.model.sites import Sites, captured, injected, middle_of
from hf_attrib.model.state import state_restored
from hf_attrib.targets import TARGETS, Target, likeliest_others
from hf_attrib.targets import target as target_of

__all__ = ["EmbeddingField", "Kept", "Observation"]

#: A prefix of this share of the positions is worth keeping.
_LONG = 1 / 3
#: A pass along a direction costs about as much as so many pullbacks: benchmarks/directions.py.
_DIRECTION = 3.0
#: By as much does each position add to it, in embedding widths: plain attention is quadratic.
_ATTENTION = 0.45


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
        runner: runs rows; by default as many at once as are usual for their length.
        progress: called with (nodes done, nodes in all).
        space: the embedding space around the batch.
        groups: what scores are added up to; by default each input.
        spent: forward rows of each sequence that were run before the field was made.
        known: F at the inputs of the space, [B, T], if it was run before.
    """

    def __init__(
        self,
        model: Any,
        sites: Sites,
        batch: Batch,
        target: Target,
        runner: RowRunner | None = None,
        progress: Progress = silent,
        *,
        space: Space | None = None,
        groups: Groups | None = None,
        spent: int = 0,
        known: Tensor | None = None,
    ) -> None:
        reader, cost = sites.modules["decoder"], NEVER
        if space is not None and not lacks(model):
            cost = DirectionCost(_DIRECTION, _DIRECTION * _ATTENTION / space.tables[-1].width)
        super().__init__(
            batch.movable,
            Targets(batch.valid, batch.reach, batch.valid.long()),
            runner
            or RowRunner(default_rows(batch.movable.shape[1], torch.device(device_of(reader)))),
            progress,
            space=space,
            groups=groups,
            direction_cost=cost,
            resolution=target.resolution,
            precision=torch.finfo(model.dtype).eps,
            spent=spent,
            known=known,
        )
        self.model = model
        self.sites = sites
        self.batch = batch
        self.target = target
        self.forward = Forward(model, sites, batch)

    def observe(self, places: Tensor | None = None) -> Observation:
        """Run the batch as it is.

        Args:
            places: targets all of whose logits are kept, [B, P].
        """

        def compute(rows: Tensor) -> tuple[Tensor, ...]:
            return self._observe(rows, places)

        x, value, log_prob, shortfall, *logits = self.runner.map(self.sequences, compute)
        self.forward_rows += 1
        kept = None if places is None else Kept(places, logits[0])
        return Observation(x, value, log_prob, shortfall, kept)

    def logits_at(self, x: Tensor, places: Tensor) -> Tensor:
        """Return all logits of targets [B, P] at x [B, 1, N, D], [B, P, V]."""

        def compute(rows: Tensor) -> tuple[Tensor, ...]:
            target = places[rows]
            length = int(self.forward.reach(rows, target).max())
            points = self.forward.split(x[rows.to(x.device), 0], length)
            with torch.no_grad(), injected(self.sites, points):
                logits, index = self.forward.logits(rows, target, length)
            return (_chosen(logits, index),)

        self.forward_rows += 1
        return self.runner.map(self.sequences, compute)[0]

    def reuse_prefix(self, seen: Observation) -> None:
        """Run what comes before every position that moves only once, if that is proven exact.

        Args:
            seen: what :meth:`observe` returned, which the model must still give.
        """
        decoder = self.movable[:, self.batch.encoder_ids.shape[1] :]
        length = unmoving(decoder, self.batch.positions[self.batch.valid])
        if length < _LONG * decoder.shape[1]:
            return
        try:
            self.forward.reuse(length)
            exact = self.forward.prefix is not None and self._same(seen)
        except ProcessError:  # another process has ended the call
            raise
        except Exception:  # a cache of its own, or no memory for it: rows run whole, and slower
            exact = False
        if not exact:
            self.forward.prefix = None

    def _same(self, seen: Observation) -> bool:
        """Tell whether a prefix leaves the log-probabilities; some models go on wrongly."""

        def compute(rows: Tensor) -> tuple[Tensor, ...]:
            target = torch.arange(self.targets).expand(len(rows), -1)
            length = int(self.forward.reach(rows, target).max())
            points = self.forward.split(seen.x[rows.to(seen.x.device), 0], length)
            with torch.no_grad(), injected(self.sites, points):
                logits, index = self.forward.logits(rows, target, length)
            return (self._ranked(logits, index, rows)[0],)

        self.forward_rows += 2  # the prefix and the proof
        (found,) = self.runner.map(self.sequences, compute)
        valid = self.batch.valid.to(found.device)
        error = (found - seen.log_prob).abs() / (1 + seen.log_prob.abs())
        return bool(error[valid].max() <= self.precision**0.75)

    def aimed(self, target: str | Target, ids: Tensor | None = None) -> EmbeddingField:
        """Return a field of another scalar of the same logits; its rows count as this one's."""
        other = copy(self)
        other.target = target_of(target)
        other.resolution, other.known = other.target.resolution, None
        tokens = self.batch.targets if ids is None else ids
        other.batch = replace(self.batch, targets=tokens, contrast=None)
        return other

    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides the targets' at x [B, 1, N, D], [B, T, count]."""

        def compute(rows: Tensor) -> tuple[Tensor, ...]:
            target = torch.arange(self.targets).expand(len(rows), -1)
            length = int(self.forward.reach(rows, target).max())
            points = self.forward.split(x[rows.to(x.device), 0], length)
            with torch.no_grad(), injected(self.sites, points):
                logits, index = self.forward.logits(rows, target, length)
            own = self.batch.targets[rows].to(logits.device)
            return (likeliest_others(select(logits, index), own, count).cpu(),)

        self.forward_rows += 1
        return self.runner.map(self.sequences, compute)[0]

    def rounded(self, points: Tensor) -> Tensor:
        """Return points as the model sees them, in its own precision."""
        return points.to(self.model.dtype).to(points)

    def _observe(self, sequence: Tensor, places: Tensor | None) -> tuple[Tensor, ...]:
        target = torch.arange(self.targets).expand(len(sequence), -1)
        found: dict[str, Tensor] = {}
        whole = self.batch.decoder_ids.shape[1]
        lengths = {"encoder": self.batch.encoder_ids.shape[1], "decoder": whole}
        with torch.no_grad(), captured(self.sites, found, lengths):
            logits, index = self.forward.logits(sequence, target, whole)
            value = self._value(logits, index, sequence, target)
            log_prob, shortfall = self._ranked(logits, index, sequence)
            kept = []
            if places is not None:
                kept = [_chosen(logits, index.gather(1, places[sequence]))]
        x = self.forward.join(found)
        if x.shape[:2] != self.batch.movable[sequence].shape:
            raise UnsupportedModelError(
                f"the embeddings of {type(self.model).__name__} are {tuple(x.shape)} where "
                f"{tuple(self.batch.movable[sequence].shape)} (sequences, tokens) were expected."
            )
        return x[:, None].to(_precise(x.dtype)), value, log_prob, shortfall, *kept

    def _ranked(self, logits: Tensor, index: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """Return every generated token's log-probability and shortfall, [R, T] each."""
        ids = self.batch.targets[sequence].to(logits.device)
        chosen = select(logits, index).to(_precise(logits.dtype))
        own = chosen.gather(-1, ids[..., None])[..., 0]
        return TARGETS["log_prob"](chosen, ids, None), chosen.amax(-1) - own

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F at injected embeddings, [R, C]."""
        length = int(self.forward.reach(sequence, target).max())
        with torch.no_grad(), injected(self.sites, self.forward.split(points, length)):
            return self._value(*self.forward.logits(sequence, target, length), sequence, target)

    def survives(self, kept: Tensor, sequence: Tensor) -> Tensor:
        """Return whether each target has something to be predicted from, [R]."""
        rows = self.batch.rows(sequence)
        return survives(rows, kept) & ~crosses(self.model.config.to_dict(), rows, kept)

    def evaluate_without(
        self,
        kept: Tensor,
        sequence: Tensor,
        target: Tensor,
        mode: str,
        stand_in: int | None,
    ) -> Tensor:
        """Return F without some inputs, [R, C].

        A row that is cut takes a pass more for each length that the config names and that lies
        between two of its targets. Such passes count as one row, since they are that rare.
        """
        if mode == "drop":  # the only mode in which rows have lengths of their own
            return self._evaluate_cut(kept, sequence, target)
        if mode == "attention":
            check_mask(self.model, self.sites, self.batch)
        rows = without(self.batch, kept, sequence, mode, stand_in)
        forward, every = Forward(self.model, self.sites, rows), torch.arange(len(kept))
        length = int(forward.reach(every, target).max())
        with torch.no_grad():
            return self._value(*forward.logits(every, target, length), sequence, target)

    def _evaluate_cut(self, kept: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F of rows of the inputs that stay, [R, C], those of one length at once."""
        config, values = self.model.config.to_dict(), torch.zeros(0)
        for part in of_one_length(self.batch, kept, sequence):
            rows = without(self.batch, kept[part], sequence[part], "drop", None)
            forward, asked = Forward(self.model, self.sites, rows), target[part]
            for together in between_lengths(config, rows, asked):
                own = together.any(1).nonzero()[:, 0]
                # What is not asked in this pass stands for what is, and its value is left out.
                stand = together[own].long().argmax(1, keepdim=True)
                here = torch.where(together[own], asked[own], asked[own].gather(1, stand))
                with torch.no_grad(), state_restored(self.model):
                    length = int(forward.reach(own, here).max())
                    logits = forward.logits(own, here, length)
                    found = self._value(*logits, sequence[part][own], here)
                values = values if len(values) else found.new_zeros(target.shape)
                row, column = together[own].nonzero(as_tuple=True)
                values[part[own][row], column] = found[row, column]
        return values

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return F at injected embeddings and its pullback."""
        leaf = points.detach().requires_grad_()
        length = int(self.forward.reach(sequence, target).max())
        cut: list[Tensor] = []
        with (
            torch.enable_grad(),
            injected(self.sites, self.forward.split(leaf, length)),
            inputs_of(self.sites.head, cut),
        ):
            logits, index = self.forward.logits(sequence, target, length)
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

    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Return the states in the middle of the decoder at injected embeddings."""
        leaf, length = points.detach().requires_grad_(), self.batch.decoder_ids.shape[1]
        states: list[Tensor] = []
        decoder = self.model if self.sites.encoder is None else self.model.get_decoder()
        middle = middle_of(decoder, len(points), states)
        with torch.enable_grad(), injected(self.sites, self.forward.split(leaf, length)), middle:
            logits, index = self.forward.logits(sequence, target, length)
            value = self._value(logits, index, sequence, target)
        return Layered(leaf, states[0], value)

    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Return F at injected embeddings and its pushforward."""
        return push(self.forward, self._value, points, sequence, target)

    def _value(self, logits: Tensor, index: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F from logits [R, M, V], [R, C]; 0 for targets that only pad the batch."""
        chosen = select(logits, index)

        def pick(table: Tensor) -> Tensor:
            return table[sequence].gather(1, target).to(logits.device)

        contrast = None if self.batch.contrast is None else pick(self.batch.contrast)
        # Low precision ends here: log-softmax over a large vocabulary needs float32.
        value = self.target(chosen.to(_precise(chosen.dtype)), pick(self.batch.targets), contrast)
        return value.masked_fill(~pick(self.batch.valid), 0)


def _chosen(logits: Tensor, index: Tensor) -> Tensor:
    """Return precise logits [R, P, V] at places [R, P] of [R, M, V]."""
    chosen = select(logits, index)
    return chosen.to(_precise(chosen.dtype))


def _precise(dtype: torch.dtype) -> torch.dtype:
    """Return the type to compute in: float64 for float64, float32 for the rest."""
    return torch.promote_types(dtype, torch.float32)


@dataclass(frozen=True, eq=False)
class Kept:
    """All logits of some targets.

    Args:
        places: which targets, [B, P].
        logits: theirs, float32 or better, [B, P, V].
    """

    places: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Observation:
    """What a model does with a batch left as it is.

    Args:
        x: embeddings at the hooked modules, [B, 1, N, D], float32 or better.
        value: F(x), [B, T].
        log_prob: of each generated token, [B, T].
        shortfall: by how much its logit misses the largest, [B, T]; of tokens, also where the rest
            is of spans.
        kept: all logits of those targets that were asked for.
    """

    x: Tensor
    value: Tensor
    log_prob: Tensor
    shortfall: Tensor
    kept: Kept | None = None

    @property
    def probability(self) -> Tensor:
        """Probability of each generated token, [B, T]."""
        return self.log_prob.exp().clamp_max(1)  # which rounding may exceed

    def of_spans(self, members: Tensor) -> Observation:
        """Return the same of sums of targets, value and log-probability [B, S].

        Args:
            members: which targets each span adds up, [B, S, T] bool, on the CPU.
        """
        weights = members.to(self.value)
        value, log_prob = (
            torch.einsum("bt,bst->bs", by_token, weights)
            for by_token in (self.value, self.log_prob)
        )
        return Observation(self.x, value, log_prob, self.shortfall)

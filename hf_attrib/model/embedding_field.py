"""The field of a transformers model. With ``sites`` and ``forward``, what runs one."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.execution import Progress, RowRunner, silent
from hf_attrib.execution.rows import default_rows
from hf_attrib.field import (
    NEVER,
    Attended,
    DirectionCost,
    Field,
    Groups,
    Layered,
    Linearisation,
    Pushforward,
    Space,
    Targets,
)
from hf_attrib.model.ablation import check_mask, crosses, cut, survives, without
from hf_attrib.model.attention import attended
from hf_attrib.model.backward_mode import Graph
from hf_attrib.model.batch import Batch
from hf_attrib.model.beginnings import Beginnings, Trail
from hf_attrib.model.devices import device_of
from hf_attrib.model.forward import Forward, Starts, select, unmoving
from hf_attrib.model.forward_mode import lacks, push
from hf_attrib.model.observation import Kept, Observation
from hf_attrib.model.sites import Sites, captured, injected, middle_of
from hf_attrib.model.state import state_restored
from hf_attrib.targets import TARGETS, Target, likeliest_others
from hf_attrib.targets import target as target_of

__all__ = ["EmbeddingField"]

#: A prefix of this share of the positions is worth keeping.
_LONG = 1 / 3
#: Beginnings of the inputs as they are that are kept, and how many tokens longer each is at least.
_STARTS, _LONGER = 4, 40
#: Borders between groups of inputs that are few enough for a beginning each, which rows share.
_FEW = 8
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
        self._starts: Starts | None = None
        self._trail: Trail | None = None

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
            return (_chosen(*self._run(self.forward, x, rows, places[rows])),)

        self.forward_rows += 1
        return self.runner.map(self.sequences, compute)[0]

    def reuse_prefix(self, seen: Observation, starts: bool = False) -> None:
        """Run what comes before every position that moves only once, if that is proven exact.

        Args:
            seen: what :meth:`observe` returned, which the model must still give.
            starts: whether rows are often the inputs as they are up to some token.

        Raises:
            UnsupportedModelError: the model does not give it any more.
        """
        decoder = self.movable[:, self.batch.encoder_ids.shape[1] :]
        ends = self.batch.positions[self.batch.valid]
        length, end = unmoving(decoder, ends), int(ends.min())
        still = [length] if length >= _LONG * decoder.shape[1] else []
        lengths = self._starting(length, end) if starts else []
        begun = Beginnings(self.forward, partial(self._ends, seen=seen), self.forward_rows).of(
            [*still, *lengths], seen.log_prob, self.precision
        )
        if still:
            self.forward = begun.pop(0) or self.forward
        proven = [forward for forward in begun if forward is not None]
        if proven and len(proven) == len(begun):
            self._starts = Starts([self.forward, *proven], seen.x[:, 0])
            self._trail = Trail(lengths)

    def _starting(self, length: int, end: int) -> list[int]:
        """Return how many tokens are to begin rows, in order: borders of groups if these are few.

        Args:
            length: how many tokens nothing moves before.
            end: where the first target is predicted.
        """
        owner = self.groups.owner[:, self.batch.encoder_ids.shape[1] :]
        changes = (owner[:, 1:] != owner[:, :-1]).any(0).nonzero()[:, 0] + 1
        borders: list[int] = []
        last = int(self.movable.any(0).nonzero().max()) - self.batch.encoder_ids.shape[1]
        for border in changes[(changes > length) & (changes <= min(last, end))].tolist():
            if border - (borders[-1] if borders else length) >= _LONGER:
                borders.append(border)
        if borders and len(changes) <= _FEW:
            return borders
        count = min(_STARTS, (end - length) // _LONGER)
        return [length + (end - length) * n // (count + 1) for n in range(1, count + 1)]

    def _ends(self, forward: Forward, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [B, T] and all logits of first and last targets, [B, 2, V]."""
        last = self.batch.valid.sum(1) - 1
        places = torch.stack([torch.zeros_like(last), last], 1)

        def compute(rows: Tensor) -> tuple[Tensor, ...]:
            target = torch.arange(self.targets).expand(len(rows), -1)
            logits, index = self._run(forward, seen.x, rows, target)
            log_prob, _ = self._ranked(logits, index, rows)
            return log_prob, _chosen(logits, index.gather(1, places[rows]))

        self.forward_rows += 1
        log_prob, logits = self.runner.map(self.sequences, compute)
        return log_prob, logits

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
            logits, index = self._run(self.forward, x, rows, target)
            own = self.batch.targets[rows].to(logits.device)
            return (likeliest_others(select(logits, index), own, count).cpu(),)

        self.forward_rows += 1
        return self.runner.map(self.sequences, compute)[0]

    def _run(
        self, forward: Forward, x: Tensor, rows: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits of targets [R, C] of sequences [R] at x [B, 1, N, D], and their places."""
        length = int(forward.reach(rows, target).max())
        points = forward.split(x[rows.to(x.device), 0], length)
        with torch.no_grad(), injected(self.sites, points):
            return forward.logits(rows, target, length)

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
        values, parts = [], self._begun(points, sequence)
        for forward, rows in parts:
            own, asked = sequence[rows], target[rows]
            length = int(forward.reach(own, asked).max())
            here = forward.split(points[rows.to(points.device)], length)
            with torch.no_grad(), injected(self.sites, here):
                values.append(self._value(*forward.logits(own, asked, length), own, asked))
        if self._trail is not None:
            self._trail.keep(forward, points[rows.to(points.device)])
        return torch.cat(values)[torch.cat([rows for _, rows in parts]).argsort()]

    def _begun(self, points: Tensor, sequence: Tensor) -> list[tuple[Forward, Tensor]]:
        """Return what runs rows of points [R, N, D], and which rows, [M] on the CPU."""
        every = torch.arange(len(points))
        if self._starts is None or self._trail is None:
            return [(self.forward, every)]
        parts = self._starts.of(points, sequence)
        behind = self._trail.behind(self.forward, points)
        if behind.skipped > min(forward.skipped for forward, _ in parts):
            return [(behind, every)]
        return [(self._trail.leaving(forward), rows) for forward, rows in parts]

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
        stand_in: int | Tensor | None,
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
        length, trail = int(forward.reach(every, target).max()), self._trail
        # A mask that hides tokens is more than a beginning was proven with.
        content = rows.decoder_ids[..., None] if trail is not None and mode == "token" else None
        if trail is not None and content is not None:
            forward = trail.behind(forward, content)
        with torch.no_grad():
            value = self._value(*forward.logits(every, target, length), sequence, target)
        if trail is not None and content is not None:
            trail.keep(forward, content)
        return value

    def _evaluate_cut(self, kept: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F of rows of the inputs that stay, [R, C]."""
        values = torch.zeros(0)
        whole = self.model, self.sites, self.batch
        for forward, own, rows, asked, wanted in cut(*whole, kept, sequence, target, self._starts):
            with torch.no_grad(), state_restored(self.model):
                length = int(forward.reach(own, asked).max())
                found = self._value(*forward.logits(own, asked, length), sequence[rows], asked)
            values = values if len(values) else found.new_zeros(target.shape)
            row, column = wanted.nonzero(as_tuple=True)
            values[rows[row], column] = found[row, column]
        return values

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return F at injected embeddings and its pullback."""
        graph = Graph.of(self.forward, self._value, points, sequence, target)
        head = torch.autograd.grad(graph.value.sum(), graph.split)[0]

        def pullback(weights: Tensor) -> Tensor:
            seed = graph.seed(head, weights)
            return torch.autograd.grad(graph.split, graph.leaf, seed, retain_graph=True)[0]

        return Linearisation(graph.value.detach(), pullback)

    def attended(self, points: Tensor, sequence: Tensor, target: Tensor) -> Attended:
        """Return the attention that leads to F at injected embeddings."""
        # Of a prefix that is not run again, there would be none.
        forward = Forward(self.model, self.sites, self.batch)
        return attended(forward, self._value, points, sequence, target)

    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Return the states in the middle of the decoder at injected embeddings."""
        leaf, length = points.detach().requires_grad_(), self.batch.decoder_ids.shape[1]
        states: list[Tensor] = []
        decoder = self.model if self.sites.encoder is None else self.model.get_decoder()
        middle = middle_of(decoder, len(points), states)
        with torch.enable_grad(), injected(self.sites, self.forward.split(leaf, length)), middle:
            logits, index = self.forward.logits(sequence, target, length)
            value = self._value(logits, index, sequence, target)
        return Layered.of(leaf, states[0], value)

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

"""The field of a model each of whose generated tokens is predicted by a pass of its own.

Where later tokens change earlier logits, or the length of a pass does, one teacher-forced pass
cannot serve all targets. Each target is then run on the tokens before it and nothing else, as
generation does without a cache; that costs T forward rows where other models take one.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.execution import Progress, RowRunner, silent
from hf_attrib.field import (
    Attended,
    Field,
    Groups,
    Layered,
    Linearisation,
    Pushforward,
    Space,
    Targets,
)
from hf_attrib.model.ablation import survives
from hf_attrib.model.batch import Batch
from hf_attrib.model.embedding_field import EmbeddingField
from hf_attrib.model.observation import Observation
from hf_attrib.model.sites import Sites
from hf_attrib.model.state import state_restored
from hf_attrib.targets import Target

__all__ = ["StepwiseField"]


class StepwiseField(Field):
    """A target of a model that looks ahead, as a function of its token embeddings.

    Args:
        model: a causal or encoder-decoder language model, evaluated in place.
        sites: its embedding modules.
        batch: one sequence; several would share nothing.
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
        targets = batch.targets.shape[1]
        self._steps = [
            EmbeddingField(model, sites, batch.step(t), target, runner) for t in range(targets)
        ]
        super().__init__(
            batch.movable,
            Targets(batch.valid, batch.reach, batch.valid.long(), together=False, passes=targets),
            self._steps[-1].runner,
            progress,
            space=space,
            groups=groups,
            resolution=target.resolution,
            precision=self._steps[0].precision,
            spent=spent,
            known=known,
        )
        self.model = model
        self.sites = sites
        self.batch = batch
        self.target = target

    def observe(self, places: Tensor | None = None) -> Observation:
        """Run every step as it is; the last one reads all N inputs.

        Args:
            places: of no use here, since no step is compared with a shorter one.
        """
        seen = []
        for step in self._steps:
            with state_restored(self.model, step.observe):
                seen.append(step.observe())
        self.forward_rows += len(seen)
        return Observation(
            seen[-1].x,
            torch.cat([one.value for one in seen], 1),
            torch.cat([one.log_prob for one in seen], 1),
            torch.cat([one.shortfall for one in seen], 1),
        )

    def aimed(self, target: str | Target, ids: Tensor | None = None) -> Field:
        """Return a field of another scalar of the same logits; its rows count as this one's."""
        other, columns = copy(self), range(self.targets)
        own = [None if ids is None else ids[:, t : t + 1] for t in columns]
        other._steps = [self._steps[t].aimed(target, own[t]) for t in columns]
        other.resolution, other.known = other._steps[0].resolution, None
        return other

    def rivals(self, x: Tensor, count: int) -> Tensor:
        """Return the likeliest tokens besides the targets' at x [B, 1, N, D], [B, T, count]."""
        self.forward_rows += self.targets
        reads = [step.movable.shape[1] for step in self._steps]
        found = []
        for step, read in zip(self._steps, reads, strict=True):
            with state_restored(self.model):
                found.append(step.rivals(x[:, :, :read], count))
        return torch.cat(found, 1)

    def rounded(self, points: Tensor) -> Tensor:
        """Return points as the model sees them, in its own precision."""
        return self._steps[0].rounded(points)

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return F at injected embeddings, [R, C]."""
        parts = [
            step.evaluate(points[rows, :read], *_only(rows))
            for step, read, rows, _ in self._split(target)
        ]
        return _placed(parts, target)

    def survives(self, kept: Tensor, sequence: Tensor) -> Tensor:
        """Return whether each target has something to be predicted from, [R]."""
        return survives(self.batch.rows(sequence), kept)

    def evaluate_without(
        self,
        kept: Tensor,
        sequence: Tensor,
        target: Tensor,
        mode: str,
        stand_in: int | Tensor | None,
    ) -> Tensor:
        """Return F without some inputs, each target in its own pass, [R, C]."""

        def of(rows: Tensor, read: int) -> int | Tensor | None:
            return stand_in[rows, :read] if isinstance(stand_in, Tensor) else stand_in

        parts = [
            step.evaluate_without(kept[rows, :read], *_only(rows), mode, of(rows, read))
            for step, read, rows, _ in self._split(target)
        ]
        return _placed(parts, target)

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return F at injected embeddings and its pullback."""
        parts = [
            (step.linearise(points[rows, :read], *_only(rows)), read, rows, columns)
            for step, read, rows, columns in self._split(target)
        ]

        def pullback(weights: Tensor) -> Tensor:
            gradient = torch.zeros_like(points)
            for linear, read, rows, columns in parts:
                chosen = weights[rows, columns]
                if chosen.any():
                    part = linear.pullback(chosen[:, None])
                    gradient[:, :read].index_add_(0, rows.to(part.device), part)
            return gradient

        return Linearisation(_placed([linear.value for linear, *_ in parts], target), pullback)

    def reuse_prefix(self, seen: Observation, starts: bool = False) -> None:
        """Keep nothing: a prefix that looks ahead is another one for each step."""

    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Refuse to follow directions: where each target has a pass, they save none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("targets that share no pass have no derivatives along directions")

    def layered(self, points: Tensor, sequence: Tensor, target: Tensor) -> Layered:
        """Refuse to return the states of a hidden layer: each target has its own, of its length."""
        raise UnsupportedModelError(
            f"{type(self.model).__name__} predicts each token in a pass of its own, and no hidden "
            "layer serves all of them; take an attack without one."
        )

    def attended(self, points: Tensor, sequence: Tensor, target: Tensor) -> Attended:
        """Refuse to return attention: each target has its own, of its length."""
        raise UnsupportedModelError(
            f"{type(self.model).__name__} predicts each token in a pass of its own, and no "
            "attention serves all of them; take a method that follows none."
        )

    def _split(self, target: Tensor) -> Iterator[tuple[EmbeddingField, int, Tensor, Tensor]]:
        """Yield each step that targets [R, C] ask for, how many inputs it reads, and where.

        Each of them runs a model that remembers nothing of the steps before it.
        """
        for t in target.unique().tolist():
            step = self._steps[t]
            rows, columns = (target == t).nonzero(as_tuple=True)
            with state_restored(self.model):
                yield step, step.movable.shape[1], rows, columns


def _placed(values: list[Tensor], target: Tensor) -> Tensor:
    """Bring values [M, 1] that come sorted by target to their places, [R, C]."""
    places = target.flatten().argsort(stable=True).argsort()
    return torch.cat(values)[places].reshape(target.shape)


def _only(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sequence and the target of rows that have one of each."""
    return torch.zeros_like(rows), torch.zeros_like(rows)[:, None]

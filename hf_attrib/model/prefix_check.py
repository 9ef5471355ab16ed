"""Whether one pass over a sequence computes what a pass over each of its prefixes does.

The self-check looks at a few tokens. Some models compute something else in longer passes:
frequencies of positions that depend on the last one, attention by blocks, tokens that see later
ones only from some length on. So the very sequence is looked at as well, at lengths that no
sequence before it has reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.execution import RowRunner
from hf_attrib.model.batch import Batch, collate
from hf_attrib.model.embedding_field import EmbeddingField, Observation
from hf_attrib.model.self_check import check_derivative
from hf_attrib.model.sites import Sites
from hf_attrib.model.state import state_restored
from hf_attrib.model.stepwise import StepwiseField
from hf_attrib.model.watch import Watch
from hf_attrib.targets import TARGETS
from hf_attrib.text import TokenSequence

__all__ = ["Departure", "PrefixCheck"]

#: Gradients are looked at again in a pass that is longer by this factor.
_LONGER = 1.5
#: For so many targets, one of which must have its derivative as the gradient.
_TRIED = 3
#: Of so many targets at the end of a sequence, one is looked at besides the first.
_LATE = 8


@dataclass(frozen=True)
class Departure:
    """Where a pass over all tokens is not what a pass over a prefix is.

    Args:
        change: of the log-probability of a generated token.
        prefix: tokens in the pass over the prefix.
        whole: tokens in the pass over all of them.
    """

    change: float
    prefix: int
    whole: int


class PrefixCheck:
    """Looks at sequences that are longer or shorter than all that a model was seen to do well.

    It holds no model, since an attached model keeps what was learnt about it.

    Args:
        model: the model.
        sites: its embedding modules.
        known: up to so many tokens of the decoder the model has been checked.
    """

    def __init__(self, model: Any, sites: Sites, known: int) -> None:
        self.sites = sites
        #: Whether the length of a pass has been seen to matter.
        self.departed = False
        #: Forward rows of the last look.
        self.rows = 0
        self._encoder, self._decoder = _Lengths(), _Lengths()
        self._decoder.add(1, known)
        self._differentiated = known
        self._named = frozenset(_integers(model.config.to_dict()))

    def observe(self, model: Any, field: EmbeddingField | StepwiseField) -> Observation:
        """Run a batch as it is, once more if the model remembers something of the pass.

        Args:
            model: the model.
            field: of the batch.

        Raises:
            UnsupportedModelError: the second pass computes something else than the first.
        """

        def once_more() -> None:
            rows = field.forward_rows.clone()
            field.observe()
            field.forward_rows.copy_(rows)  # once for a model, so part of its self-check

        with state_restored(model, once_more) as changed:
            seen = field.observe()
            if changed():
                again = field.observe().log_prob
                if (change := self._difference(model, again, seen.log_prob)) > 0:
                    raise UnsupportedModelError(
                        f"{type(model).__name__} computes something else when the same "
                        f"tokens are run again (a log-probability moves by {change:.2g}), since a "
                        "pass changes what it remembers; only models can be explained that are "
                        "functions of their input."
                    )
        return seen

    def watch(
        self,
        model: Any,
        field: Callable[[], EmbeddingField | StepwiseField],
        seen: Observation,
    ) -> Watch:
        """Return what looks from now on whether a model still computes what was observed.

        Args:
            model: the model.
            field: makes one of the batch, with a runner of its own.
            seen: what the model did with it.
        """

        def moved() -> float:
            return self._difference(model, field().observe().log_prob, seen.log_prob)

        return Watch(model, moved)

    def look(
        self, model: Any, sequences: Sequence[TokenSequence], batch: Batch, log_prob: Tensor
    ) -> Departure | None:
        """Compare what a batch computed with passes over prefixes of its sequences.

        Passes over the prefixes of a sequence that differ most from it are run, two at most: over
        what comes before its first target, and over nearly all of it, which gives all targets but
        the last. Lengths between which nothing has been seen to change are left out.

        Args:
            model: the model.
            sequences: B sequences.
            batch: they, as they ran.
            log_prob: what was found for their targets, [B, T].
        """
        self.rows = 0
        # Whatever length changes, it changes most between the longest and the shortest.
        for b in sorted(range(len(sequences)), key=lambda b: -len(sequences[b].inputs)):
            own = _alone(sequences[b])
            whole = batch.encoder_ids.shape[1], batch.decoder_ids.shape[1]
            ends = own.encoder_ids.shape[1], own.decoder_ids.shape[1]
            first = int(own.positions[0, 0]) + 1
            if self._encoder.known(ends[0], whole[0]) and self._decoder.known(first, whole[1]):
                continue
            for t in self._places(own, padded=ends != whole):
                prefix = own.until(t, slice(t + 1))
                if (change := self._change(model, prefix, log_prob[b, : t + 1])) > 0:
                    self.departed = True
                    return Departure(change, prefix.movable.shape[1], sum(whole))
            self._encoder.add(ends[0], whole[0])
            self._decoder.add(first, whole[1])
        return None

    def differentiate(self, model: Any, sequence: TokenSequence, x: Tensor) -> None:
        """Demand that the gradient is the derivative in a pass of this length as well.

        Args:
            model: the model.
            sequence: it is left alone unless it is far longer than all before it.
            x: its embeddings, [N, D].

        Raises:
            UnsupportedModelError: it is not.
        """
        read = len(sequence.inputs)
        # Rounding to 16 bits hides a derivative at the places where a long sequence is flat.
        coarse = model.dtype not in (torch.float32, torch.float64)
        if coarse or read <= _LONGER * self._differentiated:
            return
        own, last = _alone(sequence), len(sequence.response) - 1
        for t in range(last, max(-1, last - _TRIED), -1):
            step = own.step(t)
            field = EmbeddingField(model, self.sites, step, TARGETS["logit"], RowRunner(1))
            try:
                with state_restored(model, field.observe):
                    check_derivative(field, x[None, None, : step.movable.shape[1]])
                break
            except UnsupportedModelError:  # a single target may be flat, or sit on a jump
                if t == max(0, last - _TRIED + 1):
                    raise
        self._differentiated = read

    def _places(self, own: Batch, padded: bool) -> list[int]:
        """Return the targets up to which a pass of its own is run."""
        last = own.targets.shape[1] - (1 if padded else 2)
        if last < 0:
            return []  # the pass over all tokens is the one over the prefix
        late = range(last, max(-1, last - _LATE), -1)
        # At the end of a block nobody looks ahead.
        place = min(late, key=lambda t: self._divisors(int(own.positions[0, t]) + 1))
        return sorted({0, place})

    def _divisors(self, length: int) -> int:
        """Return how many of the numbers that the config names divide a length."""
        return sum(length % number == 0 for number in self._named if 2 <= number <= length)

    def _change(self, model: Any, prefix: Batch, log_prob: Tensor) -> float:
        """Return by how much targets depart from a pass of their own; 0 if only by rounding."""
        field = EmbeddingField(model, self.sites, prefix, TARGETS["logit"], RowRunner(1))
        with state_restored(model, field.observe):
            alone = field.observe().log_prob[0].to(log_prob)
        self.rows += 1
        return self._difference(model, alone, log_prob)

    def _difference(self, model: Any, found: Tensor, expected: Tensor) -> float:
        """Return by how much log-probabilities differ; 0 if only by rounding."""
        change = torch.where(found == expected, 0, (found - expected).abs())
        error, eps = change / (1 + expected.abs()), torch.finfo(model.dtype).eps
        # In 16 bits, rounding moves single tokens; another function moves most of them.
        typical = error.max() if eps < 1e-4 else error.mean()
        return 0.0 if typical <= eps**0.5 else float(change.max())


def _alone(sequence: TokenSequence) -> Batch:
    """Return a batch of one sequence, which nothing pads."""
    every = torch.ones(len(sequence.inputs), dtype=torch.bool)
    return collate([sequence], [every], None, int(sequence.prompt.ids[0]))


class _Lengths:
    """Lengths of passes between which a model was seen to compute the same."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def known(self, first: int, last: int) -> bool:
        """Tell whether nothing changes from one length to another."""
        return first == last or any(a <= first and last <= b for a, b in self._spans)

    def add(self, first: int, last: int) -> None:
        """Remember two lengths between which nothing changes."""
        joined = [(a, b) for a, b in self._spans if a <= last and first <= b]
        rest = [span for span in self._spans if span not in joined]
        ends = [*joined, (first, last)]
        self._spans = [*rest, (min(a for a, _ in ends), max(b for _, b in ends))]


def _integers(value: Any) -> Iterator[int]:
    """Yield the whole numbers in a config and all that it holds."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _integers(one)
    elif isinstance(value, list | tuple) and len(value) < 1000:
        for one in value:
            yield from _integers(one)

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
from hf_attrib.model.batch import Batch, alone
from hf_attrib.model.derivative import check_derivative, gradient_of
from hf_attrib.model.embedding_field import EmbeddingField
from hf_attrib.model.observation import COARSE, LIKELY, ROUNDINGS, Observation, likely_error
from hf_attrib.model.replay import Replay
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
#: So many passes over slightly other embeddings say what rounding does to a model, ...
_SHAKEN = 3
#: ... of which another function is clear by this factor.
_CLEAR = 2


@dataclass(frozen=True)
class Departure:
    """Where a pass over all tokens is not what a pass over a prefix is.

    Args:
        change: of a log-probability, the largest that was seen.
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
        self._replay = Replay(sites, known)
        self._encoder, self._decoder = _Lengths(), _Lengths()
        self._decoder.add(1, known)
        self._differentiated = known
        self._named = frozenset(_integers(model.config.to_dict()))

    def observe(
        self, model: Any, field: EmbeddingField | StepwiseField, sequences: Sequence[TokenSequence]
    ) -> Observation:
        """Run a batch as it is, once more if the model remembers something of the pass.

        Args:
            model: the model.
            field: of the batch.
            sequences: those of the batch.

        Raises:
            UnsupportedModelError: the second pass computes something else than the first, or a
                short pass something else after them than before.
        """

        def once_more() -> None:
            rows = field.forward_rows.clone()
            field.observe()
            field.forward_rows.copy_(rows)  # once for a model, so part of its self-check

        with (
            self._replay.around(model, sequences, field.batch),
            state_restored(model, once_more) as changed,
        ):
            seen = field.observe(self._places(sequences, field.batch))
            if changed():
                again = field.observe().log_prob
                if (change := _moved(model, again, seen.log_prob, each=True)) > 0:
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
            return _moved(model, field().observe().log_prob, seen.log_prob, each=True)

        return Watch(model, moved)

    def look(
        self, model: Any, sequences: Sequence[TokenSequence], batch: Batch, seen: Observation
    ) -> Departure | None:
        """Compare what a batch computed with passes over prefixes of its sequences.

        Two prefixes of a sequence are run, at most: a short one and one of nearly all of it. All
        logits behind them are compared, since a token that the model is sure of does not show
        that its logits move. Lengths between which nothing changes are left out.

        Args:
            model: the model.
            sequences: B sequences.
            batch: they, as they ran.
            seen: what was found, with what :meth:`observe` kept.
        """
        self.rows = 0
        if seen.kept is None:
            return None
        # Whatever length changes, it changes most between the longest and the shortest.
        for b in sorted(range(len(sequences)), key=lambda b: -len(sequences[b].inputs)):
            own = alone(sequences[b])
            if self._known(own, batch):
                continue
            certain = True
            for t in seen.kept.places[b].unique().tolist():
                found = self._compare(model, own.until(t, slice(t + 1)), seen, b)
                if found.change > 0:
                    self.departed = True
                    return Departure(found.change, int(own.reach[0, t]), sum(batch.reads))
                certain &= found.certain
            if certain:
                encoder, decoder = batch.reads
                self._encoder.add(own.encoder_ids.shape[1], encoder)
                self._decoder.add(int(own.positions[0, 0]) + 1, decoder)
        return None

    def differentiate(
        self, model: Any, sequence: TokenSequence, x: Tensor, stepwise: bool
    ) -> Departure | None:
        """Demand that the gradient is the derivative in a pass of this length as well.

        The same gradients tell whether any of the last tokens sees the next ones.

        Args:
            model: the model.
            sequence: it is left alone unless it is far longer than all before it.
            x: its embeddings, [N, D].
            stepwise: whether each generated token takes a pass of its own.

        Raises:
            UnsupportedModelError: it is not.
        """
        self.rows, read = 0, len(sequence.inputs)
        if read <= _LONGER * self._differentiated:
            return None
        own, x = alone(sequence), x[None, None]
        last = range(len(sequence.response))[-_TRIED:]
        together: Tensor | None = None
        if not stepwise:
            whole = own.of(last)
            every = self._field(model, whole)
            with state_restored(model, every.observe):
                together = gradient_of(every, x)
            if (departure := self._ahead(model, own, whole, together)) is not None:
                return departure
        for t in reversed(last):
            step = own.step(t)
            field, read_by = self._field(model, step), step.movable.shape[1]
            here = x[:, :, :read_by]
            try:
                with state_restored(model, field.observe):
                    if together is None:
                        gradient = gradient_of(field, here)
                    else:
                        gradient = together[last.index(t), None, :read_by]
                    check_derivative(field, here, gradient)
                break
            except UnsupportedModelError:  # a single target may be flat, or sit on a jump
                if t == last[0]:
                    raise
        self._differentiated = read
        return None

    def _ahead(self, model: Any, own: Batch, whole: Batch, gradient: Tensor) -> Departure | None:
        """Tell by gradients [T, N, D] of a whole pass whether targets see later tokens."""
        for t, (one, reach) in enumerate(zip(gradient, whole.reach[0].tolist(), strict=True)):
            later, every = one[reach:].abs().sum(), one.abs().sum()
            if later > torch.finfo(model.dtype).eps * every:
                place = own.targets.shape[1] - whole.targets.shape[1] + t
                fields = self._field(model, whole), self._field(model, own.step(place))
                both = [self._observed(field).log_prob[0] for field in fields]
                seen, alone = both[0][t], both[1][0]
                self.departed, self.rows = True, 3  # with the pass that was differentiated
                return Departure(float((seen - alone).abs()), reach, own.movable.shape[1])
        return None

    def _known(self, own: Batch, batch: Batch) -> bool:
        """Tell whether nothing changes between a sequence's first target and its whole pass."""
        encoder, decoder = batch.reads
        first = int(own.positions[0, 0]) + 1
        return self._encoder.known(own.encoder_ids.shape[1], encoder) and self._decoder.known(
            first, decoder
        )

    def _places(self, sequences: Sequence[TokenSequence], batch: Batch) -> Tensor | None:
        """Return up to which targets each sequence of a batch is run again, [B, 2], if any."""
        every = [alone(sequence) for sequence in sequences]
        if all(self._known(own, batch) for own in every):
            return None
        return torch.tensor([self._ends(own, own.reads != batch.reads) for own in every])

    def _ends(self, own: Batch, padded: bool) -> tuple[int, int]:
        """Return the targets up to which a short and a long pass of their own are run."""
        # The pass over all tokens is the one over the longest prefix, if nothing pads it.
        last = max(0, own.targets.shape[1] - (1 if padded else 2))
        first = int(own.positions[0, 0]) + 1
        # Over a few tokens all models are alike: the longest pass that is known tells more.
        short = min(self._decoder.end(first) - first, last)

        def hidden(t: int) -> tuple[int, int]:
            # At the end of a block nobody looks ahead. Blocks may be of a size that the config
            # names, or of one that divides what lies between the prefixes.
            between = t - short
            sizes = sum(between % n == 0 for n in range(2, between + 1))
            return self._divisors(first + t), max(1, sizes)

        late = range(last, max(short, last - _LATE), -1)
        return short, min(late, key=hidden, default=short)

    def _divisors(self, length: int) -> int:
        """Return how many of the numbers that the config names divide a length."""
        return sum(length % number == 0 for number in self._named if 2 <= number <= length)

    def _compare(self, model: Any, prefix: Batch, seen: Observation, b: int) -> _Comparison:
        """Compare a pass over a prefix with what was seen of a batch, one of whose rows it is."""
        assert seen.kept is not None
        last = prefix.targets.shape[1] - 1
        places = seen.kept.places[b]
        here = places <= last
        alone = self._observed(self._field(model, prefix), places[here][None])
        self.rows += 1
        assert alone.kept is not None
        found = alone.kept.logits[0]
        expected = seen.kept.logits[b][here.to(found.device)]
        log_prob = seen.log_prob[b, : last + 1]
        # In 16 bits, rounding moves single tokens; another function moves most of them.
        narrow = torch.finfo(model.dtype).eps < COARSE
        moved = _moved(model, alone.log_prob[0].to(log_prob), log_prob, each=narrow)
        error, eps = likely_error(found, expected), torch.finfo(model.dtype).eps
        # In 32 bits, half of the digits: other shapes take fewer.
        certain = not error > (eps**0.5 if narrow else ROUNDINGS * eps)
        if not certain and (narrow or error > _CLEAR * self._rounding(model, prefix, alone, found)):
            moved = max(moved, _likely_change(found, expected))
        return _Comparison(moved, certain)

    def _rounding(self, model: Any, prefix: Batch, alone: Observation, logits: Tensor) -> float:
        """Return by how much logits differ where embeddings differ by their own rounding."""
        assert alone.kept is not None
        rows = torch.zeros(_SHAKEN, dtype=torch.int64)
        generator = torch.Generator().manual_seed(0)  # of its own: the caller's is left alone
        signs = torch.randint(-1, 2, (_SHAKEN, *alone.x.shape[1:]), generator=generator)
        shaken = alone.x * (1 + torch.finfo(model.dtype).eps * signs.to(alone.x))
        field = self._field(model, prefix.rows(rows))
        with state_restored(model, field.observe):
            found = field.logits_at(shaken, alone.kept.places[rows])
        self.rows += _SHAKEN
        return max(likely_error(one, logits) for one in found)

    def _observed(self, field: EmbeddingField, places: Tensor | None = None) -> Observation:
        with state_restored(field.model, field.observe):
            return field.observe(places)

    def _field(self, model: Any, batch: Batch) -> EmbeddingField:
        return EmbeddingField(model, self.sites, batch, TARGETS["logit"], RowRunner(1))


@dataclass(frozen=True)
class _Comparison:
    """What a pass over a prefix says of a longer one.

    Args:
        change: of a log-probability; 0 if only by rounding.
        certain: whether it is rounding without a doubt.
    """

    change: float
    certain: bool


def _moved(model: Any, found: Tensor, expected: Tensor, each: bool) -> float:
    """Return by how much log-probabilities differ, any or most of them; 0 if by rounding."""
    change = torch.where(found == expected, 0, (found - expected).abs())
    error, eps = change / (1 + expected.abs()), torch.finfo(model.dtype).eps
    error = error.max() if each else error.mean()
    return float(change.max()) if error > eps**0.5 else 0.0


def _likely_change(found: Tensor, expected: Tensor) -> float:
    """Return by how much log-probabilities of likely tokens differ at most, of logits [P, V]."""
    likely = expected.topk(min(LIKELY, expected.shape[-1])).indices
    found, expected = (z.log_softmax(1).gather(1, likely) for z in (found, expected))
    return float((found - expected).abs().max())


class _Lengths:
    """Lengths of passes between which a model was seen to compute the same."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def known(self, first: int, last: int) -> bool:
        """Tell whether nothing changes from one length to another."""
        return first == last or any(a <= first and last <= b for a, b in self._spans)

    def end(self, first: int) -> int:
        """Return the longest pass that does the same as one of some length."""
        return max([first, *(b for a, b in self._spans if a <= first <= b)])

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

"""A batch that is ready to be worked on: run as it is, and agreed between processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_attrib.engine.question import Plan
from hf_attrib.errors import InputError, MemoryLimitError, UnsupportedModelError
from hf_attrib.execution import Processes
from hf_attrib.field import Field, ForkField, Groups, SpanField
from hf_attrib.model import Batch, Observation, Watch

__all__ = ["ReadyBatch", "agreed", "groups_of", "summed_up"]


@dataclass(eq=False)
class ReadyBatch:
    """Sequences that run together, and the field of what is asked about them.

    Args:
        plan: what is asked of each of them.
        batch: B sequences.
        field: what is asked about, as a function of the embeddings.
        seen: what the model does with the batch as it is.
        watch: tells whether it still does that.
        notes: reservations about the model.
        divisible: whether fewer sequences at once may be tried where memory ends.
        started: when the work on the batch began.
        pace: seconds that a row took when the batch was run as it is.
        too_large: whether memory ended in :meth:`attempt`.
    """

    plan: Plan
    batch: Batch
    field: Field
    seen: Observation
    watch: Watch
    notes: tuple[str, ...]
    divisible: bool
    started: float
    pace: float
    too_large: bool = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Work on the batch inside; if memory ends, it comes again in smaller ones.

        Raises:
            MemoryLimitError: memory ends, and the batch cannot be divided.
            UnsupportedModelError: somebody changed the model meanwhile.
        """
        try:
            yield
        except MemoryLimitError:
            if not self.divisible:
                raise
            self.too_large = True
        except (UnsupportedModelError, RuntimeError) as error:
            # A table that was resized, say, fails in other words.
            if self.watch.same_weights():
                raise
            raise self.watch.refusal() from error
        else:
            self.watch.close()

    def reference(self) -> Tensor:
        """Return the reference input x', [B, 1, N, D]."""
        return self.field.space.reference(0, 0)

    def seconds(self) -> float:
        """Return how long each sequence has taken so far."""
        return (time.perf_counter() - self.started) / len(self.plan.cases)


def agreed(seen: Observation, field: Field, processes: Processes, plan: Plan) -> Observation:
    """Return what the first process saw of a batch, before they share its rows.

    Args:
        seen: what this process did.
        field: of the batch.
        processes: those that share the rows to run.
        plan: all that the rows depend on besides the model and its target.

    Raises:
        InputError: the processes do not have the same model, or not the same question.
    """
    asked = [(c.sequence, c.moves, c.contrast, c.targets, c.groups, c.fork) for c in plan.cases]
    processes.check_same(asked, [(part.shape, part.dtype) for part in (seen.x, seen.value)])
    x, value, log_prob, shortfall = map(
        processes.first, (seen.x, seen.value, seen.log_prob, seen.shortfall)
    )
    first = Observation(x, value, log_prob, shortfall, seen.kept)
    # Rounding is no difference: processes may run other numbers of rows at once.
    tolerance = max(1e-3, 10 * field.precision)
    smallest = 1e3 * tolerance * field.resolution
    if not torch.allclose(seen.value, first.value, tolerance, smallest, equal_nan=True):
        raise InputError(
            "the processes find other values for the same tokens; with distributed=True each of "
            "them must hold the same weights and give the same target."
        )
    return first


def groups_of(plan: Plan, batch: Batch) -> Groups:
    """Return the groups that the inputs of a batch are joined to.

    Args:
        plan: what is asked.
        batch: the sequences that are asked about.
    """
    spans = zip(*((case.groups, *case.within) for case in plan.cases), strict=True)
    owners, parts, sentences, words = map(batch.owners, spans)
    return Groups(owners, batch.movable, sentences, words, parts)


def summed_up(
    tokens: Field, members: Tensor, seen: Observation, groups: Groups | None, pairs: bool
) -> tuple[Field, Observation]:
    """Return the field of sums of targets, or of their differences, and what is seen of these.

    Args:
        tokens: the field of each target.
        members: which of them each sum adds up, as :class:`SpanField` takes them.
        seen: what the model does with all that is run.
        groups: what scores are added up to.
        pairs: whether the second half of the sequences is subtracted from the first.
    """
    seen, x = seen.of_spans(members), seen.x
    field = SpanField(tokens, members, groups=groups, known=seen.value)
    if not pairs:
        return field, seen
    seen = seen.of_pairs()
    return ForkField(field, x, groups=groups, known=seen.value), seen

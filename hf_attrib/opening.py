"""A batch that has been run as it is, and that several processes agree about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_attrib.batch import Batch
from hf_attrib.embedding_field import EmbeddingField
from hf_attrib.errors import InputError
from hf_attrib.field import Field
from hf_attrib.observation import Observation
from hf_attrib.processes import Processes
from hf_attrib.stepwise import StepwiseField

__all__ = ["Opened", "agreed", "check_contrasts"]


@dataclass(frozen=True, eq=False)
class Opened:
    """A batch that has been run as it is.

    Args:
        batch: B sequences.
        contrasts: of each of them.
        field: what is asked about, as a function of the embeddings.
        seen: what the model does with the batch.
        baseline: what references are, in words, or ``None`` if the method has none.
        notes: reservations about the model.
        started: when the work on the batch began.
    """

    batch: Batch
    contrasts: list[Tensor | None]
    field: Field
    seen: Observation
    baseline: str | None
    notes: tuple[str, ...]
    started: float

    def seconds(self) -> float:
        """Return how long each sequence has taken so far."""
        return (time.perf_counter() - self.started) / len(self.contrasts)


def agreed(
    field: EmbeddingField | StepwiseField, processes: Processes, *asked: object
) -> Observation:
    """Observe a batch in each process, before they share its rows; return what the first saw.

    Args:
        field: of the batch.
        processes: those that share the rows to run.
        *asked: all that the rows depend on besides the model and its target.

    Raises:
        InputError: the processes do not have the same model, or not the same question.
    """
    seen = field.observe()
    kinds = [(part.shape, part.dtype) for part in (seen.x, seen.value)]
    processes.check_same(*asked, kinds)
    first = Observation(*map(processes.first, (seen.x, seen.value, seen.log_prob)))
    # Rounding is no difference: processes may run other numbers of rows at once.
    tolerance = max(1e-3, 10 * field.precision)
    smallest = 1e3 * tolerance * field.resolution
    if not torch.allclose(seen.value, first.value, tolerance, smallest, equal_nan=True):
        raise InputError(
            "the processes find other values for the same tokens; with distributed=True each of "
            "them must hold the same weights and give the same target."
        )
    return first


def check_contrasts(contrasts: Sequence[Tensor], size: int) -> None:
    """Refuse ids that are no tokens of the model.

    Args:
        contrasts: ids.
        size: V.

    Raises:
        InputError: some are outside.
    """
    for ids in contrasts:
        if int(ids.max()) >= size:
            raise InputError(f"contrast id {int(ids.max())} is outside the {size} tokens.")

"""The embedding space an input lives in: how large its coordinates are, and what else is there.

Methods that draw noise, references or words ask the space for them, so that they know no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import log

import torch
from torch import Tensor

from hf_attrib.errors import InputError

__all__ = ["Space", "Table"]

#: Rows of a table looked up at once.
_ROWS = 8192


class Table:
    """Token embeddings as the hooked module gives them, after any scaling it does.

    Args:
        embed: maps ids [M] to embeddings [M, D], float32 or better.
        size: V, how many ids there are.
    """

    def __init__(self, embed: Callable[[Tensor], Tensor], size: int) -> None:
        self.embed = embed
        self.size = size

    @cached_property
    def width(self) -> int:
        """D, how many coordinates an embedding has."""
        return self.embed(torch.zeros(1, dtype=torch.int64)).shape[-1]

    @cached_property
    def mean(self) -> Tensor:
        """Mean embedding over the vocabulary, [D]."""
        return torch.stack([self.embed(ids).sum(0) for ids in self._parts()]).sum(0) / self.size

    @cached_property
    def scale(self) -> float:
        r"""Typical size of a coordinate, :math:`\sqrt{\mathrm{mean}_d\,\mathrm{var}_v E_{vd}}`."""
        squares = [(self.embed(ids) - self.mean).square().mean(-1).sum() for ids in self._parts()]
        return float((torch.stack(squares).sum() / self.size).sqrt())

    def nearest(self, points: Tensor, count: int) -> Tensor:
        """Return ids of the nearest embeddings by Euclidean distance, closest first.

        Args:
            points: [M, D].
            count: how many for each; all of them if there are fewer.

        Returns:
            ids [M, count].
        """
        best = torch.empty(len(points), 0, device=points.device, dtype=points.dtype)
        found = torch.empty(len(points), 0, device=points.device, dtype=torch.int64)
        for ids in self._parts():
            distance = torch.cdist(points, self.embed(ids).to(points))
            found = torch.cat([found, ids.to(points.device).expand(len(points), -1)], 1)
            best = torch.cat([best, distance], 1)
            best, order = best.topk(min(count, best.shape[1]), largest=False)
            found = found.gather(1, order)
        return found

    def ahead(self, points: Tensor, directions: Tensor) -> Tensor:
        r"""Return ids of the embeddings that directions from points head for, by cosine, [M].

        It is -1 where no cosine is above :math:`\sqrt{2 \ln V / D}`, which is about what the best
        of V tokens has to a direction drawn at random.

        Args:
            points: [M, D].
            directions: [M, D].
        """
        unit = torch.nn.functional.normalize(directions, dim=-1)
        best = torch.full(points.shape[:1], (2 * log(self.size) / points.shape[1]) ** 0.5).to(
            points
        )
        found = torch.full_like(best, -1, dtype=torch.int64)
        for ids in self._parts():
            table = self.embed(ids).to(points)
            distance = torch.cdist(points, table)
            along = unit @ table.T - (unit * points).sum(-1, keepdim=True)
            # No direction leads from a token to itself.
            cosine = torch.where(distance > 0, along / distance, -torch.inf)
            here, index = cosine.max(-1)
            found = torch.where(here > best, ids.to(found.device)[index], found)
            best = torch.maximum(best, here)
        return found

    def _parts(self) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = torch.arange(self.size).split(_ROWS)
        return parts


@dataclass(frozen=True, eq=False)
class Space:
    """The embedding space of a field's N input positions.

    Args:
        tables: the tables that embed tokens: one, or an encoder's and a decoder's.
        table_of: which of them each position belongs to, [N], on the CPU.
        reference: maps the number of a sample and a seed to a reference input x', [B, 1, N, D].
        inputs: the inputs x themselves, [B, 1, N, D], where they are known.
        stand_in: id of a token that stands for nothing, if there is one.
    """

    tables: tuple[Table, ...]
    table_of: Tensor
    reference: Callable[[int, int], Tensor]
    inputs: Tensor | None = None
    stand_in: int | None = None

    @property
    def x(self) -> Tensor:
        """The inputs themselves, [B, 1, N, D].

        Raises:
            InputError: the space was made without them.
        """
        if self.inputs is None:
            raise InputError("this embedding space was made without its inputs; give them as well.")
        return self.inputs

    @cached_property
    def scale(self) -> Tensor:
        """Typical size of a coordinate at each position, [N, 1], on the CPU."""
        scales = torch.tensor([table.scale for table in self.tables], dtype=torch.float64)
        return scales[self.table_of][:, None]

"""The two sides of scores: targets, and the groups of inputs that scores are added up to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hf_attrib.errors import InputError

__all__ = ["Groups", "Targets"]


@dataclass(frozen=True, eq=False)
class Targets:
    """The T targets of each of B sequences, all on the CPU.

    Args:
        valid: which are no padding of the batch, [B, T] bool.
        reach: how many of the N inputs each can depend on, [B, T]; these come first.
        tokens: how many generated tokens each adds up, [B, T]; 0 for padding.
        together: whether the targets at one point share a forward pass.
        passes: forward passes that a row of all targets takes.
        answers: sequences that each row runs.
    """

    valid: Tensor
    reach: Tensor
    tokens: Tensor
    together: bool = True
    passes: int = 1
    answers: int = 1


@dataclass(frozen=True, eq=False)
class Groups:
    """What the scores of N inputs are added up to: G groups.

    Args:
        owner: the group of each input, [B, N], on the CPU.
        movable: where inputs may move, [B, N] bool, on the CPU.
        sentence: the sentence that each input is in, [B, N], on the CPU; by default its own.
        word: the word that each input is in, [B, N], on the CPU; by default its own.
        part: the document or message, say, that each is in, [B, N], on the CPU; by default all in
            one.
    """

    owner: Tensor
    movable: Tensor
    sentence: Tensor | None = None
    word: Tensor | None = None
    part: Tensor | None = None

    @classmethod
    def single(cls, movable: Tensor) -> Groups:
        """Return groups of one input each.

        Args:
            movable: where inputs may move, [B, N] bool.
        """
        return cls(torch.arange(movable.shape[1]).expand(movable.shape), movable)

    @cached_property
    def moving(self) -> Tensor:
        """Which groups have an input that moves, [B, G] bool."""
        counts = torch.zeros(len(self.owner), int(self.owner.max()) + 1, dtype=torch.int64)
        return counts.scatter_add(1, self.owner, self.movable.cpu().long()) > 0

    @cached_property
    def sentences(self) -> Tensor:
        """The sentence that the first input of each group is in, [B, G]."""
        return self._of_first(self.sentence)

    @cached_property
    def words(self) -> Tensor:
        """The word that the first input of each group is in, [B, G]."""
        return self._of_first(self.word)

    @cached_property
    def parts(self) -> Tensor:
        """The document or message, say, that the first input of each group is in, [B, G]."""
        return self._of_first(torch.zeros_like(self.owner) if self.part is None else self.part)

    @cached_property
    def apart(self) -> bool:
        """Whether each input is a group of its own."""
        return torch.equal(self.owner, torch.arange(self.owner.shape[1]).expand_as(self.owner))

    def checked(self, keep: Tensor) -> Tensor:
        """Return which groups stay, [K, B, G] on the CPU, of flags [K, B or 1, G].

        Raises:
            InputError: they are none.
        """
        shape = self.moving.shape
        if (
            not isinstance(keep, Tensor)
            or keep.dtype != torch.bool
            or keep.dim() != 3
            or keep.shape[1] not in (1, shape[0])
            or keep.shape[2] != shape[1]
        ):
            got = f"{tuple(keep.shape)} {keep.dtype}" if isinstance(keep, Tensor) else type(keep)
            raise InputError(
                f"keep is {got}; expected bool [K, B or 1, G] with B = {shape[0]} and "
                f"G = {shape[1]}."
            )
        return keep.cpu().expand(-1, shape[0], -1)

    def add_up(self, by_input: Tensor, sequence: Tensor) -> Tensor:
        """Add up what inputs have, [R, C, N], to what groups have, [R, C, G].

        Args:
            by_input: for each input, [R, C, N].
            sequence: which of the B sequences each row belongs to, [R].
        """
        if self.apart:
            return by_input
        owner = self.owner[sequence][:, None].expand(by_input.shape).to(by_input.device)
        total = by_input.new_zeros(*by_input.shape[:2], self.moving.shape[1])
        return total.scatter_add(2, owner, by_input)

    def restricted(self, velocity: Tensor, sequence: Tensor, group: Tensor) -> Tensor:
        """Return velocities [I, N, D] of the inputs of one group each, 0 elsewhere.

        Args:
            velocity: of all inputs, [I, N, D].
            sequence: which of the B sequences each belongs to, [I].
            group: what it is restricted to, [I].
        """
        own = (self.owner[sequence] == group[:, None]) & self.movable[sequence]
        return velocity.masked_fill(~own[..., None].to(velocity.device), 0)

    def _of_first(self, part: Tensor | None) -> Tensor:
        """Return the part that the first input of each group is in, [B, G], of parts [B, N]."""
        if part is None:
            part = torch.arange(self.owner.shape[1]).expand(self.owner.shape)
        found = torch.zeros(self.moving.shape, dtype=torch.int64)
        return found.scatter_reduce(1, self.owner, part, "amin", include_self=False)

"""Gradients of a transformers model: its head is differentiated once, its body for each target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.model.forward import Forward, inputs_of
from hf_attrib.model.sites import injected

__all__ = ["Graph", "Value"]

#: Maps logits [R, M, V], places in M, sequences and targets [R, C] to F, [R, C].
Value: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Graph:
    """F of C targets at R rows, and all that it was found by.

    Args:
        value: F, [R, C].
        leaf: the injected embeddings, [R, N, D].
        split: what the head is applied to, or the logits, [R, M, ...].
        index: the place of each target in M, [R, C], on the CPU.
    """

    value: Tensor
    leaf: Tensor
    split: Tensor
    index: Tensor

    @classmethod
    def of(
        cls, forward: Forward, value_of: Value, points: Tensor, sequence: Tensor, target: Tensor
    ) -> Graph:
        """Run rows forward.

        Args:
            forward: runs the model.
            value_of: the scalar to explain.
            points: embeddings, [R, N, D].
            sequence: which of the B sequences each row belongs to, [R], on the CPU.
            target: which of its T targets to evaluate, [R, C], on the CPU.
        """
        leaf = points.detach().requires_grad_()
        length = int(forward.reach(sequence, target).max())
        cut: list[Tensor] = []
        with (
            torch.enable_grad(),
            injected(forward.sites, forward.split(leaf, length)),
            inputs_of(forward.sites.head, cut),
        ):
            logits, index = forward.logits(sequence, target, length)
            value = value_of(logits, index, sequence, target)
        # Where hidden states do not pass through one head, the graph is cut at the logits.
        hidden = [h for h in cut if h.requires_grad and h.shape[:-1] == logits.shape[:-1]]
        split = hidden[0] if len(hidden) == 1 else logits
        return cls(value, leaf, split, index)

    def seed(self, head: Tensor, weights: Tensor) -> Tensor:
        """Return the gradient of each row's weighted sum of F where the graph is split.

        Args:
            head: the gradient of the sum of F there, which serves all targets.
            weights: of the targets, [R, C], on the CPU.
        """
        value = self.value.detach()
        nowhere = torch.zeros(head.shape[:2]).to(value)
        here = nowhere.scatter_add(1, self.index.to(value.device), weights.to(value))[..., None]
        # Where the weight is 0, the seed is, even if it overflows there.
        return torch.where(here != 0, here.to(head) * head, 0)

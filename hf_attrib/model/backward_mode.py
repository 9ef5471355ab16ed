"""Gradients of a transformers model: its head is differentiated once, its body for each target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        value: F, [R, C], without its graph.
        leaf: the injected embeddings, [R, N, D].
        split: what the head is applied to, or the logits, [R, M, ...].
        seeds: the gradient of the sum of F there, of the same shape.
        index: the place of each target in M, [R, C], on the CPU.
    """

    value: Tensor
    leaf: Tensor
    split: Tensor
    seeds: Tensor
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
        seeds = torch.autograd.grad(value.sum(), split)[0]
        return cls(value.detach(), leaf, split, seeds, index)

    def pull(self, weights: Tensor, by: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """Return the gradient of each row's weighted sum of F, in one backward pass.

        Args:
            weights: of the targets, [R, C], on the CPU.
            by: what F is differentiated by; of what does not lead to it, there is no gradient.
        """
        nowhere = torch.zeros(self.seeds.shape[:2]).to(self.value)
        index = self.index.to(self.value.device)
        here = nowhere.scatter_add(1, index, weights.to(self.value))[..., None]
        # Where the weight is 0, the seed is, even if it overflows there.
        seed = torch.where(here != 0, here.to(self.seeds) * self.seeds, 0)
        return torch.autograd.grad(self.split, by, seed, retain_graph=True, allow_unused=True)

    def pull_to_leaf(self, weights: Tensor) -> Tensor:
        """Return the same by the injected embeddings, [R, N, D].

        Raises:
            RuntimeError: they do not lead to F.
        """
        (found,) = self.pull(weights, [self.leaf])
        if found is None:
            raise RuntimeError("the embeddings are not part of the graph of F")
        return found

"""Attention between the inputs and F, for methods that follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hf_attrib.field.decomposition import Linearisation

if TYPE_CHECKING:
    from hf_attrib.field.base import Field

__all__ = ["Attended", "AttentionPass", "Maps", "pulled_to_attention"]


class Maps(NamedTuple):
    """Attention probabilities of R rows, layer by layer, or their gradients.

    A decoder-only model has maps of its decoder alone, and S is 0.

    Args:
        encoder: from each position of the encoder to each, [R, H, S, S] a layer.
        decoder: from each position of the decoder to each, [R, H, L, L] a layer.
        cross: from each position of the decoder to each of the encoder, [R, H, L, S] a layer.
    """

    encoder: tuple[Tensor, ...]
    decoder: tuple[Tensor, ...]
    cross: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class AttentionPass:
    """The attention of a forward pass over R rows, which may end before the last inputs.

    Args:
        maps: its probabilities; positions of the encoder come first among the N inputs.
        gradient: maps weights [R, C] of C targets to the gradient of each row's weighted sum of F
            by the maps, in one backward pass.
        places: maps such weights to where the decoder predicts targets of weight not 0, [R, L], 1
            there and 0 elsewhere.
    """

    maps: Maps
    gradient: Callable[[Tensor], Maps]
    places: Callable[[Tensor], Tensor]

    def reweighed(self, by: Callable[[Tensor], Tensor]) -> AttentionPass:
        """Return the same pass for targets that are sums of these.

        Args:
            by: maps weights of the sums to weights of what they add up.
        """
        return AttentionPass(
            self.maps,
            lambda weights: self.gradient(by(weights)),
            lambda weights: self.places(by(weights)),
        )


@dataclass(frozen=True, eq=False)
class Attended:
    """F at R rows, and the attention that leads to it.

    Args:
        value: F of C targets for each row, [R, C].
        passes: those that F is found by; more than one where it is a difference of answers.
    """

    value: Tensor
    passes: tuple[AttentionPass, ...]


def pulled_to_attention(
    field: Field, points: Tensor, sequence: Tensor, target: Tensor
) -> Linearisation:
    """Return F, and a pullback that ends at attention: what a method that follows it runs at least.

    It returns no gradient, [R, N, 0].

    Args:
        field: F and its attention.
        points: embeddings, [R, N, D].
        sequence: which of the B sequences each row belongs to, [R], on the CPU.
        target: which of its T targets to evaluate, [R, C], on the CPU.
    """
    attended = field.attended(points, sequence, target)

    def pullback(weights: Tensor) -> Tensor:
        for one in attended.passes:
            one.gradient(weights)
        return torch.zeros_like(points[..., :0])

    return Linearisation(attended.value, pullback)

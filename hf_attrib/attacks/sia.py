"""Structure-invariant attack. Wang, Zhang, Zhang 2023, arXiv:2309.14700."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.climb import Climb
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.integration import generator

__all__ = ["SIA"]

#: Share of coordinates that one transform drops, and of high frequencies that another does.
_DROPPED, _HIGH = 0.1, 0.4


@dataclass(frozen=True)
class SIA(MomentumRule, name="sia"):
    r"""Momentum steps along gradients of copies each of whose spans is transformed at random.

    .. math:: G^k = \frac{1}{C} \sum_{i < C} \nabla_x J\big(x' + L_i (x^k - x') + n_i\big)

    On each span of the inputs that may move, :math:`L_i` and :math:`n_i` do one of four things:
    scale towards x' by a factor from U(0, 1); add noise :math:`\epsilon u\,U(-1, 1)`; replace a
    tenth of the coordinates by those of x'; or remove the upper 40 % of the frequencies along
    the positions.

    Images are cut into 3 x 3 blocks that are also shifted, flipped, rotated and resized; a text is
    cut into spans, and is not reordered, which would change what it says.

    Args:
        decay: :math:`\mu` of the momentum.
        copies: C.
        blocks: how many spans there are.
        seed: of the transforms.

    Source: arXiv:2309.14700.
    """

    stochastic: ClassVar[bool] = True
    uses_reference: ClassVar[bool] = True
    copies: int = hyperparameter(20, "Copies of the input at each step.", at_least(1))
    blocks: int = hyperparameter(3, "Spans that are transformed apart.", at_least(1))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return self.copies

    def gradients(self, climb: Climb) -> Iterator[Tensor]:
        """Yield means over transformed copies."""
        for step in count():
            away = (climb.here - climb.reference).expand(self.copies, *climb.here.shape)
            noise = torch.zeros(self.copies, *climb.reference.shape).to(away)
            changed = self._transform(climb, step, away, noise)
            points = climb.reference + changed + climb.eps * climb.scale * noise
            yield self._transform(climb, step, climb.gradient(points), noise).mean(0)

    def _transform(self, climb: Climb, step: int, given: Tensor, noise: Tensor) -> Tensor:
        """Return L given, [C, B, W, N, D], and write down the noise, [C, B, 1, N, D]."""
        made = given.clone()
        for i in range(self.copies):
            for b, moves in enumerate(climb.field.movable.cpu()):
                draw = generator(self.seed, "sia", step, i)
                for span in moves.nonzero()[:, 0].tensor_split(self.blocks):
                    own, shape = given[i, b][:, span], (len(span), given.shape[-1])
                    kind, scale, drawn = _drawn(draw, shape)
                    if kind == "scale":
                        own = own * scale
                    elif kind == "drop":
                        own = own * (drawn >= _DROPPED).to(own)
                    elif kind == "smooth":
                        own = torch.einsum("mn,wnd->wmd", _low_pass(len(span)).to(own), own)
                    else:
                        noise[i, b, 0, span] = (2 * drawn - 1).to(noise)
                    made[i, b][:, span] = own
        return made


def _drawn(draw: torch.Generator, shape: tuple[int, int]) -> tuple[str, float, Tensor]:
    """Return what to do to a span, and the numbers to do it with."""
    kind = ("scale", "noise", "drop", "smooth")[int(torch.randint(4, (), generator=draw))]
    return kind, float(_uniform((), draw)), _uniform(shape, draw)


def _uniform(shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=draw, dtype=torch.float32)


def _low_pass(count: int) -> Tensor:
    """Return the projection on the low frequencies of so many positions, [count, count]."""
    places = torch.arange(count, dtype=torch.float64)
    waves = torch.cos(math.pi * places[:, None] * (places + 0.5) / max(count, 1))
    waves = waves[: count - int(_HIGH * count)]
    waves = waves / waves.norm(dim=1, keepdim=True)
    projection: Tensor = waves.T @ waves
    return projection

"""Fields with exact answers, float64: plain functions of embeddings [R, N, D]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hf_attrib.field import FunctionField, Space, Table
from hf_attrib.integration import generator

_GENERATOR = torch.Generator().manual_seed(7)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_GENERATOR, dtype=torch.float64)


#: Embeddings of a made-up vocabulary, [V, D].
WORDS = random(40, 3)


def reference(sample: int, seed: int) -> Tensor:
    """A random word for each of four inputs, [1, 1, N, D]."""
    return WORDS[torch.randint(40, (1, 1, 4), generator=generator(seed, sample))]


@dataclass(frozen=True, eq=False)
class Problem:
    """A function of embeddings [R, N, D] to targets [R, T], an input, a baseline."""

    name: str
    function: Callable[[Tensor], Tensor]
    x: Tensor  # [1, 1, N, D]
    baseline: Tensor
    drawn: Callable[[int, int], Tensor] = reference  # baselines of methods that draw them

    def field(self, row_budget: int = 8) -> FunctionField:
        targets = self.function(self.x[0]).shape[1]
        hidden, after = LAYERS.get(self.function, (torch.clone, self.function))
        shape = targets, self.x.shape[2]
        made = FunctionField(
            after, *shape, row_budget, self.space(), hidden=hidden, attention=self.attention
        )
        made.logits, made.ids = self.logits, torch.zeros(1, targets, dtype=torch.int64)
        return made

    def logits(self, z: Tensor) -> Tensor:
        """Logits [R, T, 6]: f itself for the targets' token 0, and five other tokens."""
        seen = torch.cat([z[:, :1], torch.zeros_like(z[:, :1]), z[:, 2:]], 1)
        seen = seen if self.function is ignores_second else z
        value = self.function(z)
        behind = torch.tensor([4.0, 0.0]).double()[: value.shape[1], None]  # target 0 leads
        others = (seen.flatten(1) @ _OTHERS)[:, None] - behind
        return torch.cat([value[..., None], others], -1)

    def attention(self, z: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """f and the attention of two layers on the way to it, each of which is undone first."""
        maps = []
        for layer in range(2):
            attention = attention_of(self.function, z.shape[1], layer)
            # Probabilities are leaves here, which is what makes them no function of the inputs.
            maps.append(attention.expand(len(z), 2, -1, -1).clone().requires_grad_())
            values = torch.linalg.inv(attention) @ z
            z = maps[-1].mean(1) @ values
        return self.function(z), tuple(maps)

    def space(self) -> Space:
        positions = torch.zeros(self.x.shape[2], dtype=torch.int64)
        return Space((Table(lambda ids: WORDS[ids], len(WORDS)),), positions, self.drawn)

    def moving(self, n: int) -> Problem:
        """The same function at an input that differs from all baselines at position n alone."""
        x, drawn = self.baseline.clone(), self.drawn
        x[..., n, :] = self.x[..., n, :]

        def start(sample: int, seed: int) -> Tensor:
            here = torch.arange(x.shape[-2]) == n
            return torch.where(here[:, None], drawn(sample, seed), x)

        return replace(self, x=x, drawn=start)

    def difference(self) -> Tensor:
        """f(x) - f(x'), [1, T]."""
        return self.function(self.x[0]) - self.function(self.baseline[0])


_W, _B = random(2, 4, 3), random(2)
_Q = random(12, 12)
_Q = _Q + _Q.T


def linear(z: Tensor) -> Tensor:
    return torch.einsum("rnd,tnd->rt", z, _W) + _B


def quadratic(z: Tensor) -> Tensor:
    flat = z.flatten(1)
    return torch.einsum("ri,ij,rj->r", flat, _Q, flat)[:, None] / 2


def smooth(z: Tensor) -> Tensor:
    """A two-layer tanh language model head: log-probabilities of two tokens."""
    return _read(_units(z))


def smooth_again(z: Tensor) -> Tensor:
    """The same function by another network, with an inverse pair and other hidden units.

    The first layer is two, whose product it is; units change places and sign, as tanh allows; and
    the vocabulary is in another order, its logits shifted.
    """
    return _read_turned(_turned(z))


def _units(z: Tensor) -> Tensor:
    return torch.tanh(z.flatten(1) @ _MIX)


def _read(units: Tensor) -> Tensor:
    return (units @ _HEAD).log_softmax(-1)[:, :2]


def _turned(z: Tensor) -> Tensor:
    return z.flatten(1) @ _TURN


def _read_turned(turned: Tensor) -> Tensor:
    order, signs = torch.tensor([3, 1, 4, 0, 2]), torch.tensor([1.0, -1, -1, 1, -1]).double()
    units = torch.tanh(turned @ (torch.linalg.inv(_TURN) @ _MIX[:, order]) * signs)
    logits = (units * signs) @ _HEAD[order].flip(1) + 3.0
    return logits.log_softmax(-1)[:, [6, 5]]


_MIX, _HEAD = random(12, 5) / 2, random(5, 7)
_TURN = torch.randn(12, 12, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def ignores_second(z: Tensor) -> Tensor:
    """Targets that do not depend on input 1."""
    return smooth(torch.cat([z[:, :1], torch.zeros_like(z[:, :1]), z[:, 2:]], 1))


#: Hidden layers of functions, and what comes after them; others have the input for a layer.
LAYERS = {smooth: (_units, _read), smooth_again: (_turned, _read_turned)}


def attention_of(function: Callable[[Tensor], Tensor], positions: int, layer: int) -> Tensor:
    """What each position reads of each, [N, N]: another thing where a network is another."""
    drawn = torch.Generator().manual_seed(10 * layer + (function is smooth_again))
    return (2 * torch.randn(positions, positions, generator=drawn).double()).softmax(-1)


PROBLEMS = [
    Problem("linear", linear, random(1, 1, 4, 3), random(1, 1, 4, 3)),
    Problem("quadratic", quadratic, random(1, 1, 4, 3), random(1, 1, 4, 3)),
    Problem("smooth", smooth, random(1, 1, 4, 3), random(1, 1, 4, 3)),
    Problem("ignores_second", ignores_second, random(1, 1, 4, 3), random(1, 1, 4, 3)),
]

_OTHERS = random(12, 5) / 4

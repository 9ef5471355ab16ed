"""Staircases: orders in which players come in one after another, and what each of them adds."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_attrib.integration import generator
from hf_attrib.methods.perturbation.game import Solution

__all__ = ["added", "mean_over", "orders", "orders_within", "parts_of", "stairs"]


def orders(count: int, first: int, pairs: int, seed: int) -> Tensor:
    """Return pairs of orders of n players, [pairs, 2, n]: who comes first, second, ...

    Args:
        count: n.
        first: number of the first pair.
        pairs: how many.
        seed: the caller's.
    """
    return orders_within(torch.zeros(0, count, dtype=torch.int64), first, pairs, seed)


def orders_within(labels: Tensor, first: int, pairs: int, seed: int) -> Tensor:
    """Return pairs of orders in which the members of each part come in together, [pairs, 2, n].

    Each pair is an order and its reverse. Of two pairs, the second has the order of the first
    begin in its middle, and so the order within each part.

    Args:
        labels: the part of each player, coarsest first, [L, n]; with L = 0 any order will do.
        first: number of the first pair.
        pairs: how many.
        seed: the caller's.
    """
    found = []
    for number in range(first, first + pairs):
        draw = generator(seed, "staircases", number // 2)
        everyone = torch.arange(labels.shape[1])
        order = _shuffled(everyone, labels, number % 2 == 1, draw)
        found.append(torch.stack([order, order.flip(0)]))
    return torch.stack(found)


def parts_of(players: Tensor, labels: Tensor) -> list[Tensor]:
    """Return the parts of some players, in order, and each player alone where there are no labels.

    Args:
        players: their numbers, [k], ascending.
        labels: the part of each of n players, coarsest first, [L, n].
    """
    if len(labels) == 0:
        return list(players.split(1))
    own = labels[0, players]
    return [players[own == part] for part in own.unique()]


def stairs(order: Tensor) -> Tensor:
    """Return who has come in after each step of orders [P, 2, n], [P * 2 * (n + 1), n] bool."""
    count = order.shape[-1]
    place = order.flatten(0, 1).argsort(-1)  # of each player
    return (place[:, None] < torch.arange(count + 1)[:, None]).flatten(0, 1)


def added(order: Tensor, value: Tensor) -> Tensor:
    """Return what each player adds along orders [P, 2, n] of which values are known.

    Args:
        order: who comes first, second, ...
        value: of the subsets along them, as :func:`stairs` returns these, [P * 2 * (n + 1), T].

    Returns:
        gains [P, 2, n, T].
    """
    steps = value.reshape(*order.shape[:2], order.shape[2] + 1, -1).diff(dim=2)
    return steps.gather(2, order.argsort(-1)[..., None].expand(steps.shape))


def mean_over(pairs: Tensor, start: Tensor) -> Solution:
    """Return the mean of gains [P, 2, n, T], and its standard error over pairs.

    Args:
        pairs: gains, as :func:`added` returns them.
        start: f without any player, [T].
    """
    means = pairs.mean(1)
    return Solution(means.mean(0), start, means.std(0) / len(means) ** 0.5)


def _shuffled(players: Tensor, labels: Tensor, turned: bool, draw: torch.Generator) -> Tensor:
    """Return players [k] in an order that keeps parts, and parts of parts, together."""
    parts = parts_of(players, labels)
    if len(parts) > 1:
        order = torch.randperm(len(parts), generator=draw)
        parts = [parts[part] for part in order.roll(turned * (len(parts) // 2))]
    if len(labels):
        parts = [_shuffled(part, labels[1:], turned, draw) for part in parts]
    return torch.cat(parts)

"""Forward-only methods once more, in slow plain loops over sets of players, one target at a time.

What is drawn at random is drawn by the library's own generator, as in :mod:`helpers.reference`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import factorial

import torch
from torch import Tensor

from helpers.reference import Case
from hf_attrib.integration import generator


def v(case: Case, players: set[int]) -> float:
    """f with the others at the baseline."""
    z = case.baseline.clone()
    for n in players:
        z[n] = case.x[n]
    return case.value(z)


def sets(players: set[int]) -> list[set[int]]:
    sizes = range(len(players) + 1)
    return [set(s) for k in sizes for s in itertools.combinations(sorted(players), k)]


def shapley_values(value: Callable[[set[int]], float], count: int) -> Tensor:
    """Equation 4 of arXiv:1705.07874, over all subsets."""
    scores = []
    for i in range(count):
        total = 0.0
        for s in sets(set(range(count)) - {i}):
            weight = factorial(len(s)) * factorial(count - len(s) - 1) / factorial(count)
            total += weight * (value(s | {i}) - value(s))
        scores.append(total)
    return torch.tensor(scores, dtype=torch.float64)


def occlusion(case: Case) -> Tensor:
    every = set(range(len(case.x)))
    losses = [v(case, every) - v(case, every - {n}) for n in sorted(every)]
    return torch.tensor(losses, dtype=torch.float64)


def shapley(case: Case) -> Tensor:
    """Algorithm of Castro et al. 2009 over one order, its half turn, and the reverse of both."""
    count = len(case.x)
    drawn = torch.randperm(count, generator=generator(0, "staircases", 0)).tolist()
    turned = drawn[count - count // 2 :] + drawn[: count - count // 2]
    total = torch.zeros(count, dtype=torch.float64)
    for order in (drawn, drawn[::-1], turned, turned[::-1]):
        present: set[int] = set()
        for player in order:
            total[player] += (v(case, present | {player}) - v(case, present)) / 4
            present = present | {player}
    return total


PERTURBATION: dict[str, Callable[[Case], Tensor]] = {
    "occlusion": occlusion,
    "shapley": shapley,
}

"""Forward-only methods once more, in slow plain loops over sets of players, one target at a time.

What is drawn at random is drawn by the library's own generator, as in :mod:`helpers.reference`.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from math import factorial

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from helpers.reference import Case
from hf_attrib.integration import derived, generator


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


def loo_shapley(case: Case) -> Tensor:
    """Two thirds of what is lost, a third of four orders, the rest by size."""
    count, every = len(case.x), set(range(len(case.x)))
    order = list(range(count))
    drawn = torch.randperm(count, generator=generator(0, "sentences", 1)).argsort().tolist()
    steps = torch.zeros(count, dtype=torch.float64)
    for walk in ([order[-1], *order[:-1]], order[::-1], drawn, drawn[::-1]):
        for place, player in enumerate(walk):
            steps[player] += v(case, set(walk[: place + 1])) / 4 - v(case, set(walk[:place])) / 4
    lost, weight = occlusion(case), 2 / 3
    while True:
        mixed = weight * lost + (1 - weight) * steps
        rest = v(case, every) - v(case, set()) - float(mixed.sum())
        share = rest / float(mixed.abs().sum())
        if abs(share) <= 0.9:
            return mixed + share * mixed.abs()
        weight = weight / 2 if weight > 0.1 else 0.0


def members(flags: Tensor) -> list[set[int]]:
    return [{i for i, flag in enumerate(row) if flag} for row in flags.tolist()]


def complement(subset: set[int], count: int) -> set[int]:
    return set(range(count)) - subset


def coins(case: Case, name: str, rows: int) -> list[set[int]]:
    drawn = torch.rand(rows, len(case.x), generator=generator(0, name))
    return members(drawn < 0.5)


def table_of(case: Case, subsets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Who plays, with a column of ones behind it, and f."""
    plays = [[float(i in s) for i in range(len(case.x))] + [1.0] for s in subsets]
    return np.array(plays), np.array([v(case, s) for s in subsets])


def fit(rows: np.ndarray, value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.linalg.lstsq(rows, value, rcond=None)[0])


def kernel_shap(case: Case) -> Tensor:
    """Section 4.1 of arXiv:1705.07874, the last score given by the others and the sum."""
    count, draw = len(case.x), generator(0, "kernel_shap")
    drawn = 6 - count  # beside each player alone
    likely = torch.tensor([1 / (k * (count - k)) for k in range(2, count - 1)]).double()
    sizes = torch.multinomial(likely, drawn, replacement=True, generator=draw) + 2
    keys = torch.rand(drawn, count, generator=draw).tolist()
    first = [sorted(range(count), key=key.__getitem__) for key in keys]
    some = [set(order[:size]) for order, size in zip(first, sizes.tolist(), strict=True)]
    half = [*({i} for i in range(count)), *some]
    weight = [1 / (count * (count - 1))] * count + [float(likely.sum()) / drawn / 2] * drawn
    every = [*half, *(complement(s, count) for s in half)]
    plays, value = table_of(case, every)
    none, total = v(case, set()), v(case, set(range(count)))
    last = plays[:, count - 1]
    root = np.sqrt(np.array(weight * 2))
    rows = root[:, None] * (plays[:, : count - 1] - last[:, None])
    rest = fit(rows, root * (value - none - last * (total - none)))
    return torch.cat([rest, total - none - rest.sum()[None]])


def banzhaf(case: Case) -> Tensor:
    half = coins(case, "banzhaf", 7)
    rows, value = table_of(case, [*half, *(complement(s, len(case.x)) for s in half)])
    return fit(rows, value)[:-1]


def lime(case: Case) -> Tensor:
    """Algorithm 1 of arXiv:1602.04938, by rows that are repeated as their weights say."""
    rows, value = table_of(case, coins(case, "lime", 12))
    distances = [1 - math.sqrt(row[:-1].sum() / len(case.x)) for row in rows]
    root = np.array([math.exp(-((d / 0.25) ** 2) / 2) for d in distances])
    return fit(rows * root[:, None], value * root)[:-1]


def c_lime(case: Case) -> Tensor:
    """Section 4.1 of arXiv:2102.10618 with noise along tokens, each drawn and then its negative."""
    half = 0.15 * torch.randn(6, len(case.x), generator=generator(0, "c_lime")).double()
    rows, value = [], []
    for noise in [*half, *-half]:
        z = case.x.clone()
        for n, eta in enumerate(noise):
            z[n] += eta * (case.x[n] - case.baseline[n])
        rows.append([*noise.tolist(), 1.0])
        value.append(case.value(z))
    return fit(np.array(rows), np.array(value))[:-1]


def rise(case: Case) -> Tensor:
    """Equation 3 of arXiv:1806.07421, less the same of the masks without the pixel."""
    drawn = torch.rand(len(case.x), 12, generator=generator(0, "rise")).argsort(1).T < 6
    scores = []
    for i in range(len(case.x)):
        means = []
        for stays in (True, False):
            found = [v(case, s) for s in members(drawn) if (i in s) == stays]
            means.append(sum(found) / len(found))
        scores.append(means[0] - means[1])
    return torch.tensor(scores, dtype=torch.float64)


def sobol(case: Case) -> Tensor:
    """Equation 7 of arXiv:2111.04138 by Jansen's estimator, player i changed in every point."""
    count = len(case.x)
    throws = qmc.Sobol(count, rng=derived(0, "sobol")).random(4)[:3] >= 0.5
    points = [set(np.flatnonzero(throw).tolist()) for throw in throws]
    scores, every = [], [v(case, a) for a in points]
    for i in range(count):
        changed = [a ^ {i} for a in points]
        squares = [(v(case, a) - v(case, c)) ** 2 for a, c in zip(points, changed, strict=True)]
        scores.append(sum(squares) / 3 / 4)
        every += [v(case, c) for c in changed]
    return torch.tensor(scores, dtype=torch.float64) / statistics.pvariance(every)


def context_cite(case: Case) -> Tensor:
    """Section 3 of arXiv:2409.00729, its lasso by coordinates, one after another."""
    rows, value = table_of(case, coins(case, "context_cite", 12))
    rows, value = rows[:, :-1] - rows[:, :-1].mean(0), value - value.mean()
    deviation = rows.std(0)
    weights = np.zeros(len(case.x))
    for _ in range(5000):
        for i, spread in enumerate(deviation):
            if spread:
                rest = value - rows @ weights + rows[:, i] * weights[i]
                along = (rows[:, i] / spread) @ rest / len(rows)
                weights[i] = math.copysign(max(abs(along) - 0.01, 0), along) / spread
    return torch.from_numpy(weights)


PERTURBATION: dict[str, Callable[[Case], Tensor]] = {
    "banzhaf": banzhaf,
    "c_lime": c_lime,
    "context_cite": context_cite,
    "kernel_shap": kernel_shap,
    "lime": lime,
    "loo_shapley": loo_shapley,
    "occlusion": occlusion,
    "owen": shapley,  # where each player is its own sentence; others have a test of their own
    "rise": rise,
    "shapley": shapley,
    "sobol": sobol,
}

"""Methods once more, in slow plain loops that follow the papers, one target at a time.

What is drawn at random is drawn by the library's own generator: the loops must agree number by
number. Whether those numbers are what they should be is tested by their statistics.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from helpers.problems import WORDS, Problem, reference
from hf_attrib.integration import generator
from hf_attrib.methods import DiscretizedIG, methods


class Case:
    """One target of a problem: x and baseline [N, D], f and its gradient at points [N, D]."""

    def __init__(self, problem: Problem, target: int) -> None:
        self.problem, self.function, self.target = problem, problem.function, target
        self.x, self.baseline = problem.x[0, 0], problem.baseline[0, 0]

    def value(self, z: Tensor) -> float:
        return float(self.function(z[None])[0, self.target])

    def gradient(self, z: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        self.function(z[None])[0, self.target].backward()
        return z.grad


def line(case: Case, x: Tensor, baseline: Tensor, steps: int = 48) -> Tensor:
    """Equation 1 of arXiv:1703.01365 by numpy's Gauss rule, exact to rounding on these problems."""
    total = torch.zeros_like(x)
    for node, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        total += weight / 2 * case.gradient(baseline + (node + 1) / 2 * (x - baseline))
    return ((x - baseline) * total).sum(-1)


def integrated_gradients(case: Case) -> Tensor:
    return line(case, case.x, case.baseline)


def input_x_gradient(case: Case) -> Tensor:
    return ((case.x - case.baseline) * case.gradient(case.x)).sum(-1)


def attention_x_gradient(case: Case) -> Tensor:
    """Equations 5 and 6 of arXiv:2103.15679, entry by entry, less what R starts from."""
    value, maps = case.problem.attention(case.x[None])
    slopes = torch.autograd.grad(value[0, case.target], maps)
    size = len(case.x)
    relevance = [[float(i == j) for j in range(size)] for i in range(size)]
    for attention, slope in zip(maps, slopes, strict=True):
        heads = (attention * slope)[0].detach()
        mean = [[sum(max(0.0, float(h[i, k])) for h in heads) / len(heads) for k in range(size)]
                for i in range(size)]  # fmt: skip
        relevance = [
            [
                relevance[i][j] + sum(mean[i][k] * relevance[k][j] for k in range(size))
                for j in range(size)
            ]
            for i in range(size)
        ]
    last = relevance[-1]
    return torch.tensor([last[j] - (j == size - 1) for j in range(size)], dtype=torch.float64)


def saliency(case: Case) -> Tensor:
    return torch.stack([g.norm() for g in case.gradient(case.x)])


def scale() -> float:
    """The typical coordinate: root of the mean variance of the vocabulary's dimensions."""
    variances = [((column - column.mean()) ** 2).mean() for column in WORDS.T]
    return math.sqrt(sum(variances) / len(variances))


def noisy(case: Case, sigma: float, sample: int) -> Tensor:
    drawn = torch.randn(case.x.shape, generator=generator(0, "noise", sample)).double()
    return case.x + sigma * scale() * drawn


def noisy_gradients(name: str, case: Case) -> list[Tensor]:
    made = methods()[name]()
    return [case.gradient(noisy(case, made.sigma, j)) for j in range(made.samples)]


def smooth_grad(case: Case) -> Tensor:
    return torch.stack(noisy_gradients("smooth_grad", case)).mean(0).norm(dim=-1)


def square_grad(case: Case) -> Tensor:
    return torch.stack([g**2 for g in noisy_gradients("square_grad", case)]).mean(0).sum(-1)


def var_grad(case: Case) -> Tensor:
    drawn = torch.stack(noisy_gradients("var_grad", case))
    return ((drawn**2).mean(0) - drawn.mean(0) ** 2).sum(-1)


def noise_average(case: Case) -> Tensor:
    made = methods()["noise_average"]()
    inputs = [noisy(case, made.sigma, j) for j in range(made.samples)]
    return torch.stack([line(case, x, case.baseline) for x in inputs]).mean(0)


def baseline_average(case: Case) -> Tensor:
    made = methods()["baseline_average"]()
    starts = [reference(j, 0)[0, 0] for j in range(made.samples)]
    return torch.stack([line(case, case.x, start) for start in starts]).mean(0)


def expected_gradients(case: Case) -> Tensor:
    """Algorithm of arXiv:1906.10670, section 3, with one point in each of S strata."""
    samples = methods()["expected_gradients"]().samples
    draw = generator(0, "positions")
    order = torch.randperm(samples, generator=draw, dtype=torch.float64)
    jitter = torch.rand(samples, generator=draw, dtype=torch.float64)
    total = torch.zeros_like(case.x)
    for j in range(samples):
        alpha = float(order[j] + jitter[j]) / samples
        start = reference(j, 0)[0, 0]
        total += (case.x - start) * case.gradient(start + alpha * (case.x - start))
    return (total / samples).sum(-1)


def idgi(case: Case) -> Tensor:
    """Algorithm 1 of arXiv:2303.14242."""
    steps = methods()["idgi"]().steps
    points = [case.baseline + k / steps * (case.x - case.baseline) for k in range(steps + 1)]
    total = torch.zeros(len(case.x), dtype=torch.float64)
    for here, there in itertools.pairwise(points):
        squares = case.gradient(here) ** 2
        total += (case.value(there) - case.value(here)) * squares.sum(-1) / squares.sum()
    return total


def sequential_ig(case: Case) -> Tensor:
    """Equation 2 of arXiv:2305.15853 as it stands: an integral for each token alone."""
    scores = []
    for n in range(len(case.x)):
        start = case.x.clone()
        start[n] = case.baseline[n]
        scores.append(line(case, case.x, start)[n])
    return torch.stack(scores)


def guided_ig(case: Case) -> Tensor:
    """Algorithm 1 of arXiv:2106.09788 coordinate by coordinate, its gradients averaged."""
    made = methods()["guided_ig"]()
    walk = [case.baseline.flatten().tolist()]
    x, start = case.x.flatten().tolist(), walk[0]
    ways = [b - a for a, b in zip(start, x, strict=True)]
    for step in range(made.steps):
        g = case.gradient(torch.tensor(walk[-1]).double().reshape(case.x.shape)).flatten().tolist()
        walk.append(guided_step(walk[-1], g, start, ways, (step + 1) / made.steps))
    points = torch.tensor(walk, dtype=torch.float64).reshape(-1, *case.x.shape)
    gradients = [case.gradient(z) for z in points]
    moves = zip(points.diff(dim=0), itertools.pairwise(gradients), strict=True)
    return sum(move * (g0 + g1) / 2 for move, (g0, g1) in moves).sum(-1)


def guided_step(
    z: list[float], g: list[float], start: list[float], ways: list[float], alpha: float
) -> list[float]:
    made, z, count = methods()["guided_ig"](), list(z), len(z)
    low, high = max(alpha - made.distance, 0), min(alpha + made.distance, 1)
    for i in range(count):
        if abs(z[i] - start[i]) < low * abs(ways[i]):
            z[i] = start[i] + low * ways[i]
    ends = [a + high * w for a, w in zip(start, ways, strict=True)]
    free = [i for i in range(count) if abs(ends[i] - z[i]) > 1e-12]
    free.sort(key=lambda i: abs(g[i]))
    together = math.floor(made.fraction * (sum(w != 0 for w in ways) - 1)) + 1
    while free:
        left = sum(abs(a + w - b) for a, w, b in zip(start, ways, z, strict=True))
        need = left - (1 - alpha) * sum(map(abs, ways))
        group, free = free[:together], free[together:]
        share = min(max(need / sum(abs(ends[i] - z[i]) for i in group), 0), 1)
        for i in group:
            z[i] += share * (ends[i] - z[i])
    return z


def discretized_ig(case: Case, **fields: int) -> Tensor:
    """Section 3 of arXiv:2108.13654, greedy, with fine sums on each segment."""
    made = DiscretizedIG(**fields)
    chains = [chain(made, x, end) for x, end in zip(case.x, case.baseline, strict=True)]
    points = torch.stack([torch.stack(step) for step in zip(*chains, strict=True)]).flip(0)
    total = torch.zeros(len(case.x), dtype=torch.float64)
    for here, there in itertools.pairwise(points):
        total += line(case, there, here, 16)
    return total


def chain(made: DiscretizedIG, x: Tensor, end: Tensor) -> list[Tensor]:
    used, word, points = {min(range(len(WORDS)), key=lambda v: distance(WORDS[v], x))}, x, [x]
    for _ in range(made.words):
        left = [v for v in range(len(WORDS)) if v not in used and not WORDS[v].equal(end)]
        if not left:  # the chain goes to its end
            word = end
            points.append(monotone(word, points[-1], end, made.words))
            continue
        candidates = sorted(left, key=lambda v: distance(WORDS[v], word))[: made.neighbours]
        costs = {
            v: distance(WORDS[v], monotone(WORDS[v], word, end, made.words)) for v in candidates
        }
        best = min(candidates, key=lambda v: costs[v])  # the nearest of equals
        used.add(best)
        word = WORDS[best]
        points.append(monotone(word, points[-1], end, made.words))
    return [*points, end]


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm())


def monotone(point: Tensor, present: Tensor, goal: Tensor, steps: int) -> Tensor:
    moved = point.clone()
    for d, (p, a, b) in enumerate(zip(point, present, goal, strict=True)):
        if not min(a, b) <= p <= max(a, b):
            moved[d] = a - (a - b) / steps
    return moved


def fundamental(case: Case) -> Tensor:
    """Algorithm 1 of arXiv:2505.03636 with ten signed steps down the sum of all targets."""
    z, added, eps = case.x, torch.zeros(len(case.x)).double(), radius(case)
    for _ in range(10):
        leaf = z[None].clone().requires_grad_()
        case.function(leaf).sum().backward()
        step = z - 1.25 * eps / 10 * scale() * leaf.grad[0].sign()
        reach = eps * scale()
        ahead = torch.maximum(torch.minimum(step, case.x + reach), case.x - reach)
        added += line(case, z, ahead)
        z = ahead
    return added


def radius(case: Case) -> float:
    """The smallest that lowers the sum of targets by 2 for each, as one signed step."""
    leaf = case.x[None].clone().requires_grad_()
    total = case.function(leaf).sum()
    total.backward()
    for eps in (0.25, 0.5):
        there = case.function(case.x[None] - eps * scale() * leaf.grad.sign())
        if float((total - there.sum()).detach()) >= 2 * there.shape[1]:
            return eps
    return 1.0


REFERENCES: dict[str, Callable[[Case], Tensor]] = {
    "attention_x_gradient": attention_x_gradient,
    "baseline_average": baseline_average,
    "discretized_ig": discretized_ig,
    "expected_gradients": expected_gradients,
    "fundamental": fundamental,
    "guided_ig": guided_ig,
    "idgi": idgi,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "noise_average": noise_average,
    "saliency": saliency,
    "sequential_ig": sequential_ig,
    "smooth_grad": smooth_grad,
    "square_grad": square_grad,
    "var_grad": var_grad,
}

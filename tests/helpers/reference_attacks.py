"""Attacks once more, in slow plain loops that follow the papers, one walker at a time.

Each maps a function J of embeddings [N, D], the input and a reference [N, D], and the fields of
the attack to the points of the walk. What is drawn at random is drawn by the library's generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from helpers.problems import WORDS
from hf_attrib.integration import generator

Objective = Callable[[Tensor], Tensor]

U = float(WORDS.var(dim=0, correction=0).mean().sqrt())


def slope(objective: Objective, z: Tensor) -> Tensor:
    z = z.detach().clone().requires_grad_()
    objective(z).backward()
    return z.grad


def signed(x: Tensor, z: Tensor, way: Tensor, eps: float, step: float | Tensor) -> Tensor:
    """One signed step, cut off at the ball coordinate by coordinate."""
    ahead = z + step * U * way.sign()
    return torch.minimum(torch.maximum(ahead, x - eps * U), x + eps * U)


class Momentum:
    """The loop that all momentum rules share: what a rule adds is the gradient of a step."""

    def __init__(self, objective: Objective, x: Tensor, base: Tensor, eps: float, steps: int):
        self.objective, self.x, self.base, self.eps, self.steps = objective, x, base, eps, steps
        self.step, self.m, self.z = 1.25 * eps / steps, torch.zeros_like(x), x

    def walk(self, rule: Callable[[Momentum, int], Tensor]) -> list[Tensor]:
        points = [self.x]
        for k in range(self.steps):
            g = rule(self, k)
            self.m = self.m + g / g.abs().mean()
            self.z = signed(self.x, self.z, self.m, self.eps, self.step)
            points.append(self.z)
        return points


def rand(shape: tuple[int, ...], *stream: object) -> Tensor:
    return torch.rand(shape, generator=generator(*stream)).double()


def mim(at: Momentum, k: int) -> Tensor:
    return slope(at.objective, at.z)


def dim(at: Momentum, k: int) -> Tensor:
    """Tokens are replaced inside J, so that autograd maps the gradient back."""
    kept = torch.ones(len(at.x), 1).double()
    if torch.rand((), generator=generator(0, "diverse", k)) < 0.5:
        kept = (rand((len(at.x), 1), 0, "dim", k) >= 0.5).double()
    return slope(lambda z: at.objective(kept * z + (1 - kept) * at.base), at.z)


def tim(at: Momentum, k: int) -> Tensor:
    g, smooth = slope(at.objective, at.z), torch.zeros_like(at.z)
    weights = [math.exp(-((1.5 * j) ** 2) / 2) for j in range(-2, 3)]
    for n in range(len(g)):
        for j in range(-2, 3):
            if 0 <= n + j < len(g):
                smooth[n] += weights[j + 2] / sum(weights) * g[n + j]
    return smooth


def sinim(at: Momentum, k: int) -> Tensor:
    ahead = at.z + at.step * U * at.m

    def mean(z: Tensor) -> Tensor:
        return sum(at.objective(at.base + (z - at.base) / 2**i) for i in range(5)) / 5

    return slope(mean, ahead)


def ssa(at: Momentum, k: int) -> Tensor:
    shape, total = tuple(at.x.shape), torch.zeros_like(at.x)
    for i in range(20):
        scales = 1 + 0.5 * (2 * rand(shape, 0, "ssa", k, i) - 1)
        noise = torch.randn(shape, generator=generator(0, "ssa", k, i, "noise")).double()
        total += slope(at.objective, scales * at.z + at.eps * U * noise)
    return total / 20


def mig(at: Momentum, k: int) -> Tensor:
    nodes = [(j + 0.5) / 20 for j in range(20)]
    return sum(slope(at.objective, at.base + a * (at.z - at.base)) for a in nodes) / 20


def sia(at: Momentum, k: int) -> Tensor:
    total = torch.zeros_like(at.x)
    for i in range(20):
        total += slope(lambda z, i=i: at.objective(transformed(at, z, k, i)), at.z)
    return total / 20


def transformed(at: Momentum, z: Tensor, k: int, i: int) -> Tensor:
    """Each of three spans in its own way: two tokens, one, one."""
    draw, parts = generator(0, "sia", k, i), []
    for span in (slice(0, 2), slice(2, 3), slice(3, 4)):
        away, shape = z[span] - at.base[span], z[span].shape
        kind = int(torch.randint(4, (), generator=draw))
        scale = float(torch.rand((), generator=draw))
        drawn = torch.rand(shape, generator=draw).double()
        if kind == 0:
            away = scale * away
        elif kind == 1:
            away = away + at.eps * U * (2 * drawn - 1)
        elif kind == 2:
            away = away * (drawn >= 0.1)
        # Of one or two positions, 40 % of the frequencies are none.
        parts.append(at.base[span] + away)
    return torch.cat(parts)


def low_pass(values: Tensor) -> Tensor:
    """A cosine transform of a column [M] whose upper 40 % are left out, term by term."""
    count = len(values)
    kept, result = count - int(0.4 * count), torch.zeros(count).double()
    for f in range(kept):
        wave = torch.tensor([math.cos(math.pi * f * (n + 0.5) / count) for n in range(count)])
        wave = wave.double()
        result += (values @ wave) / (wave @ wave) * wave
    return result


def gra(objective: Objective, x: Tensor, eps: float, steps: int) -> list[Tensor]:
    """The paper's decay indicator starts at 1 / 0.94, and all coordinates turn at first."""
    z, m, pace = x, torch.zeros_like(x), torch.full_like(x, 1 / 0.94)
    points = [x]
    for k in range(steps):
        g = slope(objective, z)
        noise = [2 * rand(tuple(x.shape), 0, "gra", k, i) - 1 for i in range(20)]
        around = sum(slope(objective, z + 3.5 * eps * U * n) for n in noise) / 20
        s = (g * around).sum() / g.norm() / around.norm()
        mixed = s * g + (1 - s) * around
        before, m = m, m + mixed / mixed.abs().mean()
        pace = torch.where(m.sign() == before.sign(), pace, 0.94 * pace)
        z = signed(x, z, m, eps, 1.25 * eps / steps * pace)
        points.append(z)
    return points


def naa(
    hidden: Objective, after: Objective, x: Tensor, base: Tensor, eps: float, steps: int
) -> list[Tensor]:
    """Weights by the states' attributions of the start; then J is their weighted sum."""
    nodes = [(j + 0.5) / 30 for j in range(30)]
    weights = sum(slope(after, hidden(base + a * (x - base)).detach()) for a in nodes) / 30

    def contributed(z: Tensor) -> Tensor:
        return ((hidden(z) - hidden(base)) * weights).sum()

    return Momentum(contributed, x, base, eps, steps).walk(mim)


def pgd(
    objective: Objective, x: Tensor, eps: float, steps: int, norm: str, restarts: int
) -> list[Tensor]:
    walks = []
    for r in range(restarts):
        points = [x, pgd_start(x, eps, norm, r)]
        for _ in range(steps):
            z, g = points[-1], slope(objective, points[-1])
            if norm == "linf":
                points.append(signed(x, z, g, eps, 2.5 * eps / steps))
                continue
            unit = U * math.sqrt(x.numel())
            away = z + 2.5 * eps / steps * unit * g / g.norm() - x
            points.append(x + away * min(1, eps * unit / float(away.norm())))
        walks.append(points)
    return max(walks, key=lambda points: float(objective(points[-1])))


def pgd_start(x: Tensor, eps: float, norm: str, restart: int) -> Tensor:
    if norm == "linf":
        return x + eps * U * (2 * rand(tuple(x.shape), 0, "pgd", restart) - 1)
    way = torch.randn(tuple(x.shape), generator=generator(0, "pgd", restart)).double()
    share = float(rand((), 0, "pgd", restart, "radius")) ** (1 / x.numel())
    return x + share * eps * U * math.sqrt(x.numel()) * way / way.norm()


def cw(margins: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
    """Torch's own Adam on the change, in embedding scales; the shortest that flips all."""
    delta = torch.zeros_like(x).requires_grad_()
    adam = torch.optim.Adam([delta], lr=0.02)
    flipped: list[tuple[float, Tensor]] = []
    missed: list[tuple[float, Tensor]] = []
    for step in range(steps + 1):
        over = margins(x + delta * U).clamp_min(0).sum()
        size = delta.square().mean()
        kept, here = float(over.detach()), (x + delta * U).detach()
        rank = float(size.detach()) if kept == 0 else kept
        (flipped if kept == 0 else missed).append((rank, here))
        if step < steps:
            adam.zero_grad()
            (size + over).backward()
            adam.step()
    return min(flipped or missed, key=lambda pair: pair[0])[1]


def points_of(function: Callable[[Tensor], Tensor], target: int | None) -> Iterator[Objective]:
    """Yield the objective of a shared walk, or of one target's own."""
    chosen = slice(None) if target is None else target
    yield lambda z: -function(z[None])[0, chosen].sum()

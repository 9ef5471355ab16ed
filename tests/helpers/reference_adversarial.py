"""Adversarial methods once more, in slow plain loops for one target at a time.

Each follows its paper, or where ``released`` is set the published program, step by step; lengths
are in embedding scales, and classes are the likeliest other tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from helpers.reference import Case, line, scale
from hf_attrib.integration import generator

U = scale()
RADII = (0.1, 0.25, 0.5, 1.0)


class Hill:
    """What a walk climbs: a scalar of points [N, D], for so many tokens."""

    def __init__(self, height: Callable[[Tensor], Tensor], tokens: int = 1) -> None:
        self.height, self.tokens = height, tokens

    def value(self, z: Tensor) -> float:
        return float(self.height(z[None]))

    def gradient(self, z: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        self.height(z[None]).backward()
        return z.grad

    def radius(self, x: Tensor, by_length: bool = False) -> float:
        """The smallest at which one step is felt."""
        towards = step(self.gradient(x), by_length)
        for eps in (0.25, 0.5):
            if self.value(x + eps * towards) - self.value(x) >= 2 * self.tokens:
                return eps
        return 1.0


def step(direction: Tensor, by_length: bool = False) -> Tensor:
    """A step of one embedding scale along a direction."""
    if by_length:
        return U * math.sqrt(direction.numel()) * direction / direction.norm()
    return U * direction.sign()


def clipped(z: Tensor, x: Tensor, eps: float) -> Tensor:
    return torch.maximum(torch.minimum(z, x + eps * U), x - eps * U)


def lower(case: Case, each: bool) -> Hill:
    """Less f of the target, or of all."""
    targets = case.function(case.x[None]).shape[1]
    if each:
        return Hill(lambda z: -case.function(z)[0, case.target])
    return Hill(lambda z: -case.function(z).sum(), targets)


def leads(case: Case, z: Tensor) -> list[bool]:
    """Whether token 0 is the likeliest, at each place."""
    return [bool(row[0] > row[1:].max()) for row in case.problem.logits(z[None])[0]]


def likeliest(case: Case, count: int) -> list[list[int]]:
    """The likeliest tokens other than 0 at each place, [T][count]."""
    logits = case.problem.logits(case.x[None])[0]
    return [sorted(range(1, 6), key=lambda v, row=row: -float(row[v]))[:count] for row in logits]


def raise_others(case: Case, ids: list[int], each: bool) -> Hill:
    """The log-probability of another token at the target's place, or at all."""

    def log_p(z: Tensor) -> Tensor:
        rows = case.problem.logits(z)[0].log_softmax(-1)
        return torch.stack([row[i] for row, i in zip(rows, ids, strict=True)])

    if each:
        return Hill(lambda z: log_p(z)[case.target])
    return Hill(lambda z: log_p(z).sum(), len(ids))


def mfaba(
    case: Case, kind: str = "sharp", steps: int = 20, each: bool = False, released: bool = False
) -> Tensor:
    """Algorithm 1 of arXiv:2312.13630; ``dt.grad`` of the program is never cleared."""
    each |= released
    hill, z, added = lower(case, each), case.x, torch.zeros(len(case.x)).double()
    sharp, led = kind == "sharp", leads(case, case.x)
    eps, gradient = hill.radius(case.x, sharp), torch.zeros_like(case.x)
    for _ in range(steps):
        lost = [a and not b for a, b in zip(led, leads(case, z), strict=True)]
        if lost[case.target] if each else all(lost):
            break
        gradient = hill.gradient(z) + (gradient if released else 0)
        reach = 1.25 * eps / steps if kind == "smooth" and not released else eps / steps
        ahead = z + reach * step(gradient, sharp)
        ahead = ahead if sharp else clipped(ahead, case.x, eps)
        added += ((ahead - z) * gradient).sum(-1) if released else line(case, z, ahead, 10)
        z = ahead
    return added


def agi(
    case: Case, classes: int = 5, steps: int = 10, each: bool = False, released: bool = False
) -> Tensor:
    """Algorithm 1 of the paper; the program starts every step at the input."""
    added, ids = torch.zeros(len(case.x)).double(), likeliest(case, classes)
    for c in range(classes):
        hill, z = raise_others(case, [row[c] for row in ids], each or released), case.x
        eps = hill.radius(case.x)
        for _ in range(steps):
            if released:
                logits = case.problem.logits(z[None])[0, case.target]
                if int(logits.argmax()) == ids[case.target][c]:
                    break
                delta = eps * step(hill.gradient(z))
                added -= (case.gradient(z) * delta).sum(-1)
                z = case.x + delta
            else:
                ahead = z + 1.25 * eps / steps * step(hill.gradient(z))
                ahead = clipped(ahead, case.x, eps)
                added += line(case, z, ahead, 10) / classes
                z = ahead
    return added


def la(
    case: Case, classes: int = 5, steps: int = 10, each: bool = False, released: bool = False
) -> Tensor:
    """Algorithm 1 of arXiv:2408.07736; steps of the program are x / 10, with its sign."""
    added, ids = torch.zeros(len(case.x)).double(), likeliest(case, classes)
    each |= released
    hills = [raise_others(case, [row[c] for row in ids], each) for c in range(classes)]
    for hill in [lower(case, each), *hills]:
        z, eps = case.x, hill.radius(case.x)
        for _ in range(steps):
            if released:
                ahead = case.x + case.x / 10 * hill.gradient(z).sign()
                added -= (case.gradient(z) * (ahead - case.x)).sum(-1)
            else:
                ahead = z + eps / steps * step(hill.gradient(z))
                added += line(case, z, ahead, 10) / (classes + 1)
            z = ahead
    return added


def attexplore(
    case: Case, copies: int = 20, steps: int = 10, each: bool = False, released: bool = False
) -> Tensor:
    """Algorithm 1 of the paper on scaled copies; the program lowers the cross-entropy."""
    hill, z, added = lower(case, each), case.x, torch.zeros(len(case.x)).double()
    if released:
        hill = Hill(lambda z: case.function(z)[0, case.target])
    eps, momentum = hill.radius(case.x), torch.zeros_like(case.x)
    for k in range(steps):
        total = torch.zeros_like(case.x)
        for j in range(copies):
            stream = (0, "ssa", k, j)
            uniform = torch.rand(case.x.shape, generator=generator(*stream)).double()
            normal = torch.randn(case.x.shape, generator=generator(*stream, "noise")).double()
            total += hill.gradient(z * (0.5 + uniform) + eps * U * normal)
        momentum = momentum + total / total.abs().mean()
        ahead = clipped(z + 1.25 * eps / steps * step(momentum), case.x, eps)
        added += ((ahead - z) * momentum).sum(-1) if released else line(case, z, ahead, 10)
        z = ahead
    return added


def isa(case: Case, rounds: int = 10, each: bool = False) -> Tensor:
    """Algorithm 1 of the paper for whole inputs, then an integral along the order they go in."""
    hill, count = lower(case, each), len(case.x)
    rounds, left, points = min(rounds, count), list(range(count)), [case.x]
    for done in range(rounds):
        worth = [0.0] * count
        for sign in (1, -1):
            z, added = points[-1], torch.zeros(count).double()
            for _ in range(8):
                gradient = torch.zeros_like(z)
                gradient[left] = hill.gradient(z)[left]
                added += 0.15 / 8 * U * gradient.abs().sum(-1)
                z = z + sign * 0.15 / 8 * step(gradient)
            change = max(sign * (hill.value(z) - hill.value(points[-1])), 1e-6)
            worth = [w + float(a) / change for w, a in zip(worth, added, strict=True)]
        keep = count - count * (done + 1) // rounds
        left = sorted(left, key=lambda n: worth[n])[len(left) - keep :]
        after = case.baseline.clone()
        after[left] = case.x[left]
        points.append(after)
    pieces = [line(case, a, b) for a, b in itertools.pairwise(points)]
    return torch.stack(pieces).sum(0)


def isa_released(case: Case, rounds: int = 10) -> Tensor:
    """The program, coordinate by coordinate: a code of the order in which they go."""
    hill, x = lower(case, True), case.x.flatten().tolist()
    left, code = list(range(len(x))), [0.0] * len(x)
    for done in range(rounds):
        z = torch.tensor([v if i in left else 0 for i, v in enumerate(x)]).double()
        shares = torch.zeros(len(x)).double()
        for sign in (1, -1):
            shares += noisy_shares(hill, z.reshape(case.x.shape), done, sign).flatten()
        score = [abs(float(s + shares.min()) * v) for s, v in zip(shares, x, strict=True)]
        keep = len(x) - len(x) * (done + 1) // rounds
        left.sort(key=lambda i: score[i])
        goes, left = left[: len(left) - keep], left[len(left) - keep :]
        low, high = min(score[i] for i in goes), max(score[i] for i in goes)
        for i in goes:
            code[i] = done + (1.1 * (score[i] - low) / (high - low) if high > low else 0)
    return torch.tensor(code).double().reshape(case.x.shape).sum(-1)


def noisy_shares(hill: Hill, start: Tensor, done: int, sign: int) -> Tensor:
    z, added = start, torch.zeros_like(start)
    for k in range(8):
        stream = (0, "search", done, sign, k)
        noise = 0.22 * U * torch.randn(z.shape, generator=generator(*stream)).double()
        pull = 0.01 / U * z / z.norm() if z.any() else 0
        gradient = sign * hill.gradient(z + noise) - pull
        added += 0.15 / 8 * U * gradient.abs()
        z = z + 0.15 / 8 * step(gradient)
    return added / max(sign * (hill.value(z) - hill.value(start)), 1e-6)


def edge(case: Case, steps: int = 10, bisections: int = 8) -> tuple[Tensor, bool]:
    """Where the lead of token 0 changes, or next to changes; and whether it does."""

    def lead(z: Tensor) -> Tensor:
        row = case.problem.logits(z)[0, case.target]
        return row[0] - row[1:].max()

    side = 1 if lead(case.x[None]) > 0 else -1
    hill = Hill(lambda z: -side * lead(z))
    best = case.x
    for radius in RADII:
        z = case.x
        for _ in range(steps):
            if hill.value(z) >= 0:
                break
            z = z + radius / steps * step(hill.gradient(z), True)
        best = max(best, z, key=hill.value)
        if hill.value(z) >= 0:
            break
    if hill.value(best) < 0:
        return best, False
    low, high = 0.0, 1.0
    for _ in range(bisections):
        middle = (low + high) / 2
        if hill.value(torch.lerp(case.x, best, middle)) < 0:
            low = middle
        else:
            high = middle
    at_low, at_high = (hill.value(torch.lerp(case.x, best, end)) for end in (low, high))
    share = low + (high - low) * at_low / (at_low - at_high)
    return torch.lerp(case.x, best, share), True


def big(case: Case, released: bool = False) -> Tensor:
    """Definition 4 of arXiv:2103.11257; the program integrates from 0 to the boundary."""
    end, _ = edge(case)
    if not released:
        return line(case, case.x, end)
    nodes = [case.gradient(k / 50 * end) for k in range(51)]
    return (end * torch.stack(nodes).sum(0) / 50).sum(-1)


def bsm(case: Case) -> Tensor:
    """Section 3 of arXiv:2103.11257: the gradient at the boundary, its length for each input."""
    return case.gradient(edge(case)[0]).norm(dim=-1)


ADVERSARIAL: dict[str, Callable[[Case], Tensor]] = {
    "agi": agi,
    "attexplore": attexplore,
    "big": big,
    "bsm": bsm,
    "isa": isa,
    "la": la,
    "mfaba": mfaba,
}
RELEASED: dict[str, Callable[[Case], Tensor]] = {
    "agi": lambda case: agi(case, released=True),
    "attexplore": lambda case: attexplore(case, released=True),
    "big": lambda case: big(case, released=True),
    "isa": isa_released,
    "la": lambda case: la(case, released=True),
    "mfaba": lambda case: mfaba(case, released=True),
}

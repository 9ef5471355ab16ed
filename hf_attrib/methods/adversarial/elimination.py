"""In which order inputs go: those that short attacks move f least by, first."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hf_attrib.attacks import Climb, Objective
from hf_attrib.methods.adversarial.gradient_steps import GradientSteps

__all__ = ["elimination", "rank_code"]

#: Changes of J that shares are taken of are at least so large.
_SMALLEST = 1e-6
#: Weight of the rank within a round, next to the round.
_FACTOR = 1.1


def elimination(
    objective: Objective, x: Tensor, end: Tensor, rounds: int, rule: GradientSteps
) -> list[Tensor]:
    """Return points from x to the end, at each of which more inputs are at their end.

    In each round walks set out from the present point to where J is higher and to where it is
    lower. An input contributes its share of each change, and those that contribute least go.

    Args:
        objective: J, with W walkers for each sequence.
        x: embeddings, [B, 1, N, D].
        end: what inputs go to, [B, 1, N, D].
        rounds: in how many steps they go.
        rule: of the walks.

    Returns:
        ``rounds`` + 1 points [B, W, N, D].
    """
    field = objective.field
    points = [x.expand(-1, field.targets, -1, -1)]
    movable = field.movable.to(x.device)[:, None].expand(points[0].shape[:-1])
    gone = torch.zeros_like(movable)
    for done in range(1, rounds + 1):
        worth = torch.zeros_like(points[0][..., 0])
        if done < rounds:  # in the last round all the others go
            stays = (movable & ~gone)[..., None]
            worth = _shares(objective, points[-1], rule, stays).sum(-1)
        worth = worth.masked_fill(gone, -1).masked_fill(~movable, torch.inf)
        rank = worth.argsort(dim=-1, stable=True).argsort(-1)
        gone = rank < movable.sum(-1, keepdim=True) * done // rounds
        points.append(torch.where(gone[..., None], end, points[0]))
        field.progress(done, rounds)
    return points


def _shares(objective: Objective, x: Tensor, rule: GradientSteps, stays: Tensor) -> Tensor:
    """Return each coordinate's share of the changes of J on walks up and down, [B, W, N, D]."""
    total = torch.zeros_like(x)
    for sign in (objective.sign, -objective.sign):
        climb = rule.climb(replace(objective, sign=sign), x)
        added, start = torch.zeros_like(x), torch.zeros(())
        for step in range(rule.steps):
            here, seen = climb.here, climb.field(climb.here[None])
            start = sign * seen.value[0] if step == 0 else start
            direction = sign * seen.gradient[0] * stays
            added = added + ((climb.advance(direction) - here) * direction).abs()
        change = sign * climb.field.value(climb.here[None])[0] - start
        total = total + added / change.clamp_min(_SMALLEST)[..., None, None]
    return total


def rank_code(
    objective: Objective,
    x: Tensor,
    rounds: int,
    rule: GradientSteps,
    noise: tuple[float, float, int],
) -> Tensor:
    r"""Return the round in which each coordinate goes, and its rank there, summed over D.

    .. math:: s = |(t + \min t) \odot x|, \qquad
        t = \frac{\sum_k \alpha |G^k_+|}{\Delta J_+} + \frac{\sum_k \alpha |G^k_-|}{\Delta J_-},
        \qquad G_\pm = \nabla\big(J(z + \sigma u\,\xi) \mp \lambda \|z\| / u\big)

    In round r the coordinates with the smallest s go to 0 and get r + 1.1 (s - min s) /
    (max s - min s) over those that go.

    Args:
        objective: J, with a walker for each target.
        x: embeddings, [B, 1, N, D].
        rounds: in how many steps coordinates go.
        rule: of the walks.
        noise: :math:`\sigma`, :math:`\lambda` and a seed.

    Returns:
        scores [B, W, N].
    """
    field = objective.field
    x = x.expand(-1, field.targets, -1, -1)
    movable = field.movable.to(x.device)[:, None, :, None].expand(x.shape)
    gone, code = torch.zeros_like(movable), torch.zeros_like(x)
    for done in range(rounds):
        total = _noisy_shares(objective, torch.where(gone, 0, x), rule, noise, done)
        least = total.masked_fill(~movable, torch.inf).flatten(2).amin(-1)[..., None, None]
        score = ((total + least) * x).abs()
        order = score.masked_fill(gone, -1).masked_fill(~movable, torch.inf).flatten(2)
        rank = order.argsort(dim=-1, stable=True).argsort(-1).reshape(x.shape)
        count = movable.flatten(2).sum(-1)[..., None, None]
        goes = (rank < count * (done + 1) // rounds) & ~gone
        low, high = (
            end[..., None, None]
            for end in (
                score.masked_fill(~goes, torch.inf).flatten(2).amin(-1),
                score.masked_fill(~goes, 0).flatten(2).amax(-1),
            )
        )
        share = (score - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)
        code = torch.where(goes, done + _FACTOR * share, code)
        gone = gone | goes
    return code.sum(-1)


def _noisy_shares(
    objective: Objective, z: Tensor, rule: GradientSteps, noise: tuple[float, float, int], done: int
) -> Tensor:
    """Return t of :func:`rank_code` from z in one of its rounds, [B, W, N, D]."""
    sigma, penalty, seed = noise
    total = torch.zeros_like(z)
    for sign in (1, -1):  # J goes up, then down
        climb: Climb = rule.climb(replace(objective, sign=sign * objective.sign), z)
        added = torch.zeros_like(z)
        for step in range(rule.steps):
            here = climb.here
            noisy = here + sigma * climb.normal(seed, "search", done, sign, step)
            length = (here * climb.moves).square().sum((-2, -1), keepdim=True).sqrt()
            tiny = torch.finfo(length.dtype).tiny
            pull = penalty * here / (length * climb.scale).clamp_min(tiny)
            direction = (climb.gradient(noisy) - pull) * climb.moves
            climb.advance(direction)
            added = added + climb.step * climb.scale * direction.abs()
        ends = [climb.objective.value(point[None])[0] for point in (z, climb.here)]
        total = total + added / (ends[1] - ends[0]).clamp_min(_SMALLEST)[..., None, None]
    return total

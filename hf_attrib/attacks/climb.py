"""What an attack climbs, and where it is: an objective, a ball around the input, a walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hf_attrib.field import Field, SpanField
from hf_attrib.integration import generator

__all__ = ["RADII", "Ball", "Climb", "Objective", "Walk", "length", "mean_size", "sizes", "tiny"]

#: Radii tried where none is given, in embedding scales: beyond 1 a token is as near to others.
RADII = (0.25, 0.5, 1.0)
#: An attack is felt once the objective has risen by so much for each token, in nats for log_prob.
_FELT = 2.0


@dataclass(frozen=True, eq=False)
class Objective:
    r"""What an attack raises: :math:`J = \pm F`, for B sequences with W walkers each.

    Each target of the field has a walker of its own; where all targets of a sequence share a
    walk, the field has their sum for its single target.

    Args:
        field: F and its gradient.
        sign: -1 lowers F, 1 raises it.
        tokens: how many tokens each walker attacks, [B, W].
        radii: of each walker, [B, W], where they are not to be those of the attack.
        reference: x', [B, 1, N, D], where it is not the first that the question's gives.
    """

    field: Field
    sign: float
    tokens: Tensor
    radii: Tensor | None = None
    reference: Tensor | None = None

    @classmethod
    def shared(cls, field: Field, sign: float = -1.0) -> Objective:
        """Return the sum over all targets of a sequence, by one walk for all of them."""
        summed = SpanField(field, field.valid()[:, None])
        return cls(summed, sign, field.target_table.tokens.sum(1, keepdim=True))

    @classmethod
    def of_each(cls, field: Field, sign: float = -1.0) -> Objective:
        """Return each target for itself, by a walk of its own."""
        return cls(field, sign, field.target_table.tokens)

    def value(self, points: Tensor) -> Tensor:
        """Return J at points [K, B, W, N, D], [K, B, W]."""
        return self.sign * self.field.value(points)

    def gradient(self, points: Tensor) -> Tensor:
        """Return the gradient of J at points [K, B, W, N, D], of the same shape."""
        return self.sign * self.field(points).gradient


@dataclass(frozen=True, eq=False)
class Walk:
    """Where an attack went.

    Args:
        points: x first, [S + 1, B, W, N, D]; walkers that stopped stand still.
        eps: radius of each walker in embedding scales, [B, W].
        step: length of a step in embedding scales, [B, W].
    """

    points: Tensor
    eps: Tensor
    step: Tensor


class Climb:
    """A walk in progress.

    Args:
        objective: what is raised.
        x: where it starts, [B, W, N, D].
        eps: radius in embedding scales, or "auto".
        step: length of a step in embedding scales; by default ``reach`` times the radius.
        reach: see ``step``.
        euclidean: whether lengths are those of vectors and not of their largest coordinate.

    Attributes:
        here: the present point, [B, W, N, D].
        scale: of the embeddings, [N, 1]: the length that radii are given in.
        eps: radius of each walker, in embedding scales, [B, W, 1, 1].
        step: length of a step, in embedding scales, [B, W, 1, 1].
        ball: where the walk may go.
        momentum: what a rule has accumulated, [..., B, W, N, D].
        pace: share of a step's length that each coordinate takes, broadcastable to it.
    """

    def __init__(
        self,
        objective: Objective,
        x: Tensor,
        eps: float | str,
        step: float | None,
        reach: float,
        euclidean: bool,
    ) -> None:
        self.objective = objective
        self.field = objective.field
        self.x = self.here = x
        self.scale = self.field.space.scale.to(x)
        self.moves = self.field.movable[:, None, :, None].to(x)
        self._unit = self._unit_length(euclidean)
        self._euclidean = euclidean
        radii = objective.radii
        if radii is None:
            radii = (
                self._felt()
                if eps == "auto"
                else torch.full(x.shape[:2], float(eps), dtype=torch.float32)
            )
        self.eps = radii.to(x)[..., None, None]
        self.step = reach * self.eps if step is None else torch.full_like(self.eps, step)
        self.ball = self._ball(self.eps)
        self.momentum = torch.zeros_like(x)
        self.pace = torch.ones(()).to(x)

    @cached_property
    def reference(self) -> Tensor:
        """The reference input x', [B, 1, N, D]; x where inputs do not move."""
        given = self.objective.reference
        return (self.field.space.reference(0, 0) if given is None else given).to(self.x)

    def gradient(self, points: Tensor | None = None) -> Tensor:
        """Return the gradient of J at points [..., B, W, N, D]; by default at the present one."""
        points = self.here if points is None else points
        several = points.reshape(-1, *self.x.shape)
        return self.objective.gradient(several).reshape(points.shape)

    def advance(self, direction: Tensor) -> Tensor:
        """Take a step along a direction, stay in the ball, and return where that leads."""
        towards = self.step * self._unit * self.pace * self.ball.unit(direction * self.moves)
        self.here = self.field.rounded(self.ball.project(self.here + towards))
        return self.here

    def walked(self, points: Sequence[Tensor]) -> Walk:
        """Return a walk through points, x first, of the climb's sizes."""
        several = [*points, points[0]] if len(points) == 1 else points  # it stands still
        return Walk(torch.stack(tuple(several)), self.eps[..., 0, 0], self.step[..., 0, 0])

    def straight(self, there: Tensor, goes_on: Callable[[Tensor], Tensor] | None) -> Walk:
        """Return the walk of one segment to points [B, W, N, D], for walkers that go on."""
        if goes_on is not None:
            there = torch.where(goes_on(self.x).to(self.x.device)[..., None, None], there, self.x)
        return self.walked([self.x, there])

    def normal(self, *stream: Any) -> Tensor:
        """Return standard normal noise in embedding scales, [B, 1, N, D], where inputs move.

        Args:
            *stream: a seed, and what the numbers are for.
        """
        return self._drawn(torch.randn, *stream) * self.scale

    def uniform(self, *stream: Any) -> Tensor:
        """Return noise between -1 and 1 embedding scales, [B, 1, N, D], where inputs move."""
        return (2 * self._drawn(torch.rand, *stream) - self.moves) * self.scale

    def shares(self, *stream: Any, width: int | None = None) -> Tensor:
        """Return numbers between 0 and 1, [B, 1, N, D or width]; 0 where inputs do not move."""
        return self._drawn(torch.rand, *stream, width=width)

    def _drawn(self, draw: Callable[..., Tensor], *stream: Any, width: int | None = None) -> Tensor:
        # For the tokens of one sequence at a time: the same whatever it is padded with.
        width = width or self.x.shape[-1]
        drawn = torch.zeros(len(self.x), self.x.shape[-2], width, dtype=torch.float32)
        for sequence, moves in zip(drawn, self.field.movable.cpu(), strict=True):
            shape = int(moves.sum()), width
            sequence[moves] = draw(shape, generator=generator(*stream), dtype=drawn.dtype)
        return drawn[:, None].to(self.x)

    def _ball(self, eps: Tensor) -> Ball:
        return Ball(self.x, eps * self._unit, self._euclidean)

    def _unit_length(self, euclidean: bool) -> Tensor:
        """Return how long one embedding scale is: the length of a vector of typical coordinates."""
        if not euclidean:
            return self.scale
        typical = (self.moves * self.scale).expand(len(self.x), 1, *self.x.shape[2:])
        return length(typical)

    def _felt(self) -> Tensor:
        """Return the smallest radius whose signed step the objective feels, [B, W]."""
        towards = self._ball(self.scale).unit(self.gradient() * self.moves)
        before = self.objective.value(self.x[None])[0]
        found = torch.full(before.shape, RADII[-1]).to(before)
        for radius in reversed(RADII[:-1]):
            there = self.x + radius * self._unit * towards
            risen = self.objective.value(there[None])[0] - before
            felt = risen >= _FELT * self.objective.tokens.to(risen)
            found = torch.where(felt, radius, found)
        return found


def sizes(field: Field, eps: Tensor, step: Tensor) -> dict[str, Tensor]:
    """Return the lengths of walks by name, [B, T] each.

    Args:
        field: whose inputs moved.
        eps: radius of each walker in embedding scales, [B, W].
        step: length of a step in embedding scales, [B, W].
    """
    every = field.sequences, field.targets
    moves = field.movable.cpu().double()
    scale = moves @ field.space.scale.double() / moves.sum(1, keepdim=True)
    return {"eps": eps.expand(every), "step": step.expand(every), "scale": scale.expand(every)}


def mean_size(direction: Tensor, moves: Tensor) -> Tensor:
    """Return the mean absolute coordinate over inputs that move, [..., 1, 1].

    Args:
        direction: [..., N, D].
        moves: 1 where inputs move, broadcastable to it.
    """
    count = moves.expand_as(direction).sum((-2, -1), keepdim=True)
    size = direction.abs().sum((-2, -1), keepdim=True) / count
    return size.clamp_min(tiny(size))


@dataclass(frozen=True, eq=False)
class Ball:
    r"""Where an attack may go: :math:`\|z - x\| \le r`.

    Args:
        x: its centre, [B, W, N, D].
        radius: r, broadcastable to x: in the largest coordinate, or in length over N and D.
        euclidean: which of the two.
    """

    x: Tensor
    radius: Tensor
    euclidean: bool = False

    def project(self, z: Tensor) -> Tensor:
        """Return the nearest point of the ball."""
        away = z - self.x
        if not self.euclidean:
            return self.x + away.clamp(-self.radius, self.radius)
        size = length(away)
        return self.x + away * (self.radius / size.clamp_min(tiny(size))).clamp_max(1)

    def unit(self, direction: Tensor) -> Tensor:
        """Return the longest step along a direction of size 1: its signs, or itself at length 1."""
        if not self.euclidean:
            return direction.sign()
        size = length(direction)
        return direction / size.clamp_min(tiny(size))


def length(z: Tensor) -> Tensor:
    """Return the length of vectors [..., N, D], [..., 1, 1], whose squares may be too small."""
    largest = z.abs().amax((-2, -1), keepdim=True).clamp_min(tiny(z))
    return largest * (z / largest).square().sum((-2, -1), keepdim=True).sqrt()


def tiny(like: Tensor) -> float:
    """Return the smallest number to divide by."""
    return float(torch.finfo(like.dtype).tiny)

"""Where attacks flip tokens: the smallest radius found, token by token, all tokens at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_attrib.attacks import Attack, Objective, attack, attacks, held_attack
from hf_attrib.errors import InputError
from hf_attrib.field import Field
from hf_attrib.hyperparameters import at_least, positive

__all__ = ["GRID", "Flips", "RadiusSearch", "radius_search"]

#: Shares of the largest radius that are tried first, in this order.
GRID = (0.125, 0.25, 0.5, 1.0)
_STOOD = "the attack moved nothing within the largest radius"
_OVERFLOWED = "the model overflows under attack, so that some radii were tried to no avail"
#: Rounding of a walk that ends on its ball's surface, relative.
_ROUNDING = 1e-4
#: Halvings after which neither end of an interval in double precision moves.
_MOST = 60


@dataclass(frozen=True, eq=False)
class Flips:
    """What attacks on each of T tokens found.

    Args:
        radius: of the nearest point found at which a token is no longer the likeliest, in
            embedding scales, [B, T]; 0 where it is not at x, infinite where none was found.
        failed: the largest radius below it that was tried in vain, likewise; 0 if there is none,
            as where the attack has no radius.
        points: that point, [B, T, N, D]; where none was found, the one of the smallest margin.
        margin: there, [B, T].
        notes: reservations, and which targets each is about, [B, T] bool, on the CPU.
    """

    radius: Tensor
    failed: Tensor
    points: Tensor
    margin: Tensor
    notes: Mapping[str, Tensor]


@dataclass(frozen=True)
class RadiusSearch:
    """A search for the smallest radius at which an attack flips a token.

    Each token has a walker of its own, and all take their steps in one batch, each within its own
    radius: first those of :data:`GRID` times the largest, until one of them flips the token; then
    the middle between that and the largest one below that was tried in vain, again and again. An
    attack without a radius is run once.

    Args:
        attack: lowers the margin of a token: the lead of its logit over the best of the others.
        eps: the largest radius, in embedding scales.
        bisections: how often the interval is halved.

    Raises:
        InputError: a field is out of range, or the attack has a radius of its own.
    """

    attack: Attack = field(default_factory=lambda: attack("bim", {}))
    eps: float = 1.0
    bisections: int = 6

    def __post_init__(self) -> None:
        positive("eps", self.eps)
        at_least(0, _MOST)("bisections", self.bisections)
        own = getattr(self.attack, "eps", "auto")
        if own != "auto":
            raise InputError(
                f"the attack has eps={own}, but the radius is what is searched; leave "
                "it out of the attack, and give the largest radius to try as eps."
            )

    @property
    def bounded(self) -> bool:
        """Whether the attack has a radius, which stays within the one that it is given."""
        return "eps" in {f.name for f in fields(self.attack)}

    def __call__(self, field: Field, x: Tensor, margin: Tensor) -> Flips:
        """Attack every target of a field.

        Args:
            field: the margins of T tokens, and their gradients.
            x: embeddings of the inputs, [B, 1, N, D].
            margin: there, [B, T].
        """
        state = _State(self, x.expand(-1, field.targets, -1, -1), margin, field.valid())
        rounds = len(GRID) + self.bisections if self.bounded else 1
        for done in range(rounds):
            if not state.active().any():
                break
            with field.reporting(partial(_within, field.progress, done, rounds)):
                self._round(state, field, x)
        field.progress(1, 1)
        return Flips(state.radius, state.failed(), state.points, state.margin, state.notes())

    def _round(self, state: _State, field: Field, x: Tensor) -> None:
        """Let all walkers that have not finished take a walk, each within its next radius."""
        asked, active = state.asked(), state.active()
        objective = replace(Objective.of_each(field), radii=asked)
        points = self.attack.walk(objective, x, lambda _: active).points[1:]
        size = _size(field, points - state.x, self.attack.euclidean()).to(asked)
        if self.bounded:
            # What ends on the surface has the radius asked for, however it was rounded.
            size = torch.where((size / asked - 1).abs() < _ROUNDING, asked, size)
        state.take(points, size, field.value(points).to(asked), asked, active)


class _State:
    """Where each walker's search is.

    Args:
        search: what is searched for.
        x: embeddings, [B, T, N, D].
        margin: there, [B, T].
        valid: which targets are no padding of the batch, [B, T].
    """

    def __init__(self, search: RadiusSearch, x: Tensor, margin: Tensor, valid: Tensor) -> None:
        self.search = search
        self.x = self.points = x
        self.margin = margin.double().cpu()
        self.valid = valid
        self.radius = torch.full(self.margin.shape, torch.inf, dtype=torch.float64)
        self.radius[self.margin < 0] = 0
        self.tried = torch.zeros_like(self.radius)  # on the grid
        self.halved = torch.zeros_like(self.radius)
        self.vain = [torch.zeros_like(self.radius)]
        self.enough = self.radius.clone()  # the smallest radius that was not tried in vain
        self.moved = self.overflowed = torch.zeros(self.margin.shape, dtype=torch.bool)

    def failed(self) -> Tensor:
        """Return the largest radius below those that flip it that was tried in vain, [B, T]."""
        vain = torch.stack(self.vain)
        return torch.where(vain < torch.minimum(self.radius, self.enough), vain, 0).amax(0)

    def notes(self) -> dict[str, Tensor]:
        """Return reservations, and which targets each is about, [B, T]."""
        attacked = self.valid & (self.radius > 0)
        return {_STOOD: attacked & ~self.moved, _OVERFLOWED: attacked & self.overflowed}

    def active(self) -> Tensor:
        """Return which walkers have not finished, [B, T] bool."""
        grid = len(GRID) if self.search.bounded else 1
        halve = (self.halved < self.search.bisections) & self.search.bounded
        unfinished = torch.where(self.radius.isinf(), self.tried < grid, halve)
        return unfinished & self.valid & (self.radius > 0)

    def asked(self) -> Tensor:
        """Return the next radius of each walker, [B, T]."""
        of_grid = torch.tensor(GRID, dtype=torch.float64)[
            self.tried.long().clamp_max(len(GRID) - 1)
        ]
        middle = (self.failed() + torch.minimum(self.radius, self.enough)) / 2
        return torch.where(middle.isfinite() & (middle > 0), middle, self.search.eps * of_grid)

    def take(
        self, points: Tensor, size: Tensor, margin: Tensor, asked: Tensor, active: Tensor
    ) -> None:
        """Learn from walks.

        Args:
            points: where they led, [S, B, T, N, D].
            size: how far that is, [S, B, T].
            margin: of each target at these points, [S, B, T].
            asked: within which radius, [B, T].
            active: which walks count, [B, T] bool.
        """
        # Nothing is known where the model overflows, nor asked beyond the largest radius.
        within = self.search.bounded | (size <= self.search.eps)
        known = margin.isfinite()
        margin = margin.masked_fill(~(within & known), torch.inf)
        self.moved = self.moved | (active & (size > 0).any(0))
        self.overflowed = self.overflowed | (active & ~known.all(0))
        flips, never = margin < 0, self.radius.isinf()
        self.tried += active & never
        self.halved += active & ~never
        if self.search.bounded:
            # Rounded points may flip and yet be no nearer than the one found: not in vain.
            succeeded = flips.any(0)
            self.vain.append(torch.where(active & ~succeeded & known.all(0), asked, 0))
            self.enough = torch.where(active & succeeded, asked.minimum(self.enough), self.enough)
        nearer = flips & (size < self.radius)
        hit = nearer.any(0)
        # The nearest point that flips; as long as there is none, the one of the smallest margin.
        best = torch.where(hit, size.masked_fill(~nearer, torch.inf), margin).argmin(0)
        sequence, target = torch.meshgrid(*map(torch.arange, best.shape), indexing="ij")
        lowest = margin[best, sequence, target]
        better = active & (hit | (never & (lowest < self.margin)))
        self.radius = torch.where(active & hit, size[best, sequence, target], self.radius)
        self.margin = torch.where(better, lowest, self.margin)
        there = points[best, sequence, target]
        self.points = torch.where(better[..., None, None].to(there.device), there, self.points)


def _size(field: Field, away: Tensor, euclidean: bool) -> Tensor:
    """Return how large perturbations [S, B, T, N, D] are in embedding scales, [S, B, T]."""
    scale = field.space.scale.to(away)
    if not euclidean:
        return (away / scale).abs().amax((-2, -1))
    moves = field.movable[:, None, :, None].to(away)
    typical = (moves * scale).expand(-1, -1, -1, away.shape[-1])
    return away.square().sum((-2, -1)).sqrt() / typical.square().sum((-2, -1)).sqrt()


def radius_search(
    given: str | Attack, eps: float, bisections: int, arguments: Mapping[str, Any]
) -> tuple[RadiusSearch, dict[str, Any]]:
    """Return the search asked for, and those arguments that are no fields of attacks.

    Args:
        given: the attack, its name, or as it is written.
        eps: the largest radius.
        bisections: how often an interval is halved.
        arguments: fields of the attack, and others.

    Raises:
        InputError: there is no such attack, or a field of another one.
    """
    if not isinstance(given, str | Attack):
        raise InputError(f"attack is {given!r:.80}; expected a name or an instance of an attack.")
    every = {f.name for kind in attacks().values() for f in fields(kind)}
    own = {name: value for name, value in arguments.items() if name in every}
    rest = {name: value for name, value in arguments.items() if name not in every}
    if not own:
        return RadiusSearch(held_attack(given, "attack"), eps, bisections), rest
    if not isinstance(given, str) or given not in attacks():
        names = ", ".join(sorted(own))
        raise InputError(f"{names} came next to {given!s:.80}; set them when you write the attack.")
    return RadiusSearch(attack(given, own), eps, bisections), rest


def _within(progress: Any, round_: int, rounds: int, done: int, total: int) -> None:
    """Report the progress of one round as a part of all rounds."""
    progress(round_ * total + done, rounds * total)

"""What an attack is: a rule that takes an input, step by step, to where an objective is higher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from hf_attrib.attacks.climb import RADII, Climb, Objective, Walk
from hf_attrib.field import Cost
from hf_attrib.hyperparameters import (
    Hyperparameters,
    Registry,
    at_least,
    hyperparameter,
    number_or_auto,
    positive,
)

__all__ = ["Attack", "GoesOn", "UpdateRule", "Walk", "attack", "attacks", "held_attack"]

#: Maps points [B, W, N, D] to which walkers go on, [B, W] bool.
GoesOn: TypeAlias = Callable[[Tensor], Tensor]

_ATTACKS: Registry[Attack] = Registry("attack")


@dataclass(frozen=True)
class Attack(Hyperparameters, ABC):
    """An attack: a frozen dataclass of hyperparameters that finds a walk.

    Subclasses that can be used give their registered name as a class argument.
    """

    registry: ClassVar[Registry[Any]] = _ATTACKS
    #: Whether the walk depends on a field ``seed``.
    stochastic: ClassVar[bool] = False
    #: Whether it depends on the reference input x' of the question.
    uses_reference: ClassVar[bool] = False
    #: Whether networks that compute the same function have the same walk.
    implementation_invariant: ClassVar[bool] = True
    #: Segments of the shortest walk, 0 where it may stay at x; ``None`` if all are as long.
    fewest: ClassVar[int | None] = None

    @abstractmethod
    def walk(self, objective: Objective, x: Tensor, goes_on: GoesOn | None = None) -> Walk:
        """Walk from x to where the objective is higher.

        Args:
            objective: J, with W walkers for each of B sequences.
            x: embeddings, [B, 1, N, D].
            goes_on: tells which walkers take another step; by default all do.
        """

    @abstractmethod
    def cost(self, walkers: int | None) -> Cost:
        """Return the cost of walks that do not stop.

        Args:
            walkers: how many targets have one each; ``None`` where they share one.
        """

    @abstractmethod
    def segments(self) -> int:
        """Return how many segments a walk has that does not stop."""

    def euclidean(self) -> bool:
        """Return whether distances are measured by the length of vectors."""
        return False

    def samples(self) -> int:
        """Return at how many points the gradient of J is found for each step."""
        return 1


@dataclass(frozen=True)
class UpdateRule(Attack):
    r"""An attack that takes K steps of one length within a ball around the input.

    .. math:: x^{k+1} = \Pi_{\|z - x\|_\infty \le \epsilon u}
        \big(x^k + \alpha u\,\mathrm{sign}(d^k)\big)

    with u the typical size of a coordinate of the embedding table. A rule says what the direction
    :math:`d^k` is; only inputs that may move do.

    Args:
        eps: :math:`\epsilon`, or "auto": the smallest of 1/4, 1/2 and 1 at which one step along
            the sign of the first gradient raises J by 2 for each token (nats, for log_prob),
            else 1.
        steps: K.
        step: :math:`\alpha`; by default 1.25 eps / K, which reaches the ball's surface.

    Raises:
        InputError: a field is out of range.
    """

    #: By how much all steps together outrun the radius, unless the length of a step is given.
    outrun: ClassVar[float] = 1.25

    eps: float | str = hyperparameter(
        "auto", "Radius in embedding scales, or auto.", number_or_auto
    )
    steps: int = hyperparameter(10, "Steps of the walk.", at_least(1))
    step: float | None = hyperparameter(
        None, "Length of a step in embedding scales; or 1.25 eps/steps.", positive
    )

    @abstractmethod
    def directions(self, climb: Climb) -> Iterator[Tensor]:
        """Yield directions [B, W, N, D], one for each step; after each, the climb is further.

        Args:
            climb: the gradient of J, where the walk is, its radius, and random numbers.
        """

    def cost(self, walkers: int | None) -> Cost:
        """Return the cost of walks that do not stop."""
        auto = self.eps == "auto"
        values, gradients = auto * len(RADII), auto + self.steps * self.samples()
        if walkers is None:
            return Cost(values=values, joint=gradients)
        return Cost(own_values=values, own=gradients).times(walkers)

    def segments(self) -> int:
        """Return how many segments a walk has that does not stop."""
        return self.steps

    def climb(self, objective: Objective, x: Tensor) -> Climb:
        """Return a climb of this rule at its start."""
        walkers = objective.field.targets
        start = x.expand(-1, walkers, -1, -1)
        reach = self.outrun / self.steps if self.steps > 1 else 1.0
        return Climb(objective, start, self.eps, self.step, reach, self.euclidean())

    def walk(self, objective: Objective, x: Tensor, goes_on: GoesOn | None = None) -> Walk:
        """Take K steps, or fewer where walkers stop."""
        climb = self.climb(objective, x)
        return climb.walked([climb.here, *self.stepped(climb, goes_on)])

    def stepped(self, climb: Climb, goes_on: GoesOn | None) -> list[Tensor]:
        """Return the points after each step from where a climb is, each [..., B, W, N, D]."""
        points, alive = [], torch.ones(climb.here.shape[:-2], dtype=torch.bool)
        directions = self.directions(climb)
        for done in range(1, self.steps + 1):
            if goes_on is not None:
                alive &= goes_on(climb.here).to(alive)
            if not alive.any():
                break
            here, there = climb.here, climb.advance(next(directions))
            climb.here = torch.where(alive[..., None, None].to(here.device), there, here)
            points.append(climb.here)
            climb.field.progress(done, self.steps)
        return points


def attacks() -> Mapping[str, type[Attack]]:
    """Return all registered attacks by name, sorted."""
    return _ATTACKS.all()


def attack(name: str, arguments: Mapping[str, Any]) -> Attack:
    """Return an attack by name with some of its fields set.

    Raises:
        InputError: no such attack, no such field, or a value that the attack rejects.
    """
    return _ATTACKS.make(name, arguments)


def held_attack(given: str | Attack, label: str) -> Attack:
    """Return an attack that is given as one, or as it is written: ``"mim(decay=0.9)"``.

    Raises:
        InputError: there is no such attack.
    """
    return given if isinstance(given, Attack) else attack(*_ATTACKS.read(given, label))

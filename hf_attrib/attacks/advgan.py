"""Adversarial examples by a generator. Xiao et al. 2018, arXiv:1801.02610."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks.base import Attack, GoesOn
from hf_attrib.attacks.climb import RADII, Climb, Objective, Walk
from hf_attrib.errors import InputError
from hf_attrib.field import Cost
from hf_attrib.hyperparameters import hyperparameter, number_or_auto

__all__ = ["AdvGAN"]


@dataclass(frozen=True)
class AdvGAN(Attack, name="advgan"):
    r"""A straight line to where a trained generator leads.

    .. math:: x^1 = x + \mathrm{clip}_{\pm\epsilon u}\,G(x)

    A generator is trained for one model, on data and with a discriminator, by minimising
    :math:`L_{GAN} + c \max(p_y - \max_{v \ne y} p_v, 0) + \mathrm{E}\|G(x)\|`; none comes along.

    Images go through the generator whole; here only the embeddings of inputs that may move do, of
    one sequence at a time.

    Args:
        generator: G, a trained function of embeddings [N, D] that returns changes [N, D].
        eps: :math:`\epsilon`, or "auto", as for :class:`hf_attrib.attacks.UpdateRule`.

    Raises:
        InputError: there is no generator, or a field is out of range.

    Source: arXiv:1801.02610.
    """

    fewest: ClassVar[int | None] = 0
    generator: Callable[[Tensor], Tensor] | None = hyperparameter(
        None, "Trained generator, a function; given in Python only.", flag=False
    )
    eps: float | str = hyperparameter(
        "auto", "Radius in embedding scales, or auto.", number_or_auto
    )

    def __post_init__(self) -> None:
        if not callable(self.generator):
            raise InputError(
                f"advgan needs a trained generator, and generator is {self.generator!r:.80}; "
                "expected a function from embeddings [N, D] to changes [N, D]. Give it in Python, "
                "as AdvGAN(generator=...); the command line cannot."
            )
        super().__post_init__()

    def __str__(self) -> str:
        made = getattr(self.generator, "__name__", type(self.generator).__name__)
        return f"{self.name}(generator={made}, eps={self.eps})"

    def cost(self, walkers: int | None) -> Cost:
        """Return the cost of finding a radius; the generator runs no rows of the model."""
        if self.eps != "auto":
            return Cost()
        if walkers is None:
            return Cost(values=len(RADII), joint=1)
        return Cost(own_values=len(RADII), own=1).times(walkers)

    def segments(self) -> int:
        """Return how many segments a walk has."""
        return 1

    def walk(self, objective: Objective, x: Tensor, goes_on: GoesOn | None = None) -> Walk:
        """Go where the generator leads, within the ball."""
        start = x.expand(-1, objective.field.targets, -1, -1)
        climb = Climb(objective, start, self.eps, None, 1.0, False)
        led = torch.zeros_like(x)
        for b, moves in enumerate(climb.field.movable.to(x.device)):
            led[b, 0, moves] = self._change(x[b, 0, moves]).to(x)
        there = climb.field.rounded(climb.ball.project(climb.x + led))
        return climb.straight(there, goes_on)

    def _change(self, embeddings: Tensor) -> Tensor:
        """Return what the generator does to embeddings [N, D]."""
        assert self.generator is not None
        with torch.no_grad():
            change = self.generator(embeddings.clone())
        right = isinstance(change, Tensor) and change.shape == embeddings.shape
        if not right or not bool(torch.isfinite(change).all()):
            got = tuple(change.shape) if isinstance(change, Tensor) else type(change).__name__
            raise InputError(
                f"the generator returned {got} for embeddings {tuple(embeddings.shape)}; expected "
                "finite changes of the same shape."
            )
        return change

"""Iterative search attribution. Zhu et al. 2024, ICML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks import Objective, Walk, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.methods.adversarial.base import WalkMethod
from hf_attrib.methods.adversarial.elimination import elimination, rank_code
from hf_attrib.methods.adversarial.gradient_steps import GradientSteps
from hf_attrib.methods.base import AXIOMS, Claims, Cost

__all__ = ["ISA"]


@dataclass(frozen=True)
class ISA(WalkMethod, name="isa"):
    r"""Gradient of f integrated while inputs go to x', those first that move f least when attacked.

    In each round short walks set out to where f is higher and to where it is lower. Inputs have
    shares :math:`\sum_k |\Delta^k \odot \nabla f(x^k)| / |\Delta f|` of both changes; a part of
    those left, with the smallest, goes to x'. The search says in which order; what is integrated
    is the gradient of f, along the segments :math:`x = z_0, z_1, \dots, z_R = x'` between rounds.

    .. math:: A_{t,n} = -\sum_r \sum_d \int_{z_r}^{z_{r+1}}
        \frac{\partial f_t}{\partial x_{nd}}\,dx_{nd}

    ``variant="released"`` is the published program: a search for each token, whatever the
    objective, by single coordinates, from noisy points with the size of the embedding held down,
    in which coordinates go to 0. Scores are the numbers of rounds in which coordinates go and
    their ranks there, added up over the width: a code for the order, with no unit.

    Args:
        rounds: R, or as many as there are inputs that may move.
        eps: length of a walk in embedding scales.
        steps: of a walk.
        seed: of the program's noise.

    Returns:
        scores [B, T, N], summing to f(x) - f(x') (units of f).

    Raises:
        InputError: a field is out of range.

    Source: Zhu et al., "Iterative search attribution for deep neural networks", ICML 2024, with
    the order apart from the integrand.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        cost="18 * R forward, 16 * R backward rows to search; about 5 * R, 5 * R * T to integrate",
        axioms=frozenset(AXIOMS) - {"linearity"},
        groups="joined",
    )
    RELEASED: ClassVar[Mapping[str, Any]] = {
        **WalkMethod.RELEASED,
        **{"signed": False, "stochastic": True, "axioms": frozenset(), "baseline": None},
    }
    rounds: int = hyperparameter(10, "Rounds in which inputs go.", at_least(1))
    _: KW_ONLY
    eps: float = hyperparameter(0.15, "Length of a walk in embedding scales.", positive)
    steps: int = hyperparameter(8, "Steps of the walk.", at_least(1))
    seed: int = hyperparameter(0, "Seed of variant=released.", at_least(0))

    @property
    def segments(self) -> int:
        """How many segments a walk has at the most."""
        return self.rounds

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        own = Cost(own=targets * self.steps, own_values=targets)
        if self.released:
            return (own + Cost(own_values=targets)).times(2 * self.rounds).exactly()
        rounds = min(self.rounds, inputs)
        walk = Cost(joint=self.steps, values=1) if self.shared else own
        search = walk.times(2 * (rounds - 1))
        few, many = self.cost_along(targets, self.shared, rounds, fewest=1)
        return search + few, search + many

    def integral(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Find the order in which inputs go, and attribute along it."""
        objective, rule = self.lowered(field), GradientSteps(self.eps, self.steps)
        rounds = min(self.rounds, int(field.movable.sum(1).max()))
        points = torch.stack(elimination(objective, x, baseline, rounds, rule))
        size = torch.full(points.shape[1:3], float(self.eps), dtype=torch.float32)
        return self.along(field, Walk(points, size, size / self.steps))

    def program(self, field: Field, x: Tensor) -> Decomposition:
        """Return in which round coordinates go, and their ranks there."""
        objective, rule = Objective.of_each(field), GradientSteps(self.eps, self.steps)
        code = rank_code(objective, x, self.rounds, rule, (_SIGMA, _PENALTY, self.seed))
        size = torch.full(code.shape[:2], float(self.eps), dtype=torch.float32)
        return Decomposition(code, None, sizes=sizes(field, size, size / self.steps))


#: Of the program: noise, in embedding scales as its 0.05 is in those of pixels, and the weight of
#: the size.
_SIGMA, _PENALTY = 0.22, 0.01

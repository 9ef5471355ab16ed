"""Iterative search attribution. Zhu et al. 2024, ICML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.attacks import Objective, Walk, sizes
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, one_of, positive
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.adversarial.elimination import elimination, rank_code
from hf_attrib.methods.adversarial.gradient_steps import Uncut
from hf_attrib.methods.adversarial.replicas import VARIANTS
from hf_attrib.methods.base import AXIOMS, Claims, Rows

__all__ = ["ISA"]


@dataclass(frozen=True)
class ISA(AdversarialMethod, name="isa"):
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
        objective: "shared", an order for all targets, or "per_token", one for each.
        variant: "corrected" or "released".
        seed: of the program's noise.

    Returns:
        scores [B, T, N], summing to f(x) - f(x') (units of f).

    Raises:
        InputError: a field is out of range.

    Source: Zhu et al., "Iterative search attribution for deep neural networks", ICML 2024, with
    the order apart from the integrand.
    """

    claims: ClassVar = Claims(
        signed=True,
        identity="f(x) - f(x')",
        stochastic=False,
        cost="18 * R forward, 16 * R backward rows to search; about 5 * R, 5 * R * T to integrate",
        axioms=frozenset(AXIOMS) - {"linearity"},
        additive=True,
    )
    rounds: int = field(default=10, metadata={"help": "Rounds in which inputs go."})
    eps: float = field(default=0.15, metadata={"help": "Length of a walk in embedding scales."})
    steps: int = field(default=8, metadata={"help": "Steps of the walk."})
    objective: str = field(default="shared", metadata={"help": "Whose walks: shared, per_token."})
    variant: str = field(default="corrected", metadata={"help": f"{', '.join(VARIANTS)}."})
    seed: int = field(default=0, metadata={"help": "Seed of variant=released."})

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, rounds=self.rounds)
        at_least(0, seed=self.seed)
        one_of(("shared", "per_token"), objective=self.objective)
        one_of(VARIANTS, variant=self.variant)
        positive(eps=self.eps)
        object.__setattr__(self, "eps", float(self.eps))
        Uncut(self.eps, self.steps)  # which refuses what is out of range

    def promises(self) -> Claims:
        """Return what the variant claims."""
        claims = self.claims_of(self._shared, self.rounds)
        if self.variant == "corrected":
            return claims
        program = replace(claims, signed=False, identity=None, stochastic=True)
        return replace(program, axioms=frozenset(), additive=False, baseline=None)

    @property
    def _shared(self) -> bool:
        return self.objective == "shared" and self.variant == "corrected"

    def rows(self, targets: int, inputs: int) -> tuple[Rows, Rows]:
        """Return the rows run at least and at most."""
        if self.variant == "released":
            walk = Rows(own=targets * self.steps, own_values=2 * targets)
            return walk.times(2 * self.rounds).exactly()
        rounds = min(self.rounds, inputs)
        own = Rows(own=targets * self.steps, own_values=targets)
        walk = Rows(joint=self.steps, values=1) if self._shared else own
        search = walk.times(2 * (rounds - 1))
        few, many = self.rows_along(targets, self._shared, rounds, fewest=1)
        return search + few, search + many

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Find the order in which inputs go, and attribute along it."""
        start, rule = x[:, :1], Uncut(self.eps, self.steps)
        size = torch.full((field.sequences, field.targets), self.eps)
        step = size / self.steps
        if self.variant == "released":
            given = Objective.of_each(field), start, self.rounds, rule
            code = rank_code(*given, (_SIGMA, _PENALTY, self.seed))
            return Decomposition(code, None, sizes=sizes(field, size, step))
        objective = Objective.shared(field) if self._shared else Objective.of_each(field)
        rounds = min(self.rounds, int(field.movable.sum(1).max()))
        points = torch.stack(elimination(objective, start, baseline[:, :1], rounds, rule))
        return self.along(field, Walk(points, size[:, : points.shape[2]], step[:, :1]))


#: Of the program: noise, in embedding scales as its 0.05 is in those of pixels, and the weight of
#: the size.
_SIGMA, _PENALTY = 0.22, 0.01

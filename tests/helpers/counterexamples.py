"""Where laws fail that methods do not claim: one problem for each law, or a method's own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from helpers.problems import PROBLEMS, Problem, ignores_second, smooth
from hf_attrib.methods import methods

SMOOTH = next(problem for problem in PROBLEMS if problem.function is smooth)


def saturated(z: Tensor) -> Tensor:
    """1 - ReLU(1 - z) of input 2: flat around the input (arXiv:1703.01365, section 2.1)."""
    return 1 - torch.relu(1 - z[:, 2].mean(-1, keepdim=True))


SATURATED = Problem(
    "saturated", saturated, torch.full((1, 1, 4, 3), 2.0).double(), torch.zeros(1, 1, 4, 3).double()
).moving(2)


def ridge(z: Tensor) -> Tensor:
    """Steep across the straight line, on which inputs 0 and 1 are the same."""
    return torch.tanh(50 * (z[:, 0] - z[:, 1]).mean(-1, keepdim=True))


RIDGE = Problem(
    "ridge", ridge, SMOOTH.x[..., [0, 0, 2, 3], :], SMOOTH.baseline[..., [1, 1, 2, 3], :]
)


def noisy(z: Tensor) -> Tensor:
    """Ten players of eleven interact all at once, and input 1 does not count."""
    plays = z[:, [0, *range(2, 12)]].mean(-1)
    return (2 * plays - 1).prod(-1, keepdim=True) + plays.sum(-1, keepdim=True) / 2


NOISY = Problem("noisy", noisy, torch.ones(1, 1, 12, 3).double(), torch.zeros(1, 1, 12, 3).double())


def faint(z: Tensor) -> Tensor:
    """So little of input 2 that a sparse regression leaves it out."""
    return 0.015 * z[:, 2].mean(-1, keepdim=True)


FAINT = Problem(
    "faint", faint, torch.ones(1, 1, 4, 3).double(), torch.zeros(1, 1, 4, 3).double()
).moving(2)


def wavy(z: Tensor) -> Tensor:
    """Waves so short that noise of inputs covers many of them; input 1 does not count."""
    return torch.sin(30 * z[:, [0, 2, 3]].mean(-1)).sum(-1, keepdim=True)


WAVY = Problem("wavy", wavy, torch.ones(1, 1, 4, 3).double(), torch.zeros(1, 1, 4, 3).double())


#: Changes of f that are no larger than the penalty of a sparse regression.
NEAR = replace(SMOOTH, x=SMOOTH.baseline + 0.01 * (SMOOTH.x - SMOOTH.baseline))


def cancelled(name: str) -> Problem:
    """A sum of two functions whose scores, by a linear method, cancel where they do not."""
    problem, made = SATURATED, methods()[name]()

    def one(z: Tensor) -> Tensor:
        return z[:, 2].mean(-1, keepdim=True)

    def other(z: Tensor) -> Tensor:
        return one(z) ** 2

    def score(function) -> Tensor:
        field = replace(problem, function=function).field()
        return made(field, problem.x, problem.baseline).scores[0, :, 2]

    factor = score(other) / score(one)
    return replace(problem, function=lambda z: 100 * (other(z) - factor * one(z)))


#: What shows that a method breaks a law, unless it has an entry of its own.
COUNTEREXAMPLES: dict[str, Problem] = {
    "completeness": SMOOTH,
    "dummy": next(problem for problem in PROBLEMS if problem.function is ignores_second),
    "implementation_invariance": SMOOTH,
    "linearity": SMOOTH,
    "sensitivity": SATURATED,
}
OWN_COUNTEREXAMPLES: dict[tuple[str, str], Problem] = {
    # Its walk stays so close to the straight line that it takes a function that is steep there.
    ("guided_ig", "linearity"): RIDGE,
    # What only combinations explain is shared in proportion; of a linear f there is nothing.
    ("loo_shapley", "linearity"): next(p for p in PROBLEMS if p.name == "linear"),
    # Of few players all subsets are run; of more, those that are drawn are not in balance.
    **{
        (name, "dummy"): NOISY
        for name in ("banzhaf", "context_cite", "kernel_shap", "lime", "rise")
    },
    ("c_lime", "dummy"): WAVY,
    ("context_cite", "linearity"): NEAR,
    ("context_cite", "sensitivity"): FAINT,
    # Flat places are not flat in the mean over noise, but linear scores can be made to cancel.
    ("noise_average", "sensitivity"): cancelled("noise_average"),
}

"""How far a method is from keeping a law: 0 where it does, about 1 where it does not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from helpers.problems import Problem, quadratic, smooth, smooth_again
from hf_attrib.attacks import attacks
from hf_attrib.methods import Method, method, methods
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.base import held

#: Segments between random words are long and want more nodes than words of a real model.
FINE = {
    "discretized_ig": {"nodes": 20},
    # Four players are few enough to run all subsets of, which depends on no seed.
    "shapley": {"samples": 4},
    "owen": {"samples": 4},
    "loo_shapley": {"samples": 4},
    "kernel_shap": {"samples": 12},
    "banzhaf": {"samples": 14},
    "c_lime": {"samples": 12},
    "rise": {"samples": 12},
    "lime": {"samples": 12},
    "sobol": {"samples": 3},
    "context_cite": {"samples": 12},
    "integrated_gradients": {"tolerance": 1e-9, "max_nodes": 4000},
}
#: Of methods whose walks alone differ, two stand for all where walks are not the matter.
DISTINCT = [
    name
    for name, kind in methods().items()
    if name in ("mfaba", "big") or not issubclass(kind, AdversarialMethod)
]
#: Walks of attacks, whichever it is.
FINE_WALKS = {"tolerance": 1e-9, "max_nodes": 4000}
#: A walk found step by step; its sum has an error of second order in the step.
COARSE = {"guided_ig": 1e-3, "context_cite": 0.05}
#: What scores that are means over what was drawn may be off by, in standard errors.
ERRORS = 4

#: Methods, and attacks, whose names are methods as well.
NAMES = [*methods(), *attacks()]
#: Published programs, which are no entries of the table, but must keep what they claim.
RELEASED = [
    f"{name}(variant=released)"
    for name, kind in methods().items()
    if "variant" in kind.__dataclass_fields__
]


#: What attacks cannot do without; some tokens do not lead as it is, so they are to fall behind.
GIVEN = {"advgan": {"generator": lambda rows: rows.flip(-1).tanh()}, "cw": {"kappa": 5.0}}


def default(name: str) -> Method:
    return method(name, GIVEN[name]) if name in GIVEN else held(name)


def make(name: str) -> Method:
    """A method fine enough for the tolerances of the laws."""
    fine = FINE_WALKS if isinstance(default(name), AdversarialMethod) else {}
    return replace(default(name), **FINE.get(name, fine))


def rough(name: str) -> Method:
    """A method as :func:`make` has it, but with walks that are no finer than by default."""
    return replace(default(name), **FINE.get(name, {}))


def scores(made: Method, problem: Problem, function: Callable[[Tensor], Tensor] | None = None):
    field = replace(problem, function=function or problem.function).field()
    return made(field, problem.x, problem.baseline).scores


def completeness(made: Method, problem: Problem) -> float:
    """Scores sum to what the method says, or, where it says nothing, to f(x) - f(x')."""
    found = made(problem.field(), problem.x, problem.baseline)
    value = problem.function(problem.x[0]) if found.end_value is None else found.end_value
    before = (
        problem.function(problem.baseline[0]) if found.start_value is None else found.start_value
    )
    missing = (found.scores.sum(-1) - (value - before)).abs()
    if found.sum_standard_error is not None:
        missing = (missing - ERRORS * found.sum_standard_error).clamp_min(0)
    return relative(missing, value - before)


def dummy(made: Method, problem: Problem) -> float:
    """Input 1, which the problem's function ignores, scores 0."""
    found = scores(made, problem)
    assert (found[..., [0, 2, 3]] != 0).all()
    return relative(found[..., 1], found)


def implementation_invariance(made: Method, problem: Problem) -> float:
    """Two networks with the same function have the same scores."""
    assert problem.function is smooth
    found = scores(made, problem)
    return relative(scores(made, problem, smooth_again) - found, found)


def linearity(made: Method, problem: Problem) -> float:
    """The scores of a sum of functions are the sum of theirs."""

    def both(z: Tensor) -> Tensor:
        return 2 * problem.function(z) - 3 * quadratic(z)

    expected = 2 * scores(made, problem) - 3 * scores(made, problem, quadratic)
    return relative(scores(made, problem, both) - expected, expected)


def sensitivity(made: Method, problem: Problem) -> float:
    """Input 2, the only one that differs from the baseline, scores non-zero."""
    gained = problem.difference()
    assert (gained.abs() > 0.01).all()
    assert (problem.x != problem.baseline).any(-1).flatten().tolist() == [False, False, True, False]
    share = scores(made, problem)[..., 2] / gained
    return float((share.abs() < 1e-9).any())


def relative(error: Tensor, size: Tensor) -> float:
    return float(error.abs().max() / size.abs().max())


LAWS: dict[str, Callable[[Method, Problem], float]] = {
    "completeness": completeness,
    "dummy": dummy,
    "implementation_invariance": implementation_invariance,
    "linearity": linearity,
    "sensitivity": sensitivity,
}

"""Every method keeps every law it claims, on problems with exact answers."""

from dataclasses import replace

import pytest
import torch
from problems import PROBLEMS, ignores_second, linear, quadratic, smooth
from reference import REFERENCES as PLAIN
from reference import Case
from reference_adversarial import ADVERSARIAL

from hf_attrib.methods import AXIOMS, methods
from hf_attrib.methods.adversarial import AdversarialMethod

ALL = list(methods())
REFERENCES = PLAIN | ADVERSARIAL

#: Segments between random words are long and want more nodes than words of a real model.
FINE = {
    "discretized_ig": {"nodes": 20},
    "integrated_gradients": {"tolerance": 1e-9, "max_points": 4000},
} | {
    name: {"tolerance": 1e-9, "max_points": 4000}
    for name, kind in methods().items()
    if issubclass(kind, AdversarialMethod)
}
#: A walk found step by step; its sum has an error of second order in the step.
COARSE = {"guided_ig": 1e-3}


def make(name):
    return methods()[name](**FINE.get(name, {}))


def claiming(axiom):
    return [name for name, method in methods().items() if axiom in method.claims.axioms]


def scores(name, problem, function=None, x=None):
    made = make(name)
    field = replace(problem, function=function or problem.function).field()
    return made(field, problem.x if x is None else x, problem.baseline).scores


def test_every_claim_is_a_known_law():
    for method in methods().values():
        assert method.claims.axioms <= set(AXIOMS)


def test_every_method_has_a_reference():
    assert set(REFERENCES) == set(methods())


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", ALL)
def test_method_equals_its_slow_reference(name, problem):
    found = scores(name, problem)[0]
    for target in range(found.shape[0]):
        expected = REFERENCES[name](Case(problem, target))
        torch.testing.assert_close(found[target], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", claiming("completeness"))
def test_completeness(name, problem):
    made = make(name)
    result = made(problem.field(), problem.x, problem.baseline)
    tolerance = COARSE.get(name, 1e-8)
    torch.testing.assert_close(
        result.scores.sum(-1), problem.difference(), rtol=tolerance, atol=tolerance
    )
    torch.testing.assert_close(result.reference, problem.function(problem.baseline[0]))


@pytest.mark.parametrize("name", claiming("dummy"))
def test_an_ignored_input_scores_zero(name):
    problem = PROBLEMS[3]
    assert problem.function is ignores_second
    found = scores(name, problem)
    assert (found[..., 1] == 0).all()
    assert (found[..., 0] != 0).all()


@pytest.mark.parametrize("name", claiming("linearity"))
def test_scores_are_linear_in_the_function(name):
    problem = PROBLEMS[2]

    def both(z):
        return 2 * smooth(z) - 3 * quadratic(z)

    expected = 2 * scores(name, problem, smooth) - 3 * scores(name, problem, quadratic)
    torch.testing.assert_close(scores(name, problem, both), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", claiming("sensitivity"))
def test_the_only_input_that_differs_scores_the_difference(name):
    problem = PROBLEMS[2]
    x = problem.baseline.clone()
    x[..., 2, :] = problem.x[..., 2, :]
    found = scores(name, problem, x=x)[0]
    difference = (problem.function(x[0]) - problem.function(problem.baseline[0]))[0]
    tolerance = COARSE.get(name, 1e-8)
    torch.testing.assert_close(found[:, 2], difference, rtol=tolerance, atol=tolerance)
    assert (found[:, [0, 1, 3]] == 0).all()


@pytest.mark.parametrize("name", ALL)
def test_unsigned_methods_are_never_negative_and_signed_ones_are(name):
    negative = any(bool((scores(name, problem) < 0).any()) for problem in PROBLEMS)
    assert negative == methods()[name].claims.signed


@pytest.mark.parametrize("name", ALL)
def test_row_budget_changes_nothing(name):
    made = make(name)
    problem = PROBLEMS[2]
    whole = made(problem.field(row_budget=1000), problem.x, problem.baseline).scores
    for budget in (1, 3, 7):
        chunked = made(problem.field(row_budget=budget), problem.x, problem.baseline).scores
        torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_a_method_is_the_same_for_shared_and_own_points(name):
    """Methods never count axes from the left: points with a T axis give the same scores."""
    problem = PROBLEMS[0]
    assert problem.function is linear
    targets = 2
    made = make(name)
    field = problem.field()
    own = made(
        field,
        problem.x.expand(1, targets, 4, 3).contiguous(),
        problem.baseline.expand(1, targets, 4, 3).contiguous(),
    )
    shared = made(field, problem.x, problem.baseline)
    torch.testing.assert_close(own.scores, shared.scores, rtol=1e-12, atol=1e-12)

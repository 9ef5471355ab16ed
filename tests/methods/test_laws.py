"""Every method keeps every law it claims, and visibly breaks every law that it does not claim."""

from dataclasses import fields

import pytest
import torch
from helpers.counterexamples import COUNTEREXAMPLES, OWN_COUNTEREXAMPLES
from helpers.laws import (
    COARSE,
    DISTINCT,
    ERRORS,
    LAWS,
    NAMES,
    RELEASED,
    default,
    make,
    rough,
    scores,
)
from helpers.problems import PROBLEMS, ignores_second, linear, smooth
from helpers.reference import REFERENCES as PLAIN
from helpers.reference import Case
from helpers.reference_adversarial import ADVERSARIAL
from helpers.reference_perturbation import PERTURBATION

from hf_attrib.attacks import attacks
from hf_attrib.methods import AXIOMS, methods
from hf_attrib.methods.adversarial.base import AdversarialMethod

ALL = list(methods())
REFERENCES = PLAIN | ADVERSARIAL | PERTURBATION
LINEAR, SMOOTH, IGNORING = PROBLEMS[0], PROBLEMS[2], PROBLEMS[3]
assert (LINEAR.function, SMOOTH.function, IGNORING.function) == (linear, smooth, ignores_second)
#: Methods of attacks differ in their walks alone, and these on what is not linear.
WITH_ALL_PROBLEMS = [
    (name, problem)
    for name in ALL
    for problem in PROBLEMS[1:]  # what is linear is quadratic
    if problem is SMOOTH or not isinstance(default(name), AdversarialMethod)
]
#: Walks have tests of their own; here each attack shows on one problem that its name keeps laws.
WITH_PROBLEMS = [*WITH_ALL_PROBLEMS, *((name, SMOOTH) for name in attacks())]


def named(value):
    return getattr(value, "name", value)


def kept(name, axiom):
    return default(name).claims.keeps(axiom)


def claiming(axiom):
    return [name for name in [*NAMES, *RELEASED] if kept(name, axiom) in ("yes", "in the mean")]


def test_every_claim_is_a_known_law():
    assert set(LAWS) == set(COUNTEREXAMPLES) == set(AXIOMS)
    for kind in methods().values():
        assert kind().claims.axioms <= set(AXIOMS)


def test_every_method_has_a_reference():
    assert set(REFERENCES) == set(methods())


@pytest.mark.parametrize(("name", "problem"), WITH_ALL_PROBLEMS, ids=named)
def test_method_equals_its_slow_reference(name, problem):
    found = scores(make(name), problem)[0]
    for target in range(found.shape[0]):
        expected = REFERENCES[name](Case(problem, target))
        torch.testing.assert_close(found[target], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "axiom"),
    [(name, axiom) for name in NAMES for axiom in AXIOMS if kept(name, axiom) == "no"],
)
def test_a_law_that_is_not_claimed_is_broken(name, axiom):
    problem = OWN_COUNTEREXAMPLES.get((name, axiom), COUNTEREXAMPLES[axiom])
    assert LAWS[axiom](default(name), problem) > 0.02


def test_counterexamples_of_a_method_are_needed():
    for name, axiom in OWN_COUNTEREXAMPLES:
        assert kept(name, axiom) == "no"
        assert LAWS[axiom](default(name), COUNTEREXAMPLES[axiom]) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_law_that_does_not_apply_speaks_of_what_is_not_there(name):
    """Sensitivity alone, where the method finds itself what it compares x to."""
    claims = default(name).claims
    absent = [axiom for axiom in AXIOMS if claims.keeps(axiom) == "n/a"]
    found = claims.identity is not None and "f(x')" not in claims.identity
    assert absent == (["sensitivity"] if found else [])
    if found and claims.baseline is None:
        made = rough(name)
        other = made(SMOOTH.field(), SMOOTH.x, SMOOTH.baseline + 1).scores
        assert torch.equal(other, scores(made, SMOOTH))


@pytest.mark.parametrize(
    ("name", "problem"),
    [(n, p) for n, p in WITH_PROBLEMS if n in claiming("completeness")],
    ids=named,
)
def test_completeness(name, problem):
    made = make(name)
    assert LAWS["completeness"](made, problem) < COARSE.get(name, 1e-8)
    result = made(problem.field(), problem.x, problem.baseline)
    assert result.start_value is not None
    if made.claims.identity == "f(x) - f(x')":
        torch.testing.assert_close(result.start_value, problem.function(problem.baseline[0]))
        assert result.end_value is None


@pytest.mark.parametrize("name", claiming("dummy"))
def test_an_ignored_input_scores_zero(name):
    assert LAWS["dummy"](make(name), IGNORING) == 0


@pytest.mark.parametrize(
    "name", [n for n in claiming("implementation_invariance") if n in DISTINCT]
)
def test_networks_that_compute_the_same_have_the_same_scores(name):
    assert LAWS["implementation_invariance"](make(name), SMOOTH) < 1e-8


@pytest.mark.parametrize("name", claiming("linearity"))
def test_scores_are_linear_in_the_function(name):
    assert LAWS["linearity"](make(name), SMOOTH) < 1e-8


@pytest.mark.parametrize("name", claiming("sensitivity"))
def test_the_only_input_that_differs_scores_the_difference(name):
    """More than the law asks, which is that it is not 0."""
    problem, made = SMOOTH.moving(2), make(name)
    assert LAWS["sensitivity"](made, problem) == 0
    found = made(problem.field(), problem.x, problem.baseline)
    reference = problem.function(problem.baseline[0])
    if made.claims.many_references:
        reference = found.start_value
    difference = problem.function(problem.x[0]) - reference
    if not made.claims.signed:
        return  # nor are scores of these in units of f
    missing = (found.scores[..., 2] - difference).abs()
    drawn = 0 if found.standard_error is None else ERRORS * found.standard_error[..., 2]
    tolerance = COARSE.get(name, 1e-8)
    assert (missing <= drawn + tolerance).all()
    assert (found.scores[..., [0, 1, 3]] == 0).all()


@pytest.mark.parametrize("name", ALL)
def test_unsigned_methods_are_never_negative_and_signed_ones_are(name):
    made = rough(name)
    negative = any(bool((scores(made, problem) < 0).any()) for problem in PROBLEMS)
    assert negative == made.claims.signed


@pytest.mark.parametrize("name", [*NAMES, *RELEASED])
def test_scores_depend_on_a_seed_where_they_say_so(name):
    made = rough(name)
    held = {f.name for part in (made, getattr(made, "update", made)) for f in fields(part)}
    seeded = made.reseeded(1) if "seed" in held else made
    assert torch.equal(scores(made, SMOOTH), scores(made, SMOOTH))
    assert torch.equal(scores(seeded, SMOOTH), scores(made, SMOOTH)) != made.claims.stochastic


@pytest.mark.parametrize("name", DISTINCT)
def test_row_budget_changes_nothing(name):
    made = rough(name)
    problem = SMOOTH
    whole = made(problem.field(row_budget=1000), problem.x, problem.baseline).scores
    for budget in (1, 3):
        chunked = made(problem.field(row_budget=budget), problem.x, problem.baseline).scores
        torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", DISTINCT)
def test_a_method_is_the_same_for_shared_and_own_points(name):
    """Methods never count axes from the left: points with a T axis give the same scores."""
    problem = LINEAR
    targets = 2
    made = rough(name)
    field = problem.field()
    own = made(
        field,
        problem.x.expand(1, targets, 4, 3).contiguous(),
        problem.baseline.expand(1, targets, 4, 3).contiguous(),
    )
    shared = made(field, problem.x, problem.baseline)
    torch.testing.assert_close(own.scores, shared.scores, rtol=1e-12, atol=1e-12)

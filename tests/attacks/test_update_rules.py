"""Update rules against slow loops of their own, and what their fields may be."""

import pytest
import torch
from helpers import reference_attacks as slow
from helpers.attack_problems import MOMENTUM, SMOOTH, after, hidden, random, walk
from helpers.problems import PROBLEMS, Problem, linear, reference, smooth

from hf_attrib.attacks import Objective, attack
from hf_attrib.attacks.sia import _low_pass
from hf_attrib.errors import InputError
from hf_attrib.field import FunctionField
from hf_attrib.methods import Fundamental

BASE = reference(0, 0)[0, 0]


def objective_of(function, target):
    chosen = slice(None) if target is None else target
    return lambda z: -function(z[None])[0, chosen].sum()


def check(made, problem, expected):
    """Compare a shared walk, and the own walks of two targets, with those of a loop."""
    shared = walk(made, problem).points[:, 0, 0]
    torch.testing.assert_close(shared, torch.stack(expected(None)))
    own = walk(made, problem, each=True).points[:, 0]
    for target in range(own.shape[1]):
        torch.testing.assert_close(own[:, target], torch.stack(expected(target)))


@pytest.mark.parametrize("problem", PROBLEMS[1:3], ids=lambda p: p.name)
@pytest.mark.parametrize("name", MOMENTUM)
def test_momentum_rules_equal_slow_loops(name, problem):
    def expected(target):
        objective = objective_of(problem.function, target)
        return slow.Momentum(objective, problem.x[0, 0], BASE, 0.5, 3).walk(getattr(slow, name))

    fields = {"dropout": 0.5} if name == "dim" else {}  # of four tokens, two at a time
    check(attack(name, {"eps": 0.5, "steps": 3} | fields), problem, expected)


@pytest.mark.parametrize("problem", PROBLEMS[1:3], ids=lambda p: p.name)
def test_gra_equals_a_slow_loop(problem):
    def expected(target):
        return slow.gra(objective_of(problem.function, target), problem.x[0, 0], 0.5, 4)

    check(attack("gra", {"eps": 0.5, "steps": 4}), problem, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("restarts", [1, 4])
def test_pgd_equals_a_slow_loop(norm, restarts):
    def expected(target):
        objective = objective_of(smooth, target)
        return slow.pgd(objective, SMOOTH.x[0, 0], 0.5, 3, norm, restarts)

    fields = {"eps": 0.5, "steps": 3, "norm": norm, "restarts": restarts}
    check(attack("pgd", fields), SMOOTH, expected)


def test_naa_equals_a_slow_loop():
    problem = Problem("layered", lambda z: after(hidden(z)), SMOOTH.x, SMOOTH.baseline)
    field = FunctionField(after, 3, 4, 7, problem.space(), hidden)
    made = attack("naa", {"eps": 0.5, "steps": 3})
    torch.testing.assert_close(field.value(SMOOTH.x[None])[0], problem.function(SMOOTH.x[0]))
    for target in (None, 0, 2):
        found = walk(made, problem, target is not None, field).points[:, 0, target or 0]
        chosen = slice(None) if target is None else target
        expected = slow.naa(
            hidden, lambda h, c=chosen: -after(h[None])[0, c].sum(), SMOOTH.x[0, 0], BASE, 0.5, 3
        )
        torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_sia_smooths_spans_as_a_cosine_transform_does(count):
    values = random(count)
    torch.testing.assert_close(_low_pass(count) @ values, slow.low_pass(values))
    whole = torch.ones(count).double()
    torch.testing.assert_close(_low_pass(count) @ whole, whole)


def test_sia_maps_gradients_of_smoothed_spans_back():
    """One long span of a linear function: gradients are W under the transform, whatever x is."""
    x, weights = random(1, 1, 10, 3), random(10, 3)
    problem = Problem("long", lambda z: (z * weights).sum((1, 2))[:, None], x, x)
    space = Problem("", linear, x, x).space()
    object.__setattr__(space, "reference", lambda sample, seed: torch.zeros(1, 1, 10, 3).double())
    field = FunctionField(problem.function, 1, 10, space=space)
    made = attack("sia", {"eps": 0.5, "steps": 1, "copies": 40, "blocks": 1})
    climb = made.climb(Objective.of_each(field), x)
    found, total = next(iter(made.gradients(climb)))[0, 0], torch.zeros(10, 3).double()
    for i in range(40):
        draw = slow.generator(0, "sia", 0, i)
        kind, share = (
            int(torch.randint(4, (), generator=draw)),
            float(torch.rand((), generator=draw)),
        )
        kept = (torch.rand((10, 3), generator=draw) >= 0.1).double()
        low = torch.stack([slow.low_pass(column) for column in weights.T]).T
        total += (share * weights, weights, kept * weights, low)[kind]
    torch.testing.assert_close(found, -total / 40)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("pgd(norm=l1)", "norm 'l1' is unknown; expected linf, l2"),
        ("pgd(restarts=0)", "restarts is 0"),
        ("pgd(seed=-1)", "seed is -1"),
        ("mim(decay=-1)", "decay is -1; expected a number of at least 0"),
        ("dim(dropout=2)", "dropout is 2; expected a number from 0 to 1"),
        ("dim(diverse=x)", "diverse is 'x'; expected a number from 0 to 1"),
        ("tim(length=4)", "length is 4; expected an odd number"),
        ("tim(length=1)", "length is 1; expected at least 3"),
        ("sinim(copies=0)", "copies is 0"),
        ("ssa(spread=1.5)", "spread is 1.5"),
        ("sia(blocks=0)", "blocks is 0"),
        ("mig(points=0)", "points is 0"),
        ("gra(reach=0)", "reach is 0"),
        ("naa(points=0)", "points is 0"),
        ("cw(rate=0)", "rate is 0"),
        ("cw(weight=0)", "weight is 0"),
        ("cw(kappa=-1)", "kappa is -1"),
        ("cw(steps=0)", "steps is 0"),
    ],
)
def test_bad_fields_are_refused(written, message):
    with pytest.raises(InputError, match=message):
        Fundamental(written)


def test_what_depends_on_a_reference_names_one():
    assert Fundamental("mig").claims.baseline == "mean"
    assert Fundamental("bim").claims.baseline is None
    held = [
        Fundamental(update, objective=objective).claims.whole_gradients
        for objective, update in (("shared", "ssa"), ("per_token", "bim"), ("per_token", "ssa"))
    ]
    assert held[0] == 0
    assert held[2] - held[1] == 2 * 19  # points and gradients of the other copies
    assert Fundamental("mig(steps=3)").claims.cost.startswith("64 forward, 61 backward")

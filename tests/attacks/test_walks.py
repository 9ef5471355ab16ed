"""What the walks of all attacks have in common: where they end, seeds, chunks, restarts."""

import math

import pytest
import torch
from helpers.attack_problems import RULES, SMOOTH, U, additive, phi, walk
from helpers.problems import PROBLEMS, Problem, linear, smooth

from hf_attrib.attacks import Objective, attack, attacks
from hf_attrib.methods import Fundamental

STOCHASTIC = [n for n, kind in attacks().items() if kind.stochastic]


@pytest.mark.parametrize("name", [n for n in RULES if n not in ("pgd", "tim")])
def test_signed_rules_on_a_linear_function(name):
    """All gradients are W, or of its signs, so each coordinate ends at the ball: eps u |W|."""
    fields = {"eps": 0.5, "steps": 1 if name == "fgsm" else 20}  # some drop coordinates at times
    made = Fundamental(attack(name, fields), objective="per_token", tolerance=1e-8)
    problem = PROBLEMS[0]
    steepest = linear(torch.eye(12).double().reshape(12, 4, 3)) - linear(
        torch.zeros(1, 4, 3).double()
    )
    found = made(problem.field(), problem.x, problem.baseline).scores[0]
    expected = 0.5 * U * steepest.T.abs().reshape(2, 4, 3).sum(-1)
    torch.testing.assert_close(found, expected)


def test_pgd_ends_at_the_same_corner_of_a_linear_function():
    """All steps together lead across the ball, wherever they begin."""
    problem = PROBLEMS[0]
    found = walk(attack("pgd", {"eps": 0.5, "steps": 4}), problem).points[-1, 0, 0]
    bim = walk(attack("bim", {"eps": 0.5}), problem).points[-1, 0, 0]
    torch.testing.assert_close(found, bim)


@pytest.mark.parametrize("name", RULES)
def test_any_walk_on_an_additive_function(name):
    """Whatever the path is, each input gets its own change."""
    problem = Problem("additive", additive, SMOOTH.x, SMOOTH.baseline)
    made = Fundamental(attack(name, {"eps": 0.5}), tolerance=1e-8, max_nodes=4000)
    found = made(problem.field(), problem.x, problem.drawn(0, 0)).scores[0, 0]
    end = walk(attack(name, {"eps": 0.5}), problem).points[-1, 0, 0]
    torch.testing.assert_close(found, phi(problem.x[0, 0]) - phi(end))


@pytest.mark.parametrize("name", RULES)
def test_any_direction_adds_up_within_the_tolerance(name):
    made = Fundamental(attack(name, {"eps": 1.0}))
    for problem in PROBLEMS[1:]:
        found = made(problem.field(), problem.x, problem.baseline)
        change = problem.function(problem.x[0]) - found.start_value
        gap = (found.scores.sum(-1) - change).abs() / change.abs()
        assert float(gap.max()) <= 0.02


@pytest.mark.parametrize("name", STOCHASTIC)
def test_seeds_differ_and_one_is_the_same_twice(name):
    def gone(seed):
        made = attack(name, {"eps": 0.5, "steps": 6, "seed": seed})
        found = walk(made, PROBLEMS[1]).points[:, 0, 0]
        if name == "pgd":
            return found
        climb = made.climb(Objective.shared(PROBLEMS[1].field()), PROBLEMS[1].x)
        ways = made.directions(climb)
        return torch.stack([next(ways) for _ in range(6)])

    first, again, other = (gone(seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_draws_do_not_touch_the_global_generator():
    state = torch.get_rng_state()
    for name in STOCHASTIC:
        walk(attack(name, {"eps": 0.5, "steps": 2}))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", RULES)
def test_chunks_change_nothing(name):
    made = attack(name, {"eps": 0.5, "steps": 1 if name == "fgsm" else 3})
    whole = walk(made, each=True, field=SMOOTH.field(1000)).points
    for budget in (1, 7):
        chunked = walk(made, each=True, field=SMOOTH.field(budget)).points
        torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)


def test_of_several_restarts_each_walker_keeps_the_best():
    fields = {"eps": 1.0, "steps": 2}
    alone = [walk(attack("pgd", fields | {"restarts": r}), each=True).points for r in (1, 5)]
    ends = [-smooth(points[-1, 0]).diagonal() for points in alone]
    assert (ends[1] >= ends[0]).all()
    assert (ends[1] > ends[0]).any()


def test_walkers_of_pgd_stop_in_each_restart():
    seen = []

    def goes_on(points):
        assert points.shape == (1, 2, 4, 3)
        seen.append(points)
        return torch.tensor([[True, False]])

    made = attack("pgd", {"eps": 0.5, "steps": 3, "restarts": 2})
    objective = Objective.of_each(SMOOTH.field())
    points = made.walk(objective, SMOOTH.x, goes_on).points
    assert len(seen) == 6
    assert len(points) == 5
    assert torch.equal(points[1, 0, 1], points[-1, 0, 1])  # where it was put at random
    assert not torch.equal(points[1, 0, 0], points[-1, 0, 0])


def test_starts_of_pgd_lie_evenly_in_the_ball():
    x = torch.zeros(1, 1, 4, 3).double()
    problem = Problem("", linear, x, x)
    made = attack("pgd", {"eps": 0.5, "steps": 1, "restarts": 4000, "norm": "l2"})
    climb = made.climb(Objective.shared(problem.field()), x)
    starts = torch.stack([made._start(climb, r) for r in range(4000)]).flatten(1)
    share = starts.norm(dim=1) / (0.5 * U * math.sqrt(12))
    assert float(share.max()) <= 1
    assert float((share**12).mean()) == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(
        starts.T @ starts / 4000 / (0.5 * U) ** 2,
        torch.eye(12).double() * 12 / 14,
        atol=0.06,
        rtol=0,
    )

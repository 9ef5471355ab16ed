"""Attacks and the fundamental method: closed forms, slow references, and what they never do."""

import pytest
import torch
from helpers import tiny
from helpers.problems import PROBLEMS, Problem, linear
from helpers.reference import Case, line, scale

from hf_attrib.attacks import Objective, UpdateRule, attack, attacks
from hf_attrib.errors import InputError
from hf_attrib.explainer import Explainer
from hf_attrib.methods import Fundamental, NoiseAverage

U = scale()
LINEAR = PROBLEMS[0]
STEEPEST = LINEAR.function(torch.eye(12).double().reshape(12, 4, 3)) - LINEAR.function(
    torch.zeros(1, 4, 3).double()
)  # [12, T]: W


#: Attacks that take steps in a ball; the others need what plain functions do not have.
RULES = [name for name, kind in attacks().items() if issubclass(kind, UpdateRule)]


def walk(name, problem=LINEAR, each=False, **fields):
    field = problem.field()
    objective = Objective.of_each(field) if each else Objective.shared(field)
    return attack(name, fields).walk(objective, problem.x).points


def scores(update, problem=LINEAR, **fields):
    return Fundamental(update, tolerance=1e-8, max_nodes=4000, **fields)(
        problem.field(), problem.x, problem.baseline
    )


@pytest.mark.parametrize("name", ["fgsm", "bim", "mim"])
def test_signed_steps_on_a_linear_function(name):
    """Every step lowers all coordinates by their sign: A = eps u |W| (methods without noise)."""
    found = scores(f"{name}(eps=0.5)", objective="per_token").scores[0]
    expected = 0.5 * U * STEEPEST.T.abs().reshape(2, 4, 3).sum(-1)
    torch.testing.assert_close(found, expected)


def test_a_shared_walk_lowers_the_sum_and_is_signed():
    points = walk("bim", eps=0.5, steps=4)
    assert points.shape == (5, 1, 1, 4, 3)
    down = -STEEPEST.sum(1).sign().reshape(4, 3)
    torch.testing.assert_close(points[-1, 0, 0] - LINEAR.x[0, 0], 0.5 * U * down)
    found = scores("bim(eps=0.5,steps=4)").scores[0]
    expected = -(0.5 * U * down.flatten() * STEEPEST.T).reshape(2, 4, 3).sum(-1)
    torch.testing.assert_close(found, expected)
    assert (found < 0).any()


def test_short_steps_stay_short_and_long_ones_in_the_ball():
    points = walk("bim", eps=1.0, steps=3, step=0.01)
    torch.testing.assert_close((points[-1] - points[0]).abs(), torch.full_like(points[0], 0.03 * U))
    points = walk("bim", eps=0.1, steps=3, step=5.0)
    torch.testing.assert_close((points[-1] - points[0]).abs(), torch.full_like(points[0], 0.1 * U))


def bim(case, total, steps, eps):
    """Equation of arXiv:1607.02533 by hand, for the sum of targets or one, then Gauss on steps."""
    z, added, x = case.x, torch.zeros(4).double(), case.x
    for _ in range(steps):
        leaf = z[None].clone().requires_grad_()
        value = case.function(leaf)[0]
        (value.sum() if total else value[case.target]).backward()
        step = z - 1.25 * eps / steps * U * leaf.grad[0].sign()
        ahead = torch.maximum(torch.minimum(step, x + eps * U), x - eps * U)
        added += line(case, z, ahead)
        z = ahead
    return added


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("objective", ["shared", "per_token"])
def test_fundamental_equals_a_slow_loop(problem, objective):
    found = scores("bim(eps=0.5,steps=4)", problem, objective=objective)
    for target in range(found.scores.shape[1]):
        expected = bim(Case(problem, target), objective == "shared", 4, 0.5)
        torch.testing.assert_close(found.scores[0, target], expected, rtol=1e-7, atol=1e-7)
    change = problem.function(problem.x[0]) - found.start_value
    torch.testing.assert_close(found.scores.sum(-1), change, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("rule", ["left", "midpoint", "trapezoid", "simpson", "gauss_legendre"])
def test_fixed_rules_converge_at_their_order(rule):
    problem, errors = PROBLEMS[2], []
    for steps in (8, 16):
        made = Fundamental(f"bim(eps=1.0,steps={steps},step={1.0 / steps})", rule=rule)
        found = made(problem.field(), problem.x, problem.baseline)
        change = problem.function(problem.x[0]) - found.start_value
        errors.append(float((found.scores.sum(-1) - change).abs().max()))
    order = {"left": 1, "midpoint": 2, "trapezoid": 2, "simpson": 4, "gauss_legendre": 5.5}[rule]
    assert errors[1] < errors[0] / 2 ** (order - 0.7) or errors[1] < 1e-9


def test_the_left_rule_takes_the_gradient_where_a_step_begins():
    problem = PROBLEMS[2]
    made = Fundamental("fgsm(eps=0.5)", objective="per_token", rule="left")
    found = made(problem.field(), problem.x, problem.baseline).scores[0]
    for target in range(2):
        gradient = Case(problem, target).gradient(problem.x[0, 0])
        torch.testing.assert_close(found[target], 0.5 * U * gradient.abs().sum(-1))


def test_automatic_radii_grow_until_they_are_felt():
    """Lowering f by 2 for each token takes 2 / |W|_1 on a linear function, rounded up."""

    def steep(factor):
        return Problem("", lambda z: factor * linear(z)[:, :1], LINEAR.x, LINEAR.baseline)

    slope = U * STEEPEST[:, 0].abs().sum()
    for felt, expected in ((0.2, 0.25), (0.3, 0.5), (0.6, 1.0), (9.0, 1.0)):
        problem = steep(float(2 / slope / felt))
        found = Fundamental("bim")(problem.field(), problem.x, problem.baseline)
        assert found.sizes["eps"].tolist() == [[expected]]
        assert found.sizes["scale"].tolist() == [[pytest.approx(U)]]


@pytest.mark.parametrize("name", [name for name in RULES if name != "naa"])
def test_a_walk_is_the_same_twice_and_raises_its_objective(name):
    problem = PROBLEMS[2]
    first, again = (walk(name, problem) for _ in range(2))
    assert torch.equal(first, again)
    assert problem.function(first[-1, 0]).sum() < problem.function(first[0, 0]).sum()


def test_walkers_that_stop_stand_still():
    field = LINEAR.field()
    objective = Objective.of_each(field)
    seen = []

    def goes_on(points):
        seen.append(points)
        return torch.tensor([[len(seen) <= 2, False]])

    points = attack("bim", {"eps": 0.5}).walk(objective, LINEAR.x, goes_on).points
    assert len(points) == 3
    assert torch.equal(points[0, 0, 1], points[-1, 0, 1])
    assert not torch.equal(points[1, 0, 0], points[-1, 0, 0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"update": "magic"}, "attack 'magic' is unknown"),
        ({"update": "bim("}, "update is 'bim('; expected the name of one attack"),
        ({"update": "bim(eps=0)"}, "eps is 0.0; expected a number above 0"),
        ({"update": "bim(eps=big)"}, "eps is 'big'; expected auto or a number above 0"),
        ({"update": "bim(steps=0)"}, "steps is 0; expected at least 1"),
        ({"update": "fgsm(steps=2)"}, "fgsm takes one step"),
        ({"objective": "mine"}, "objective 'mine' is unknown; expected shared"),
        ({"rule": "simson"}, "rule 'simson' is unknown"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Fundamental(**fields)


@pytest.mark.parametrize("name", RULES)
def test_the_name_of_an_attack_is_a_method(keys, name):
    model, tokenizer = keys
    prompt = "Ada's key is red. Q: What color is Ada's key? A:"
    options = {"response": " red.", "objective": "per_token", "eps": 0.25}
    found = Explainer(model, tokenizer).explain(prompt, method=name, **options)
    assert found.run.method == "fundamental"
    assert found.run.method_fields["update"].startswith(f"{name}(eps=0.25")
    assert found.run.sizes["eps"] == (0.25, 0.25)
    assert found.converged.all()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("objective", ["shared", "per_token", "runner_up"])
def test_counts_are_those_of_the_estimate(family, objective):
    explainer = Explainer(tiny.model(family))
    question = {
        "input_ids": tiny.ids(7),
        "response_ids": tiny.ids(3, seed=1),
        "method": Fundamental("bim(steps=3)", objective=objective, rule="simpson"),
    }
    expected, found = explainer.estimate(**question), explainer.explain(**question)
    assert expected.forward_rows == (found.forward_rows,) * 2
    assert expected.backward_rows == (found.backward_rows,) * 2


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_a_method_that_averages_may_hold_an_attack_by_name():
    problem = PROBLEMS[2]
    made = NoiseAverage("bim(steps=2,eps=0.5)", samples=2)
    assert made.inner == Fundamental("bim(steps=2,eps=0.5)")
    found = made(problem.field(), problem.x, problem.baseline)
    torch.testing.assert_close(
        found.scores.sum(-1), found.end_value - found.start_value, rtol=1e-2, atol=1e-3
    )


def test_the_radius_that_was_used_is_shown(keys):
    found = Explainer(*keys).explain("Ada's key is red.", response=" Bob's", method="fgsm")
    assert f"within {found.run.sizes['eps'][0]:g} embedding scales" in " ".join(str(found).split())

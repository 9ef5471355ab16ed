"""The search for radii, exact where they are known in closed form."""

import math
import re
from dataclasses import dataclass, replace

import pytest
import torch
from helpers import tiny
from helpers.problems import PROBLEMS, linear, random
from helpers.reference import scale

from hf_attrib import Explainer, InputError
from hf_attrib.attacks import Attack, Objective, Walk, attack
from hf_attrib.field import Cost, FunctionField, Table
from hf_attrib.robustness import RadiusSearch
from hf_attrib.robustness.search import GRID

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

U = scale()
X = PROBLEMS[0].x
SLOPE = (linear(torch.eye(12).double().reshape(12, 4, 3)) - linear(torch.zeros(1, 4, 3).double())).T


def margins(lead, positions=4, row_budget=8):
    """The margins of two tokens whose lead at x is given; they are linear in the embeddings."""

    def logits(z):
        own = linear(z) - linear(X[0]) + torch.tensor(lead).double()
        return torch.stack([torch.zeros_like(own), own], -1)

    options = {"row_budget": row_budget, "space": PROBLEMS[0].space()}
    return FunctionField.of_logits(logits, [1, 1], positions, **options).aimed("margin")


def flips(lead, **fields):
    field = margins(lead)
    return RadiusSearch(**fields)(field, X, field.value(X[None])[0])


@pytest.mark.parametrize(("name", "steps"), [("bim", 10), ("bim", 3), ("fgsm", 1), ("mim", 10)])
def test_the_bracket_holds_the_radius_of_a_linear_margin(name, steps):
    """Signed steps lower W z by eps u |W|_1, so it flips at margin / (u |W|_1)."""
    exact = torch.tensor([0.03, 0.7]).double()
    lead = exact * U * SLOPE.abs().sum(-1)
    before = torch.full((1, 2), torch.inf)
    for bisections in range(5):
        rule = attack(name, {"steps": steps})
        found = flips(lead.tolist(), attack=rule, bisections=bisections)
        assert bool((found.failed[0] <= exact).all())
        assert bool((exact <= found.radius[0] * (1 + 1e-9)).all())
        width = found.radius - found.failed
        assert bool((width <= 0.5 / 2**bisections + 1e-12).all())
        assert bool((width <= before / 2 + 1e-12).all())
        before = width
        assert bool((found.margin < 0).all())
        moved = (found.points - X).abs().amax((-1, -2)) / U
        torch.testing.assert_close(moved, found.radius)


def test_a_token_that_does_not_flip_keeps_the_smallest_margin():
    lead = [1.5 * U * float(slope.abs().sum()) for slope in SLOPE]
    found = flips(lead, eps=0.5)
    assert found.radius.tolist() == [[math.inf] * 2]
    torch.testing.assert_close(found.failed, torch.full((1, 2), 0.5).double())
    torch.testing.assert_close(found.margin[0], torch.tensor(lead).double() * 2 / 3)
    assert flips(lead, eps=2.0).radius[0].tolist() == pytest.approx([1.5, 1.5], rel=0.02)


def test_what_is_not_the_likeliest_needs_no_attack():
    found = flips([-0.1, 0.1])
    assert float(found.radius[0, 0]) == 0
    assert torch.equal(found.points[0, 0], X[0, 0])
    assert float(found.radius[0, 1]) > 0


def test_all_tokens_take_their_steps_together():
    """K sequential steps for each walk, however many tokens there are."""
    field, asked = margins([0.2, 0.4]), []
    gradient = type(field).__call__

    class Counting(FunctionField):
        def __call__(self, points):
            asked.append(points.shape[2])
            return gradient(self, points)

    field.__class__ = Counting
    RadiusSearch(attack("bim", {"steps": 5}), bisections=3)(field, X, field.value(X[None])[0])
    assert len(asked) <= 5 * (len(GRID) + 3)
    assert set(asked) == {2}


@pytest.mark.parametrize("row_budget", [1, 3])
def test_chunks_change_nothing(row_budget):
    field, small = (margins([0.1, 0.4], row_budget=n) for n in (64, row_budget))
    whole, cut = (RadiusSearch()(f, X, f.value(X[None])[0]) for f in (field, small))
    assert torch.equal(whole.radius, cut.radius)
    assert torch.equal(whole.points, cut.points)


@dataclass(frozen=True)
class Straight(Attack):
    """Goes a given way, whatever the radius."""

    length: float

    def walk(self, objective, x, goes_on=None):
        start = x.expand(-1, objective.field.targets, -1, -1)
        there = start + self.length * U * objective.gradient(start[None])[0].sign()
        eps = torch.full(start.shape[:2], self.length)
        return Walk(torch.stack([start, (start + there) / 2, there]), eps, eps)

    def cost(self, walkers):
        return Cost()

    def segments(self):
        return 2


def test_an_attack_without_a_radius_has_that_of_the_point_it_finds():
    lead = [0.3 * U * float(slope.abs().sum()) for slope in SLOPE]
    found = flips(lead, attack=Straight(0.8))
    assert found.radius[0].tolist() == pytest.approx([0.4, 0.4])
    assert found.failed[0].tolist() == [0, 0]
    beyond = flips(lead, attack=Straight(0.8), eps=0.2)
    assert beyond.radius.isinf().all()
    assert not beyond.failed.any()  # no radius was tried
    assert torch.equal(beyond.points, X.expand_as(beyond.points))  # the walk went beyond eps
    assert beyond.margin[0].tolist() == pytest.approx(lead)


def test_lengths_of_vectors_are_in_lengths_of_typical_ones():
    """The shortest way to flip a linear margin is along its gradient."""

    @dataclass(frozen=True)
    class Steepest(type(attack("bim", {}))):
        def euclidean(self):
            return True

    typical = U * 12**0.5
    lead = (0.3 * typical * SLOPE.norm(dim=-1)).tolist()
    found = flips(lead, attack=Steepest())
    assert bool(((found.failed <= 0.3) & (found.radius >= 0.3 * (1 - 1e-9))).all())
    assert found.radius[0].tolist() == pytest.approx([0.3, 0.3], rel=0.03)
    away = (found.points - X).flatten(2).norm(dim=-1)
    torch.testing.assert_close(away, found.radius * typical)


@pytest.mark.parametrize("bisections", [0, 3, 9])
def test_what_failed_did_fail_however_points_are_rounded(bisections):
    """Rounding keeps walks from ending nearer than a point found before, not from flipping."""
    exact = torch.tensor([0.3, 0.7]).double()
    field = margins((exact * U * SLOPE.abs().sum(-1)).tolist())
    grid = 0.07 * U
    object.__setattr__(field, "rounded", lambda z: X[0] + ((z - X[0]) / grid).round() * grid)
    found = RadiusSearch(bisections=bisections)(field, X, field.value(X[None])[0])
    assert bool(found.radius.isfinite().all())
    again = replace(Objective.of_each(field), radii=found.failed)
    assert bool((field.value(attack("bim", {}).walk(again, X).points[-1][None]) > 0).all())
    assert bool((found.failed < found.radius).all())


def test_what_lies_ahead_of_a_direction():
    words = random(40, 8)
    table = Table(lambda ids: words[ids], len(words))
    own, other = words[[3, 7]], words[[5, 9]]
    assert table.ahead(own, 0.1 * (other - own)).tolist() == [5, 9]
    assert table.ahead(own, torch.zeros_like(own)).tolist() == [-1, -1]
    sideways = torch.linalg.svd(words - own[:1]).Vh[-1:]  # which leads to no word more than others
    assert table.ahead(own[:1], sideways).tolist() == [-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "magic"}, "attack 'magic' is unknown"),
        ({"attack": 3}, "attack is 3; expected a name"),
        ({"attack": "bim(eps=0.5)"}, "the attack has eps=0.5, but the radius is what is searched"),
        ({"eps": 0}, "eps is 0; expected a number above 0"),
        ({"eps": "auto"}, "eps is 'auto'; expected a number above 0"),
        ({"bisections": -1}, "bisections is -1; expected at least 0"),
        ({"bisections": 1000}, "bisections is 1000; expected at most 60"),
        ({"attack": "bim(steps=2)", "steps": 3}, "steps came next to bim"),
        ({"attack": "bim", "decay": 0.5}, "attack bim has no field decay"),
        ({"movable": "some"}, "movable is 'some'"),
        ({"baseline": "mean"}, "attack bim takes no baseline; leave it out"),
        ({"attack": "dim", "baseline": "some"}, "baseline 'some' is unknown"),
        ({"attribute_to": "some"}, "attribute_to is 'some'"),
        ({"prompt": []}, "the list of prompts is empty"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    with pytest.raises(InputError, match=re.escape(message)):
        explainer.robustness(**{"prompt": "the key"} | options)

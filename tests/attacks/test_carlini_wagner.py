"""Walks to the boundary, which is known where the margin of two classes is linear."""

import math

import pytest
import torch
from helpers import reference_attacks as slow
from helpers.attack_problems import _WAY, SMOOTH, U, boundary, head, two_classes, walk, with_logits
from helpers.problems import smooth

from hf_attrib.attacks import Objective, attack
from hf_attrib.errors import InputError
from hf_attrib.field import FunctionField


def test_cw_finds_the_nearest_point_of_a_linear_boundary():
    lead = 0.3 * U * float(_WAY.norm())
    found = walk(
        attack("cw", {"rate": 0.002, "steps": 600, "weight": 0.05}), field=two_classes(lead)
    )
    points, nearest = found.points[:, 0, 0], boundary(lead)
    assert len(points) == 2
    away, least = points[1] - points[0], (nearest - points[0]).norm()
    assert float(((points[1] - points[0]) * _WAY).sum() + lead) <= 0  # it has flipped
    assert float(away.norm()) == pytest.approx(float(least), rel=0.01)
    torch.testing.assert_close(points[1], nearest, atol=0.01 * U, rtol=0)
    size = float(away.norm()) / U / math.sqrt(12)
    assert float(found.eps) == pytest.approx(size)


def test_l2_pgd_finds_the_nearest_point_of_a_linear_boundary():
    """In a ball that touches the boundary, the end is where it touches."""
    lead = 0.3 * U * float(_WAY.norm())
    field = two_classes(lead).aimed("margin")
    eps = lead / float(_WAY.norm()) / U / math.sqrt(12)
    found = walk(
        attack("pgd", {"norm": "l2", "eps": eps, "steps": 150, "step": eps / 10}), field=field
    )
    torch.testing.assert_close(found.points[-1, 0, 0], boundary(lead), atol=1e-3 * U, rtol=0)
    margin = field.value(found.points[-1:])
    assert abs(float(margin)) < 1e-3 * lead


@pytest.mark.parametrize("steps", [3, 60])
def test_cw_equals_a_slow_loop(steps):
    field, ids = with_logits()

    def margins(z, tokens):
        logits = head(z[None])[0]
        others = logits.scatter(-1, torch.tensor(ids)[:, None], -torch.inf)
        return (logits.gather(-1, torch.tensor(ids)[:, None])[:, 0] - others.amax(-1))[tokens]

    made = attack("cw", {"steps": steps})
    shared = walk(made, field=field).points[1, 0, 0]
    expected = slow.cw(lambda z: margins(z, slice(None)), SMOOTH.x[0, 0], steps)
    torch.testing.assert_close(shared, expected)
    flipped = margins(shared, slice(None)) <= 0
    assert bool(flipped.all()) == (steps == 60)  # all tokens of the walker, or not yet
    own = walk(made, each=True, field=field).points[1, 0]
    for t in range(2):
        expected = slow.cw(lambda z, t=t: margins(z, [t]), SMOOTH.x[0, 0], steps)
        torch.testing.assert_close(own[t], expected)
    chunked = walk(made, each=True, field=with_logits(1)[0]).points[1, 0]
    torch.testing.assert_close(chunked, own, rtol=1e-12, atol=1e-12)


def test_cw_raises_tokens_where_the_objective_does():
    field, ids = with_logits()
    rivals = field.rivals(SMOOTH.x, 1)[..., 0]
    objective = Objective.shared(field.aimed("log_prob", rivals), sign=1.0)
    end = attack("cw", {"steps": 100, "kappa": 0.1}).walk(objective, SMOOTH.x).points[-1, 0]
    logits = head(end)[0]
    assert logits.argmax(-1).tolist() == rivals[0].tolist() != ids
    others = logits.scatter(-1, rivals[0][:, None], -torch.inf).amax(-1)
    assert (logits.gather(-1, rivals[0][:, None])[:, 0] - others >= 0.1).all()


def test_cw_stays_where_tokens_have_no_lead():
    field, ids = with_logits()
    objective = Objective.shared(
        field.aimed("log_prob", torch.tensor([[(i + 1) % 5 for i in ids]]))
    )
    found = attack("cw", {}).walk(objective, SMOOTH.x)
    assert torch.equal(found.points[0], found.points[1])
    assert float(found.eps) == 0


def test_cw_needs_logits():
    with pytest.raises(InputError, match="no logits to aim at"):
        walk(attack("cw", {}), field=FunctionField(smooth, 2, 4, space=SMOOTH.space()))

"""C-LIME on its own: what it is exact for, what it draws, and whom it moves."""

import pytest
import torch

from hf_attrib import InputError
from hf_attrib.field import FunctionField, Groups
from hf_attrib.methods import CLime

X = torch.tensor([[[[2.0], [3.0], [-1.0], [0.5]]]]).double()
START = torch.tensor([[[[1.0], [0.0], [1.0], [0.5]]]]).double()  # the last input is there already


def played(function, method, **options):
    field = FunctionField(lambda z: function(z[..., 0])[:, None], 1, 4, **options)
    return method(field, X, START)


def curved(z):
    return z[:, 0] * z[:, 1] + z[:, 2] ** 2 + z[:, 3] - 2 * z[:, 0]


def test_of_a_quadratic_function_the_slopes_at_x_are_exact_at_any_number():
    """What is even in the noise is the same there and back."""
    for method in (CLime(samples=12), CLime(sigma=2.0)):
        found = played(curved, method)
        slopes = torch.tensor([3.0 - 2, 2.0, -2.0, 1.0]).double()
        torch.testing.assert_close(found.scores[0, 0], slopes * (X - START).flatten())
        assert float(found.standard_error.max()) < 1e-12


def test_standard_errors_are_those_of_the_seeds():
    def steep(z):
        return torch.sin(3 * z.sum(-1)) + z.prod(-1)

    found = [played(steep, CLime(samples=60, seed=seed)) for seed in range(100)]
    scores = torch.stack([f.scores[0, 0, :3] for f in found])
    said = torch.stack([f.standard_error[0, 0, :3] for f in found]).square().mean(0).sqrt()
    assert (said > 0.75 * scores.std(0)).all()
    assert (said < 1.5 * scores.std(0)).all()


def test_players_of_several_inputs_move_as_one():
    owner = torch.tensor([[0, 1, 0, 2]])
    found = played(curved, CLime(), groups=Groups(owner, torch.ones(1, 4, dtype=torch.bool)))
    alone = played(curved, CLime()).scores[0, 0]
    joined = torch.stack([alone[0] + alone[2], alone[1], alone[3]])
    torch.testing.assert_close(found.scores[0, 0], joined)
    assert found.scores[0, 0, 2] == 0  # it is where the reference is, so it does not play


def test_a_regression_on_too_few_samples_is_refused():
    with pytest.raises(InputError, match="a regression on 3 players takes at least 9"):
        played(curved, CLime(samples=8))
    with pytest.raises(InputError, match="samples"):
        CLime(samples=13)
    with pytest.raises(InputError, match="sigma"):
        CLime(sigma=0)


def test_rows_are_those_of_the_claim_and_of_all_targets():
    calls = []

    def function(z):
        calls.append(len(z))
        return curved(z[..., 0])[:, None] * torch.tensor([1.0, 2.0]).double()

    field = FunctionField(function, 2, 4)
    made = CLime(samples=40)
    scores = made(field, X, START).scores[0]
    assert sum(calls) == int(field.forward_rows) == 40 == made.cost(2, 3)[1].values
    torch.testing.assert_close(scores[1], 2 * scores[0])
    assert made.moving(field, X, START) == 3

"""Meshes of nodes, and integrals of what is known at uneven nodes."""

import itertools
import random

import pytest
import torch

from hf_attrib.field import FunctionField
from hf_attrib.integration import straight
from hf_attrib.integration.mesh import Mesh, Nodes, stencils
from hf_attrib.integration.residuals import panels

EVEN = tuple(k / 16 for k in range(17))


def halved_at_random(seed, times=8, pieces=1):
    draw = random.Random(seed)
    mesh = Mesh(0, 0, (tuple(k / 4 for k in range(5)),) * pieces)
    for _ in range(times):
        mesh = mesh.halved(draw.sample(range(len(mesh.lengths())), 2))
    return mesh


def integral(positions, function):
    at = torch.tensor(positions, dtype=torch.float64)
    found = stencils(positions)
    value = function(at)[found.nodes]
    return (found.fine * value).sum(-1), (found.difference * value).sum(-1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("degree", range(6))
def test_polynomials_up_to_degree_five_are_integrated_exactly(seed, degree):
    (at,) = halved_at_random(seed).positions
    found, _ = integral(at, lambda x: (degree + 1) * x**degree)
    ends = torch.tensor(at, dtype=torch.float64) ** (degree + 1)
    torch.testing.assert_close(found, ends.diff(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_coarser_integral_is_exact_up_to_degree_three_and_no_further(seed):
    (at,) = halved_at_random(seed).positions
    for degree in range(4):
        assert integral(at, lambda x, d=degree: x**d)[1].abs().max() < 1e-14
    assert integral(at, lambda x: x**4)[1].abs().max() > 1e-9


def test_even_nodes_weigh_the_same_but_near_the_ends():
    weights = stencils(EVEN).weights()
    torch.testing.assert_close(weights[6:-6], torch.full((5,), 1 / 16).double())
    torch.testing.assert_close(weights, weights.flip(0))
    assert (weights > 0).all()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_few_nodes_are_exact_up_to_the_degree_that_they_determine(count):
    at = tuple(k / (count - 1) for k in range(count))
    assert float(integral(at, lambda x: count * x ** (count - 1))[0].sum()) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(20))
def test_no_interval_is_over_twice_as_long_as_the_next(seed):
    mesh = halved_at_random(seed, pieces=2)
    for at in mesh.positions:
        lengths = [b - a for a, b in itertools.pairwise(at)]
        ratios = [max(a / b, b / a) for a, b in itertools.pairwise(lengths)]
        assert max(ratios) <= 2


def test_halving_adds_the_middles_and_keeps_the_nodes():
    mesh = Mesh(3, 1, ((0.0, 0.5, 1.0), (), (0.0, 0.5, 1.0)))
    finer = mesh.halved([1, 2])
    assert finer.positions == ((0.0, 0.5, 0.75, 1.0), (), (0.0, 0.25, 0.5, 1.0))
    assert set(mesh.nodes()) < set(finer.nodes())
    assert len(finer) == len(finer.nodes()) == 8
    assert finer.lengths().tolist() == [0.5, 0.25, 0.25, 0.25, 0.25, 0.5]


def test_panels_are_four_intervals_of_one():
    assert panels(EVEN).bincount().tolist() == [4, 4, 4, 4]
    (finer,) = Mesh(0, 0, (EVEN,)).halved([0]).positions
    assert panels(finer).bincount().sort().values.tolist() == [2, 3, 4, 4, 4]


@pytest.mark.parametrize("at", range(16))
def test_the_coarser_integral_sees_a_jump_within_an_interval(at):
    _, difference = integral(EVEN, lambda x: (x > (at + 0.5) / 16).double())
    assert difference[at].abs() * 16 > 0.04


def test_the_table_runs_a_node_once_for_each_target_that_has_it():
    """f is the square of the one input for one target, and its cube for the other."""
    field = FunctionField(lambda z: torch.cat([z[:, 0] ** 2, z[:, 0] ** 3], 1), 2, 1)
    nodes = Nodes(field, [straight(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))])
    coarse = [Mesh(0, target, ((0.0, 0.5, 1.0),)) for target in (0, 1)]
    fine = coarse[1].halved([0])
    nodes.run(coarse)
    nodes.run([coarse[0], fine])
    assert field.forward_rows.item() == 4
    assert field.backward_rows.item() == 2 * 3 + 1
    assert nodes.values(coarse[0].nodes(), [1, 0]).tolist() == [[0, 0], [1 / 8, 1 / 4], [1, 1]]
    gradients = nodes.gradients(fine.on(0), [1])
    assert gradients.shape == (4, 1, 1)
    assert gradients.flatten().tolist() == [0, 3 / 16, 3 / 4, 3]

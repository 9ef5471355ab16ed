"""Interactions on plain functions: closed forms, definitions written out, laws that always hold."""

import math
from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_attrib import InputError
from hf_attrib.field import FunctionField, Groups
from hf_attrib.integration import MOST_LOG_NODES, gauss_log, log_cell
from hf_attrib.methods import (
    IntegratedGradients,
    IntegratedHessians,
    Shapley,
    ShapleyInteractions,
    ShapleyTaylor,
    interaction,
    interactions,
    methods,
    row_sums,
)

EXACT = {"rtol": 0, "atol": 1e-9}


def field_of(function, positions, dtype=torch.float64, targets=1, **options):
    """A field of a function of positions, each of width 1, and the inputs 1 and 0 of it."""

    def by_row(points):
        found = function(points[..., 0])
        return found if found.dim() == 2 else found[:, None]

    x = torch.ones(1, 1, positions, 1, dtype=dtype)
    return FunctionField(by_row, targets, positions, **options), x, torch.zeros_like(x)


def total(scores):
    """The sum of main effects and of pairs, each once."""
    return scores.triu().sum((-1, -2))


def game(seed, players):
    """A random game as a function of 0s and 1s, and its values by set."""
    table = torch.randn(2**players, generator=torch.Generator().manual_seed(seed)).double()
    bits = 2 ** torch.arange(players)

    def function(z):
        return table[(z.round().long() * bits).sum(1)]

    return function, lambda some: float(table[sum(2**i for i in some)])


def pair_gain(v, some, i, j):
    return v({*some, i, j}) - v({*some, i}) - v({*some, j}) + v(some)


def taylor_by_orders(v, players):
    """Shapley-Taylor indices as their paper defines them: means over all orders."""
    found = torch.zeros(players, players, dtype=torch.float64)
    for order in permutations(range(players)):
        for i, j in combinations(range(players), 2):
            before = set(order[: min(order.index(i), order.index(j))])
            found[i, j] += pair_gain(v, before, i, j) / factorial(players)
    found = found + found.T
    for i in range(players):
        found[i, i] = v({i}) - v(set())
    return found


def index_by_subsets(v, players):
    """Shapley interaction indices by sets, of sizes 1 and 2."""
    found = torch.zeros(players, players, dtype=torch.float64)
    for i in range(players):
        for j in range(players):
            rest = set(range(players)) - {i, j}
            size = len({i, j})
            for k in range(len(rest) + 1):
                share = factorial(k) * factorial(players - k - size) / factorial(players - size + 1)
                for some in map(set, combinations(rest, k)):
                    gain = v({*some, i}) - v(some) if i == j else pair_gain(v, some, i, j)
                    found[i, j] += share * gain
    return found


@pytest.mark.parametrize("players", [1, 2, 3, 5])
def test_indices_are_those_of_their_definitions(players):
    function, v = game(players, players)
    problem = field_of(function, players)
    torch.testing.assert_close(
        ShapleyTaylor()(*problem).scores[0, 0], taylor_by_orders(v, players), **EXACT
    )
    torch.testing.assert_close(
        ShapleyInteractions()(*problem).scores[0, 0], index_by_subsets(v, players), **EXACT
    )


@pytest.mark.parametrize(
    ("function", "main", "pair"),
    [
        (lambda z: z.amax(1), 1.0, -1.0),  # either will do: together they add nothing more
        (lambda z: z.amin(1), 0.0, 1.0),  # it takes both
        (lambda z: z.sum(1), 1.0, 0.0),
    ],
    ids=["or", "and", "sum"],
)
def test_games_of_two_have_their_known_indices(function, main, pair):
    expected = torch.tensor([[main, pair], [pair, main]]).double()
    torch.testing.assert_close(
        ShapleyTaylor()(*field_of(function, 2)).scores[0, 0], expected, **EXACT
    )
    found = ShapleyInteractions()(*field_of(function, 2)).scores[0, 0]
    shapley = main + pair / 2
    expected = torch.tensor([[shapley, pair], [pair, shapley]]).double()
    torch.testing.assert_close(found, expected, **EXACT)


def test_what_takes_three_is_shared_among_their_pairs():
    problem = field_of(lambda z: z[:, :3].prod(1), 5)
    found = ShapleyTaylor()(*problem).scores[0, 0]
    expected = torch.zeros(5, 5).double()
    expected[:3, :3] = (1 - torch.eye(3).double()) / 3
    torch.testing.assert_close(found, expected, **EXACT)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(0, 99), st.sampled_from([None, 4, 8]))
def test_sums_are_exact_and_row_sums_are_shapley_values(players, seed, samples):
    function, v = game(seed, players)
    problem = field_of(function, players)
    found = ShapleyTaylor(samples=samples)(*problem)
    change = torch.tensor([[v(set(range(players))) - v(set())]], dtype=torch.float64)
    torch.testing.assert_close(total(found.scores), change, **EXACT)
    torch.testing.assert_close(found.scores, found.scores.mT, rtol=0, atol=0)
    torch.testing.assert_close(found.attribution, row_sums(found.scores), **EXACT)
    if samples is None:
        shapley = Shapley()(*problem).scores
        torch.testing.assert_close(row_sums(found.scores), shapley, **EXACT)
        main = ShapleyInteractions()(*problem).scores.diagonal(dim1=2, dim2=3)
        torch.testing.assert_close(main, shapley, **EXACT)


def test_drawn_orders_have_the_exact_mean_within_their_errors():
    function, _ = game(7, 6)
    problem = field_of(function, 6, targets=1)
    exact = ShapleyTaylor()(*problem).scores
    far = []
    for seed in range(20):
        found = ShapleyTaylor(samples=16, seed=seed)(*problem)
        off = (found.scores - exact) / found.standard_error.clamp_min(1e-12)
        pairs = ~torch.eye(6, dtype=torch.bool)
        far.append(off[0, 0][pairs].abs() > 3)
        assert not found.standard_error.diagonal(dim1=2, dim2=3).any()
    assert torch.stack(far).double().mean() < 0.1
    # Over all orders of three there is nothing left to chance.
    function, v = game(8, 3)
    many = ShapleyTaylor(samples=3000)(*field_of(function, 3)).scores[0, 0]
    torch.testing.assert_close(many, taylor_by_orders(v, 3), rtol=0, atol=0.15)


def test_drawn_orders_run_as_many_rows_as_they_say():
    function, _ = game(9, 7)
    field, x, baseline = field_of(function, 7)
    method = ShapleyTaylor(samples=4)
    method(field, x, baseline)
    assert int(field.forward_rows[0]) - 1 == method.cost(1, 7)[0].values  # all players aside
    assert method.cost(1, 7)[0].values + 1 <= 4 * 7 * 8 / 2 + 2


def test_too_many_players_are_refused_with_their_rows():
    problem = field_of(lambda z: z.sum(1), 12)
    with pytest.raises(InputError, match=r"12 groups have 4,096, .*samples=8 .* 626 rows"):
        ShapleyTaylor()(*problem)
    with pytest.raises(InputError, match=r"4,096, each a row; join .*of your own\)\.$"):
        ShapleyInteractions()(*problem)
    found = ShapleyTaylor(samples=4)(*problem).scores
    torch.testing.assert_close(found[0, 0], torch.eye(12).double(), **EXACT)


# Integrated Hessians.


@pytest.mark.parametrize("steps", [1, 2, 9, 40, 128, MOST_LOG_NODES])
def test_the_rule_is_exact_for_polynomials(steps):
    rule = gauss_log(steps)
    assert ((rule.nodes > 0) & (rule.nodes < 1)).all()
    for power in {0, 1, steps, 2 * steps - 1}:
        found = (rule.weights * rule.nodes**power).sum()
        assert abs(found - 1 / (power + 1) ** 2) < 1e-12


def quadratic(seed, positions, width=3):
    """A quadratic function of vectors, its Hessian and slope, and two inputs."""
    draw = torch.Generator().manual_seed(seed)
    size = positions * width
    hessian = torch.randn(size, size, generator=draw, dtype=torch.float64)
    hessian = hessian + hessian.T
    slope = torch.randn(size, generator=draw, dtype=torch.float64)

    def function(points):
        flat = points.flatten(1)
        return (flat @ slope + (flat @ hessian * flat).sum(1) / 2)[:, None]

    ends = torch.randn(2, 1, 1, positions, width, generator=draw, dtype=torch.float64)
    return function, hessian, slope, ends


@pytest.mark.parametrize("steps", [1, 5, None])
def test_a_quadratic_function_has_its_hessian_exactly(steps):
    function, hessian, slope, (x, start) = quadratic(0, 4)
    found = IntegratedHessians(steps=steps)(FunctionField(function, 1, 4), x, start)
    way, first = (x - start)[0, 0], (hessian @ start.flatten() + slope).reshape(4, 3)
    blocks = torch.einsum("id,idje,je->ij", way, hessian.reshape(4, 3, 4, 3), way)
    # The mean of alpha under the weight is 1/4; gradients have their part of the Hessian, too.
    expected = blocks / 2
    slopes = (way * first).sum(1) + blocks.sum(1) / 4
    expected.diagonal().copy_(blocks.diagonal() / 4 + slopes)
    torch.testing.assert_close(found.scores[0, 0], expected, **EXACT)


def smooth(z):
    """Curved, with a part of three and a part that only the last input has; the fourth is idle."""
    return torch.tanh(z[:, 0] * z[:, 1] + z[:, 2]) + torch.exp(z[:, 0] * z[:, 2] / 2) + z[:, 4] ** 3


def by_definition(function, x, start, count=40):
    """Integrated Hessians as their paper writes them: a double integral, torch's own Hessian."""
    points, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(count))
    points, weights = (points + 1) / 2, weights / 2
    way = (x - start).flatten()
    found = torch.zeros(len(way), len(way), dtype=torch.float64)
    for a, wa in zip(points, weights, strict=True):
        for b, wb in zip(points, weights, strict=True):
            z = (start + a * b * (x - start)).flatten().requires_grad_()
            hessian = torch.autograd.functional.hessian(lambda z: function(z[None])[0], z)
            slope = torch.autograd.functional.jacobian(lambda z: function(z[None])[0], z)
            found += wa * wb * (a * b * way[:, None] * way * hessian + torch.diag(way * slope))
    return found


def test_the_single_integral_is_the_double_one_of_the_paper():
    field, x, start = field_of(smooth, 5)
    found = IntegratedHessians(steps=32)(field, x, start)
    expected = by_definition(smooth, x, start)
    pairs = found.scores[0, 0] / (2 - torch.eye(5))
    torch.testing.assert_close(pairs, expected, **EXACT)
    # What the function ignores is 0, and so is what is only added.
    assert not found.scores[0, 0, 3].any()
    assert found.scores[0, 0, 4, :4].abs().max() < 1e-9


@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 2e-4)], ids=["64", "32"]
)
def test_sums_and_row_sums_of_integrated_hessians(dtype, atol):
    field, x, start = field_of(smooth, 5, dtype)
    found = IntegratedHessians(steps=32)(field, x, start)
    change = (field.value(x[None]) - field.value(start[None]))[0].double()
    torch.testing.assert_close(total(found.scores), change, rtol=0, atol=atol)
    torch.testing.assert_close(found.scores, found.scores.mT, rtol=0, atol=0)
    gradients = IntegratedGradients(steps=40)(field, x, start).scores.double()
    torch.testing.assert_close(row_sums(found.scores), gradients, rtol=0, atol=atol)
    torch.testing.assert_close(found.attribution, gradients, rtol=0, atol=atol)


def test_one_group_against_all_is_its_row_at_the_cost_of_one_product_for_each_node():
    field, x, start = field_of(smooth, 5)
    whole = IntegratedHessians(steps=16)(field, x, start)
    rows = int(field.backward_rows[0])
    assert rows == 2 * 16 * (5 + 1)
    one = IntegratedHessians(steps=16)(field, x, start, torch.tensor([2]))
    assert int(field.backward_rows[0]) - rows == 2 * 16 * 2
    torch.testing.assert_close(one.scores[0, 0, 2], whole.scores[0, 0, 2], **EXACT)
    torch.testing.assert_close(one.scores[0, 0, :, 2], whole.scores[0, 0, 2], **EXACT)
    others = torch.arange(5) != 2
    assert one.scores[0, 0][others][:, others].isnan().all()
    torch.testing.assert_close(one.attribution, whole.attribution, **EXACT)


def test_nodes_go_where_f_changes_until_the_sum_is_right():
    def steep(z):
        return torch.sigmoid(60 * (z.mean(1) - 0.3)) * (1 + z[:, 0] * z[:, 1])

    problem = field_of(steep, 3)
    field, x, start = problem
    change = (field.value(x[None]) - field.value(start[None]))[0]
    for tolerance in (1e-2, 1e-5):
        found = IntegratedHessians(tolerance=tolerance)(*problem)
        torch.testing.assert_close(total(found.scores), change, rtol=tolerance, atol=0)
        assert not any(bool(of.any()) for of in found.notes.values())
        gradients = IntegratedGradients(steps=300)(*problem).scores
        assert float((found.attribution - gradients).abs().max()) < 3 * tolerance * float(change)
        assert not found.scores[0, 0, 2, 2].isnan()
    few = field_of(steep, 3)
    found = IntegratedHessians(max_nodes=16, tolerance=1e-5)(*few)
    assert int(few[0].backward_rows[0]) == 2 * 16 * (1 + 3) + 3  # three edges within
    assert [bool(of.any()) for of in found.notes.values()] == [False, True]


@pytest.mark.parametrize("start", [0.0, 0.25, 0.125])
def test_the_rule_of_a_part_is_exact_for_cubes(start):
    rule = log_cell(start, start + 0.125)
    for power in range(4):
        ends = [
            0.0 if not t else t ** (power + 1) * (1 / (power + 1) - math.log(t)) / (power + 1)
            for t in (start, start + 0.125)
        ]
        found = float((rule.weights * rule.nodes**power).sum())
        assert found == pytest.approx(ends[1] - ends[0], abs=1e-14)


@pytest.mark.parametrize("name", ["shapley_taylor", "integrated_hessians", "shapley_interactions"])
def test_groups_are_scored_as_one(name):
    """Pairs of two groups, one of them of two inputs, by hand of what their inputs have."""
    groups = Groups(torch.tensor([[0, 0, 1]]), torch.ones(1, 3, dtype=torch.bool))
    field, x, start = field_of(
        lambda z: z[:, 0] * z[:, 1] + 4 * z[:, 1] * z[:, 2], 3, groups=groups
    )
    found = interaction(name, {})(field, x, start).scores[0, 0]
    one, four = (1.0, 4.0) if name != "integrated_hessians" else (1 + 4 / 4, 4 / 2)
    main = {"shapley_interactions": [3.0, 2.0]}.get(name, [one, 1.0 if "hess" in name else 0.0])
    expected = torch.tensor([[main[0], four], [four, main[1]]]).double()
    torch.testing.assert_close(found, expected, **EXACT)


def test_inputs_that_do_not_move_have_nothing():
    for made in interactions():
        field, x, start = field_of(lambda z: z.prod(1), 3)
        start[0, 0, 1] = x[0, 0, 1]
        found = interaction(made, {})(field, x, start)
        assert not found.scores[0, 0, 1].any()
        assert not found.scores[0, 0, :, 1].any()
        assert float(found.scores[0, 0, 0, 2]) > 0


def test_methods_of_interactions_are_no_methods_of_scores():
    assert set(interactions()) == {"integrated_hessians", "shapley_interactions", "shapley_taylor"}
    assert not set(interactions()) & set(methods())
    made = ShapleyTaylor(samples=4)
    assert interaction("shapley_taylor(samples=4)", {}) == made == interaction(made, {})
    for wrong, fields, message in (
        ("shapley", {}, "unknown; expected one of integrated_hessians"),
        (made, {"seed": 1}, "seed came next to"),
        ("shapley_taylor(samples=4)", {"samples": 4}, "give each once"),
        (4, {}, "expected one of"),
        ("integrated_hessians", {"steps": 4, "tolerance": 0.1}, "without steps"),
        ("shapley_taylor", {"samples": 3}, "samples"),
    ):
        with pytest.raises(InputError, match=message):
            interaction(wrong, fields)

"""Adaptive path integrals: they converge, they know how well, and they pay where it counts."""

import itertools

import pytest
import torch
from helpers.problems import PROBLEMS
from helpers.reference import Case, line

import hf_attrib
from hf_attrib.errors import InputError
from hf_attrib.execution import Meter
from hf_attrib.field import FunctionField
from hf_attrib.integration import Budget, graded, integrate, straight
from hf_attrib.methods import IntegratedGradients

SEEDS = range(12)


def along(function, positions=1, targets=1, budget=None, row_budget=8, path=None):
    """Integrate from 0 to 1 in every position."""
    field = FunctionField(function, targets, positions, row_budget)
    ends = torch.zeros(1, 1, positions, 1), torch.ones(1, 1, positions, 1)
    path = path or straight(*(end.double() for end in ends))
    return field, integrate(field, [path], budget or Budget(0.02, 400))


@pytest.mark.parametrize("degree", range(1, 6))
def test_polynomials_up_to_degree_five_cost_the_first_nodes_alone(degree):
    """Their gradients, of degree four, are integrated exactly; the coarser rule is near enough."""
    field, found = along(lambda z: z[:, 0] ** degree, budget=Budget(1e-2, 400))
    torch.testing.assert_close(found.scores.squeeze(), torch.tensor(1.0).double())
    assert field.backward_rows.tolist() == [17]


def step(z, at=0.3, width=0.01):
    return torch.sigmoid((z - at) / width)


def test_nodes_go_where_the_function_moves():
    seen = []

    def watched(z):
        seen.append(z.detach().flatten())
        return step(z[:, :, 0])

    field, found = along(watched)
    exact = float(step(torch.tensor(1.0)) - step(torch.tensor(0.0)))
    assert float(found.scores) == pytest.approx(exact, rel=0.02)
    points = torch.cat(seen)
    assert ((points - 0.3).abs() < 0.1).float().mean() > 0.3  # evenly spread, it would be 0.2
    assert field.backward_rows.item() < 30


def test_each_target_pays_for_itself():
    """One is linear and done with the first nodes, the other is a step."""
    field, found = along(lambda z: torch.cat([z[:, 0], step(z[:, 0])], 1), targets=2)
    alone, _ = along(lambda z: step(z[:, 0]))
    assert field.backward_rows.item() == 17 + alone.backward_rows.item()
    assert field.forward_rows == alone.forward_rows
    torch.testing.assert_close(found.scores[0, 0, 0], torch.tensor(1.0).double())


def test_gradients_are_kept_for_the_targets_that_paid_for_them():
    """One target of fifty needs more than the first nodes, and no other holds memory for it."""
    targets, inputs = 50, 200

    def mostly_linear(z):
        total = z.sum(1)
        return torch.cat([total.expand(-1, targets - 1), step(total / inputs, width=1e-4)], 1)

    with Meter() as meter:
        field, found = along(mostly_linear, inputs, targets)
    torch.testing.assert_close(found.scores[0, 0], torch.ones(inputs).double())
    every_target = 8 * targets * inputs  # bytes of a node
    assert field.forward_rows.item() > 36
    assert sum(meter.peak.values()) < 36 * every_target  # the first 17, and those of a round


def test_many_nodes_take_little_memory_besides_themselves():
    """One target that spends all it may on a long input."""
    inputs, points = 4000, 300
    mix = torch.linspace(0, 1, inputs).double()
    with Meter() as meter:
        field, _ = along(
            lambda z: torch.sin(300 * (z[..., 0] @ mix)[:, None] / inputs),
            inputs,
            budget=Budget(1e-12, points),
        )
    kept = 8 * inputs * field.backward_rows.item()
    assert field.backward_rows.item() > points / 2
    assert sum(meter.peak.values()) < 3 * kept


def test_walks_of_many_targets_hold_no_room_for_one_another():
    targets, inputs = 20, 300
    ends = torch.zeros(1, targets, inputs, 1).double(), torch.ones(1, targets, inputs, 1).double()
    field = FunctionField(lambda z: z.sum(1).expand(-1, targets), targets, inputs, row_budget=8)
    with Meter() as meter:
        found = integrate(field, [straight(*ends)], Budget(0.02, 400))
    torch.testing.assert_close(found.scores, torch.ones(1, targets, inputs).double())
    assert field.forward_rows.item() == 17 * targets
    assert sum(meter.peak.values()) < 3 * 17 * 8 * targets * inputs  # 20 times 17 with such room


def test_progress_counts_the_targets_that_are_done():
    seen = []
    field = FunctionField(lambda z: torch.cat([z[:, 0], step(z[:, 0])], 1), 2, 1)
    field.progress = lambda done, total: seen.append((done, total))
    ends = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()
    integrate(field, [straight(*ends)], Budget(0.02, 400))
    assert seen[0] == (1, 2)
    assert seen[-1] == (2, 2)


def test_a_jump_ends_with_the_budget_and_says_so():
    field, found = along(lambda z: z[:, 0] + (z[:, 0] > 0.4).double(), budget=Budget(0.02, 90))
    assert field.backward_rows.item() <= 90
    assert float(found.bound) > 1  # the jump itself


def test_cancelling_errors_do_not_count_as_none():
    """Two inputs whose shares cancel: every residual is 0, and only polynomials can disagree."""

    def opposed(z):
        return torch.sigmoid((z[:, 0] - 0.3) / 0.03) * (z[:, 0] + z[:, 1]) + z[:, 0]

    start = torch.tensor([[[[0.0], [0.0]]]]).double()
    x = torch.tensor([[[[1.0], [-1.0]]]]).double()
    field = FunctionField(opposed, 1, 2)
    found = integrate(field, [straight(start, x)], Budget(1e-4, 400))
    share = float(torch.sigmoid((torch.linspace(0, 1, 20001).double() - 0.3) / 0.03).mean())
    expected = torch.tensor([share + 1, -share]).double()
    assert (found.scores[0, 0] - expected).abs().sum() < 1e-3
    assert field.backward_rows.item() > 17


def test_steps_that_cancel_between_nodes_are_found():
    """Two narrow steps up and down by different inputs: their residuals cancel within a panel."""

    def bump(z):
        up, down = (step(z[:, i], at, 1e-3) for i, at in ((0, 0.03), (1, 0.09)))
        return up - down + z[:, 2]

    _, found = along(bump, positions=3)
    expected = torch.tensor([1.0, -1.0, 1.0]).double()
    assert (found.scores[0, 0] - expected).abs().max() < 0.02


@pytest.mark.parametrize("kink", [(5, -4, 0.31), (5, -4, 0.47), (20, -19, 0.31), (2, -1, 0.3)])
def test_the_bound_is_honest_where_the_gradient_jumps(kink):
    a, b, at = kink
    _, found = along(lambda z: torch.relu(a * z[:, 0] + b * z[:, 1] - at), positions=2)
    exact = torch.tensor([a, b]).double() * (1 - at / (a + b))
    assert (found.scores[0, 0] - exact).abs().sum() < found.bound


def test_rounding_of_half_precision_is_not_halved_away():
    field = FunctionField(lambda z: rounded(-20 + step(z[:, 0], 0.4, 0.1) + z[:, 1]), 1, 2)
    field.precision = 2.0**-10
    ends = torch.zeros(1, 1, 2, 1).double(), torch.ones(1, 1, 2, 1).double()
    found = integrate(field, [straight(*ends)], Budget(0.02, 400))
    assert field.backward_rows.item() < 30
    assert (found.scores - 1).abs().max() < 0.05


@pytest.mark.parametrize("times", [2, 4])
def test_where_rounding_is_larger_than_said_halving_ends(times):
    """Logits are larger than f, and so is their rounding; more nodes only find more of it."""

    def noisy(z):
        exact = -20 + step(z[:, 0], 0.4, 0.1) + z[:, 1]
        return exact + (times * 20 * 2.0**-10 * torch.sin(1e6 * z[:, 0] ** 2)).detach()

    field = FunctionField(noisy, 1, 2)
    field.precision = 2.0**-10
    ends = torch.zeros(1, 1, 2, 1).double(), torch.ones(1, 1, 2, 1).double()
    found = integrate(field, [straight(*ends)], Budget(0.02, 400))
    first, last = step(torch.tensor([0.0, 1.0]).double(), 0.4, 0.1)
    assert field.backward_rows.item() < 60
    expected = torch.stack([last - first, torch.ones_like(first)])
    assert (found.scores[0, 0] - expected).abs().max() < 1e-3
    assert (found.bound > times * 0.1).all()  # it says that it does not know


@pytest.mark.parametrize(("precision", "size"), [(2.0**-23, 3e-3), (2.0**-10, 1.0)])
def test_steps_that_the_first_nodes_miss_are_never_laid_to_rounding(precision, size):
    """Two steps that cancel; the excess is small at first, and grows when halving finds them."""

    def cancelling(z):
        up, down = (step(z[:, i], 0.281, 5e-4) for i in (0, 1))
        return -20 + up - down + size * step(z[:, 2], 0.281, 0.025)

    field = FunctionField(cancelling, 1, 3)
    field.precision = precision
    ends = torch.zeros(1, 1, 3, 1).double(), torch.ones(1, 1, 3, 1).double()
    found = integrate(field, [straight(*ends)], Budget(0.02, 400))
    assert (found.scores[0, 0] - torch.tensor([1, -1, size]).double()).abs().max() < 0.01


def rounded(value):
    """Round f, and not its gradient, as half precision does."""
    unit = 2.0 ** (value.detach().abs().log2().floor() - 10)
    return value + ((value / unit).round() * unit - value).detach()


@pytest.mark.parametrize("row_budget", [1, 3, 1000])
def test_row_budget_changes_nothing(row_budget):
    _, whole = along(lambda z: step(z[:, 0]))
    _, found = along(lambda z: step(z[:, 0]), row_budget=row_budget)
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-12, atol=0)


def test_a_graded_path_never_asks_for_the_gradient_at_its_start():
    """The square root has none there."""
    path = graded(straight(torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()), 4)
    _, found = along(lambda z: z[:, 0].sqrt(), path=path)
    assert float(found.scores) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_tight_tolerances_are_kept(problem):
    made = IntegratedGradients(tolerance=1e-8, max_nodes=4000)
    found = made(problem.field(), problem.x, problem.baseline).scores[0]
    for target in range(len(found)):
        expected = line(Case(problem, target), problem.x[0, 0], problem.baseline[0, 0])
        torch.testing.assert_close(found[target], expected, rtol=1e-7, atol=1e-7)


def rough(seed):
    """A random function of four inputs with two targets, as steep as a confident model."""
    generator = torch.Generator().manual_seed(seed)
    mix = 4 * torch.randn(4, 16, generator=generator).double()
    head = 2 * torch.randn(16, 5, generator=generator).double()

    def function(z):
        return (torch.tanh(z[..., 0] @ mix) @ head).log_softmax(-1)[:, :2]

    return function, torch.randn(1, 1, 4, 1, generator=generator).double()


def test_the_bound_is_honest_and_not_idle():
    """The true error lies below it in all of these cases."""
    ratios = []
    for seed in SEEDS:
        function, x = rough(seed)
        field = FunctionField(function, 2, 4, 64)
        path = straight(-x, x)
        found, fine = (
            integrate(field, [path], Budget(t, n)) for t, n in ((0.02, 400), (1e-9, 9000))
        )
        error = (found.scores - fine.scores).abs().sum(-1)
        ratios.append((error / found.bound).flatten())
    ratios = torch.cat(ratios)
    assert ratios.max() <= 1
    assert ratios.max() > 0.02


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_the_embedded_model_converges_where_nothing_is_set(keys):
    explainer = hf_attrib.Explainer(*keys)
    prompt = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
    found = explainer.explain(prompt, method="integrated_gradients")
    small = (found.value - found.reference_value).abs() < found.run.resolution
    assert (found.converged | small).float().mean() > 0.8
    assert {"converged", "below resolution", "row uncertain"} >= set(found.status)
    assert found.bound.median() < 0.2
    fine = explainer.explain(
        prompt,
        response_ids=found.response_ids,
        method="integrated_gradients",
        tolerance=2e-3,
        max_nodes=4000,
    )
    error = (found.scores - fine.scores).abs().sum(-1)
    assert (error <= found.error_bound + 1e-5).all()
    assert found.backward_rows < 60 * len(found.rows)


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_spans_and_batches_are_integrated_alike(keys):
    explainer = hf_attrib.Explainer(*keys)
    prompts = ["Ada's key is red. Q: What color is Ada's key? A:", "Bob's key is blue. Q: ? A:"]
    together = explainer.explain(prompts, spans="word", max_new_tokens=4)
    for prompt, found in zip(prompts, together, strict=True):
        single = explainer.explain(prompt, spans="word", max_new_tokens=4)
        assert found.backward_rows == single.backward_rows
        assert found.forward_rows == single.forward_rows
        size = float(single.scores.abs().max())
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tolerance": 0}, "tolerance is 0"),
        ({"max_nodes": 3}, "max_nodes is 3; expected at least 17"),
        ({"max_nodes": 2**70}, "max_nodes is 1180591620717411303424; expected at most"),
        ({"rule": "midpoint"}, "rule goes with steps"),
        (
            {"steps": 3, "tolerance": 0.1},
            "tolerance goes without steps",
        ),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        IntegratedGradients(**fields)


def corner(*points):
    """Pieces of a path through points, [1, 1 or T, N, 1] each."""
    return [straight(a.double(), b.double()) for a, b in itertools.pairwise(points)]


def test_a_path_with_a_corner_is_integrated_piece_by_piece():
    """f = a b along (0,0) -> (1,0) -> (1,1): all of its change belongs to b."""
    places = [torch.tensor(p).reshape(1, 1, 2, 1) for p in ([0.0, 0.0], [1.0, 0.0], [1.0, 1.0])]
    field = FunctionField(lambda z: z[:, 0] * z[:, 1], 1, 2)
    found = integrate(field, corner(*places), Budget(1e-3, 400))
    torch.testing.assert_close(found.scores.flatten(), torch.tensor([0.0, 1.0]).double())
    assert field.backward_rows.item() == 18  # of 9 for each piece the corner counts twice


def test_each_target_may_have_a_path_of_its_own():
    """One goes by way of b, the other by way of a; a piece that leads nowhere costs nothing."""
    ways = [[[0.0, 0.0]] * 2, [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]], [[1.0, 1.0]] * 2]
    places = [torch.tensor(p).reshape(1, 2, 2, 1) for p in ways]
    field = FunctionField(lambda z: (z[:, 0] * z[:, 1]).expand(-1, 2), 2, 2)
    found = integrate(field, corner(*places), Budget(1e-3, 400))
    torch.testing.assert_close(found.scores[0], torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double())
    assert found.start_value.tolist() == [[0, 0]]
    assert field.backward_rows.item() == 2 * 18  # each moves on two of the three pieces


def test_a_walk_that_stands_still_scores_zero():
    place = torch.full((1, 1, 2, 1), 0.5)
    field = FunctionField(lambda z: z[:, 0] * z[:, 1], 1, 2)
    found = integrate(field, corner(place, place, place), Budget(1e-3, 400))
    assert not found.scores.any()
    assert found.start_value.tolist() == [[0.25]]
    assert field.backward_rows.item() == 0


def test_pieces_that_a_walk_rests_on_change_nothing():
    """As where others that it is batched with go on."""
    ends = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()
    moving, resting = straight(*ends), straight(ends[1], ends[1])
    found = []
    for pieces in ([moving], [moving, *[resting] * 5], [*[straight(ends[0], ends[0])] * 5, moving]):
        field = FunctionField(lambda z: step(z[:, :, 0], width=0.1), 1, 1)
        found.append((integrate(field, pieces, Budget(0.02, 400)), field.backward_rows))
    for decomposition, rows in found[1:]:
        assert torch.equal(decomposition.scores, found[0][0].scores)
        assert torch.equal(decomposition.start_value, found[0][0].start_value)
        assert rows == found[0][1]


def test_targets_with_paths_of_their_own_may_share_a_velocity():
    """They set out from places of their own and move alike."""
    start = torch.tensor([[0.0, 0.0], [2.0, 0.0]]).reshape(1, 2, 2, 1).double()
    field = FunctionField(lambda z: (z[:, 0] * z[:, 1]).expand(-1, 2), 2, 2)

    def path(alpha):
        way = alpha.reshape(-1, 1, 1, 1, 1)
        return start + way, torch.ones(1, 1, 1, 2, 1).double()

    found = integrate(field, [path], Budget(1e-3, 400))
    torch.testing.assert_close(found.scores[0], torch.tensor([[0.5, 0.5], [0.5, 2.5]]).double())


def test_the_bound_covers_a_spike_in_the_first_interval():
    """No node sees how narrow it is; the residual is below the tolerance, and the row is not."""

    def spike(z):
        return z.sum(1) + 0.1 * (torch.exp(-z[:, 0] / 0.01) - torch.exp(-z[:, 1] / 0.012))

    _, found = along(spike, positions=2)
    exact = torch.tensor([1.0, 1.0]).double() + torch.tensor([-0.1, 0.1]).double()
    error = float((found.scores[0, 0] - exact).abs().sum())
    assert error <= float(found.bound)


def test_the_bound_of_a_smooth_integrand_is_a_few_times_the_tolerance():
    _, found = along(lambda z: step(z[:, 0], 0.4, 0.1) + z[:, 1] * z[:, 0], positions=2)
    assert float(found.bound) < 8 * 0.02

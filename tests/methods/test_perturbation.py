"""Forward-only methods against closed forms, enumeration, and what they say of themselves."""

import sys

import pytest
import torch
from helpers import tiny
from helpers.looking_ahead import looking_ahead
from helpers.reference_perturbation import shapley_values

from hf_attrib import Explainer, InputError
from hf_attrib.engine import Question
from hf_attrib.field import MODES, FunctionField, Groups, Space
from hf_attrib.methods import (
    Banzhaf,
    BaselineAverage,
    ContextCite,
    KernelShap,
    Lime,
    LooShapley,
    NoiseAverage,
    Occlusion,
    Rise,
    Shapley,
    Sobol,
    methods,
)
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.model import isolated

PLAYING = [name for name, kind in methods().items() if issubclass(kind, Perturbation)]


class Table(FunctionField):
    """A game given by the value of each subset, as a field whose inputs are 0 or 1."""

    def __init__(self, value, count, **options):
        self.asked = []  # codes of the subsets that were run, in order
        self.code = 2 ** torch.arange(count)

        def function(z):
            codes = (z[..., 0].long() * self.code).sum(-1)
            self.asked += codes.tolist()
            return value[codes]

        super().__init__(function, value.shape[1], count, **options)

    def play(self, method):
        x = torch.ones(1, 1, len(self.code), 1).double()
        return method(self, x, torch.zeros_like(x))


def table(count, seed=0, targets=2):
    """Values of all subsets at random, and the Shapley values of their game, [T, n]."""
    drawn = torch.Generator().manual_seed(seed)
    value = torch.randn(2**count, targets, generator=drawn).double()

    def of(target):
        return lambda players: float(value[sum(2**i for i in players), target])

    return value, torch.stack([shapley_values(of(t), count) for t in range(targets)])


def played(function, count, method, x=None):
    """Scores of a plain function of inputs [R, n] from 0, [T, n]."""
    field = FunctionField(
        lambda z: function(z[..., 0]), len(function(torch.zeros(1, count))[0]), count
    )
    x = torch.ones(count) if x is None else torch.tensor(x)
    x = x.double().reshape(1, 1, count, 1)
    return method(field, x, torch.zeros_like(x)).scores[0]


@pytest.mark.parametrize(
    "method",
    [
        Banzhaf(),
        Banzhaf(samples=4096),
        KernelShap(),
        KernelShap(samples=4096),
        Lime(),
        Lime(samples=4096),
        Occlusion(),
        Rise(samples=4096),
        Rise(samples=4096, keep=0.8),
        Shapley(),
        Shapley(samples=4),
        Shapley(budget=60),
    ],
    ids=str,
)
def test_of_an_additive_game_each_player_has_its_own_part(method):
    parts = torch.tensor([1.0, -2, 0.5, 0, 3, 7, -1, 2, 9, 4, 5, 6]).double()
    found = played(lambda z: (z.double() ** 3 @ parts)[:, None], 12, method)[0]
    torch.testing.assert_close(found, parts)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_of_a_product_each_factor_has_an_equal_share_or_all(k):
    def product(z):
        return z.prod(-1, keepdim=True)

    x = [2.0, 3.0, 5.0, 7.0][:k]
    whole = float(torch.tensor(x).prod())
    shares = played(product, k, Shapley(), x)[0]
    torch.testing.assert_close(shares, torch.full_like(shares, whole / k))
    losses = played(product, k, Occlusion(), x)[0]
    torch.testing.assert_close(losses, torch.full_like(losses, whole))


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_all_subsets_give_the_values_of_the_definition(count):
    value, expected = table(count)
    field = Table(value, count)
    found = field.play(Shapley())
    torch.testing.assert_close(found.scores[0], expected)
    assert sorted(field.asked) == list(range(2**count))
    assert not found.standard_error.any()
    assert torch.equal(found.start_value[0], value[0])


@pytest.mark.parametrize("count", [2, 3, 7, 8])
@pytest.mark.parametrize("samples", [4, 6, 10])
def test_sums_are_exact_at_any_number(count, samples):
    value, _ = table(count, seed=samples)
    for seed in range(3):
        for method in (Shapley(samples=samples, seed=seed), KernelShap(samples=26, seed=seed)):
            found = Table(value, count).play(method)
            gap = found.scores[0].sum(-1) - (value[-1] - value[0])
            assert gap.abs().max() < 1e-9


def estimates(value, count, method, seeds=200):
    found = [Table(value, count).play(method.reseeded(seed)) for seed in range(seeds)]
    scores, error = (
        torch.stack([getattr(f, k)[0] for f in found]) for k in ("scores", "standard_error")
    )
    return scores, error


@pytest.mark.parametrize(
    ("method", "exact"),
    [
        (Shapley(samples=4), Shapley()),
        (Shapley(samples=8), Shapley()),
        (KernelShap(samples=40), Shapley()),
        (Banzhaf(samples=40), Banzhaf(samples=128)),
        (Rise(samples=40), Banzhaf(samples=128)),
        (Lime(samples=60), Lime(samples=128)),
        (Sobol(samples=12), Sobol(samples=16)),
    ],
    ids=str,
)
def test_estimates_are_unbiased_and_their_errors_are_no_less_than_said(method, exact):
    value, _ = table(7, seed=3)
    expected = Table(value, 7).play(exact).scores[0]
    scores, error = estimates(value, 7, method)
    spread = scores.std(0)
    # What is drawn weighs more than what is always there, and so a regression on both is off by a
    # part of its error, which goes as one over the subsets.
    off = 0.5 if isinstance(method, KernelShap) else 4 / len(scores) ** 0.5
    assert ((scores.mean(0) - expected).abs() < off * spread).all()
    said = error.square().mean(0).sqrt()
    assert said.mean() > 0.95 * spread.mean()
    assert (said > 0.75 * spread).all()
    assert (said < 2.5 * spread).all()


def test_more_staircases_come_closer():
    value, expected = table(7, seed=4)
    errors = []
    for samples in (4, 32):
        scores, _ = estimates(value, 7, Shapley(samples=samples), 60)
        errors.append(float((scores - expected).square().mean().sqrt()))
    assert errors[1] < errors[0] / 2


SHAPLEY = [KernelShap(), KernelShap(samples=256), Shapley(), Shapley(budget=256)]


@pytest.mark.parametrize("method", SHAPLEY, ids=str)
def test_with_all_subsets_every_estimator_of_shapley_values_is_exact(method):
    value, expected = table(8 if method.name == "shapley" or method.samples else 5)
    found = Table(value, expected.shape[1]).play(method)
    torch.testing.assert_close(found.scores[0], expected)


@pytest.mark.parametrize("count", [3, 6, 7, 9])
@pytest.mark.parametrize("samples", [None, 2, 8])
def test_loo_shapley_sums_exactly_and_keeps_signs_and_order(count, samples):
    value, shapley = table(count, targets=5)
    lost = torch.stack([value[-1] - value[-1 - 2**i] for i in range(count)]).T
    made = LooShapley(samples=samples)
    found = Table(value, count).play(made)
    scores = found.scores[0]
    torch.testing.assert_close(scores.sum(1), value[-1] - value[0])
    if samples is None and count <= 6:
        weights = torch.tensor([2 / 3, 1 / 3, 1 / 6, 1 / 12, 0]).double()
        for row, one, other in zip(scores, lost, shapley, strict=True):
            mixed = weights[:, None] * one + (1 - weights[:, None]) * other
            rankings = [m.argsort().tolist() for m in mixed]
            assert row.argsort().tolist() in rankings
            assert any(torch.equal(row.sign(), m.sign()) for m in mixed)
        assert not found.standard_error.any()
    else:
        assert bool((found.standard_error > 0).all())


def test_loo_shapley_finds_both_copies_of_a_fact_and_nothing_where_nothing_counts():
    def twice(z):
        return torch.maximum(z[:, 1], z[:, 5])[:, None] + 0.25 * z[:, 2:3]

    scores = played(twice, 9, LooShapley())[0]
    torch.testing.assert_close(scores[[0, 3, 4, 6, 7, 8]], torch.zeros(6).double())
    # With leave-one-out at a third: two thirds of a half each, and 0.25; 1.25 is shared 4 : 4 : 3.
    torch.testing.assert_close(scores[[1, 5, 2]], torch.tensor([4, 4, 3]).double() * 1.25 / 11)


@pytest.mark.parametrize(
    ("sentences", "orders"),
    [
        ([0, 0, 0, 1, 1, 2, 2], [[5, 6, 0, 1, 2, 3, 4], [5, 6, 3, 4, 0, 1, 2]]),
        ([4, 4, 4, 4, 9, 9, 9], [[0, 1, 2, 3, 4, 5, 6], [4, 5, 6, 0, 1, 2, 3]]),
        ([3, 3, 3, 3, 3, 3, 3], [[0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 0, 1, 2]]),
    ],
)
def test_loo_shapley_lets_sentences_come_in_by_two_orders_and_words_as_they_are_read(
    sentences, orders
):
    value, _ = table(7, targets=6)
    field = Table(value, 7)
    field.groups = Groups(field.groups.owner, field.groups.movable, torch.tensor([sentences]))
    found = field.play(LooShapley())
    bits = 2 ** torch.arange(7)
    total = torch.stack([value[-1] - value[-1 - bit] for bit in bits]) * 2 / 3
    for order in orders:
        before = 0
        for player in order:
            total[player] += (value[before + bits[player]] - value[before]) / 6
            before += int(bits[player])
    missing = value[-1] - value[0] - total.sum(0)
    whole = total + missing / total.abs().sum(0) * total.abs()
    full = missing.abs() <= 0.9 * total.abs().sum(0)  # the others take less of what is lost
    assert full.any()
    torch.testing.assert_close(found.scores[0].T[:, full], whole[:, full])
    several = len(set(sentences)) > 2
    assert bool((found.standard_error > 0).all() if several else not found.standard_error.any())


def test_the_regression_of_kernel_shap_on_all_subsets_is_the_definition():
    value, expected = table(5)
    codes = torch.arange(1, 16)  # one of each pair that is neither none nor all
    flags = (codes[:, None] >> torch.arange(5)) % 2 == 1
    middle = (flags.sum(1) == 2) | (flags.sum(1) == 3)
    half = torch.cat([torch.eye(5, dtype=torch.bool), flags[middle], flags[middle]])
    ends = torch.tensor([[False] * 5, [True] * 5])
    subsets = torch.cat([ends, half, ~half])
    found = KernelShap().solve(subsets, value[(subsets * 2 ** torch.arange(5)).sum(1)])
    torch.testing.assert_close(found.scores.T, expected)


def test_banzhaf_values_are_means_over_all_subsets_and_those_of_rise_are_weighted():
    value, _ = table(6)
    banzhaf, rise = (
        Table(value, 6).play(m).scores[0] for m in (Banzhaf(samples=64), Rise(keep=0.7))
    )
    for i in range(6):
        without = [s for s in range(64) if not s >> i & 1]
        gains = [value[s | 1 << i] - value[s] for s in without]
        torch.testing.assert_close(banzhaf[:, i], torch.stack(gains).mean(0))
        sizes = [s.bit_count() for s in without]
        means = [0.7**k * 0.3 ** (5 - k) * gain for k, gain in zip(sizes, gains, strict=True)]
        torch.testing.assert_close(rise[:, i], torch.stack(means).sum(0))


@pytest.mark.parametrize("method", [Sobol(), Sobol(samples=64)], ids=str)
def test_sobol_indices_of_an_additive_game_are_shares_of_its_variance(method):
    parts = torch.tensor([1.0, -2, 0.5, 0, 3, 4, -1, 2, 2.5, 1.5]).double()
    found = played(lambda z: (z.double() @ parts)[:, None], 10, method)[0]
    expected = parts.square() / parts.square().sum()
    torch.testing.assert_close(found, expected, rtol=0.15, atol=1e-12)
    exact = played(lambda z: (z.double() @ parts[:4])[:, None], 4, method)[0]
    torch.testing.assert_close(exact, parts[:4].square() / parts[:4].square().sum())


def test_of_an_additive_game_context_cite_leaves_out_what_is_small():
    parts = torch.tensor([1.0, -2, 0.015, 0, 3]).double()
    found = played(lambda z: (z.double() @ parts)[:, None], 5, ContextCite(penalty=0.01))[0]
    expected = parts.sign() * (parts.abs() - 0.02).clamp_min(0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_context_cite_penalises_each_token_of_a_span():
    model = tiny.shared("gpt2", dtype=torch.float64)
    options = {"input_ids": tiny.ids(6), "response_ids": tiny.ids(4, seed=1), "spans": "response"}
    explainer = Explainer(model)
    found = explainer.explain(**options, method=ContextCite(penalty=0.02))
    mean = options | {"target": lambda z, ids: _log_prob(z, ids) / 4}
    strict = explainer.explain(**mean, method=ContextCite(penalty=0.02))
    alike = explainer.explain(**mean, method=ContextCite(penalty=0.005))
    torch.testing.assert_close(found.scores, 4 * alike.scores, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found.scores, 4 * strict.scores, rtol=0.01)


def _log_prob(logits, ids):
    return logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]


def test_context_cite_says_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    value, _ = table(4)
    field = Table(value, 4)
    with pytest.raises(InputError, match=r"pip install 'hf_attrib\[sparse\]'"):
        field.play(ContextCite())
    assert not field.asked


@pytest.mark.parametrize("count", [6, 9, 16])
def test_players_of_kernel_shap_can_be_told_apart_whatever_is_drawn(count):
    """Without each of them alone, one draw in ten leaves some equation open, and says nothing."""
    draw = torch.Generator().manual_seed(count)
    weights = torch.randn(count, 2, generator=draw, dtype=torch.float64)
    for seed in range(40):
        made = KernelShap(samples=3 * count + count % 2, seed=seed)
        subsets = made.subsets(count)
        plays = subsets.double() - subsets.double().mean(1, keepdim=True)
        assert int(torch.linalg.matrix_rank(plays)) == count - 1
        found = made.solve(subsets, subsets.double() @ weights)
        torch.testing.assert_close(found.scores, weights)
        assert float(found.standard_error.max()) < 1e-9


@pytest.mark.parametrize("count", [6, 8])
def test_players_of_banzhaf_can_be_told_apart_whatever_is_drawn(count):
    weights = torch.arange(2.0 * count, dtype=torch.float64).reshape(count, 2)
    for seed in range(60):
        made = Banzhaf(samples=3 * count, seed=seed)
        subsets = made.subsets(count)
        found = made.solve(subsets, subsets.double() @ weights)
        torch.testing.assert_close(found.scores, weights)


def test_a_penalty_shrinks_scores_of_lime():
    value, _ = table(5)
    plain, shrunk = (Table(value, 5).play(Lime(ridge=r)).scores.norm() for r in (0.0, 10.0))
    assert shrunk < plain / 2


def test_a_regression_on_too_few_subsets_is_refused():
    value, _ = table(9)
    for method in (KernelShap(samples=26), Banzhaf(samples=26), Lime(samples=26)):
        with pytest.raises(InputError, match="a regression on 9 players takes at least 27"):
            Table(value, 9).play(method)


@pytest.mark.parametrize(("samples", "width"), [(40, 0.25), (40, 1.0), (200, 0.15), (200, 0.25)])
def test_standard_errors_of_lime_are_those_of_its_seeds(samples, width):
    value, _ = table(10)
    solved = []
    for seed in range(20):
        made = Lime(samples=samples, width=width, seed=seed)
        subsets = made.subsets(10)
        solved.append(made.solve(subsets, value[subsets.long() @ 2 ** torch.arange(10)]))
    scores = torch.stack([found.scores for found in solved])
    errors = torch.stack([found.standard_error for found in solved])
    assert 0.8 < float(errors.median() / scores.std(0).median()) < 1.6


@pytest.mark.parametrize(("samples", "width"), [(40, 0.1), (200, 0.03), (1024, 0.005)])
def test_a_kernel_under_which_too_few_subsets_count_is_refused(samples, width):
    value, _ = table(10)
    field = Table(value, 10)
    with pytest.raises(InputError, match=r"a regression on 10 players takes 1\d at least. Raise"):
        field.play(Lime(samples=samples, width=width))
    assert not field.asked


def test_of_all_subsets_lime_goes_to_the_losses_as_its_kernel_narrows():
    value, _ = table(4)
    found = Table(value, 4).play(Lime(width=0.05))
    losses = torch.stack([value[15] - value[15 - 2**i] for i in range(4)], 1)
    torch.testing.assert_close(found.scores[0], losses, rtol=0, atol=1e-3)
    assert not found.standard_error.any()


@pytest.mark.parametrize("window", [1, 2, 3, 9])
def test_windows_are_consecutive_players_and_their_losses_are_averaged(window):
    value, _ = table(5)
    field = Table(value, 5)
    found = field.play(Occlusion(window=window)).scores[0]
    width = min(window, 5)
    losses = [[] for _ in range(5)]
    for first in range(5 - width + 1):
        gone = sum(2**i for i in range(first, first + width))
        for i in range(first, first + width):
            losses[i].append(value[31] - value[31 - gone])
    expected = torch.stack([torch.stack(own).mean(0) for own in losses], 1)
    torch.testing.assert_close(found, expected)
    assert len(field.asked) == 5 - width + 2
    assert ("dummy" in Occlusion(window=window).claims.axioms) == (window == 1)


@pytest.mark.parametrize(
    ("method", "count", "rows"),
    [
        (Occlusion(), 9, 10),
        (Occlusion(), 70, 71),
        (Shapley(), 10, 1024),
        (Shapley(), 11, 82),
        (Shapley(samples=4), 11, 42),
        (Shapley(samples=4), 2, 4),
        (Shapley(budget=600), 9, 512),
        (KernelShap(), 5, 32),
        (KernelShap(), 16, 162),
        (Banzhaf(), 16, 161),
        (Rise(samples=100), 16, 101),
        (Lime(samples=100), 16, 101),
        (LooShapley(), 6, 64),
        (LooShapley(), 16, 46),
        (LooShapley(samples=4), 16, 76),
        (Sobol(samples=8), 16, 137),
        (ContextCite(), 16, 65),
    ],
    ids=str,
)
def test_rows_are_those_of_the_claim(method, count, rows):
    field = FunctionField(lambda z: z.sum(1), 1, count)
    x = torch.ones(1, 1, count, 1)
    field.known = torch.full((1, 1), float(count))
    field._space = Space((), torch.zeros(count, dtype=torch.int64), lambda sample, seed: x, x)
    method(field, x, torch.zeros_like(x))
    least, most = method.cost(1, count)
    assert least == most
    assert int(field.forward_rows) == least.values  # f(x) is known
    field.forward_rows += 1
    if count > 10 and not isinstance(method, Occlusion):
        assert 0.8 * rows < int(field.forward_rows) <= rows  # some come twice
    else:
        assert int(field.forward_rows) == rows


@pytest.mark.parametrize("name", PLAYING)
def test_no_subset_is_run_twice(name):
    value, _ = table(6)
    for fields in ({}, {"samples": 64}, {"budget": 60}):
        made = methods()[name]
        if set(fields) <= set(made.__dataclass_fields__):
            field = Table(value, 6)
            field.play(made(**fields))
            assert len(set(field.asked)) == len(field.asked) == int(field.forward_rows)


@pytest.mark.parametrize("name", PLAYING)
def test_all_targets_come_from_the_rows_of_one(name):
    value, _ = table(6, targets=3)
    made = methods()[name]()
    field = Table(value, 6)
    together = field.play(made).scores[0]
    for t in range(3):
        alone = Table(value[:, t : t + 1], 6)
        torch.testing.assert_close(alone.play(made).scores[0, 0], together[t])
        assert alone.asked == field.asked


def test_a_budget_is_spent_while_the_order_of_scores_is_open():
    parts = torch.tensor([8.0, 4, 2, 1, 0.5, 0.25, -1, -2, -4, -8]).double()
    clear = FunctionField(lambda z: (z[..., 0] @ parts)[:, None], 1, 10)
    x = torch.ones(1, 1, 10, 1).double()
    budgeted = Shapley(budget=400)
    found = budgeted(clear, x, torch.zeros_like(x))
    assert int(clear.forward_rows) <= 8 * 9 + 2  # it stops after the first staircases
    assert [bool(of.any()) for of in found.notes.values()] == [False]
    torch.testing.assert_close(found.scores[0, 0], parts)

    value, expected = table(9)
    rows, errors = [], []
    for budget in (40, 100, 300, 511):
        field = Table(value, 9)
        found = field.play(Shapley(budget=budget))
        assert [of.all() for of in found.notes.values()] == [True]
        rows.append(int(field.forward_rows))
        errors.append(float((found.scores[0] - expected).square().mean()))
        assert budget - 2 * 8 - 1 < rows[-1] <= budget
        torch.testing.assert_close(found.scores[0].sum(-1), value[-1] - value[0], rtol=0, atol=1e-9)
    assert errors[-1] < errors[0]


def test_what_cannot_be_asked_for_is_refused():
    x = torch.ones(1, 1, 40, 1)
    field = FunctionField(lambda z: z.sum(1), 1, 40)
    with pytest.raises(InputError, match="tell an error, take 158 rows"):
        Shapley(budget=157)(field, x, torch.zeros_like(x))
    with pytest.raises(InputError, match="samples is 5; expected an even number"):
        Shapley(samples=5)
    with pytest.raises(InputError, match="mode 'mask' is unknown; expected embed, token"):
        Occlusion(mode="mask")
    space = Space((), torch.zeros(40, dtype=torch.int64), lambda sample, seed: x)
    without = FunctionField(lambda z: z.sum(1), 1, 40, space=space)
    with pytest.raises(InputError, match="made without its inputs"):
        Occlusion(mode="token")(without, x, x)
    own = torch.stack([x[0], 2 * x[0]], 1)
    with pytest.raises(InputError, match="each target has inputs of its own"):
        Occlusion()(FunctionField(lambda z: z[..., 0], 40, 40), own, torch.zeros_like(own))


def test_players_are_groups_and_those_that_do_not_differ_do_not_play():
    movable = torch.tensor([[True, True, False, True, True, True]])
    owner = torch.tensor([[0, 0, 1, 2, 3, 2]])
    field = FunctionField(
        lambda z: z[..., 0].prod(-1, keepdim=True), 1, 6, groups=Groups(owner, movable)
    )
    field.movable = movable
    x = torch.tensor([2.0, 3, 5, 7, 1, 4]).reshape(1, 1, 6, 1)
    baseline = torch.where(movable[0, :, None], torch.ones_like(x), x)
    found = Occlusion()(field, x, baseline)
    assert found.scores.tolist() == [[[840 - 140, 0, 840 - 30, 0]]]
    assert int(field.forward_rows) == 3  # group 3 is at the baseline as it stands
    assert Occlusion().moving(field, x, baseline) == 2


def test_nothing_that_differs_is_a_game_without_players():
    x = torch.ones(1, 1, 3, 1)
    for name in PLAYING:
        field = FunctionField(lambda z: z.sum(1), 1, 3)
        found = methods()[name]()(field, x, x)
        assert found.scores.tolist() == [[[0, 0, 0]]]
        assert found.start_value is None or found.start_value.tolist() == [[3]]
        assert int(field.forward_rows) == 1


PROMPTS, ANSWERS = ["the key is red", "Ada was born in the key"], [" blue", " in the"]


@pytest.mark.parametrize(
    ("name", "family", "mode"),
    [(name, "llama", mode) for name in PLAYING for mode in ("embed", "drop")]
    + [
        (name, family, mode)
        for name in ("occlusion", "loo_shapley")
        for family in ("llama", "t5")
        for mode in ("token", "attention")
    ]
    + [(name, "t5", mode) for name in ("occlusion", "loo_shapley") for mode in ("embed", "drop")],
)
def test_every_mode_on_models_alone_and_in_batches(name, family, mode):
    model = tiny.shared(family, dtype=torch.float64)
    explainer = Explainer(model, tiny.tokenizer(family == "t5"))
    method = methods()[name](mode=mode)
    options = {"method": method, "groups": "word"}
    together = explainer.explain(PROMPTS, response=ANSWERS, **options)
    for prompt, answer, found in zip(PROMPTS, ANSWERS, together, strict=True):
        single = explainer.explain(prompt, response=answer, **options)
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-9, atol=1e-9)
        assert found.run.forward_rows == single.run.forward_rows
        estimate = explainer.estimate(prompt, response=answer, **options)
        assert estimate.forward_rows == (single.run.forward_rows,) * 2
        assert single.run.backward_rows == 0
        assert bool(single.scores.any())
        if method.claims.identity:
            torch.testing.assert_close(
                single.scores.sum(-1), single.value - single.reference_value, rtol=0, atol=1e-9
            )
            assert single.converged.all()
            assert ("x'" in single.run.identity) == (mode == "embed")


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_loo_shapley_leaves_tokens_out_by_both_ways(family):
    """Where prompt and reference are known, a result is the mean that its parts come to."""
    model = tiny.shared(family, dtype=torch.float64)
    explainer = Explainer(model, tiny.tokenizer(family == "t5"))
    ids = {"input_ids": tiny.ids(7), "response_ids": tiny.ids(3, seed=1), "movable": "all"}
    found = explainer.explain(**ids, groups=[(0, 3), (3, 5), (5, 7)], method="loo_shapley")
    parts = {
        name: explainer.explain(**ids, groups=[(0, 3), (3, 5), (5, 7)], method=method).scores
        for name, method in {
            "embed": "occlusion", "drop": "occlusion(mode=drop)", "shapley": "shapley"
        }.items()
    }  # fmt: skip
    for t, scores in enumerate(found.scores):
        weight, change = 2 / 3, found.value[t] - found.reference_value[t]
        while True:
            lost = (parts["embed"][t] + parts["drop"][t]) / 2
            mixed = weight * lost + (1 - weight) * parts["shapley"][t]
            missing = change - mixed.sum()
            if missing.abs() <= 0.9 * mixed.abs().sum():
                break
            weight = weight / 2 if weight > 0.1 else 0
        expected = mixed + missing * mixed.abs() / mixed.abs().sum()
        torch.testing.assert_close(scores, expected)


def opened(model, **asked):
    """A field of one sequence, as a method sees it."""
    explainer = Explainer(model, tiny.tokenizer(model.config.is_encoder_decoder))
    sequence = tiny.sequence(model, input_ids=tiny.ids(7), response_ids=tiny.ids(3, seed=1))
    question, _ = Question.of({"movable": [False] + [True] * 6, **asked})
    engine = explainer._engine
    (ready,) = engine.each(engine.plan(question, [sequence]))
    return ready.field


@pytest.mark.parametrize("mode", MODES)
def test_occlusion_is_what_f_loses_and_f_itself_is_not_run_again(mode):
    model = tiny.shared("llama", dtype=torch.float64)
    with isolated(model):
        field = opened(model, method=Occlusion(mode=mode))
        before = int(field.forward_rows)
        x, baseline = field.space.x, field.space.reference(0, 0)
        found = Occlusion(mode=mode)(field, x, baseline)
        assert int(field.forward_rows) - before == 6
        keep = torch.ones(7, 1, field.groups.moving.shape[1], dtype=torch.bool)
        keep[torch.arange(1, 7), 0, torch.arange(1, 7)] = False
        value = field.ablated(keep, mode)
    losses = (value[:1] - value[1:])[:, 0].T
    torch.testing.assert_close(found.scores[0, :, 1:7], losses)


@pytest.mark.filterwarnings("ignore:.*looks ahead")
@pytest.mark.parametrize("name", PLAYING)
def test_models_that_look_ahead_play_step_by_step(name):
    model = looking_ahead()
    found = Explainer(model).explain(
        input_ids=tiny.ids(6), response_ids=tiny.ids(2), method=name, attribute_to="all"
    )
    assert not found.scores[0, 6:].any()
    assert bool(found.scores.any())


def test_a_result_names_what_took_the_place_of_inputs_and_nothing_else():
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())

    def named(**asked):
        return explainer.explain("Ada was", response=" is", **asked).run.baseline

    occlusion = {mode: Occlusion(mode=mode) for mode in MODES}
    own = {mode: named(method=method) for mode, method in occlusion.items()}
    unknown = f"unk token {explainer.tokenizer.unk_token!r}"
    assert own == {"embed": "mean embedding", "token": unknown, "attention": None, "drop": None}
    assert named(method=occlusion["token"], baseline=5) == "token 5"
    with pytest.raises(InputError, match=r"\(mean embedding\) is no single token, and occlusion"):
        named(method=occlusion["token"], baseline="mean")


@pytest.mark.parametrize("mode", ["token", "attention", "drop"])
def test_inputs_that_another_method_moved_are_not_taken_away_as_tokens(mode):
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    held = Occlusion(mode=mode)
    with pytest.raises(InputError, match=f"mode {mode!r} takes tokens away, and these inputs"):
        explainer.explain("Ada", response=" is", method=NoiseAverage(held, samples=2))
    explainer.explain("Ada", response=" is", method=NoiseAverage("occlusion", samples=2))
    if mode == "token":
        with pytest.raises(InputError, match="mode 'token' takes tokens away"):
            explainer.explain("Ada", response=" is", method=BaselineAverage(held, samples=2))


def test_staircases_over_noisy_inputs_and_references_still_sum():
    explainer = Explainer(tiny.shared("llama", dtype=torch.float64), tiny.tokenizer())
    for averaged in (NoiseAverage, BaselineAverage):
        method = averaged(Shapley(samples=4), samples=3)
        found = explainer.explain("the key is", response=" red", method=method)
        torch.testing.assert_close(
            found.scores.sum(-1), found.value - found.reference_value, rtol=0, atol=1e-9
        )


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("name", [n for n in PLAYING if methods()[n]().claims.identity])
def test_sums_are_exact_where_targets_read_less_than_others(name, family):
    """Generated tokens play, too, and each target reads those before it alone."""
    model = tiny.shared(family, dtype=torch.float64)
    explainer = Explainer(model, tiny.tokenizer(family == "t5"))
    found = explainer.explain(
        "Ada was born in the key", response=" in the key is red", method=name, attribute_to="all"
    )
    change = found.value - found.reference_value
    torch.testing.assert_close(found.scores.sum(-1), change, rtol=0, atol=1e-9)
    assert found.scores[0, -1] == 0  # which the first target does not read
    assert found.scores[-1].count_nonzero() > found.scores[0].count_nonzero()

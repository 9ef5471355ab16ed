"""Metrics against closed forms and exact enumeration; no model."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from hf_attrib import InputError
from hf_attrib.validation import METRICS, Settings
from hf_attrib.validation import metrics as formulas
from hf_attrib.validation.controls import control_names, control_scores, random_subsets, rarity
from hf_attrib.validation.statistics import beaten, holm, interval, p_value, p_value_of_mean
from hf_attrib.validation.suite import Exhibit, curves, named

UNITS = 8


def draw(seed=0):
    return np.random.default_rng(seed)


def every_subset(units):
    return np.array(list(product([False, True], repeat=units)))


def exhibit(scores, subsets=None, **more):
    subsets = every_subset(len(scores))[1:-1] if subsets is None else subsets
    return Exhibit(np.asarray(scores, dtype=float), subsets, **more)


def additive(weights):
    return lambda subsets: subsets @ weights


def measured(name, scores, values, **more):
    return METRICS[name](exhibit(scores, **more), values)


@pytest.fixture
def weights():
    return draw().normal(size=UNITS) + 1.5


@pytest.mark.parametrize("seed", range(4))
def test_in_an_additive_game_insertion_and_deletion_are_one_number(weights, seed):
    scores = draw(seed).normal(size=UNITS)
    share = np.cumsum(np.r_[0, weights[np.argsort(-scores)]]) / weights.sum()
    area = float(((share[1:] + share[:-1]) / 2).mean())
    values = additive(weights)
    assert measured("insertion", scores, values) == pytest.approx(area, abs=1e-9)
    assert measured("deletion", scores, values) == pytest.approx(1 - area, abs=1e-9)
    assert measured("excess", scores, values) == pytest.approx(0, abs=1e-9)
    reversed_deletion = measured("deletion", -scores, values)
    assert reversed_deletion == pytest.approx(1 - measured("deletion", scores, values), abs=1e-9)


def test_the_average_of_all_orders_has_half_of_the_area():
    weights = np.array([3.0, 1.0, 0.5, 2.0])
    from itertools import permutations

    found = [
        measured("deletion", order, additive(weights)) for order in permutations(np.arange(4.0))
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=1e-9)


def test_true_scores_of_an_additive_game(weights):
    values = additive(weights)
    assert measured("infidelity", weights, values) == pytest.approx(0, abs=1e-18)
    assert measured("infidelity_scaled", weights, values) == pytest.approx(0, abs=1e-18)
    assert measured("infidelity_scaled", -3 * weights, values) == pytest.approx(0, abs=1e-18)
    assert measured("lds", weights, values) == pytest.approx(1)
    assert measured("lds_ceiling", -weights, values) == pytest.approx(1)
    assert measured("loo_pearson", weights, values) == pytest.approx(1)
    assert measured("loo_kendall", weights, values) == pytest.approx(1)
    # The share of the highest k units, on average over the counts that 1 to 50 % round to.
    share = np.cumsum(np.sort(weights)[::-1]) / weights.sum()
    falls = share[[0, 0, 0, 1, 3]].mean()
    assert measured("comprehensiveness", weights, values) == pytest.approx(falls)
    assert measured("sufficiency", weights, values) == pytest.approx(1 - falls)


def test_the_headline_is_the_fall_of_the_highest_less_that_of_the_lowest(weights):
    high = np.cumsum(np.sort(weights)[::-1])[[0, 0, 1, 1, 3]].mean()
    low = np.cumsum(np.sort(weights))[[0, 0, 1, 1, 3]].mean()
    assert measured("morf", weights, additive(weights)) == pytest.approx(high)
    assert measured("lerf", weights, additive(weights)) == pytest.approx(low)
    assert measured("morf_lerf", weights, additive(weights)) == pytest.approx(high - low)
    assert measured("morf_lerf", -weights, additive(weights)) == pytest.approx(low - high)
    steps = np.cumsum(np.r_[0, np.sort(weights)[::-1]])
    assert measured("aopc", weights, additive(weights)) == pytest.approx(steps[:-1].mean())
    assert measured("log_odds", weights, additive(weights)) == pytest.approx(-steps[2])


def test_redundancy_and_synergy_have_opposite_signs():
    """Two units and a bystander; curves by hand, at 0, 1, 2 and 3 units."""
    scores = [2.0, 1.0, 0.0]
    either = lambda s: (s[:, 0] | s[:, 1]).astype(float)  # noqa: E731
    both = lambda s: (s[:, 0] & s[:, 1]).astype(float)  # noqa: E731
    _, deletion, insertion = curves(exhibit(scores), either)
    assert deletion.tolist() == [1, 1, 0, 0]
    assert insertion.tolist() == [0, 1, 1, 1]
    assert measured("excess", scores, either) == pytest.approx(1 / 3)
    _, deletion, insertion = curves(exhibit(scores), both)
    assert deletion.tolist() == [1, 0, 0, 0]
    assert insertion.tolist() == [0, 0, 1, 1]
    assert measured("excess", scores, both) == pytest.approx(-1 / 3)
    assert measured("lds_ceiling", scores, both) < 1


def test_soft_metrics_prefer_the_right_scores(weights):
    values = additive(weights)
    for name in ("soft_sufficiency", "soft_comprehensiveness"):
        right, wrong = (measured(name, sign * weights, values) for sign in (1, -1))
        assert right > wrong
        # However large or spread they are, methods keep as many units on average.
        assert measured(name, 5 * weights + 3, values) == pytest.approx(right)
    assert np.isnan(measured("soft_sufficiency", weights, values, ordinal=True))
    # All that is kept of an additive game on average is what chances say.
    kept = [
        formulas.soft_retention(weights, share) @ weights / weights.sum()
        for share in (0.2, 0.4, 0.6, 0.8)
    ]
    assert measured("soft_sufficiency", weights, values) == pytest.approx(np.mean(kept), abs=0.15)


def test_units_have_no_places():
    """What scores and units go by changes nothing."""
    scores, weights, pairs = draw(1).normal(size=(3, UNITS))
    order = draw(2).permutation(UNITS)
    subsets = random_subsets(UNITS, 40, draw(3))

    def game(weights, pairs):
        return lambda s: s @ weights + (s @ pairs) ** 2

    for name in METRICS:
        if name.startswith("soft"):  # what is drawn has places, and few draws are not all
            continue
        one = measured(name, scores, game(weights, pairs), subsets=subsets)
        other = measured(
            name, scores[order], game(weights[order], pairs[order]), subsets=subsets[:, order]
        )
        assert one == pytest.approx(other, nan_ok=True), name


def test_scale_matters_to_infidelity_alone(weights):
    scores, values = draw(1).normal(size=UNITS), additive(weights)
    changed = {
        name
        for name in METRICS
        if measured(name, scores, values) != pytest.approx(measured(name, 3 * scores, values))
    }
    assert changed == {"infidelity"}


def test_an_answer_that_hardly_depends_on_its_units_has_no_normalised_number():
    weights = np.full(UNITS, 0.01)
    for name in ("deletion", "insertion", "excess", "comprehensiveness", "sufficiency"):
        assert np.isnan(measured(name, weights, additive(weights)))
    assert measured("morf_lerf", weights, additive(weights)) == pytest.approx(0)
    assert formulas.normalised(np.array([9.0, -9.0]), 1.0, 0.0).tolist() == [2, -1]


def test_values_that_are_missing_are_never_nought():
    missing = lambda subsets: np.full(len(subsets), np.nan)  # noqa: E731
    for name in METRICS:
        assert np.isnan(measured(name, np.arange(4.0), missing)), name


def test_a_constant_score_has_no_correlation(weights):
    for name in ("loo_kendall", "loo_pearson"):
        assert np.isnan(measured(name, np.ones(UNITS), additive(weights)))


def test_correlations_are_those_of_scipy():
    a, b = draw(5).normal(size=(2, 20))
    a[3] = a[4]
    assert formulas.lds(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert formulas.kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert formulas.pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)


def test_the_best_factor_is_the_best(weights):
    attributed, falls = draw(6).normal(size=(2, 30))
    best = min(formulas.infidelity(beta * attributed, falls) for beta in np.linspace(-3, 3, 6001))
    assert formulas.infidelity_scaled(attributed, falls) == pytest.approx(best, abs=1e-5)


def test_a_ceiling_needs_more_subsets_than_units():
    few = random_subsets(30, 20, draw())
    assert np.isnan(formulas.lds_ceiling(few, few @ np.arange(30.0)))


@pytest.mark.parametrize("units", range(1, 60))
def test_an_order_and_its_reverse_share_the_points_of_their_curves(units):
    counts = formulas.curve_counts(units)
    assert counts.tolist() == (units - counts[::-1]).tolist()
    assert (counts[0], counts[-1]) == (0, units)
    assert (np.diff(counts) > 0).all()


def test_confidence_of_the_top_half():
    full, top = np.log(0.8), np.log(0.2)
    assert formulas.confidence_drop(full, top) == pytest.approx(0.75)
    assert formulas.confidence_drop(top, full) == 0
    assert formulas.confidence_increase(top, full) == 1
    assert formulas.confidence_increase(full, top) == 0


def test_sensitivity_is_the_largest_relative_change():
    scores = np.array([3.0, 4.0])
    moved = np.array([[3.0, 4.5], [2.0, 4.0]])
    assert formulas.max_sensitivity(scores, moved) == pytest.approx(0.2)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_soft_retention_has_the_mean_that_is_asked_for(share):
    for scores in (*draw(7).normal(size=(5, 9)), np.ones(9), np.eye(9)[0]):
        kept = formulas.soft_retention(scores, share)
        assert kept.mean() == pytest.approx(share, abs=1e-6)
        assert ((kept >= -1e-12) & (kept <= 1 + 1e-12)).all()
        np.testing.assert_allclose(formulas.soft_retention(scores + 5, share), kept)


def test_controls_are_orders_and_subsets_are_different():
    rare = rarity(["a", "b", "a"], {"a": 2, "b": 1})
    scores = control_scores(rare, 4, draw())
    assert len(control_names(4)) == len(scores) == 7
    orders = [formulas.ranked(each).tolist() for each in scores]
    assert orders[4:] == [[0, 1, 2], [2, 1, 0], [1, 0, 2]]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    for units, count in ((3, 6), (12, 64)):
        subsets = random_subsets(units, 64, draw())
        assert subsets.shape == (count, units)
        assert len({row.tobytes() for row in subsets}) == count
        assert not (subsets.all(1) | ~subsets.any(1)).any()


def test_p_values_of_random_scores_are_uniform():
    weights, orders, found, wins = draw(1).normal(size=UNITS), 19, [], []
    for seed in range(200):
        scores = draw([2, seed]).normal(size=(orders + 1, UNITS))
        own, *random = [measured("morf_lerf", each, additive(weights)) for each in scores]
        found.append(p_value(own, np.array(random)))
        wins.append(beaten(own, np.array(random)))
    # They are discrete: compare with uniform ones that are spread over their steps.
    spread = np.array(found) - draw(3).random(200) / (orders + 1)
    assert stats.kstest(spread, "uniform").pvalue > 0.05
    assert np.mean(wins) == pytest.approx(0.5, abs=0.07)


def test_p_values_against_pairs_of_orders_claim_no_more_than_they_should():
    weights, orders, found = draw(1).normal(size=UNITS), 20, []
    for seed in range(400):
        random = control_scores(np.zeros(UNITS), orders, draw([3, seed]))[:orders]
        values = [measured("morf_lerf", each, additive(weights)) for each in random]
        own = measured("morf_lerf", draw([2, seed]).normal(size=UNITS), additive(weights))
        found.append(p_value(own, np.array(values)))
        assert np.mean(values) == pytest.approx(0, abs=1e-9)
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) < level + 2 * (level * (1 - level) / 400) ** 0.5


def test_p_values_of_means_claim_no_more_than_they_should():
    """Of orders whose number is linear in the places, so that a reverse has the other sign."""
    weights, prompts, found = draw(1).normal(size=UNITS), 3, []
    weights -= weights.mean()
    for seed in range(300):
        draws = [draw([5, seed, p]) for p in range(prompts)]
        random = [control_scores(np.zeros(UNITS), 20, each)[:20] @ weights for each in draws]
        own = [each.permutation(UNITS) @ weights for each in draws]
        found.append(p_value_of_mean(np.array(own), np.array(random)))
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) < level + 2 * (level * (1 - level) / 300) ** 0.5


def test_the_p_value_of_a_mean_goes_to_that_of_all_draws():
    values, random = np.array([2.0, 0.5]), np.array([[0.0, 1.0], [1.0, np.nan]])
    every = list(product([0.0, 1.0, 2.0], [1.0, 0.5]))
    expected = np.mean([sum(pair) >= 2.5 for pair in every])
    assert p_value_of_mean(values, random) == expected
    # So many prompts that some means are drawn.
    often = np.tile(values, 8), np.tile(random, (8, 1))
    sums = np.zeros(1)
    for row in [[0.0, 1.0, 2.0], [1.0, 0.5]] * 8:
        sums = np.add.outer(sums, row).ravel()
    assert p_value_of_mean(*often) == pytest.approx((sums >= 20 - 1e-9).mean(), abs=0.02)
    more = np.append(values, np.nan), np.vstack([random, [1.0, 2.0]])
    assert p_value_of_mean(*more) == p_value_of_mean(values, random)
    assert np.isnan(p_value_of_mean(np.array([np.nan]), random[:1]))


def test_adjusted_p_values_reject_what_holms_steps_reject():
    for seed in range(50):
        found = draw([6, seed]).random(8) ** 3
        for level in (0.01, 0.05, 0.2):
            rejected, left = set(), len(found)
            for i in np.argsort(found):
                if found[i] > level / left:
                    break
                rejected.add(i)
                left -= 1
            assert set(np.flatnonzero(holm(found) <= level)) == rejected
    assert (holm(np.ones(3)) == 1).all()


def test_p_values_and_wins_by_hand():
    random = np.array([0.0, 1.0, 2.0, np.nan])
    assert p_value(1.5, random) == 0.5
    assert beaten(1.5, random) == pytest.approx(2 / 3)
    assert beaten(1.0, random) == pytest.approx(0.5)
    assert np.isnan(p_value(np.nan, random))
    assert np.isnan(beaten(1.0, np.array([np.nan])))


def test_intervals_cover_the_mean():
    covered = [
        low <= 1 <= high
        for seed in range(200)
        for _, low, high in [interval(draw([4, seed]).normal(1, 2, size=40))]
    ]
    assert 0.88 < np.mean(covered) < 0.99
    assert interval(np.array([2.0, np.nan])).mean == 2
    assert np.isnan(interval(np.array([2.0])).low)
    assert np.isnan(interval(np.array([np.nan])).mean)


def test_names_and_numbers_are_checked():
    assert named("all") == tuple(METRICS)
    assert named("lds") == ("lds",)
    # The first one is what methods are ranked by.
    assert named(["all", "lds"]) == tuple(METRICS)
    assert named(["lds", "all"])[:2] == ("lds", "morf_lerf")
    assert set(named(["lds", "all"])) == set(METRICS)
    for wrong, said in (
        ({"metrics": ["depth"]}, "'depth' is unknown; expected some of all, morf_lerf"),
        ({"metrics": []}, "metrics are empty"),
        ({"metrics": 5}, "metrics are 5; expected some of all, morf_lerf"),
        ({"metrics": [["lds"]]}, r"metric \['lds'\] is unknown"),
        ({"operators": None}, "operators are None; expected some of embed"),
        ({"operators": ["blur"]}, "'blur' is unknown; expected some of embed"),
        ({"operators": []}, "operators are empty"),
        ({"random_orders": 0}, "random_orders is 0; expected at least 1"),
    ):
        with pytest.raises(InputError, match=said):
            Settings(**wrong)


def test_infidelity_is_that_of_captum():
    """On binary perturbations, which captum takes from a function of ours."""
    import torch
    from captum.metrics import infidelity

    weights, pairs, scores = draw(1).normal(size=(3, UNITS))
    subsets = random_subsets(UNITS, 50, draw(2))

    def game(subsets):
        return subsets @ weights + (subsets @ pairs) ** 2

    def taken_away(inputs):
        gone = torch.from_numpy(~subsets).to(inputs)
        return gone, inputs - gone

    for scaled, name in ((False, "infidelity"), (True, "infidelity_scaled")):
        expected = infidelity(
            lambda rows: torch.from_numpy(game(rows.numpy())),
            taken_away,
            torch.ones(1, UNITS, dtype=torch.float64),
            torch.from_numpy(scores)[None],
            n_perturb_samples=len(subsets),
            max_examples_per_batch=len(subsets),
            normalize=scaled,
        )
        found = measured(name, scores, game, subsets=subsets)
        assert found == pytest.approx(float(expected), rel=1e-6)

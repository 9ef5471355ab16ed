"""Closed forms of single methods, and what their random numbers are worth."""

import math

import pytest
import torch
from helpers.problems import PROBLEMS, WORDS, Problem, random, smooth
from helpers.reference import Case, discretized_ig

from hf_attrib.errors import InputError
from hf_attrib.field import FunctionField, Space, Table
from hf_attrib.integration import Running, noise
from hf_attrib.methods import (
    IDGI,
    BaselineAverage,
    DiscretizedIG,
    ExpectedGradients,
    Fundamental,
    GuidedIG,
    InputXGradient,
    IntegratedGradients,
    NoiseAverage,
    Saliency,
    SequentialIG,
    SmoothGrad,
    SquareGrad,
    VarGrad,
)

LINEAR, QUADRATIC, SMOOTH, _ = PROBLEMS
#: The weights of the linear problem, [T, N, D]: its gradient anywhere.
W = LINEAR.field()(LINEAR.x[None]).gradient[0, 0]
DELTA = (LINEAR.x - LINEAR.baseline)[0, 0]
SCALE = float(WORDS.var(0, unbiased=False).mean().sqrt())


def run(method, problem):
    return method(problem.field(), problem.x, problem.baseline)


def plain(function, x, baseline):
    """A problem of N positions of width 1."""
    x, baseline = (torch.tensor(v, dtype=torch.float64)[None, None, :, None] for v in (x, baseline))
    field = FunctionField(lambda z: function(z[..., 0])[:, None], 1, x.shape[2])
    return lambda method: method(field, x, baseline).scores[0, 0]


@pytest.mark.parametrize(
    "method", [GuidedIG(), DiscretizedIG(nodes=1), SequentialIG(), IntegratedGradients()], ids=str
)
def test_paths_of_a_linear_function_give_weight_times_displacement(method):
    expected = (W * DELTA).sum(-1)
    torch.testing.assert_close(run(method, LINEAR).scores[0], expected, rtol=1e-10, atol=1e-10)


def test_averages_of_a_linear_function():
    mean = torch.stack([LINEAR.space().reference(j, 0) for j in range(200)]).mean(0)[0, 0]
    expected = (W * (LINEAR.x[0, 0] - mean)).sum(-1)
    for method in (ExpectedGradients(samples=200), BaselineAverage(samples=200, inner="idgi")):
        found = run(method, LINEAR)
        residual = found.scores.sum(-1) - LINEAR.function(LINEAR.x[0]) + found.start_value
        torch.testing.assert_close(residual, torch.zeros_like(residual), atol=1e-9, rtol=0)
    torch.testing.assert_close(run(ExpectedGradients(samples=200), LINEAR).scores[0], expected)


def test_noise_does_nothing_to_a_linear_function():
    torch.testing.assert_close(run(SmoothGrad(), LINEAR).scores[0], W.norm(dim=-1))
    torch.testing.assert_close(run(SquareGrad(), LINEAR).scores[0], W.square().sum(-1))
    assert run(VarGrad(), LINEAR).scores.abs().max() < 1e-20
    averaged = run(NoiseAverage(inner=Saliency()), LINEAR)
    torch.testing.assert_close(averaged.scores[0], W.norm(dim=-1))
    assert averaged.start_value is None
    assert averaged.sum_standard_error is None


def test_idgi_of_a_linear_function_ignores_how_far_inputs_move():
    shares = W.square().sum(-1) / W.square().sum((-1, -2), keepdim=False)[:, None]
    expected = shares * LINEAR.difference()[0][:, None]
    torch.testing.assert_close(run(IDGI(), LINEAR).scores[0], expected)


def test_noise_on_a_quadratic():
    """f = x'Qx/2 has gradient Qx + Q noise: its variance is sigma² times the squares of Q."""
    q = torch.autograd.functional.hessian(lambda z: QUADRATIC.function(z)[0, 0], QUADRATIC.x[0])
    q = q.reshape(12, 12)
    sigma, samples = 0.5, 4000
    spread = (sigma * SCALE) ** 2 * q.square().sum(1).reshape(4, 3).sum(-1)
    mean = (q @ QUADRATIC.x.flatten()).square().reshape(4, 3).sum(-1)
    for method, expected in (
        (VarGrad(samples, sigma), spread),
        (SquareGrad(samples, sigma), spread + mean),
        (SmoothGrad(samples, sigma), mean.sqrt()),
    ):
        found = run(method, QUADRATIC)
        error = (found.scores[0, 0] - expected).abs() / found.standard_error[0, 0]
        assert error.max() < 4
        assert (found.standard_error[0, 0] < 0.1 * expected).all()


def test_guided_ig_takes_the_smaller_gradient_first():
    """On x1 x2 from (.2, .5) to (2, 1), f moves less by x2, which goes all its way first."""
    free = GuidedIG(steps=2000, distance=1.0)
    found = plain(lambda z: z[:, 0] * z[:, 1], [2.0, 1.0], [0.2, 0.5])(free)
    torch.testing.assert_close(found, torch.tensor([1.8, 0.1]).double(), atol=1e-3, rtol=0)
    close = GuidedIG(steps=2000, distance=1e-4)
    expected = plain(lambda z: z[:, 0] * z[:, 1], [2.0, 1.0], [0.2, 0.5])(IntegratedGradients())
    found = plain(lambda z: z[:, 0] * z[:, 1], [2.0, 1.0], [0.2, 0.5])(close)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("method", [GuidedIG(), DiscretizedIG(nodes=8)], ids=str)
def test_path_does_not_matter_where_inputs_do_not_interact(method):
    def additive(z):
        return torch.sin(z[..., 0]).sum(-1, keepdim=True)

    x, baseline = random(1, 1, 4, 3), random(1, 1, 4, 3)
    table = Table(lambda ids: WORDS[ids], len(WORDS))
    space = Space((table,), torch.zeros(4, dtype=torch.int64), lambda sample, seed: baseline)
    found = method(FunctionField(additive, 1, 4, space=space), x, baseline).scores[0, 0]
    expected = (torch.sin(x) - torch.sin(baseline))[0, 0, :, 0]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_words_of_a_chain_lie_between_the_ends():
    x, baseline = SMOOTH.x[0, 0, 0], SMOOTH.baseline[0, 0, 0]
    table = SMOOTH.space().tables[0]
    anchors = DiscretizedIG(words=6)._chains(table, x[None], baseline[None])[:, 0]
    path = torch.stack([x, *anchors, baseline])
    towards = (baseline - x).sign()
    assert (path.diff(dim=0) * towards >= 0).all()


@pytest.mark.parametrize("fields", [{"words": 60}, {"words": 8, "neighbours": 5}], ids=str)
@pytest.mark.parametrize("baseline", [SMOOTH.baseline, WORDS[3:7].clone()[None, None]])
def test_chains_of_words_are_those_of_the_paper(fields, baseline):
    """Also where words run out, candidates are few, and the baseline is a word itself."""
    problem = Problem("", SMOOTH.function, SMOOTH.x, baseline)
    found = run(DiscretizedIG(nodes=20, **fields), problem)
    torch.testing.assert_close(found.scores.sum(-1), problem.difference(), rtol=1e-6, atol=1e-6)
    for target in range(2):
        expected = discretized_ig(Case(problem, target), **fields)
        torch.testing.assert_close(found.scores[0, target], expected, rtol=1e-6, atol=1e-6)


def test_a_word_as_baseline_is_no_word_on_the_way():
    table, baseline = SMOOTH.space().tables[0], WORDS[3:4]
    anchors = DiscretizedIG(words=6)._chains(table, SMOOTH.x[0, 0, :1], baseline)[:, 0]
    assert (anchors != baseline).any(-1).all()


@pytest.mark.parametrize(
    "method",
    [
        ExpectedGradients(samples=50, noise=0.3),
        SquareGrad(samples=30),
        VarGrad(samples=50),
        NoiseAverage(samples=10, inner=InputXGradient()),
        BaselineAverage(samples=10, inner=IDGI(steps=8)),
        NoiseAverage(samples=10, inner=ExpectedGradients(samples=5)),
        NoiseAverage(samples=10, inner=NoiseAverage(samples=2, inner="input_x_gradient")),
    ],
    ids=str,
)
def test_standard_errors_are_honest(method):
    """Over seeds, scores lie about their mean as their errors say (or closer, with strata)."""
    runs = [run(type(method)(**{**vars(method), "seed": seed}), SMOOTH) for seed in range(60)]
    scores = torch.stack([r.scores for r in runs])
    claimed = torch.stack([r.standard_error for r in runs]).square().mean(0).sqrt()
    ratio = scores.std(0) / claimed
    assert ratio.max() < 1.45  # 60 draws of a standard deviation are known to a tenth or so
    if not isinstance(method, ExpectedGradients):
        assert ratio.min() > 0.65


@pytest.mark.parametrize(
    "method",
    [
        ExpectedGradients(samples=400),
        ExpectedGradients(samples=400, noise=0.5),
        BaselineAverage(samples=10),
        NoiseAverage(samples=10),
    ],
    ids=str,
)
def test_sums_keep_their_identity_within_their_error(method):
    found = run(method, SMOOTH)
    value = SMOOTH.function(SMOOTH.x[0]) if found.end_value is None else found.end_value
    residual = (found.scores.sum(-1) - (value - found.start_value)).abs()
    assert (residual <= 4 * found.sum_standard_error + 1e-8).all()
    if method.claims.many_references:
        assert (found.start_value != SMOOTH.function(SMOOTH.baseline[0])).all()


@pytest.mark.parametrize(
    "method",
    [
        ExpectedGradients(samples=40, noise=0.5),
        BaselineAverage(samples=10, inner="input_x_gradient"),
        NoiseAverage(samples=10, inner="input_x_gradient"),
    ],
    ids=str,
)
def test_errors_of_sums_are_honest(method):
    """Over seeds, what a sum misses is spread as its error says, neither less nor more."""
    runs = [run(type(method)(**{**vars(method), "seed": seed}), SMOOTH) for seed in range(60)]
    plain = SMOOTH.function(SMOOTH.x[0])
    missed = torch.stack(
        [
            r.scores.sum(-1) - (plain if r.end_value is None else r.end_value) + r.start_value
            for r in runs
        ]
    )
    claimed = torch.stack([r.sum_standard_error for r in runs]).square().mean(0).sqrt()
    assert (missed.std(0) / claimed > 0.65).all()
    assert (missed.std(0) / claimed < 1.45).all()


def test_values_are_means_over_what_was_drawn():
    method = NoiseAverage(samples=5, inner="idgi")
    found = run(method, SMOOTH)
    field = SMOOTH.field()
    inputs = [SMOOTH.x + 0.15 * noise(field, SMOOTH.x, 0, j) for j in range(5)]
    expected = torch.stack([SMOOTH.function(x[0]) for x in inputs]).mean(0)
    torch.testing.assert_close(found.end_value, expected)


def test_references_are_averaged_once():
    with pytest.raises(InputError, match="expected_gradients, which averages over references"):
        BaselineAverage(inner="expected_gradients")


def test_idgi_sums_up_where_the_gradient_is_zero():
    """At the origin a product is flat, and its first segment changes all the same."""
    found = plain(lambda z: z[:, 0] * z[:, 1], [2.0, 3.0], [0.0, 0.0])
    for steps in (1, 4):
        assert float(found(IDGI(steps=steps)).sum()) == pytest.approx(6)


def test_a_held_method_is_written_as_it_is_read():
    assert str(NoiseAverage("idgi(steps=8)").inner) == "idgi(steps=8)"
    nested = NoiseAverage(BaselineAverage("integrated_gradients(rule='midpoint', steps=3)"))
    assert NoiseAverage(inner=str(nested.inner)) == nested
    assert NoiseAverage("integrated_gradients(steps=3, rule=midpoint)").inner.rule == "midpoint"


def test_gradient_shap_moves_the_input_too():
    found = run(ExpectedGradients(samples=400, noise=0.5), SMOOTH)
    drawn = [smooth(SMOOTH.x[0] + 0.5 * SCALE * random(1, 4, 3)) for _ in range(4000)]
    expected, spread = torch.stack(drawn).mean(0), torch.stack(drawn).std(0)
    assert ((found.end_value - expected).abs() < 5 * spread / 20).all()


def test_a_seed_is_a_run():
    first, again, other = (
        run(ExpectedGradients(samples=5, seed=seed), SMOOTH).scores for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_a_running_mean_is_the_mean():
    samples = random(10, 4)
    running = Running()
    for part in samples.split([3, 1, 6]):
        running.add(part)
    torch.testing.assert_close(running.mean, samples.mean(0))
    torch.testing.assert_close(running.standard_error, samples.std(0) / math.sqrt(10))


def test_the_table_knows_its_mean_scale_and_neighbours():
    table = Table(lambda ids: WORDS[ids], len(WORDS))
    torch.testing.assert_close(table.mean, WORDS.mean(0))
    assert table.scale == pytest.approx(SCALE)
    points = random(2, 3)
    expected = torch.cdist(points, WORDS).argsort(1)[:, :5]
    assert torch.equal(table.nearest(points, 5), expected)
    assert table.nearest(points, 99).shape == (2, len(WORDS))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExpectedGradients(samples=1), "samples is 1; expected at least 2"),
        (lambda: ExpectedGradients(noise=-1), "noise is -1; expected a number above 0"),
        (lambda: SmoothGrad(sigma=0), "sigma is 0"),
        (lambda: SquareGrad(samples=2.5), "samples is 2.5"),
        (lambda: VarGrad(seed=-1), "seed is -1"),
        (lambda: IDGI(steps=0), "steps is 0"),
        (lambda: GuidedIG(fraction=2), "shares; expected at most 1"),
        (lambda: GuidedIG(distance=math.nan), "distance is nan"),
        (lambda: DiscretizedIG(words=0), "words is 0"),
        (lambda: NoiseAverage(inner="nil"), "method 'nil' is unknown; .*idgi.* attack: .*bim"),
        (lambda: BaselineAverage(inner="mim"), "inner is fundamental, which has no baseline"),
        (lambda: BaselineAverage(inner="saliency"), "inner is saliency, which has no baseline"),
        (lambda: BaselineAverage(inner=3), "inner is 3; expected the name of one method"),
        (lambda: NoiseAverage(inner="idgi(8)"), "expected the name of one method, or name"),
        (
            lambda: NoiseAverage(inner="idgi(steps=__import__('os'))"),
            "method '__import__'|expected",
        ),
        (lambda: DiscretizedIG(nodes=5000), "nodes is 5000; expected at most"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_wrapper_claims_what_it_holds():
    assert NoiseAverage().claims.identity == "E f(x + noise) - f(x')"
    assert BaselineAverage().claims.identity == "f(x) - E f(x')"
    assert NoiseAverage(inner="saliency").claims.identity is None
    assert not NoiseAverage(inner="saliency").claims.signed
    both = NoiseAverage(inner=BaselineAverage(inner=IDGI()))
    assert both.claims.identity == "E f(x + noise) - E f(x')"
    assert both.claims.many_references
    assert both.claims.baseline == "vocabulary"
    assert NoiseAverage(inner="input_x_gradient").claims.baseline == "zero"
    assert "sensitivity" in BaselineAverage().claims.axioms
    assert "linearity" not in BaselineAverage(inner=IDGI()).claims.axioms
    for moved in (NoiseAverage(), both, ExpectedGradients(noise=0.1)):
        assert moved.claims.keeps("sensitivity") == "no"
        assert moved.claims.keeps("completeness") == "in the mean"
    assert NoiseAverage(inner="mim").claims.keeps("sensitivity") == "n/a"
    assert NoiseAverage(inner="mim(eps=0.5)").inner == Fundamental("mim(eps=0.5)")
    assert ExpectedGradients(noise=0.1).claims.identity == "E f(x + noise) - E f(x')"
    assert str(both).startswith("noise_average(inner=baseline_average(inner=idgi(steps=64)")

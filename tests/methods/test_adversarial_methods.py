"""Named adversarial methods: closed forms, what published programs compute, and what is told."""

import math
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny
from helpers.problems import PROBLEMS, WORDS
from helpers.reference import Case, scale
from helpers.reference_adversarial import ADVERSARIAL, RELEASED, edge, isa_released, mfaba

import hf_attrib
from hf_attrib.attacks import Objective, sizes
from hf_attrib.errors import AttributionWarning, InputError
from hf_attrib.explainer import Explainer
from hf_attrib.field import FunctionField
from hf_attrib.methods import (
    AGI,
    BIG,
    BSM,
    ISA,
    LA,
    MFABA,
    AttEXplore,
    BaselineAverage,
    Fundamental,
    NoiseAverage,
    methods,
)
from hf_attrib.methods.adversarial.elimination import _shares
from hf_attrib.methods.adversarial.gradient_steps import GradientSteps

U = scale()
FINE = {"tolerance": 1e-9, "max_nodes": 4000}
LINEAR, SMOOTH = PROBLEMS[0], PROBLEMS[2]

#: Two tokens, whose logits are linear in 4 x 3 coordinates: [2, 4, 3].
SLOPES = torch.stack([WORDS[:4], WORDS[4:8]])
X = WORDS[8:12][None, None]


def pair(target, lead=3.0):
    """The field of one scalar of two linear logits, the first of which leads by so much at X."""
    offset = lead - float(((SLOPES[0] - SLOPES[1]) * X[0, 0]).sum())

    def logits(z):
        found = torch.einsum("rnd,vnd->rv", z, SLOPES)[:, None]
        return found + torch.tensor([offset, 0.0]).double()

    made = FunctionField.of_logits(logits, [0], 4, space=LINEAR.space()).aimed(target)
    return made


def run(made, field):
    return made(field, X, X)


def by_input(scores):
    return scores.reshape(4, 3).sum(-1)


# --- closed forms


def test_mfaba_on_linear_functions():
    """Steps along the gradient: eta K W^2 / |W|; along its signs: eps u |W|."""
    field, length = pair("logit"), U * 12**0.5
    options = {"eps": 0.05, "objective": "per_token"}
    sharp = run(MFABA(**options, **FINE), field)
    expected = by_input(0.05 * length * SLOPES[0] ** 2 / SLOPES[0].norm())
    torch.testing.assert_close(sharp.scores[0, 0], expected)
    smooth = run(MFABA("smooth", **options, **FINE), field)
    torch.testing.assert_close(smooth.scores[0, 0], by_input(0.05 * U * SLOPES[0].abs()))


def test_gradients_that_are_never_cleared_add_up():
    """Released MFABA on a linear function: the k-th product is k times the first."""
    found = run(MFABA("smooth", eps=0.05, steps=4, variant="released"), pair("logit"))
    expected = 0.05 / 4 * U * (1 + 2 + 3 + 4) * by_input(SLOPES[0].abs())
    torch.testing.assert_close(found.scores[0, 0], expected)


def test_mfaba_stops_where_the_lead_is_lost():
    field = pair("margin", lead=1.0)
    found = run(MFABA(eps=1.0, steps=50, **FINE), field)
    one_step = U * 12**0.5 / 50 * (SLOPES[0] - SLOPES[1]).norm()
    assert -one_step < found.start_value <= 0
    behind = run(MFABA(eps=1.0, steps=50, **FINE), pair("margin", lead=-1.0))
    torch.testing.assert_close(behind.start_value[0, 0], -1 - 50 * one_step)


def test_agi_and_la_on_linear_logits():
    """The walk to the other token takes the signs of W_c - W_y."""
    field, towards = pair("logit"), (SLOPES[1] - SLOPES[0]).sign()
    agi = run(AGI(classes=1, eps=0.1, **FINE), field).scores[0, 0]
    expected = -0.1 * U * by_input(SLOPES[0] * towards)
    torch.testing.assert_close(agi, expected)
    la = run(LA(classes=1, eps=0.1, **FINE), field).scores[0, 0]
    torch.testing.assert_close(la, (expected + 0.1 * U * by_input(SLOPES[0].abs())) / 2)


def test_released_agi_counts_the_change_once_for_each_step():
    field, towards = pair("logit", lead=9.0), (SLOPES[1] - SLOPES[0]).sign()
    found = run(AGI(classes=1, eps=0.01, steps=7, variant="released"), field)
    change = -0.01 * U * by_input(SLOPES[0] * towards)
    torch.testing.assert_close(found.scores[0, 0], 7 * change)
    crossed = run(AGI(classes=1, eps=9.0, steps=7, variant="released"), field)
    torch.testing.assert_close(crossed.scores[0, 0], 900 * change)  # one step, and c leads


def test_released_la_goes_the_wrong_way_where_coordinates_are_negative():
    field, x = pair("logit"), X[0, 0]
    found = run(LA(classes=1, steps=6, variant="released"), field).scores[0, 0]
    up, down = (SLOPES[1] - SLOPES[0]).sign(), -SLOPES[0].sign()
    expected = -6 * by_input(SLOPES[0] * (x / 10 * up + x / 10 * down))
    torch.testing.assert_close(found, expected)


def test_released_attexplore_has_no_unit():
    """On a linear function its sum is alpha u K (K + 1) / 2 for each coordinate, whatever f."""
    for factor in (1.0, 50.0):
        made = AttEXplore(eps=0.4, steps=4, copies=3, variant="released")
        field = replace(LINEAR, function=lambda z, k=factor: k * LINEAR.function(z)).field()
        found = made(field, LINEAR.x, LINEAR.baseline).scores.sum(-1)
        alpha = 1.25 * 0.4 / 4  # whose fourth step is cut at the ball
        whole = alpha * (1 + 2 + 3) + (0.4 - 3 * alpha) * 4
        torch.testing.assert_close(found, torch.full_like(found, 12 * U * whole))


@pytest.mark.parametrize("lead", [2.0, -2.0])
def test_big_on_linear_margins(lead):
    """x_bd = x - w m(x) / |w|^2; scores of the margin sum to the margin."""
    found = run(BIG(**FINE), pair("margin", lead=lead))
    w = SLOPES[0] - SLOPES[1]
    expected = lead * by_input(w**2) / w.norm() ** 2
    torch.testing.assert_close(found.scores[0, 0], expected)
    torch.testing.assert_close(found.start_value[0, 0], torch.zeros(()).double(), atol=1e-9, rtol=0)
    distance = abs(lead) / w.norm() / (U * 12**0.5)
    torch.testing.assert_close(found.sizes["eps"][0, 0], distance)
    missed, behind = found.notes.values()
    assert (missed.item(), behind.item()) == (False, lead < 0)
    lengths = run(BSM(), pair("margin", lead=lead)).scores[0, 0]
    torch.testing.assert_close(lengths, w.norm(dim=-1))


def test_a_boundary_out_of_reach_is_told():
    found = run(BIG(**FINE), pair("margin", lead=100.0))
    (missed, _), w = found.notes.values(), SLOPES[0] - SLOPES[1]
    assert missed.item()
    left = 100 - U * 12**0.5 * w.norm()  # from the point of the largest ball
    torch.testing.assert_close(found.start_value[0, 0], left)
    torch.testing.assert_close(found.scores.sum(), 100 - left)


# --- slow references


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", list(RELEASED))
def test_released_variants_equal_the_published_loops(name, problem):
    made = methods()[name](variant="released")
    found = made(problem.field(), problem.x, problem.baseline)
    assert found.start_value is None
    assert made.claims.identity is None
    assert made.claims.signed or bool((found.scores >= 0).all())
    for target, scores in enumerate(found.scores[0]):
        expected = RELEASED[name](Case(problem, target))
        torch.testing.assert_close(scores, expected, rtol=1e-7, atol=1e-7)


def test_ranks_within_a_round_equal_the_published_loop():
    """With few rounds many coordinates go at once, and all that they are ranked by shows."""
    problem = PROBLEMS[1]
    found = ISA(rounds=2, variant="released")(problem.field(), problem.x, problem.baseline)
    expected = isa_released(Case(problem, 0), rounds=2)
    torch.testing.assert_close(found.scores[0, 0], expected, rtol=1e-7, atol=1e-7)


def test_shares_of_a_linear_change_add_up_to_it():
    """Once on the way up and once on the way down, whatever the slope; none for what is gone."""
    for factor in (1.0, 50.0):
        field = replace(LINEAR, function=lambda z, k=factor: k * LINEAR.function(z)).field()
        objective, stays = Objective.of_each(field), torch.ones(1, 2, 4, 1).double()
        stays[..., 2, :] = 0
        start = LINEAR.x.expand(-1, 2, -1, -1)
        found = _shares(objective, start, GradientSteps(0.15, 8), stays)
        torch.testing.assert_close(found.sum((-2, -1)), torch.full((1, 2), 2.0).double())
        assert not found[..., 2, :].any()


@pytest.mark.parametrize("name", ["agi", "attexplore", "isa", "la", "mfaba"])
def test_walks_of_single_targets_equal_slow_loops(name):
    made = methods()[name](objective="per_token", **FINE)
    found = made(SMOOTH.field(), SMOOTH.x, SMOOTH.baseline)
    for target, scores in enumerate(found.scores[0]):
        expected = ADVERSARIAL[name](Case(SMOOTH, target), each=True)
        torch.testing.assert_close(scores, expected, rtol=1e-8, atol=1e-8)
    change = SMOOTH.function(SMOOTH.x[0]) - found.start_value
    torch.testing.assert_close(found.scores.sum(-1), change)


def test_smooth_mfaba_equals_a_slow_loop():
    found = MFABA("smooth", **FINE)(SMOOTH.field(), SMOOTH.x, SMOOTH.baseline).scores[0]
    for target, scores in enumerate(found):
        torch.testing.assert_close(scores, mfaba(Case(SMOOTH, target), "smooth"))


def test_the_problems_have_boundaries_of_all_kinds():
    kinds = set()
    for problem in PROBLEMS:
        found = BIG()(problem.field(), problem.x, problem.baseline)
        kinds |= set(zip(*(of[0].tolist() for of in found.notes.values()), strict=True))
        for target in range(found.scores.shape[1]):
            missed = next(iter(found.notes.values()))[0, target]
            assert edge(Case(problem, target))[1] != missed
    assert kinds >= {(False, False), (False, True), (True, True)}


# --- on models

PROMPT, RESPONSE = tiny.ids(7), tiny.ids(3, seed=1)
GIVEN = {"input_ids": PROMPT, "response_ids": RESPONSE}
SHORT = {"eps": 0.25, "steps": 2}
QUICK = {
    "agi": AGI(classes=2, **SHORT),
    "attexplore": AttEXplore(copies=2, **SHORT),
    "big": BIG(steps=3),
    "isa": ISA(rounds=3, steps=2),
    "la": LA(classes=2, **SHORT),
    "mfaba": MFABA(**SHORT),
}
SINGLE = [name for name in QUICK if name != "big"]


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("name", "family"), [*((name, "llama") for name in QUICK), ("agi", "t5"), ("isa", "t5")]
)
def test_released_variants_on_models(family, name):
    """Twice the same, in any chunks and batches, as many rows as told, and marked as no sums."""
    made = replace(QUICK[name], variant="released")
    model, asked = tiny.shared(family), GIVEN | {"method": made}
    explainer = Explainer(model)
    first, again = explainer.explain(**asked), explainer.explain(**asked)
    assert torch.equal(first.scores, again.scores)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert (first.run.identity, first.run.signed) == (None, made.claims.signed)
    assert first.gap.isnan().all()
    assert first.run.sizes["scale"][0] > 0
    if made.steps and name != "isa":
        size = float(first.scores.abs().max())
        chunked = Explainer(model, batch_size=2).explain(**asked)
        torch.testing.assert_close(chunked.scores, first.scores, rtol=1e-3, atol=1e-3 * size)
    expected = explainer.estimate(**asked)
    for kind in ("forward_rows", "backward_rows", "directional_rows"):
        least, most = getattr(expected, kind)
        assert least <= getattr(first.run, kind) <= most, kind


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("name", SINGLE)
def test_single_walks_cost_what_the_estimate_says(name):
    made = replace(QUICK[name], objective="per_token", rule="simpson")
    explainer, asked = Explainer(tiny.shared("llama")), GIVEN | {"method": made}
    expected, found = explainer.estimate(**asked), explainer.explain(**asked)
    for kind in ("forward_rows", "backward_rows", "directional_rows"):
        least, most = getattr(expected, kind)
        assert least <= getattr(found.run, kind) <= most, kind
    assert found.run.identity == made.claims.identity


@pytest.mark.parametrize("family", ["llama", "bart"])
@pytest.mark.parametrize("name", list(QUICK))
def test_sums_are_certified_or_flagged(family, name):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Explainer(tiny.shared(family)).explain(**GIVEN, method=QUICK[name])
    assert bool((found.gap <= 0.02).all()) or any(t.category is AttributionWarning for t in told)
    assert float(found.gap.median()) <= 0.02


def test_boundaries_of_a_trained_model(keys):
    """The margin is 0 there; a token that the model would not write is told apart."""
    model, tokenizer = keys
    prompt = "Ada's key is red. Bob's key is blue. Q: What color is Ada's key? A:"
    explainer = Explainer(model, tokenizer)
    found = explainer.explain(prompt, max_new_tokens=2, method="big", target="margin")
    assert found.notes == ()
    assert float(found.value.min()) > 0
    assert float(found.reference_value.abs().max()) < 1e-2 * float(found.value.min())
    assert found.converged.all()
    assert all(0 < eps < 1 for eps in found.run.sizes["eps"])
    other = explainer.explain(prompt, response=" blue.", method="big", target="margin")
    assert other.notes[0].startswith("1 of ")
    assert other.notes[0].endswith("targets: " + _BEHIND)
    assert other.value[0] < 0


_BEHIND = "the token is not the likeliest at its place; its boundary is where it becomes that."


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    "made", [*QUICK.values(), Fundamental("bim(steps=2)", objective="runner_up")], ids=str
)
def test_spans_and_batches(made):
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    prompts, responses = ["the key is red", "Ada"], [" blue key", " in"]
    options = {"method": made, "spans": "response"}
    together = explainer.explain(prompts, response=responses, **options)
    for prompt, response, found in zip(prompts, responses, together, strict=True):
        single = explainer.explain(prompt, response=response, **options)
        size = 2e-5 * float(single.scores.abs().max())
        size = max(size, float(single.error_bound.max()))
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-3, atol=size)
        assert found.notes == single.notes


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("mfaba", {"kind": "cos"}, "kind 'cos' is unknown; expected sharp, smooth"),
        ("mfaba", {"variant": "mine"}, "variant 'mine' is unknown; expected corrected, released"),
        ("agi", {"objective": "runner_up"}, "expected shared, per_token"),
        ("agi", {"classes": 0}, "classes is 0; expected at least 1"),
        ("la", {"eps": -1}, "eps is -1.0; expected a number above 0"),
        ("attexplore", {"copies": 0}, "copies is 0; expected at least 1"),
        ("isa", {"rounds": 0}, "rounds is 0; expected at least 1"),
        ("isa", {"eps": 0}, "eps is 0"),
        ("big", {"bisections": 0}, "bisections is 0; expected at least 1"),
        ("bsm", {"steps": 0}, "steps is 0; expected at least 1"),
    ],
)
def test_bad_fields_are_refused(name, fields, message):
    with pytest.raises(InputError, match=message):
        methods()[name](**fields)


# --- what wrappers and estimates make of walks


def test_more_rivals_than_tokens_are_refused():
    """The vocabulary has two tokens, so each of them has one rival."""
    run(AGI(classes=1, eps=0.1), pair("logit"))
    for method in (AGI(classes=2), LA(classes=2)):
        with pytest.raises(InputError, match="2 other tokens are asked for, but the vocabulary"):
            run(method, pair("logit"))


def test_attacks_take_the_reference_that_wrappers_draw():
    explainer = Explainer(tiny.shared("gpt2"), tiny.tokenizer())
    inner = Fundamental("mig(points=2, steps=2, eps=0.5)", rule="simpson")
    found = explainer.explain("the key", response=" is", method=BaselineAverage(inner, samples=3))
    moves = [role == "prompt" for role in found.roles]
    assert (found.standard_error[:, moves] > 0).all()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_means_over_noise_keep_reservations_and_sizes():
    explainer = Explainer(tiny.shared("gpt2"), tiny.tokenizer())
    question = {"prompt": "the key", "response": " is", "target": "margin"}
    alone = explainer.explain(**question, method=BIG(steps=2))
    assert "not the likeliest" in alone.run.notes[-1]
    found = explainer.explain(**question, method=NoiseAverage(BIG(steps=2), 2, sigma=1e-4))
    assert found.run.notes == alone.run.notes
    assert found.run.sizes["eps"] == pytest.approx(alone.run.sizes["eps"], rel=0.05)


def test_steps_have_their_length_where_squares_of_gradients_vanish():
    """f is 1e-25 times a linear function, in single precision."""
    slope = SLOPES[0].float()

    def function(z):
        return 1e-25 * torch.einsum("rnd,nd->r", z, slope)[:, None]

    field = FunctionField(function, 1, 4, space=LINEAR.space())
    walk = GradientSteps(0.1, 4, by_length=True).walk(Objective.of_each(field), X.float())
    steps = (walk.points[1:] - walk.points[:-1]).flatten(1).norm(dim=1)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.1 / 4 * U * 12**0.5))


def test_estimates_know_that_a_smallest_change_may_be_none():
    """A token that does not lead has nothing to lose; nothing is integrated then."""
    explainer = Explainer(tiny.shared("gpt2"), tiny.tokenizer())
    for rule in ("adaptive", "simpson"):
        question = {"prompt": "the key", "response": " is", "method": Fundamental("cw", rule=rule)}
        found, cost = explainer.explain(**question), explainer.estimate(**question)
        assert not found.scores.any()
        assert (
            "1 of 1 targets: the attack moved nothing, so that nothing is attributed."
            in found.notes
        )
        assert cost.forward_rows[0] <= found.run.forward_rows <= cost.forward_rows[1]
        assert cost.backward_rows[0] <= found.run.backward_rows <= cost.backward_rows[1]


@pytest.mark.parametrize("name", ["bim", "mfaba", "agi", "la"])
def test_what_moves_nothing_says_so(name):
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    found = explainer.explain("the key is", response=" red", method=name, eps=1e-30)
    assert not found.scores.any()
    assert "1 of 1 targets: the attack moved nothing, so that nothing is attributed." in found.notes


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("name", ["big", "bsm"])
def test_boundaries_are_found_where_logits_are_of_another_type(name):
    """Mamba's are in float32, whatever its embeddings are in."""
    explainer = Explainer(tiny.shared("mamba", dtype=torch.float64), tiny.tokenizer())
    found = explainer.explain("the key is", response=" red", method=name)
    assert found.scores.any()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_sizes_beyond_all_numbers_are_saved(tmp_path):
    explainer = Explainer(tiny.shared("llama", dtype=torch.float16), tiny.tokenizer())
    found = explainer.explain("Ada 's red key", max_new_tokens=3, method="cw", rate=9e5)
    assert math.inf in found.run.sizes["eps"]
    found.save(tmp_path / "r.json")
    assert hf_attrib.load(tmp_path / "r.json").run.sizes == found.run.sizes


@pytest.mark.filterwarnings("ignore:.*have not converged")
def test_a_radius_is_felt_by_tokens_however_they_are_joined():
    """The same J is attacked, so the same radius does."""
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    question = {"prompt": "the key is red", "method": Fundamental("fgsm", rule="simpson")}
    question["response"] = " blue in the key was born in the house"
    alone = explainer.explain(**question).run.sizes["eps"]
    joined = explainer.explain(**question, spans="response").run.sizes["eps"]
    assert joined == alone[:1]


def test_lengths_that_cannot_be_found_are_not_offered():
    with pytest.raises(InputError, match="eps is 'auto'; expected a number above 0"):
        ISA(eps="auto")
    with pytest.raises(InputError, match="eps is True; expected auto or a number above 0"):
        MFABA(eps=True)


def test_the_scale_of_a_walk_is_that_of_its_own_inputs():
    """Of an encoder and a decoder with tables of their own, and prompts of two lengths."""
    movable = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]]).bool()
    space = SimpleNamespace(scale=torch.tensor([1.0, 1.0, 1.0, 4.0]).double()[:, None])
    field = SimpleNamespace(sequences=2, targets=1, movable=movable, space=space)
    found = sizes(field, torch.ones(2, 1), torch.ones(2, 1))["scale"]
    assert found.tolist() == [[1.75], [2.5]]


def test_orders_of_each_target_hold_their_points_whole():
    """One for each round, whose number memory is asked for."""
    few, many = (ISA(rounds=r, objective="per_token").claims for r in (10, 100))
    assert many.whole_gradients - few.whole_gradients == 90


@pytest.mark.parametrize(
    ("kind", "own"),
    [(AGI, "classes"), (LA, "classes"), (ISA, "rounds"), (MFABA, "kind"), (AttEXplore, "copies")],
)
def test_what_all_walks_have_is_given_by_name(kind, own):
    """So that a place in the list never comes to mean another hyperparameter."""
    value = "smooth" if own == "kind" else 2
    assert kind(value) == kind(**{own: value})
    with pytest.raises(TypeError, match="positional"):
        kind(value, 1)

"""Every attack against a slow loop of its own, and what none of them may do."""

import math

import pytest
import torch
from helpers import families, tiny
from helpers import reference_attacks as slow
from helpers.problems import PROBLEMS, Problem, linear, reference, smooth
from helpers.reference import scale

from hf_attrib.attacks import AdvGAN, Attack, MomentumRule, Objective, UpdateRule, attack, attacks
from hf_attrib.attacks.sia import _low_pass
from hf_attrib.errors import InputError, UnsupportedModelError
from hf_attrib.explainer import Explainer
from hf_attrib.field import FunctionField
from hf_attrib.methods import Fundamental
from hf_attrib.model.sites import middle_of

U = scale()
SMOOTH = PROBLEMS[2]
BASE = reference(0, 0)[0, 0]
RULES = [n for n, kind in attacks().items() if issubclass(kind, UpdateRule) and n != "naa"]
STOCHASTIC = [n for n, kind in attacks().items() if kind.stochastic]
MOMENTUM = ["dim", "mig", "mim", "sia", "sinim", "ssa", "tim"]


_DRAW = torch.Generator().manual_seed(5)


def random(*shape):
    return torch.randn(*shape, generator=_DRAW, dtype=torch.float64)


def halves(x):
    """A generator without a past: half of the way back to where all embeddings are 0."""
    return -x / 2


def together(x):
    """One that looks at all embeddings it is given."""
    return x.mean(0) - 2 * x


def objective_of(function, target):
    chosen = slice(None) if target is None else target
    return lambda z: -function(z[None])[0, chosen].sum()


def walk(made, problem=SMOOTH, each=False, field=None):
    field = problem.field() if field is None else field
    objective = Objective.of_each(field) if each else Objective.shared(field)
    return made.walk(objective, problem.x)


def check(made, problem, expected):
    """Compare a shared walk, and the own walks of two targets, with those of a loop."""
    shared = walk(made, problem).points[:, 0, 0]
    torch.testing.assert_close(shared, torch.stack(expected(None)))
    own = walk(made, problem, each=True).points[:, 0]
    for target in range(own.shape[1]):
        torch.testing.assert_close(own[:, target], torch.stack(expected(target)))


@pytest.mark.parametrize("problem", PROBLEMS[1:3], ids=lambda p: p.name)
@pytest.mark.parametrize("name", MOMENTUM)
def test_momentum_rules_equal_slow_loops(name, problem):
    def expected(target):
        objective = objective_of(problem.function, target)
        return slow.Momentum(objective, problem.x[0, 0], BASE, 0.5, 3).walk(getattr(slow, name))

    fields = {"dropout": 0.5} if name == "dim" else {}  # of four tokens, two at a time
    check(attack(name, {"eps": 0.5, "steps": 3} | fields), problem, expected)


@pytest.mark.parametrize("problem", PROBLEMS[1:3], ids=lambda p: p.name)
def test_gra_equals_a_slow_loop(problem):
    def expected(target):
        return slow.gra(objective_of(problem.function, target), problem.x[0, 0], 0.5, 4)

    check(attack("gra", {"eps": 0.5, "steps": 4}), problem, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("restarts", [1, 4])
def test_pgd_equals_a_slow_loop(norm, restarts):
    def expected(target):
        objective = objective_of(smooth, target)
        return slow.pgd(objective, SMOOTH.x[0, 0], 0.5, 3, norm, restarts)

    fields = {"eps": 0.5, "steps": 3, "norm": norm, "restarts": restarts}
    check(attack("pgd", fields), SMOOTH, expected)


_INNER, _OUTER = random(3, 5) / 2, random(20, 3) / 3


def hidden(z):
    return torch.tanh(z @ _INNER)


def after(h):
    return torch.tanh(h.flatten(1) @ _OUTER)


def test_naa_equals_a_slow_loop():
    problem = Problem("layered", lambda z: after(hidden(z)), SMOOTH.x, SMOOTH.baseline)
    field = FunctionField(after, 3, 4, 7, problem.space(), hidden)
    made = attack("naa", {"eps": 0.5, "steps": 3})
    torch.testing.assert_close(field.value(SMOOTH.x[None])[0], problem.function(SMOOTH.x[0]))
    for target in (None, 0, 2):
        found = walk(made, problem, target is not None, field).points[:, 0, target or 0]
        chosen = slice(None) if target is None else target
        expected = slow.naa(
            hidden, lambda h, c=chosen: -after(h[None])[0, c].sum(), SMOOTH.x[0, 0], BASE, 0.5, 3
        )
        torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_sia_smooths_spans_as_a_cosine_transform_does(count):
    values = random(count)
    torch.testing.assert_close(_low_pass(count) @ values, slow.low_pass(values))
    whole = torch.ones(count).double()
    torch.testing.assert_close(_low_pass(count) @ whole, whole)


def test_sia_maps_gradients_of_smoothed_spans_back():
    """One long span of a linear function: gradients are W under the transform, whatever x is."""
    x, weights = random(1, 1, 10, 3), random(10, 3)
    problem = Problem("long", lambda z: (z * weights).sum((1, 2))[:, None], x, x)
    space = Problem("", linear, x, x).space()
    object.__setattr__(space, "reference", lambda sample, seed: torch.zeros(1, 1, 10, 3).double())
    field = FunctionField(problem.function, 1, 10, space=space)
    made = attack("sia", {"eps": 0.5, "steps": 1, "copies": 40, "blocks": 1})
    climb = made.climb(Objective.of_each(field), x)
    found, total = next(iter(made.gradients(climb)))[0, 0], torch.zeros(10, 3).double()
    for i in range(40):
        draw = slow.generator(0, "sia", 0, i)
        kind, share = (
            int(torch.randint(4, (), generator=draw)),
            float(torch.rand((), generator=draw)),
        )
        kept = (torch.rand((10, 3), generator=draw) >= 0.1).double()
        low = torch.stack([slow.low_pass(column) for column in weights.T]).T
        total += (share * weights, weights, kept * weights, low)[kind]
    torch.testing.assert_close(found, -total / 40)


@pytest.mark.parametrize("name", [n for n in RULES if n not in ("pgd", "tim")])
def test_signed_rules_on_a_linear_function(name):
    """All gradients are W, or of its signs, so each coordinate ends at the ball: eps u |W|."""
    fields = {"eps": 0.5, "steps": 1 if name == "fgsm" else 20}  # some drop coordinates at times
    made = Fundamental(attack(name, fields), objective="per_token", tolerance=1e-8)
    problem = PROBLEMS[0]
    steepest = linear(torch.eye(12).double().reshape(12, 4, 3)) - linear(
        torch.zeros(1, 4, 3).double()
    )
    found = made(problem.field(), problem.x, problem.baseline).scores[0]
    expected = 0.5 * U * steepest.T.abs().reshape(2, 4, 3).sum(-1)
    torch.testing.assert_close(found, expected)


def test_pgd_ends_at_the_same_corner_of_a_linear_function():
    """All steps together lead across the ball, wherever they begin."""
    problem = PROBLEMS[0]
    found = walk(attack("pgd", {"eps": 0.5, "steps": 4}), problem).points[-1, 0, 0]
    bim = walk(attack("bim", {"eps": 0.5}), problem).points[-1, 0, 0]
    torch.testing.assert_close(found, bim)


CUBES = random(4, 3)


def additive(z):
    return (CUBES * z + z**3 / 7 + z.sin()).sum(-1) @ torch.tensor([[1.0], [2], [3], [4]]).double()


def phi(z):
    """The part of each input in the additive function, [N]."""
    return (CUBES * z + z**3 / 7 + z.sin()).sum(-1) * torch.arange(1, 5).double()


@pytest.mark.parametrize("name", RULES)
def test_any_walk_on_an_additive_function(name):
    """Whatever the path is, each input gets its own change."""
    problem = Problem("additive", additive, SMOOTH.x, SMOOTH.baseline)
    made = Fundamental(attack(name, {"eps": 0.5}), tolerance=1e-8, max_nodes=4000)
    found = made(problem.field(), problem.x, problem.drawn(0, 0)).scores[0, 0]
    end = walk(attack(name, {"eps": 0.5}), problem).points[-1, 0, 0]
    torch.testing.assert_close(found, phi(problem.x[0, 0]) - phi(end))


@pytest.mark.parametrize("name", RULES)
def test_any_direction_adds_up_within_the_tolerance(name):
    made = Fundamental(attack(name, {"eps": 1.0}))
    for problem in PROBLEMS[1:]:
        found = made(problem.field(), problem.x, problem.baseline)
        change = problem.function(problem.x[0]) - found.start_value
        gap = (found.scores.sum(-1) - change).abs() / change.abs()
        assert float(gap.max()) <= 0.02


@pytest.mark.parametrize("name", STOCHASTIC)
def test_seeds_differ_and_one_is_the_same_twice(name):
    def gone(seed):
        made = attack(name, {"eps": 0.5, "steps": 6, "seed": seed})
        found = walk(made, PROBLEMS[1]).points[:, 0, 0]
        if name == "pgd":
            return found
        climb = made.climb(Objective.shared(PROBLEMS[1].field()), PROBLEMS[1].x)
        ways = made.directions(climb)
        return torch.stack([next(ways) for _ in range(6)])

    first, again, other = (gone(seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_draws_do_not_touch_the_global_generator():
    state = torch.get_rng_state()
    for name in STOCHASTIC:
        walk(attack(name, {"eps": 0.5, "steps": 2}))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", RULES)
def test_chunks_change_nothing(name):
    made = attack(name, {"eps": 0.5, "steps": 1 if name == "fgsm" else 3})
    whole = walk(made, each=True, field=SMOOTH.field(1000)).points
    for budget in (1, 7):
        chunked = walk(made, each=True, field=SMOOTH.field(budget)).points
        torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)


def test_of_several_restarts_each_walker_keeps_the_best():
    fields = {"eps": 1.0, "steps": 2}
    alone = [walk(attack("pgd", fields | {"restarts": r}), each=True).points for r in (1, 5)]
    ends = [-smooth(points[-1, 0]).diagonal() for points in alone]
    assert (ends[1] >= ends[0]).all()
    assert (ends[1] > ends[0]).any()


def test_walkers_of_pgd_stop_in_each_restart():
    seen = []

    def goes_on(points):
        assert points.shape == (1, 2, 4, 3)
        seen.append(points)
        return torch.tensor([[True, False]])

    made = attack("pgd", {"eps": 0.5, "steps": 3, "restarts": 2})
    objective = Objective.of_each(SMOOTH.field())
    points = made.walk(objective, SMOOTH.x, goes_on).points
    assert len(seen) == 6
    assert len(points) == 5
    assert torch.equal(points[1, 0, 1], points[-1, 0, 1])  # where it was put at random
    assert not torch.equal(points[1, 0, 0], points[-1, 0, 0])


def test_starts_of_pgd_lie_evenly_in_the_ball():
    x = torch.zeros(1, 1, 4, 3).double()
    problem = Problem("", linear, x, x)
    made = attack("pgd", {"eps": 0.5, "steps": 1, "restarts": 4000, "norm": "l2"})
    climb = made.climb(Objective.shared(problem.field()), x)
    starts = torch.stack([made._start(climb, r) for r in range(4000)]).flatten(1)
    share = starts.norm(dim=1) / (0.5 * U * math.sqrt(12))
    assert float(share.max()) <= 1
    assert float((share**12).mean()) == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(
        starts.T @ starts / 4000 / (0.5 * U) ** 2,
        torch.eye(12).double() * 12 / 14,
        atol=0.06,
        rtol=0,
    )


# Boundaries in closed form: two classes whose margin is linear.

_WAY = random(4, 3)


def two_classes(lead):
    """Logits [R, 1, 2] of which the first leads by w (x - x_0) + lead."""

    def logits(z):
        margin = ((z - SMOOTH.x[0]) * _WAY).sum((1, 2)) + lead
        return torch.stack([margin, torch.zeros_like(margin)], -1)[:, None]

    return FunctionField.of_logits(logits, [0], 4, space=SMOOTH.space())


def boundary(lead):
    """x - w (w x + b) / |w|^2."""
    return SMOOTH.x[0, 0] - _WAY * lead / _WAY.square().sum()


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


def head(z):
    """Logits [R, 2, 5]."""
    return (torch.tanh(z.flatten(1) @ _MIXED) @ _TO).reshape(-1, 2, 5)


_MIXED, _TO = random(12, 6) / 3, random(6, 10)


def with_logits(budget=8):
    ids = head(SMOOTH.x[0]).argmax(-1)[0].tolist()
    return FunctionField.of_logits(head, ids, 4, space=SMOOTH.space(), row_budget=budget), ids


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


# A generator that somebody trained.


def test_advgan_goes_where_its_generator_leads_within_the_ball():
    found = walk(AdvGAN(halves, eps=0.2)).points[:, 0, 0]
    change = (-SMOOTH.x[0, 0] / 2).clamp(-0.2 * U, 0.2 * U)
    torch.testing.assert_close(found, torch.stack([SMOOTH.x[0, 0], SMOOTH.x[0, 0] + change]))
    auto = walk(AdvGAN(halves), each=True)
    assert (auto.eps == walk(attack("bim", {}), each=True).eps).all()


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (None, "advgan needs a trained generator, and generator is None"),
        ("mine", "needs a trained generator, and generator is 'mine'.*the command line cannot"),
    ],
)
def test_advgan_refuses_without_a_generator(generator, message):
    with pytest.raises(InputError, match=message):
        AdvGAN(generator)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (lambda z: z[:1], r"returned \(1, 3\) for embeddings \(4, 3\)"),
        (lambda z: None, r"returned NoneType"),
        (lambda z: z / 0, "finite changes of the same shape"),
    ],
)
def test_advgan_refuses_what_is_no_change(generator, message):
    with pytest.raises(InputError, match=message):
        walk(AdvGAN(generator, eps=0.1))


def test_advgan_is_written_by_the_name_of_its_generator():
    assert str(AdvGAN(halves, eps=0.2)) == "advgan(generator=halves, eps=0.2)"


@pytest.mark.parametrize("written", ["advgan", "advgan(generator=mine)"])
def test_advgan_cannot_be_given_as_words(written):
    with pytest.raises(InputError, match="the command line cannot"):
        Fundamental(written)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("pgd(norm=l1)", "norm 'l1' is unknown; expected linf, l2"),
        ("pgd(restarts=0)", "restarts is 0"),
        ("pgd(seed=-1)", "seed is -1"),
        ("mim(decay=-1)", "decay is -1; expected a number of at least 0"),
        ("dim(dropout=2)", "dropout is 2; expected a number from 0 to 1"),
        ("dim(diverse=x)", "diverse is 'x'; expected a number from 0 to 1"),
        ("tim(length=4)", "length is 4; expected an odd number"),
        ("tim(length=1)", "length is 1; expected at least 3"),
        ("sinim(copies=0)", "copies is 0"),
        ("ssa(spread=1.5)", "spread is 1.5"),
        ("sia(blocks=0)", "blocks is 0"),
        ("mig(points=0)", "points is 0"),
        ("gra(reach=0)", "reach is 0"),
        ("naa(points=0)", "points is 0"),
        ("cw(rate=0)", "rate is 0"),
        ("cw(weight=0)", "weight is 0"),
        ("cw(kappa=-1)", "kappa is -1"),
        ("cw(steps=0)", "steps is 0"),
    ],
)
def test_bad_fields_are_refused(written, message):
    with pytest.raises(InputError, match=message):
        Fundamental(written)


def test_what_depends_on_a_reference_names_one():
    assert Fundamental("mig").claims.baseline == "mean"
    assert Fundamental("bim").claims.baseline is None
    held = [
        Fundamental(update, objective=objective).claims.whole_gradients
        for objective, update in (("shared", "ssa"), ("per_token", "bim"), ("per_token", "ssa"))
    ]
    assert held[0] == 0
    assert held[2] - held[1] == 2 * 19  # points and gradients of the other copies
    assert Fundamental("mig(steps=3)").claims.cost.startswith("64 forward, 61 backward")


# On models.

QUICK: dict[str, Attack] = {
    name: attack(name, {"eps": 0.25, "steps": 1 if name == "fgsm" else 2})
    for name in [*RULES, "naa"]
} | {
    "pgd": attack("pgd", {"steps": 2, "restarts": 2}),  # whose radius takes rows, too
    "ssa": attack("ssa", {"eps": 0.25, "steps": 2, "copies": 3}),
    "sia": attack("sia", {"eps": 0.25, "steps": 2, "copies": 5}),
    "gra": attack("gra", {"eps": 0.25, "steps": 2, "copies": 3}),
    "mig": attack("mig", {"eps": 0.25, "steps": 2, "points": 3}),
    "naa": attack("naa", {"eps": 0.25, "steps": 2, "points": 3}),
    "cw": attack("cw", {"steps": 3, "kappa": 5.0}),  # the responses have no lead to lose
    "advgan": AdvGAN(together, eps=0.25),
}


def test_every_attack_is_tried_on_models():
    assert set(QUICK) == set(attacks())
    assert all(isinstance(made, Attack) for made in QUICK.values())
    assert {n for n, kind in attacks().items() if issubclass(kind, MomentumRule)} == {
        *MOMENTUM,
        "gra",
        "naa",
    }


@pytest.fixture(scope="module")
def models():
    made = {}

    def get(family, dtype=torch.float32):
        if (family, dtype) not in made:
            tokenizer = tiny.tokenizer(family == "t5")
            made[family, dtype] = Explainer(tiny.model(family, dtype=dtype), tokenizer)
        return made[family, dtype]

    return get


PROMPTS, RESPONSES = ["the key is red", "Ada"], [" blue", " in the key"]


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("family", "objective"), [("llama", "per_token"), ("t5", "shared")], ids=lambda p: p
)
@pytest.mark.parametrize("name", list(QUICK))
def test_batches_and_counts_on_models(models, family, objective, name):
    """Batched equals single, special tokens stand still, and costs are what was announced."""
    explainer = models(family)
    made = Fundamental(QUICK[name], rule="simpson", objective=objective)
    together = explainer.explain(PROMPTS, response=RESPONSES, method=made)
    for prompt, response, found in zip(PROMPTS, RESPONSES, together, strict=True):
        alone = explainer.explain(prompt, response=response, method=made)
        size = 2e-5 * float(alone.scores.abs().max())
        assert size > 0
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-3, atol=size)
        fixed = [role in ("special", "template") for role in found.roles]
        assert any(fixed)
        assert not found.scores[:, fixed].any()
    expected = explainer.estimate(prompt, response=response, method=made)
    assert expected.forward_rows == (alone.forward_rows,) * 2
    assert expected.backward_rows == (alone.backward_rows,) * 2


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("name", list(QUICK))
def test_special_tokens_do_not_move(models, family, name, monkeypatch):
    walks = []
    walking = type(QUICK[name]).walk
    monkeypatch.setattr(
        type(QUICK[name]), "walk", lambda *given: walks.append(walking(*given)) or walks[-1]
    )
    made = Fundamental(QUICK[name], rule="left")
    found = models(family).explain(PROMPTS[0], response=RESPONSES[0], method=made)
    fixed = torch.tensor([role in ("special", "template") for role in found.roles])
    moved = (walks[0].points != walks[0].points[:1]).flatten(0, 2).any(-1).any(0)[: len(fixed)]
    assert fixed.any()
    assert torch.equal(moved, ~fixed)
    assert found.run.baseline == ("mean embedding" if QUICK[name].uses_reference else None)


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("name", list(QUICK))
def test_half_precision_is_finite_and_adds_up_or_says_so(models, name):
    explainer = models("llama", torch.bfloat16)
    found = explainer.explain(PROMPTS[0], response=RESPONSES[0], method=Fundamental(QUICK[name]))
    assert torch.isfinite(found.scores).all()
    change = found.value - found.reference_value
    gap = (found.scores.sum(-1) - change).abs() / change.abs().clamp_min(1e-3)
    assert ((gap <= 0.02) | ~found.converged).all()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_an_objective_of_spans_can_be_aimed(models):
    """Sums of tokens, too: all tokens of the response are to flip."""
    options = {"response": RESPONSES[1], "spans": "response", "rule": "left"}
    for update in ("cw", "bim"):
        method = {"method": "fundamental", "update": update, "objective": "runner_up"}
        found = models("llama").explain(PROMPTS[1], **options, **method)
        assert found.scores.shape[0] == 1


def test_naa_finds_the_layer_in_the_middle(models):
    model = models("llama").model
    seen, inputs = [], torch.tensor([tiny.ids(4)])
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    with torch.enable_grad(), middle_of(model, 1, seen):
        model(input_ids=inputs)
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    with torch.no_grad():
        expected = model(input_ids=inputs, output_hidden_states=True).hidden_states
    torch.testing.assert_close(seen[0].detach(), expected[1])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (torch.nn.Linear(2, 2), "Linear has no list of layers"),
        (torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Identity()])), "Sequential has no list"),
    ],
)
def test_a_model_without_a_middle_is_refused(made, message):
    with pytest.raises(UnsupportedModelError, match=message), middle_of(made, 1, []):
        pass


@pytest.mark.parametrize("name", ["causal/gemma3", "causal/openai-gpt"])
def test_naa_finds_the_layers_of_text(name):
    """Of models that see, too; and of those whose layers return lists."""
    explainer = Explainer(families.build(name), families.tokenizer())
    question = {"input_ids": families.ids(7, 3), "response_ids": families.ids(3, 4)}
    found = explainer.explain(**question, method="naa")
    assert found.scores.any()
    assert found.converged.all()


def test_naa_refuses_states_that_are_not_by_row():
    explainer = Explainer(families.build("seq2seq/fsmt"), families.tokenizer())
    question = {"input_ids": families.ids(7, 3), "response_ids": families.ids(3, 4)}
    with pytest.raises(UnsupportedModelError, match="no list of layers that return states"):
        explainer.explain(**question, method="naa")


def test_naa_refuses_functions_without_a_layer():
    field = FunctionField(PROBLEMS[0].function, targets=2, positions=4, space=PROBLEMS[0].space())
    with pytest.raises(InputError, match="FunctionField has no hidden layer"):
        attack("naa", {"eps": 0.5}).walk(Objective.shared(field), PROBLEMS[0].x)

"""Robustness: exact radii where they are known, real flips on models, and what a person sees."""

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.made_results import tokens
from helpers.problems import PROBLEMS, linear, random
from helpers.reference import scale
from helpers.residue import assert_same, prepared, state
from helpers.text_checks import harmless

import hf_attrib
from hf_attrib import Explainer, InputError, Robustness, robust_accuracy
from hf_attrib.attacks import Attack, Objective, Walk, attack
from hf_attrib.cli import main
from hf_attrib.embedded import retrieval
from hf_attrib.errors import ResultFileError
from hf_attrib.field import Cost, FunctionField, Table
from hf_attrib.robustness import AttackRun, Search
from hf_attrib.robustness import measure as attacking
from hf_attrib.robustness.search import GRID

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

U = scale()
X = PROBLEMS[0].x
PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
SLOPE = (linear(torch.eye(12).double().reshape(12, 4, 3)) - linear(torch.zeros(1, 4, 3).double())).T


def margins(lead, positions=4, row_budget=8):
    """The margins of two tokens whose lead at x is given; they are linear in the embeddings."""

    def logits(z):
        own = linear(z) - linear(X[0]) + torch.tensor(lead).double()
        return torch.stack([torch.zeros_like(own), own], -1)

    options = {"row_budget": row_budget, "space": PROBLEMS[0].space()}
    return FunctionField.of_logits(logits, [1, 1], positions, **options).aimed("margin")


def flips(lead, **fields):
    field = margins(lead)
    return Search(**fields)(field, X, field.value(X[None])[0])


# Closed forms


@pytest.mark.parametrize(("name", "steps"), [("bim", 10), ("bim", 3), ("fgsm", 1), ("mim", 10)])
def test_the_bracket_holds_the_radius_of_a_linear_margin(name, steps):
    """Signed steps lower W z by eps u |W|_1, so it flips at margin / (u |W|_1)."""
    exact = torch.tensor([0.03, 0.7]).double()
    lead = exact * U * SLOPE.abs().sum(-1)
    before = torch.full((1, 2), torch.inf)
    for bisections in range(5):
        rule = attack(name, {"steps": steps})
        found = flips(lead.tolist(), attack=rule, bisections=bisections)
        assert bool((found.failed[0] <= exact).all())
        assert bool((exact <= found.radius[0] * (1 + 1e-9)).all())
        width = found.radius - found.failed
        assert bool((width <= 0.5 / 2**bisections + 1e-12).all())
        assert bool((width <= before / 2 + 1e-12).all())
        before = width
        assert bool((found.margin < 0).all())
        moved = (found.points - X).abs().amax((-1, -2)) / U
        torch.testing.assert_close(moved, found.radius)


def test_a_token_that_does_not_flip_keeps_the_smallest_margin():
    lead = [1.5 * U * float(slope.abs().sum()) for slope in SLOPE]
    found = flips(lead, eps=0.5)
    assert found.radius.tolist() == [[math.inf] * 2]
    torch.testing.assert_close(found.failed, torch.full((1, 2), 0.5).double())
    torch.testing.assert_close(found.margin[0], torch.tensor(lead).double() * 2 / 3)
    assert flips(lead, eps=2.0).radius[0].tolist() == pytest.approx([1.5, 1.5], rel=0.02)


def test_what_is_not_the_likeliest_needs_no_attack():
    found = flips([-0.1, 0.1])
    assert float(found.radius[0, 0]) == 0
    assert torch.equal(found.points[0, 0], X[0, 0])
    assert float(found.radius[0, 1]) > 0


def test_all_tokens_take_their_steps_together():
    """K sequential steps for each walk, however many tokens there are."""
    field, asked = margins([0.2, 0.4]), []
    gradient = type(field).__call__

    class Counting(FunctionField):
        def __call__(self, points):
            asked.append(points.shape[2])
            return gradient(self, points)

    field.__class__ = Counting
    Search(attack("bim", {"steps": 5}), bisections=3)(field, X, field.value(X[None])[0])
    assert len(asked) <= 5 * (len(GRID) + 3)
    assert set(asked) == {2}


@pytest.mark.parametrize("row_budget", [1, 3])
def test_chunks_change_nothing(row_budget):
    field, small = (margins([0.1, 0.4], row_budget=n) for n in (64, row_budget))
    whole, cut = (Search()(f, X, f.value(X[None])[0]) for f in (field, small))
    assert torch.equal(whole.radius, cut.radius)
    assert torch.equal(whole.points, cut.points)


@dataclass(frozen=True)
class Straight(Attack):
    """Goes a given way, whatever the radius."""

    length: float

    def walk(self, objective, x, goes_on=None):
        start = x.expand(-1, objective.field.targets, -1, -1)
        there = start + self.length * U * objective.gradient(start[None])[0].sign()
        eps = torch.full(start.shape[:2], self.length)
        return Walk(torch.stack([start, (start + there) / 2, there]), eps, eps)

    def cost(self, walkers):
        return Cost()

    def segments(self):
        return 2


def test_an_attack_without_a_radius_has_that_of_the_point_it_finds():
    lead = [0.3 * U * float(slope.abs().sum()) for slope in SLOPE]
    found = flips(lead, attack=Straight(0.8))
    assert found.radius[0].tolist() == pytest.approx([0.4, 0.4])
    assert found.failed[0].tolist() == [0, 0]
    beyond = flips(lead, attack=Straight(0.8), eps=0.2)
    assert beyond.radius.isinf().all()
    assert not beyond.failed.any()  # no radius was tried
    assert torch.equal(beyond.points, X.expand_as(beyond.points))  # the walk went beyond eps
    assert beyond.margin[0].tolist() == pytest.approx(lead)


def test_lengths_of_vectors_are_in_lengths_of_typical_ones():
    """The shortest way to flip a linear margin is along its gradient."""

    @dataclass(frozen=True)
    class Steepest(type(attack("bim", {}))):
        def euclidean(self):
            return True

    typical = U * 12**0.5
    lead = (0.3 * typical * SLOPE.norm(dim=-1)).tolist()
    found = flips(lead, attack=Steepest())
    assert bool(((found.failed <= 0.3) & (found.radius >= 0.3 * (1 - 1e-9))).all())
    assert found.radius[0].tolist() == pytest.approx([0.3, 0.3], rel=0.03)
    away = (found.points - X).flatten(2).norm(dim=-1)
    torch.testing.assert_close(away, found.radius * typical)


@pytest.mark.parametrize("bisections", [0, 3, 9])
def test_what_failed_did_fail_however_points_are_rounded(bisections):
    """Rounding keeps walks from ending nearer than a point found before, not from flipping."""
    exact = torch.tensor([0.3, 0.7]).double()
    field = margins((exact * U * SLOPE.abs().sum(-1)).tolist())
    grid = 0.07 * U
    object.__setattr__(field, "rounded", lambda z: X[0] + ((z - X[0]) / grid).round() * grid)
    found = Search(bisections=bisections)(field, X, field.value(X[None])[0])
    assert bool(found.radius.isfinite().all())
    again = replace(Objective.of_each(field), radii=found.failed)
    assert bool((field.value(attack("bim", {}).walk(again, X).points[-1][None]) > 0).all())
    assert bool((found.failed < found.radius).all())


def test_what_lies_ahead_of_a_direction():
    words = random(40, 8)
    table = Table(lambda ids: words[ids], len(words))
    own, other = words[[3, 7]], words[[5, 9]]
    assert table.ahead(own, 0.1 * (other - own)).tolist() == [5, 9]
    assert table.ahead(own, torch.zeros_like(own)).tolist() == [-1, -1]
    sideways = torch.linalg.svd(words - own[:1]).Vh[-1:]  # which leads to no word more than others
    assert table.ahead(own[:1], sideways).tolist() == [-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "magic"}, "attack 'magic' is unknown"),
        ({"attack": 3}, "attack is 3; expected a name"),
        ({"attack": "bim(eps=0.5)"}, "the attack has eps=0.5, but the radius is what is searched"),
        ({"eps": 0}, "eps is 0; expected a number above 0"),
        ({"eps": "auto"}, "eps is 'auto'; expected a number above 0"),
        ({"bisections": -1}, "bisections is -1; expected at least 0"),
        ({"attack": "bim(steps=2)", "steps": 3}, "steps came next to bim"),
        ({"attack": "bim", "decay": 0.5}, "attack bim has no field decay"),
        ({"movable": "some"}, "movable is 'some'"),
        ({"baseline": "mean"}, "attack bim takes no baseline; leave it out"),
        ({"attack": "dim", "baseline": "some"}, "baseline 'some' is unknown"),
        ({"attribute_to": "some"}, "attribute_to is 'some'"),
        ({"prompt": []}, "the list of prompts is empty"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    explainer = Explainer(tiny.model("llama"), tiny.tokenizer())
    with pytest.raises(InputError, match=re.escape(message)):
        explainer.robustness(**{"prompt": "the key"} | options)


# Models


def attacked(model, batch_size=None, **options):
    tokenizer = tiny.tokenizer(model.config.is_encoder_decoder)
    given = {"prompt": "the key is red", "bisections": 3, "steps": 4}
    given |= {} if "response_ids" in options else {"max_new_tokens": 4}
    return Explainer(model, tokenizer, batch_size=batch_size).robustness(**given | options)


def assert_alike(found, expected):
    """Up to rounding: a sign that it turns may shift what bisection makes of a radius."""
    assert found.response.ids.tolist() == expected.response.ids.tolist()
    close = {"rtol": 0.02, "atol": 1e-3}
    torch.testing.assert_close(found.radius, expected.radius, **close)
    torch.testing.assert_close(found.margin, expected.margin, rtol=1e-4, atol=1e-4)
    assert found.flips_to.tolist() == expected.flips_to.tolist()
    largest = float(expected.drop.abs().max())
    assert float((found.drop - expected.drop).abs().max()) < 0.02 * largest


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_results_state_what_models_do(family):
    model = tiny.model(family)
    found = attacked(model)
    assert len(found) == len(found.response)
    assert found.flipped.all()
    assert bool((found.failed < found.radius).all())
    assert bool((found.attacked_margin < 0).all())
    assert bool((found.gap < 0.05).all())
    special = [role == "special" for role in found.inputs.roles]
    assert not found.drop[:, special].any()
    assert not found.share[:, special].any()
    assert bool((found.nearest[:, special] == -1).all())
    torch.testing.assert_close(found.share.sum(-1), torch.ones(len(found)).double())
    free = 1 / (len(special) - sum(special))  # signed steps move all inputs alike
    moved = found.share[:, [not s for s in special]]
    torch.testing.assert_close(moved, torch.full_like(moved, free), rtol=0.2, atol=0)


def test_the_model_itself_says_another_token_at_the_points_found():
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    explainer, seen = Explainer(model, tokenizer), []

    def work(sequences, question, opened):
        found = Search(attack("bim", {"steps": 4}), bisections=3)(
            opened.field, opened.seen.x, opened.seen.value
        )
        seen.append((found, opened))
        return [None] * len(sequences)

    result = attacked(model)
    sequence = explainer._transcriber.transcribe(
        hf_attrib.text.sequence.Request("the key is red", response_ids=result.response.ids), {}, {}
    )
    question = attacking.search_question(attack("bim", {}), None, "prompt", "content")
    explainer._engine.each([sequence], question, work)
    ((found, opened),) = seen
    for t, token in enumerate(result.response.ids.tolist()):
        with torch.no_grad():
            logits = model(inputs_embeds=found.points[0, t][None]).logits[0]
        says = logits[len(sequence.prompt) - 1 + t].argmax()
        assert int(says) == int(result.flips_to[t]) != token
        away = (found.points[0, t] - opened.seen.x[0, 0]).abs().max() / result.run.scale
        assert float(away) == pytest.approx(float(result.radius[t]), rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_batches_and_chunks_change_nothing(family):
    model, prompts = tiny.model(family), ["the key", "Ada was born in", "red"]
    many = attacked(model, prompt=prompts, batch_size=64)
    for prompt, together in zip(prompts, many, strict=True):
        assert_alike(together, attacked(model, prompt=prompt, batch_size=3))


def test_what_was_written_by_others_is_marked():
    model = tiny.model("llama")
    own = attacked(model).response.ids.tolist()
    found = attacked(model, response_ids=[own[0], (own[1] + 1) % 300 + 4])
    assert float(found.radius[0]) > 0
    assert (float(found.radius[1]), float(found.failed[1])) == (0, 0)
    assert not found.drop[1].any()
    assert not found.share[1].any()
    assert found.flips_to[1] == own[1]
    assert found.run.notes == ("1 of 2 tokens are not the likeliest unattacked.",)
    assert "not the likeliest even unattacked" in str(found)


def test_a_small_radius_flips_nothing():
    found = attacked(tiny.model("llama"), eps=1e-4)
    assert not found.flipped.any()
    assert bool((found.attacked_margin < found.margin).all())
    assert [found.flips_to_piece(t) for t in range(len(found))] == [None] * len(found)
    assert "no token flipped within 0.0001" in str(found)
    assert "> 0.0001" in str(found)


def test_drops_that_do_not_add_up_are_marked(monkeypatch):
    rule = replace(attacking._DROPS, rule="left")
    monkeypatch.setattr(attacking, "_DROPS", rule)
    found = attacked(tiny.model("llama"))
    (note,) = found.run.notes
    missed = int((found.gap > found.run.tolerance).sum())
    assert note.startswith(f"{missed} of {len(found)} tokens: what inputs took misses")
    assert note.endswith(f" {float(found.gap.max()):.1%}.")
    assert note in " ".join(str(found).split())


def test_attacks_that_take_a_baseline_have_that_of_explain():
    """The first step of a MIG attack is integrated gradients' direction, so it knows x'."""
    own = attacked(tiny.model("llama"), attack="mig")
    assert own.run.baseline == "mean embedding"
    assert "baseline mean embedding" in " ".join(str(own).split())
    same = attacked(tiny.model("llama"), attack="mig", baseline="mean")
    other = attacked(tiny.model("llama"), attack="mig", baseline="zero")
    assert torch.equal(own.drop, same.drop)
    assert not torch.allclose(own.drop, other.drop)
    assert other.run.baseline == "zero embedding"
    with pytest.raises(InputError, match="the results are of several attacks"):
        robust_accuracy([own, other])
    assert attacked(tiny.model("llama")).run.baseline is None


def test_what_moves_nothing_says_so():
    found = attacked(tiny.model("llama"), eps=1e-30)
    still = f"{len(found)} of {len(found)} targets: the attack moved nothing"
    assert any(note.startswith(still) for note in found.run.notes)
    assert not attacked(tiny.model("llama")).run.notes


def test_nothing_is_withstood_where_the_model_overflows():
    model = tiny.model("t5", dtype=torch.float16)
    found = attacked(model, attack="fgsm", eps=9e5, bisections=0, steps=1)
    lost = found.radius.isinf()
    assert lost.any()
    assert not found.failed[lost].any()  # all were tried to no avail, and none in vain
    assert any("the model overflows under attack" in note for note in found.run.notes)


def test_half_precision():
    found = attacked(tiny.model("llama", dtype=torch.bfloat16))
    assert found.run.dtype == "bfloat16"
    assert found.flipped.any()
    assert bool((found.attacked_margin[found.flipped] <= 0).all())


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_call_leaves_no_trace(family):
    model, tokenizer = prepared(family)
    before = state(model, tokenizer)
    explainer = Explainer(model, tokenizer)
    explainer.robustness("the key is red", max_new_tokens=2, bisections=1, steps=2)
    assert_same(before, state(model, tokenizer))
    with pytest.raises(InputError):
        explainer.robustness("the key is red", max_new_tokens=2, movable=[True])
    assert_same(before, state(model, tokenizer))


def test_attached_models_have_it():
    model = hf_attrib.attach(tiny.model("llama"), tiny.tokenizer())
    found = model.robustness("the key", max_new_tokens=1, attack=attack("fgsm", {}), bisections=0)
    assert isinstance(found, Robustness)
    assert found.run.attack == "fgsm"
    assert isinstance(model.robustness(["the key"], max_new_tokens=1, bisections=0), list)


def test_the_planted_cause_is_turned_into_another_answer(keys):
    """What took most from the answer's value is the word it was read off, on its way to another."""
    cases = list(retrieval.examples(4, 2, seed=11))
    results = Explainer(*keys).robustness([c.prompt for c in cases], bisections=1)
    found = headed = 0
    for case, result in zip(cases, results, strict=True):
        words = [piece.strip() for piece in result.response.pieces]
        value = len(words) - 1 - words[::-1].index(case.value)
        strongest = int(result.drop[value].argmax())
        start, end = result.inputs.offsets[strongest]
        found += case.cause[0] < end and start < case.cause[1]
        headed += result.headed(value, strongest) == result.flips_to_piece(value)
    assert found == len(cases)
    assert headed >= len(cases) - 1


# Curves


def result(radii, eps=1.0, run=None, **changes):
    """A result made up of radii."""
    count = len(radii)
    words = [f" w{t}" for t in range(count)]
    made = {
        "inputs": tokens(["a", " b"]),
        "response": tokens(words),
        "probability": torch.full((count,), 0.5).double(),
        "margin": torch.ones(count).double(),
        "radius": torch.tensor(radii, dtype=torch.float64),
        "failed": torch.zeros(count).double(),
        "attacked_margin": -torch.ones(count).double(),
        "flips_to": torch.full((count,), 5),
        "drop": torch.tensor([[1.5, 0.5]] * count).double(),
        "share": torch.tensor([[0.5, 0.5]] * count).double(),
        "nearest": torch.tensor([[-1, 5]] * count),
        "towards": torch.tensor([[6, -1]] * count),
        "names": {5: "five", 6: "six"},
        "run": run or replace(RUN, eps=eps),
    }
    return Robustness(**made | changes)


RUN = AttackRun(
    attack="bim", attack_fields={"steps": 10, "step": None}, norm="linf", eps=1.0, bisections=6,
    baseline=None, scale=0.1, attribute_to="prompt", movable="content", tolerance=0.02, model="m",
    model_revision=None, dtype="float32", versions={"torch": "2"}, seconds=0.5, forward_rows=3,
    backward_rows=2, directional_rows=0, notes=("note",),
)  # fmt: skip


def test_the_curve_counts_tokens_and_answers():
    several = [result([0.0, 0.2]), result([0.5, math.inf])]
    found = robust_accuracy(several, [0.6, 0, 0.2, 0.5])
    assert found.radii == (0, 0.2, 0.5, 0.6)
    assert found.tokens == (0.75, 0.5, 0.25, 0.25)
    assert found.answers == (0.5, 0.5, 0, 0)
    whole = robust_accuracy(several)
    assert (whole.radii[0], whole.radii[-1], len(whole.radii)) == (0, 1, 21)
    for shares in (whole.tokens, whole.answers):
        assert list(shares) == sorted(shares, reverse=True)
    assert robust_accuracy(several[0]).tokens[-1] == 0


@pytest.mark.parametrize(
    ("results", "radii", "message"),
    [
        ([], None, "there is no result"),
        ([result([0.5])], [2.0], "expected some from 0 to 1"),
        ([result([0.5])], [-0.1], "expected some from 0 to 1"),
        ([result([0.5])], [math.nan], "expected some from 0 to 1"),
        ([result([0.5])], [], "expected some from 0 to 1"),
        ([result([0.5]), result([0.5], eps=0.5)], [0.7], "expected some from 0 to 0.5"),
        ([result([0.5]), result([0.5], run=replace(RUN, attack="mim"))], None, "several attacks"),
    ],
)
def test_curves_beyond_what_was_tried_are_refused(results, radii, message):
    with pytest.raises(InputError, match=message):
        robust_accuracy(results, radii)


# Files and views


def assert_same_result(a, b):
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, torch.Tensor):
            assert value.dtype == other.dtype
            assert torch.equal(value, other), name
        elif name in ("inputs", "response"):
            assert value.ids.tolist() == other.ids.tolist()
            assert (value.pieces, value.roles, value.offsets, value.text) == (
                other.pieces, other.roles, other.offsets, other.text,
            )  # fmt: skip
        else:
            assert value == other, name


def test_files_are_lossless(tmp_path):
    own = attacked(tiny.model("t5"), eps=0.5, attack="dim", baseline="zero")
    for made in (own, result([0.0, 0.3, math.inf])):
        made.save(tmp_path / "r.json")
        assert_same_result(Robustness.load(tmp_path / "r.json"), made)


@pytest.mark.parametrize(
    ("path", "junk", "message"),
    [
        (["format"], "hf_attrib.results.attribution", "is not a saved robustness result"),
        (["format_version"], 2, "has format version 2"),
        (["radius"], [0.5], "its radius has 1 entries, expected 2"),
        (["radius", 0], None, "some radius is no radius"),
        (["radius", 0], "far", r"its radius\[0\] is \"far\", expected a number"),
        (["failed", 0], 0.9, "below one that failed"),
        (["probability", 1], 1.5, "probability reaches beyond 0 to 1"),
        (["flips_to", 0], -1, "is -1, expected a whole number"),
        (["flips_to", 0], None, "flips_to is no token"),
        (["share", 1, 0], -0.5, "share reaches beyond 0 to 1"),
        (["nearest", 0, 0], 9, "token 9 has no name"),
        (["towards", 0], [None], r"its towards\[0\] has 1 entries, expected 2"),
        (["drop", 0, 0], True, "expected a number"),
        (["names", 0], [5], "has 1 entries, expected 2"),
        (["run", "norm"], "l1", "norm is 'l1'"),
        (["run", "eps"], 0, "eps is 0"),
        (["run", "notes"], "x", "expected a list"),
    ],
)
def test_damaged_files_are_refused(tmp_path, path, junk, message):
    file = tmp_path / "r.json"
    result([0.5, math.inf]).save(file)
    content = json.loads(file.read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    file.write_text(json.dumps(content))
    with pytest.raises(ResultFileError, match=message):
        Robustness.load(file)


HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e[bold]"


def test_text_is_data_everywhere(tmp_path):
    made = result(
        [0.5],
        inputs=tokens([HOSTILE, HOSTILE]),
        response=tokens([HOSTILE]),
        names={5: HOSTILE, 6: HOSTILE},
        run=replace(RUN, model=HOSTILE, attack=HOSTILE, notes=(HOSTILE,)),
    )
    shown, page = str(made), made.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert harmless(shown)
    assert "[bold]" in shown
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert harmless(page.replace("\t", " "))
    assert not re.search(r"https?:|//[a-z]|@import|url\(| style=", page)


def test_the_view_says_what_was_found():
    shown = str(result([0.0, 0.25, math.inf], failed=torch.tensor([0, 0.125, 1.0]).double()))
    lines = shown.splitlines()
    (row,) = [line for line in lines if line.startswith("w1 ")]
    assert re.match(r"w1 +0.50 +0.125 to 0.25 +five +a>six 1.5 +b>>five 0.5$", row)
    (row,) = [line for line in lines if line.startswith("w2 ")]
    assert "> 1" in row
    assert "five" not in row.split("a>six")[0]
    assert "0   67 %" in re.sub(r" +", "   ", shown).replace("   %", " %")
    (row,) = [line for line in str(result([0.5])).splitlines() if line.startswith("w0 ")]
    assert " <= 0.5 " in row  # no radius was tried in vain
    drop = torch.tensor([[0.02, 0.01]]).double()
    assert "a>six 0.020" in str(result([0.5], drop=drop, attacked_margin=torch.ones(1).double()))
    narrow = hf_attrib.render.plain(result([0.5]).__rich__(), 30)
    assert max(map(len, narrow.splitlines())) <= 30
    assert re.search(r"^radius +tokens +answers$", narrow, re.M)
    assert re.search(r"^ +0 +100 % +100 %$", narrow, re.M)


def test_the_page_about_it_shows_what_is_found(keys):
    page = (Path(__file__).parents[2] / "docs" / "robustness.md").read_text(encoding="utf-8")
    found = Explainer(*keys).robustness(PROMPT)
    assert f'model.robustness("{PROMPT}")' in page
    for t, piece in enumerate(found.response.pieces):
        flips = re.escape(found.flips_to_piece(t))
        (row,) = re.findall(
            rf"^{re.escape(piece.strip())} +[01]\.\d\d  [\d.]+ to ([\d.]+) +{flips} ", page, re.M
        )
        assert float(row) == pytest.approx(float(found.radius[t]), rel=0.02)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code, *capsys.readouterr()


def test_the_command(tmp_path, capsys, keys):
    saved, page = tmp_path / "r.json", tmp_path / "r.html"
    quick = ("--bisections", 1, "--attack", "bim(steps=3)", "--response", " Bob's key is blue.")
    command = ("robustness", PROMPT, *quick)
    code, out, err = run(capsys, *command, "--json", saved, "--html", page)
    assert (code, err) == (0, "")
    assert out.startswith("keys-llama · bim(steps=3) · radii up to 1")
    assert "blue" in out
    found = Robustness.load(saved)
    assert page.read_text(encoding="utf-8") == found.to_html()
    again = tmp_path / "again.html"
    assert run(capsys, "show", saved, "--html", again) == (0, out, "")
    assert again.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    code, _, err = run(capsys, "show", saved, "--matrix")
    assert (code, "a robustness result has no --matrix" in err) == (2, True)
    expected = Explainer(*keys).robustness(
        PROMPT, response=" Bob's key is blue.", bisections=1, steps=3
    )
    torch.testing.assert_close(found.radius, expected.radius)
    drawn = ("--attack", "pgd(steps=1)", "--seed", 3)
    code, out, _ = run(capsys, *command, *drawn, "--json", "-")
    assert json.loads(out)["run"]["attack_fields"]["seed"] == 3
    drawn = ("--attack", "pgd(steps=1, seed=2)", "--seed", 3)
    code, out, _ = run(capsys, *command, *drawn, "--json", "-")
    assert json.loads(out)["run"]["attack_fields"]["seed"] == 2
    aimed = ("--attack", "dim(steps=1)", "--baseline", "id:2", "--json", "-")
    code, out, _ = run(capsys, *command, *aimed)
    assert json.loads(out)["run"]["baseline"] == "token 2"
    code, out, _ = run(capsys, *command, "--json", "-")
    assert code == 0
    assert json.loads(out)["radius"] == found.radius.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attack", "magic"), "attack 'magic' is unknown"),
        (("--attack", "bim(eps=1)"), "the attack has eps=1.0"),
        (("--eps", "-1"), "eps is -1.0; expected a number above 0"),
        (("--eps", "inf"), "eps is inf; expected a number above 0 and below 1,000,000"),
        (("--eps", "x"), "Invalid value for '--eps'"),
        (("--bisections", "-1"), "bisections is -1"),
        (("--movable", "x"), "movable is 'x'"),
        (("--baseline", "mean"), "attack bim takes no baseline"),
        (("--attack", "dim", "--baseline", "x"), "baseline 'x' is unknown"),
        (("--html", "-"), "standard output takes JSON only"),
        (("--html", "/nowhere/x"), "cannot write"),
        (("--json", "/tmp/same", "--html", "/tmp/same"), "was given for two outputs"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, arguments, message):
    code, out, err = run(capsys, "robustness", PROMPT, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err

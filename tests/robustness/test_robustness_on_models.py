"""Radii of models: real flips, and what is said where there are none."""

from dataclasses import replace

import pytest
import torch
from helpers import tiny
from helpers.attacked import attacked
from helpers.residue import assert_same, prepared, state

import hf_attrib
from hf_attrib import Explainer, InputError, Robustness, robust_accuracy
from hf_attrib.attacks import attack
from hf_attrib.embedded import retrieval
from hf_attrib.model import isolated
from hf_attrib.robustness import RadiusSearch, margin_question, measure
from hf_attrib.text import Request

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


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
    model = tiny.shared(family)
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
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    explainer = Explainer(model, tokenizer)

    result = attacked(model)
    request = Request("the key is red", response_ids=result.response.ids)
    sequence = explainer._transcriber.sequence(explainer._transcriber.prompt(request), request, {})
    question = margin_question(attack("bim", {}), None, "prompt", "content")
    with isolated(model):
        (ready,) = explainer._engine.each(explainer._engine.plan(question, [sequence]))
        search = RadiusSearch(attack("bim", {"steps": 4}), bisections=3)
        found = search(ready.field, ready.seen.x, ready.seen.value)
    for t, token in enumerate(result.response.ids.tolist()):
        with torch.no_grad():
            logits = model(inputs_embeds=found.points[0, t][None]).logits[0]
        says = logits[len(sequence.prompt) - 1 + t].argmax()
        assert int(says) == int(result.flips_to[t]) != token
        away = (found.points[0, t] - ready.seen.x[0, 0]).abs().max() / result.run.scale
        assert float(away) == pytest.approx(float(result.radius[t]), rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_batches_and_chunks_change_nothing(family):
    model, prompts = tiny.shared(family), ["the key", "Ada was born in", "red"]
    many = attacked(model, prompt=prompts, batch_size=64)
    for prompt, together in zip(prompts, many, strict=True):
        assert_alike(together, attacked(model, prompt=prompt, batch_size=3))


def test_what_was_written_by_others_is_marked():
    model = tiny.shared("llama")
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
    found = attacked(tiny.shared("llama"), eps=1e-4)
    assert not found.flipped.any()
    assert bool((found.attacked_margin < found.margin).all())
    assert [found.flips_to_piece(t) for t in range(len(found))] == [None] * len(found)
    assert "no token flipped within 0.0001" in str(found)
    assert "> 0.0001" in str(found)


def test_drops_that_do_not_add_up_are_marked(monkeypatch):
    monkeypatch.setattr(measure, "_DROPS", replace(measure._DROPS, rule="left"))
    found = attacked(tiny.shared("llama"))
    (note,) = found.run.notes
    missed = int((found.gap > found.run.tolerance).sum())
    assert note.startswith(f"{missed} of {len(found)} tokens: what inputs took misses")
    assert note.endswith(f" {float(found.gap.max()):.1%}.")
    assert note in " ".join(str(found).split())


def test_attacks_that_take_a_baseline_have_that_of_explain():
    """The first step of a MIG attack is integrated gradients' direction, so it knows x'."""
    own = attacked(tiny.shared("llama"), attack="mig")
    assert own.run.baseline == "mean embedding"
    assert "baseline mean embedding" in " ".join(str(own).split())
    same = attacked(tiny.shared("llama"), attack="mig", baseline="mean")
    other = attacked(tiny.shared("llama"), attack="mig", baseline="zero")
    assert torch.equal(own.drop, same.drop)
    assert not torch.allclose(own.drop, other.drop)
    assert other.run.baseline == "zero embedding"
    with pytest.raises(InputError, match="the results are of several attacks"):
        robust_accuracy([own, other])
    assert attacked(tiny.shared("llama")).run.baseline is None


def test_what_moves_nothing_says_so():
    found = attacked(tiny.shared("llama"), eps=1e-30)
    still = f"{len(found)} of {len(found)} targets: the attack moved nothing"
    assert any(note.startswith(still) for note in found.run.notes)
    assert not attacked(tiny.shared("llama")).run.notes


def test_nothing_is_withstood_where_the_model_overflows():
    model = tiny.shared("t5", dtype=torch.float16)
    found = attacked(model, attack="fgsm", eps=9e5, bisections=0, steps=1)
    lost = found.radius.isinf()
    assert lost.any()
    assert not found.failed[lost].any()  # all were tried to no avail, and none in vain
    assert any("the model overflows under attack" in note for note in found.run.notes)


def test_half_precision():
    found = attacked(tiny.shared("llama", dtype=torch.bfloat16))
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
    model = hf_attrib.attach(tiny.shared("llama"), tiny.tokenizer())
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

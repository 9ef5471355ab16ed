"""Sanity checks: what fails them must fail, and marks are all that comes of it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.field import MODES, Decomposition
from hf_attrib.methods import Claims, Method, Occlusion
from hf_attrib.validation import CHECKS, sanity

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPTS = [
    "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:",
    "Bob's key is green. Q: What color is Bob's key? A:",
]


@dataclass(frozen=True)
class Position(Method):
    """Scores that are places: they know nothing of the model, and reach into the future."""

    CLAIMS: ClassVar = Claims("nothing", frozenset(), signed=False, baseline=None)

    def __call__(self, field, x, baseline):
        places = torch.arange(x.shape[2]).to(x) * field.movable.to(x)
        scores = places[:, None].expand(-1, field.targets, -1)
        return Decomposition(scores, None)


@pytest.fixture(scope="module")
def found(keys):
    return Explainer(*keys).sanity(
        PROMPTS, {"ours": "sequential_ig", "drawn": "smooth_grad(samples=2)", "place": Position()}
    )


def of(found, method):
    return {check.check: check for check in found.checks if check.method == method}


def test_a_sound_method_passes(found):
    checks = of(found, "ours")
    assert list(checks) == list(CHECKS)
    assert [checks[name].passed for name in CHECKS] == [True, True, True, None, None]
    assert 0 < checks["sensitivity"].value < 1
    assert np.isnan(checks["seeds"].value)


def test_one_that_knows_no_model_fails(found):
    checks = of(found, "place")
    assert [checks[name].passed for name in CHECKS] == [False, False, False, None, None]
    assert checks["weights"].value == pytest.approx(1)
    assert checks["sensitivity"].value == 0
    assert {check.method for check in found.failed} >= {"place"}


def test_one_that_draws_says_how_sure_it_is(found):
    seeds = of(found, "drawn")["seeds"]
    assert seeds.passed
    assert 0.5 < seeds.value <= 1


def test_the_model_is_left_as_it_was(keys):
    model, tokenizer = keys
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Explainer(model, tokenizer).sanity(PROMPTS[1], "saliency", ["weights"])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("asked", [{"batch_size": 3}, {"max_memory": "1GiB"}])
def test_random_blocks_run_in_the_memory_that_is_allowed(keys, monkeypatch, asked):
    made = []

    class Kept(sanity.Memory):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(given)

    monkeypatch.setattr(sanity, "Memory", Kept)
    Explainer(*keys, **asked).sanity(PROMPTS[1], "saliency", "weights")
    assert made == [(asked.get("batch_size"), 2**30 if "max_memory" in asked else None)]


def test_an_attached_model_checks(keys):
    found = hf_attrib.attach(*keys).sanity(PROMPTS[1], "saliency", "causality")
    assert [check.outcome for check in found.checks] == ["passed"]


def test_encoders_are_checked(g2p):
    found = Explainer(*g2p).sanity("knight", "saliency", ["other target", "causality", "weights"])
    assert of(found, "saliency")["causality"].passed


def test_it_is_shown(found):
    text = str(found)
    assert text.startswith("Sanity of methods on keys-llama · 2 prompts")
    assert "!" in text
    assert "draws nothing" in text


@dataclass(frozen=True)
class Constant(Position):
    """Scores that are all the same, and then no number."""

    number: float = 1.0

    def __call__(self, field, x, baseline):
        return Decomposition(0 * super().__call__(field, x, baseline).scores + self.number, None)


@pytest.mark.parametrize("number", [1.0, np.nan])
def test_what_has_no_number_has_not_failed(keys, number):
    checks = ["other target", "weights", "causality"]
    found = Explainer(*keys).sanity(PROMPTS[1], {"flat": Constant(number)}, checks)
    expected = ["undecided", "undecided", "undecided" if np.isnan(number) else "failed"]
    assert [check.outcome for check in found.checks] == expected
    assert [check.passed for check in found.undecided] == [None] * len(found.undecided)
    assert "there are no units whose scores differ" in found.checks[0].about
    assert "?" in str(found)


def test_of_few_units_nothing_is_said_that_chance_would_do_as_well(keys):
    asked = {"checks": ["other target", "weights", "causality"], "responses": " red"}
    few = Explainer(*keys).sanity("is red.", {"place": Position()}, **asked)
    assert [check.outcome for check in few.checks] == ["undecided"] * 3
    assert "too few units to tell" in few.checks[0].about
    assert "nothing comes after what is explained" in few.checks[2].about


@pytest.mark.parametrize(("count", "prompts"), [(4, 1), (9, 1), (9, 20)])
def test_independent_scores_seldom_fail(count, prompts):
    draw = np.random.default_rng(0)
    outcomes = [
        sanity._below(list(draw.normal(size=(prompts, 2, count))), 0.3, "")[0] for _ in range(100)
    ]
    assert outcomes.count("failed") <= 10
    same = draw.normal(size=(prompts, count))
    assert sanity._below(zip(same, same, strict=True), 0.9, "")[0] == "failed"


def test_what_is_asked_of_a_method_is_what_is_checked(keys):
    explainer, checks = Explainer(*keys), "other target"
    within = {"mine": {"method": "saliency", "target": "logit"}}
    asked = explainer.sanity(PROMPTS[1], {"mine": "saliency"}, checks, target="logit")
    assert asked == explainer.sanity(PROMPTS[1], within, checks)
    assert asked != explainer.sanity(PROMPTS[1], {"mine": "saliency"}, checks)
    joined = explainer.sanity(PROMPTS[1], "saliency", checks, groups={"all": (1, 18)})
    assert {check.outcome for check in joined.checks} == {"undecided"}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_can_be_checked(keys, mode):
    found = Explainer(*keys).sanity("Ada's key is red.", Occlusion(mode=mode), responses=" red key")
    outcomes = {check.check: check.outcome for check in found.checks}
    assert outcomes["causality"] == "passed"
    assert outcomes["sensitivity"] == "no mark"
    (moved,) = [check for check in found.checks if check.check == "sensitivity"]
    assert np.isnan(moved.value) == (mode != "embed")


@pytest.mark.parametrize("name", ["metrics", "operators", "random_orders", "per_token", "resume"])
def test_what_sanity_does_not_take_is_refused(keys, name):
    with pytest.raises(InputError, match=f"sanity has no argument '{name}'"):
        Explainer(*keys).sanity(PROMPTS, "saliency", **{name: "lds"})


def test_what_cannot_be_checked_is_refused(keys):
    explainer = Explainer(*keys)
    with pytest.raises(InputError, match="'depth' is unknown; expected some of other target"):
        explainer.sanity(PROMPTS, "saliency", ["depth"])
    with pytest.raises(InputError, match="checks are 5; expected some of other target"):
        explainer.sanity(PROMPTS, "saliency", 5)
    with pytest.raises(InputError, match="'mine' brings scores"):
        explainer.sanity(PROMPTS[0], {"mine": lambda case: None})

"""How many rows a run takes is told before, and it takes no more and no fewer."""

import pytest
from helpers import tiny
from helpers.memory_events import GIVEN, PROMPT, RESPONSE
from helpers.quick import quick
from transformers import GenerationConfig

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.methods import methods

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def every(name):
    method = quick(name)
    return {"method": method, "baseline": "mean" if method.claims.baseline else None}


@pytest.mark.parametrize(
    ("name", "family"),
    [(name, "gpt2") for name in [*methods(), "fixed"]]
    + [(name, "t5") for name in ("loo_shapley", "idgi", "agi", "smooth_grad", "fixed")],
)
def test_rows_are_within_the_estimate(family, name):
    options = every(name) if name != "fixed" else {"method": "integrated_gradients", "steps": 9}
    explainer = Explainer(tiny.shared(family))
    for more in ({"spans": "response"}, {"attribute_to": "all"}):
        assert_within(explainer, **GIVEN, **more, **options, exact=name not in VARIABLE)


#: Methods that decide as they go, or hold one that may.
VARIABLE = (
    "baseline_average",
    "big",
    "bsm",
    "fundamental",
    "integrated_gradients",
    "isa",
    "mfaba",
    "noise_average",
    "sequential_ig",
)


def assert_within(explainer, exact=False, **options):
    estimate, found = explainer.estimate(**options), explainer.explain(**options)
    for (least, most), rows in (
        (estimate.forward_rows, found.run.forward_rows),
        (estimate.backward_rows, found.run.backward_rows),
        (estimate.directional_rows, found.run.directional_rows),
    ):
        assert least <= rows <= most
        assert not exact or least == most, (least, most)
    assert (estimate.tokens, estimate.targets) == (len(found.inputs), len(found.rows)) or (
        found.run.attribute_to == "prompt"
    )
    assert 0 < estimate.seconds[0] <= estimate.seconds[1]
    assert not estimate.at_most
    return estimate


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_rows_of_the_adaptive_rule_are_within_the_estimate(family):
    """From the quickest to the longest: loose and strict, graded, long answers cut in blocks."""
    explainer = Explainer(tiny.shared(family))
    long = {"input_ids": PROMPT, "response_ids": tiny.ids(32)}
    path = {"method": "integrated_gradients"}
    for options in (
        {"tolerance": 0.9},
        {"baseline": "zero", "tolerance": 0.9},
        {"tolerance": 1e-5, "max_nodes": 25},
    ):
        assert_within(explainer, **GIVEN, **path, **options)
    assert_within(explainer, **long, **path, max_nodes=21, baseline="zero")
    assert_within(explainer, **long, **path, steps=3, exact=True)
    assert_within(explainer, **long, method="saliency", exact=True)
    late = {"input_ids": tiny.ids(30), "movable": [False] * 25 + [True] * 5}  # a prefix, run once
    estimate = assert_within(explainer, **late, **path, response_ids=RESPONSE, steps=3, exact=True)
    proof = 3  # the prefix, a row behind it, and the same row whole
    assert estimate.forward_rows[0] == 5 + proof * (family == "llama")


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_rows_along_directions_are_within_the_estimate(family):
    explainer = Explainer(tiny.shared(family))
    groups = {"groups": [(0, 5), (5, 9)], "response_ids": tiny.ids(12), "input_ids": PROMPT}
    path = {"method": "integrated_gradients"}
    estimate = assert_within(explainer, **groups, **path, steps=3, exact=True)
    assert estimate.directional_rows == (2 * 3, 2 * 3)
    assert estimate.backward_rows == (0, 0)
    assert_within(explainer, **groups, **path, tolerance=1e-4, max_nodes=25)
    assert_within(explainer, **groups, method="idgi", exact=True)
    few = {"movable": [True] + [False] * 8, "input_ids": PROMPT, "response_ids": tiny.ids(12)}
    assert assert_within(explainer, **few, **path, steps=3, exact=True).directional_rows == (3, 3)


@pytest.mark.usefixtures("looking_ahead")
@pytest.mark.parametrize("name", ["loo_shapley", "idgi", "guided_ig", "agi", "smooth_grad"])
def test_rows_of_models_that_look_ahead_are_within_the_estimate(request, name):
    model = request.getfixturevalue("looking_ahead")
    assert_within(Explainer(model), **GIVEN, **every(name), exact=name not in VARIABLE)


def test_a_method_that_does_not_say_its_cost(monkeypatch):
    monkeypatch.delattr(hf_attrib.methods.methods()["saliency"], "cost")
    explainer = Explainer(tiny.shared("llama"))
    assert explainer.explain(**GIVEN, method="saliency").run.forward_rows == 2
    with pytest.raises(InputError, match="saliency does not say how many rows it runs"):
        explainer.estimate(**GIVEN, method="saliency")


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_new_tokens": 5},
        {"max_length": 14},
        {"generation_config": GenerationConfig(max_new_tokens=4)},
        pytest.param(
            {"stopping_criteria": []}, marks=pytest.mark.filterwarnings("ignore:Using the model")
        ),
        {"prompt": "the key is red " * 40},
    ],
    ids=str,
)
def test_without_a_response_the_longest_is_assumed_and_nothing_generated(
    monkeypatch, family, options
):
    model, tokenizer = tiny.shared(family), tiny.tokenizer(family == "t5")
    model.generation_config.eos_token_id = None  # so that it writes as much as it may
    options = {"prompt": "the key", "method": "saliency"} | options
    written = Explainer(model, tokenizer).explain(**options)
    monkeypatch.setattr(model, "generate", lambda *_, **__: pytest.fail("it generates"))
    estimate = hf_attrib.estimate(model, tokenizer, options.pop("prompt"), **options)
    assert estimate.targets == len(written.response)
    assert estimate.at_most
    assert "at most" in str(estimate)
    assert estimate.forward_rows[0] <= written.run.forward_rows <= estimate.forward_rows[1]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "saliency"},
        {"method": "integrated_gradients", "steps": 3, "groups": [(0, 3), (3, 5)]},
        {"method": "guided_ig", "steps": 2},
        {"method": "integrated_gradients", "max_nodes": 21},
    ],
    ids=str,
)
def test_an_answer_may_stop_at_once(options):
    """Whatever the length that generation takes in the end, rows are within the estimate."""
    model, tokenizer = tiny.shared("gpt2"), tiny.tokenizer()
    model.generation_config.eos_token_id = None
    explainer = Explainer(model, tokenizer)
    estimate = explainer.estimate("the key is red", **options, max_new_tokens=40)
    for count in (1, 5, 12, 40):
        run = explainer.explain("the key is red", **options, max_new_tokens=count).run
        for (least, most), rows in (
            (estimate.forward_rows, run.forward_rows),
            (estimate.backward_rows, run.backward_rows),
            (estimate.directional_rows, run.directional_rows),
        ):
            assert least <= rows <= most
    if options == {"method": "saliency"}:
        alone = explainer.estimate("the key is red", **options, max_new_tokens=1)
        assert "forward rows   up to 2\n" in str(alone)
        assert "memory         up to" in str(alone)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("the key", {"max_new_tokens": 0}, "max_new_tokens is 0; allow at least one"),
        ("the key is red " * 300, {}, "reads at most .* Shorten the prompt"),
        ("the key is red", {"max_length": 2}, "reached the length .* Raise max_length"),
    ],
)
def test_no_room_for_an_answer(prompt, options, message):
    explainer = Explainer(tiny.shared("gpt2"), tiny.tokenizer())
    with pytest.raises(InputError, match=message) as raised:
        explainer.estimate(prompt, **options)
    assert "-" not in str(raised.value)
    if "max_length" not in options:
        with pytest.raises(InputError, match=message):
            explainer.explain(prompt, **options)

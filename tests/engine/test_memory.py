"""Rows fit into the memory there is, memory may end at any point, and costs are told before."""

import gc
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.quick import quick
from helpers.residue import assert_same, prepared, state
from transformers import GenerationConfig

import hf_attrib
from hf_attrib import Explainer, InputError, MemoryLimitError
from hf_attrib.cli import main
from hf_attrib.engine import memory as memory_module
from hf_attrib.engine import size_of
from hf_attrib.engine.memory import written
from hf_attrib.execution import Meter
from hf_attrib.field import Linearisation, Pushforward
from hf_attrib.methods import methods
from hf_attrib.model import EmbeddingField

PROMPT, RESPONSE = tiny.ids(9, seed=1), tiny.ids(3, seed=2)
GIVEN = {"input_ids": PROMPT, "response_ids": RESPONSE}
#: As torch says it on an accelerator, by either class. Made anew, since an error holds its frames.
ENDS = [
    lambda kind=kind: kind("CUDA out of memory. Tried to allocate 2.00 GiB.")
    for kind in (RuntimeError, torch.OutOfMemoryError)
]
#: Few chunks of several rows each, so that memory can end at every point of each of them.
ASKED = {
    "fixed": {"method": "integrated_gradients", "steps": 9},
    "adaptive": {"method": "integrated_gradients", "max_nodes": 21},
    "sampling": {"method": "expected_gradients", "samples": 9},
    "directions": {"steps": 9, "response_ids": tiny.ids(8), "movable": [True] * 2 + [False] * 7},
}

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


class Events:
    """Counts forwards, pullbacks and directions of fields, and lets memory end in one of them.

    Args:
        fail_at: the number of that event, or ``None``.
        error: makes what is raised then.
    """

    def __init__(self, fail_at=None, error=None):
        self.fail_at = fail_at
        self.error = error
        self.rows = []
        self.failed = None
        self._held = []

    def happened(self, tensor, rows=None):
        """Note an event that has made a tensor, and fail with the tensor still in use."""
        rows = len(tensor) if rows is None else rows
        if self.failed is not None and self._held:
            assert not [held for held in self._held if held() is not None], "the attempt lives on"
            self._held = []
        self.rows.append(rows)
        if len(self.rows) - 1 == self.fail_at:
            self.failed = rows
            self._held = [weakref.ref(tensor), weakref.ref(tensor.untyped_storage())]
            raise self.error()


@pytest.fixture
def watch(monkeypatch):
    """Send what fields of a model run to the events that are current."""
    current = [Events()]
    linearise, pushforward = EmbeddingField.linearise, EmbeddingField.pushforward
    value = EmbeddingField._value

    def watched(self, points, sequence, target):
        linear = linearise(self, points, sequence, target)

        def pullback(weights):
            gradient = linear.pullback(weights)
            current[0].happened(gradient)
            return gradient

        return Linearisation(linear.value, pullback)

    def pushed(self, points, sequence, target):
        forward = pushforward(self, points, sequence, target)

        def along(rows, direction):
            found = forward.along(rows, direction)
            current[0].happened(found, len(points))
            return found

        return Pushforward(forward.value, along)

    def valued(self, logits, *rest):
        current[0].happened(logits)
        return value(self, logits, *rest)

    monkeypatch.setattr(EmbeddingField, "linearise", watched)
    monkeypatch.setattr(EmbeddingField, "pushforward", pushed)
    monkeypatch.setattr(EmbeddingField, "_value", valued)

    def begin(events):
        current[0] = events
        return events

    return begin


@pytest.fixture
def _little_garbage():
    """Leave what is there to itself, or each end of memory looks through all of it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_little_garbage")
@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("asked", list(ASKED))
def test_memory_may_end_in_any_forward_and_any_pullback(watch, family, asked):
    shallow = {"num_layers" if family == "t5" else "num_hidden_layers": 1}
    model = tiny.model(family, dtype=torch.float64, **shallow)
    tokenizer = tiny.tokenizer(family == "t5")
    explainer = Explainer(model, tokenizer, batch_size=6)
    options = GIVEN | ASKED[asked]
    explainer.explain(**options)  # the check of the model is over
    every = watch(Events())
    expected = explainer.explain(**options)
    before = state(model, tokenizer)
    for event in range(len(every.rows)):
        explainer._engine.memory.forget()
        failing = watch(Events(event, ENDS[event % 2]))
        found = explainer.explain(**options)
        scale = float(expected.scores.abs().max())
        assert float((found.scores - expected.scores).abs().max()) <= 1e-6 * scale
        assert found.run.forward_rows == expected.run.forward_rows
        assert found.run.backward_rows == expected.run.backward_rows
        # A single row may have run directions, so that fewer at once may do.
        fewer = (failing.failed if failing.failed > 1 else 6) // 2
        assert max(failing.rows[event + 1 :]) <= fewer
        assert failing.failed == every.rows[event]
    assert_same(before, state(model, tokenizer))
    assert len(every.rows) >= 5


def test_a_single_row_that_does_not_fit_is_an_error(watch):
    explainer = Explainer(tiny.model("llama"), batch_size=1)
    explainer.explain(**GIVEN, steps=2)
    for event in (0, 2, 3):
        watch(Events(event, ENDS[event % 2]))
        with pytest.raises(MemoryLimitError, match="only one sequence"):
            explainer.explain(**GIVEN, steps=2)


def test_other_errors_pass(watch):
    explainer = Explainer(tiny.model("llama"), batch_size=4)
    explainer.explain(**GIVEN, steps=4)
    error = RuntimeError("shapes do not fit")
    watch(Events(2, lambda: error))
    with pytest.raises(RuntimeError) as raised:
        explainer.explain(**GIVEN, steps=4)
    assert raised.value is error


def test_what_memory_could_not_hold_is_not_tried_again(watch):
    explainer = Explainer(tiny.model("llama"))
    explainer.explain(**GIVEN, steps=32)
    width = len(PROMPT) + len(RESPONSE) - 1
    failing = watch(Events(2, ENDS[0]))  # after f(x), in the first chunk
    explainer.explain(**GIVEN, steps=32)
    ceiling = failing.failed // 2 * width
    assert failing.failed == 32
    for prompt in (PROMPT, tiny.ids(30), tiny.ids(4)):  # lengths differ: tokens are remembered
        later = watch(Events())
        explainer.explain(input_ids=prompt, response_ids=RESPONSE, steps=32)
        width = len(prompt) + len(RESPONSE) - 1
        assert max(later.rows) == min(32, ceiling // width)
    explainer.model.to(torch.float64)  # another model, so to speak
    fresh = watch(Events())
    explainer.explain(**GIVEN, steps=32)
    assert max(fresh.rows) == 32


def rows_at_once(events):
    return max(events.rows)


def test_on_a_cpu_with_room_nothing_changes_and_one_row_is_measured_once(watch):
    explainer = Explainer(tiny.model("llama"))
    explainer.explain(**GIVEN, steps=2, method="integrated_gradients")
    explainer._engine.memory.forget()
    first, again = (
        (watch(events), explainer.explain(**GIVEN, steps=200))[0] for events in (Events(), Events())
    )
    assert rows_at_once(first) == rows_at_once(again) == 1024 // (len(PROMPT) + len(RESPONSE) - 1)
    assert sum(first.rows) - sum(again.rows) == 2  # a row forward, a row back
    given = watch(Events())
    Explainer(explainer.model, batch_size=7).explain(**GIVEN, steps=20)
    assert rows_at_once(given) == 7


def test_rows_shrink_to_what_is_free(watch, monkeypatch):
    """Before memory ends: long answers and large vocabularies take more for each row."""
    small, large = tiny.model("llama"), tiny.model("llama", vocab_size=8000)

    def at_once(model, response, free):
        explainer = Explainer(model)
        explainer.explain(input_ids=PROMPT, response_ids=response, steps=1)
        monkeypatch.setattr(memory_module, "_available", lambda device: free)
        events = watch(Events())
        explainer.explain(input_ids=PROMPT, response_ids=response, steps=40)
        return rows_at_once(events)

    free = 2 * 2**20
    some, few, fewer = (
        at_once(model, response, free)
        for model, response in ((small, RESPONSE), (large, RESPONSE), (large, tiny.ids(12)))
    )
    assert 40 > some > few > fewer >= 1
    assert at_once(small, RESPONSE, 10) == 1  # one at a time is always tried


@pytest.mark.parametrize(
    ("family", "name"),
    [("t5", "integrated_gradients"), ("gpt2", "smooth_grad"), ("llama", "guided_ig")],
)
def test_max_memory_holds(family, name):
    model = tiny.model(family)
    options = GIVEN | {"method": name, ("samples" if name == "smooth_grad" else "steps"): 9}
    expected = Explainer(model).explain(**options).scores
    one, two = (
        Explainer(model, batch_size=size).estimate(**options).peak_memory for size in (1, 2)
    )
    most = []
    for rows in (1.2, 3.5, 8.5):
        limit = int(one + (rows - 1) * (two - one))
        explainer = Explainer(model, max_memory=limit)
        explainer.explain(**options)
        with Meter() as meter:
            found = explainer.explain(**options).scores
        most.append(sum(meter.peak.values()))
        assert most[-1] <= limit
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5 * float(expected.max()))
    assert most[0] <= most[1] <= most[2] > most[0]


def test_max_memory_and_batch_size_hold_together(watch):
    model = tiny.model("llama")
    one = Explainer(model, batch_size=1).estimate(**GIVEN, steps=20).peak_memory
    for batch_size, rows, expected in ((2, 9.5, 2), (9, 2.5, 2), (None, 4.5, 4)):
        explainer = Explainer(model, batch_size=batch_size, max_memory=int(rows * one))
        explainer.explain(**GIVEN, steps=2)
        events = watch(Events())
        explainer.explain(**GIVEN, steps=20)
        assert rows_at_once(events) == expected


def test_a_row_that_is_too_large_is_refused_before_the_run(watch):
    explainer = Explainer(tiny.model("llama"), max_memory="20KB")
    with pytest.raises(MemoryLimitError, match=r"takes [\d.]+ KiB .* max_memory is 19.6 KiB"):
        explainer.explain(**GIVEN, steps=200)
    events = watch(Events())
    with pytest.raises(MemoryLimitError):
        explainer.explain(**GIVEN, steps=200)
    assert sum(events.rows) <= 3  # f(x), and at most a row forward and back
    with pytest.raises(MemoryLimitError):
        explainer.estimate(**GIVEN, steps=200)


def test_sizes():
    assert size_of("2GiB") == 2**31
    assert size_of("500MB") == 5 * 10**8
    assert size_of(77) == 77
    for text, size in {
        "2gb": 2 * 10**9,
        "2G": 2 * 10**9,
        "1TB": 10**12,
        " 2GiB ": 2**31,
        "1.5 kib": 1536,
        ".5M": 500_000,
        "7 b": 7,
        "1073741824": 2**30,
        np.int64(77): 77,
    }.items():
        assert size_of(text) == size
    for wrong in (
        "two",
        "",
        "-1GB",
        0,
        -3,
        True,
        1.5,
        None,
        "nanGB",
        "infGB",
        b"2GB",
        "2 i",
        "1PB",
    ):
        with pytest.raises(InputError, match="max_memory is"):
            size_of(wrong)
    assert [written(n) for n in (0, 5, 2048, 5 * 2**20, 2**50)] == [
        "0 bytes",
        "5 bytes",
        "2 KiB",
        "5 MiB",
        "1024 TiB",
    ]
    assert written(1) == "1 byte"
    for size in (1023.2, 1025, 20_000, 10**6 + 1, 2**20 - 1, 1234567891, 2**45 + 1):
        assert size <= size_of(written(size)) <= 1.01 * size + 1


def test_an_interrupt_where_a_tensor_ends_is_not_lost():
    """Python drops what its functions raise there, so none may run."""
    called = []
    with Meter():
        tensor = torch.ones(10)
        sys.setprofile(lambda frame, event, _: called.append((event, frame.f_code.co_name)))
        try:
            del tensor
        finally:
            sys.setprofile(None)
    assert [name for event, name in called if event == "call"] == []


def test_the_meter_counts_what_lives_at_once():
    weight = torch.ones(100, 100, requires_grad=True)
    with Meter() as meter:
        a = torch.ones(1000)  # 4,000 bytes
        view = a[:10].view(2, 5)
        assert sum(meter.peak.values()) == 4000
        del a  # its memory is the view's
        b = torch.ones(500)
        assert sum(meter.peak.values()) == 6000
        del view, b
        c = torch.ones(250)
        assert sum(meter.peak.values()) == 6000
        torch.ones(10**6, device="meta")  # a shape without memory
        transposed = weight.t()  # what was there before does not count
        assert sum(meter.peak.values()) == 6000
        x = torch.ones(100, 100).requires_grad_()
        kept = (x @ transposed).exp().sum()  # the product dies, its exponential is kept
        gc.collect()
        large = torch.ones(10**6)  # more than ever lived before, beside what lives still
        assert sum(meter.peak.values()) == 4 * (10**6 + 250 + 10_000 + 10_000 + 1)
        kept.backward()
    del c, large


def every(name):
    method = quick(name)
    return {"method": method, "baseline": "mean" if method.claims.baseline else None}


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("name", [*methods(), "fixed"])
def test_rows_are_within_the_estimate(family, name):
    options = every(name) if name != "fixed" else {"steps": 9}
    explainer = Explainer(tiny.model(family))
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
    explainer = Explainer(tiny.model(family))
    long = {"input_ids": PROMPT, "response_ids": tiny.ids(32)}
    for options in (
        {"tolerance": 0.9},
        {"baseline": "zero", "tolerance": 0.9},
        {"tolerance": 1e-5, "max_nodes": 25},
    ):
        assert_within(explainer, **GIVEN, **options)
    assert_within(explainer, **long, max_nodes=21, baseline="zero")
    assert_within(explainer, **long, steps=3, exact=True)
    assert_within(explainer, **long, method="saliency", exact=True)
    late = {"input_ids": tiny.ids(30), "movable": [False] * 25 + [True] * 5}  # a prefix, run once
    estimate = assert_within(explainer, **late, response_ids=RESPONSE, steps=3, exact=True)
    assert estimate.forward_rows[0] == 5 + 2 * (family == "llama")


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_rows_along_directions_are_within_the_estimate(family):
    explainer = Explainer(tiny.model(family))
    groups = {"groups": [(0, 5), (5, 9)], "response_ids": tiny.ids(12), "input_ids": PROMPT}
    estimate = assert_within(explainer, **groups, steps=3, exact=True)
    assert estimate.directional_rows == (2 * 3, 2 * 3)
    assert estimate.backward_rows == (0, 0)
    assert_within(explainer, **groups, tolerance=1e-4, max_nodes=25)
    assert_within(explainer, **groups, method="idgi", exact=True)
    few = {"movable": [True] + [False] * 8, "input_ids": PROMPT, "response_ids": tiny.ids(12)}
    assert assert_within(explainer, **few, steps=3, exact=True).directional_rows == (3, 3)


@pytest.mark.usefixtures("looking_ahead")
@pytest.mark.parametrize("name", list(methods()))
def test_rows_of_models_that_look_ahead_are_within_the_estimate(request, name):
    model = request.getfixturevalue("looking_ahead")
    assert_within(Explainer(model), **GIVEN, **every(name), exact=name not in VARIABLE)


def test_a_method_that_does_not_say_its_cost(monkeypatch):
    monkeypatch.delattr(hf_attrib.methods()["saliency"], "cost")
    explainer = Explainer(tiny.model("llama"))
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
    model, tokenizer = tiny.model(family), tiny.tokenizer(family == "t5")
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
        {"steps": 3, "groups": [(0, 3), (3, 5)]},
        {"method": "guided_ig", "steps": 2},
        {"max_nodes": 21},
    ],
    ids=str,
)
def test_an_answer_may_stop_at_once(options):
    """Whatever the length that generation takes in the end, rows are within the estimate."""
    model, tokenizer = tiny.model("gpt2"), tiny.tokenizer()
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
    explainer = Explainer(tiny.model("gpt2"), tiny.tokenizer())
    with pytest.raises(InputError, match=message) as raised:
        explainer.estimate(prompt, **options)
    assert "-" not in str(raised.value)
    if "max_length" not in options:
        with pytest.raises(InputError, match=message):
            explainer.explain(prompt, **options)


def test_a_list_runs_fewer_sequences_together_where_each_would_run_alone():
    """Whole gradients are held for all sequences that run together."""
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    asked = {"method": "guided_ig", "steps": 3}
    prompts, answers = ["the key is red", "Ada was born in 19"] * 4, ["blue.", "red"] * 4
    each = [
        Explainer(model, tokenizer, batch_size=1).estimate(p, response=a, **asked).peak_memory
        for p, a in zip(prompts, answers, strict=True)
    ]
    expected = Explainer(model, tokenizer).explain(prompts, response=answers, **asked)
    limit = int(1.2 * max(each))
    explainer = Explainer(model, tokenizer, max_memory=limit)
    found = explainer.explain(prompts, response=answers, **asked)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-5)
    with pytest.raises(MemoryLimitError, match="one sequence") as raised:
        Explainer(model, tokenizer, max_memory=limit // 4).explain(
            prompts, response=answers, **asked
        )
    enough = re.search(r"takes ([\d.]+ \w+) beyond", str(raised.value))[1]
    explainer = Explainer(model, tokenizer, max_memory=enough)
    assert len(explainer.explain(prompts[:1], response=answers[:1], **asked)) == 1


#: Two groups and a long answer, so that gradients come from directions.
GROUPED = {
    "input_ids": tiny.ids(250),
    "response_ids": tiny.ids(40),
    "groups": [(0, 125), (125, 250)],
    "steps": 3,
}


def test_directions_are_measured_and_left_out_where_they_do_not_fit():
    model = tiny.model("llama", hidden_size=64, max_position_embeddings=512)
    explainer = Explainer(model)
    estimate = explainer.estimate(**GROUPED)
    with Meter() as meter:
        expected = explainer.explain(**GROUPED)
    assert expected.run.directional_rows == estimate.directional_rows[0] == 6
    assert 1 / 1.5 < sum(meter.peak.values()) / estimate.peak_memory < 1.5
    limit = estimate.peak_memory // estimate.rows_at_once // 2
    explainer = Explainer(model, max_memory=limit)
    assert explainer.estimate(**GROUPED).directional_rows == (0, 0)
    with Meter() as meter:
        found = explainer.explain(**GROUPED)
    assert found.run.directional_rows == 0
    assert sum(meter.peak.values()) <= limit
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-5)


def test_memory_that_ends_while_directions_are_estimated(monkeypatch):
    def ended(*_):
        raise ENDS[0]()

    model = tiny.model("llama", hidden_size=64, max_position_embeddings=512)
    explainer = Explainer(model)
    explainer.explain(**GIVEN, steps=2)
    monkeypatch.setattr(EmbeddingField, "pushforward", ended)
    assert explainer.estimate(**GROUPED).directional_rows == (0, 0)


def test_what_is_timed_is_no_more_than_usual(watch):
    explainer = Explainer(tiny.model("llama"), batch_size=10**6)
    explainer.explain(**GIVEN, steps=2)
    usual = 1024 // (len(PROMPT) + len(RESPONSE) - 1)
    events = watch(Events())
    assert explainer.estimate(**GIVEN).rows_at_once == usual
    assert explainer.estimate(**GIVEN, steps=2 * usual).rows_at_once == 2 * usual
    assert max(events.rows) <= usual


def test_rows_at_once_are_those_that_memory_left(watch):
    explainer = Explainer(tiny.model("llama"), batch_size=8)
    explainer.explain(**GIVEN, steps=2)
    every = watch(Events())
    assert explainer.estimate(**GIVEN, steps=8).rows_at_once == 8
    (first,) = [i for i, rows in enumerate(every.rows) if rows == 8][:1]
    watch(Events(first, ENDS[0]))
    assert explainer.estimate(**GIVEN, steps=8).rows_at_once == 4


def test_estimates_of_lists_and_of_spans(monkeypatch):
    model, tokenizer = tiny.model("gpt2"), tiny.tokenizer()
    explainer = Explainer(model, tokenizer)
    prompts = ["the key", "Ada was born in 19"]
    each = explainer.estimate(prompts, max_new_tokens=3)
    assert [e.tokens for e in each] == [
        explainer.estimate(p, max_new_tokens=3).tokens for p in prompts
    ]
    assert explainer.estimate("the key", spans="response", max_new_tokens=3).targets == 1
    assert explainer.estimate("the key", spans="word", max_new_tokens=3).targets == 3
    with pytest.raises(InputError, match="Raise max_length"):
        explainer.estimate("the key", max_length=2)
    with pytest.raises(InputError, match="unknown"):
        explainer.estimate("the key", baseline="nothing")


def test_an_estimate_leaves_no_trace():
    model, tokenizer = prepared("llama")
    before = state(model, tokenizer)
    Explainer(model, tokenizer).estimate("the key is red", max_new_tokens=3)
    assert_same(before, state(model, tokenizer))


GROWTH = """
from helpers import tiny
from hf_attrib import Explainer
def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
model = tiny.model("llama", hidden_size=192, intermediate_size=768, num_hidden_layers=2,
                   max_position_embeddings=1024, vocab_size=8000)
explainer = Explainer(model)
def options(prompt, response):
    return dict(input_ids=tiny.ids(prompt), response_ids=tiny.ids(response), steps=6)
explainer.explain(**options(8, 2))
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = peak()
print(explainer.estimate(**options(200, 12)).peak_memory)
explainer.explain(**options(200, 12))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_is_that_of_the_process(monkeypatch):
    """Within a factor of 1.5, where freed memory goes back to the system at once."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    here = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GROWTH], cwd=here, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    estimated, grown = map(int, done.stdout.split())
    assert estimated > 20 * 2**20
    assert 1 / 1.5 < grown / estimated < 1.5


def test_dry_run_on_the_command_line(capsys):
    def called(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["explain", "Ada's key is red. Q: What color is Ada's key? A:", *arguments])
        return ended.value.code, *capsys.readouterr()

    code, out, _ = called("--dry-run", "--max-new-tokens", "4", "--max-memory", "1GiB")
    assert code == 0
    assert re.search(r"targets +4 at most", out)
    assert re.search(r"forward rows +\d+ to [\d,]+\n", out)
    code, out, error = called("--dry-run", "--json", "-")
    assert (code, out) == (2, "")
    assert "--dry-run explains nothing" in error
    code, _, error = called("--max-memory", "much")
    assert code == 2
    assert "max_memory is 'much'" in error
    code, _, error = called("--max-memory", "1KiB", "--max-new-tokens", "2")
    assert code == 2
    assert "beyond the model, but max_memory is 1 KiB" in error

"""As many rows run at once as fit into the memory there is, or that may be taken."""

import re

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.memory_events import GIVEN, PROMPT, RESPONSE, Events, rows_at_once

from hf_attrib import Explainer, InputError, MemoryLimitError
from hf_attrib.engine import memory as memory_module
from hf_attrib.engine import size_of
from hf_attrib.engine.memory import written
from hf_attrib.execution import Meter

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def test_on_a_cpu_with_room_nothing_changes_and_one_row_is_measured_once(watch):
    explainer = Explainer(tiny.model("llama"))
    explainer.explain(**GIVEN, steps=2, method="integrated_gradients")
    explainer._engine.memory.forget()
    first, again = (
        (watch(events), explainer.explain(**GIVEN, method="integrated_gradients", steps=200))[0]
        for events in (Events(), Events())
    )
    assert rows_at_once(first) == rows_at_once(again) == 1024 // (len(PROMPT) + len(RESPONSE) - 1)
    assert sum(first.rows) - sum(again.rows) == 2  # a row forward, a row back
    given = watch(Events())
    Explainer(explainer.model, batch_size=7).explain(
        **GIVEN, method="integrated_gradients", steps=20
    )
    assert rows_at_once(given) == 7


def test_rows_shrink_to_what_is_free(watch, monkeypatch):
    """Before memory ends: long answers and large vocabularies take more for each row."""
    small, large = tiny.model("llama"), tiny.model("llama", vocab_size=8000)

    def at_once(model, response, free):
        explainer = Explainer(model)
        explainer.explain(
            input_ids=PROMPT, response_ids=response, method="integrated_gradients", steps=1
        )
        monkeypatch.setattr(memory_module, "_available", lambda device: free)
        events = watch(Events())
        explainer.explain(
            input_ids=PROMPT, response_ids=response, method="integrated_gradients", steps=40
        )
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
    one = (
        Explainer(model, batch_size=1)
        .estimate(**GIVEN, method="integrated_gradients", steps=20)
        .peak_memory
    )
    for batch_size, rows, expected in ((2, 9.5, 2), (9, 2.5, 2), (None, 4.5, 4)):
        explainer = Explainer(model, batch_size=batch_size, max_memory=int(rows * one))
        explainer.explain(**GIVEN, method="integrated_gradients", steps=2)
        events = watch(Events())
        explainer.explain(**GIVEN, method="integrated_gradients", steps=20)
        assert rows_at_once(events) == expected


def test_a_row_that_is_too_large_is_refused_before_the_run(watch):
    explainer = Explainer(tiny.model("llama"), max_memory="20KB")
    with pytest.raises(MemoryLimitError, match=r"takes [\d.]+ KiB .* max_memory is 19.6 KiB"):
        explainer.explain(**GIVEN, method="integrated_gradients", steps=200)
    events = watch(Events())
    with pytest.raises(MemoryLimitError):
        explainer.explain(**GIVEN, method="integrated_gradients", steps=200)
    assert sum(events.rows) <= 3  # f(x), and at most a row forward and back
    with pytest.raises(MemoryLimitError):
        explainer.estimate(**GIVEN, method="integrated_gradients", steps=200)


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

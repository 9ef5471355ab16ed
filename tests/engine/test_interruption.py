"""Work that is interrupted, wherever that is: what was done is handed over, and says what it is."""

import logging
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib.engine import foretelling
from hf_attrib.errors import InputError
from hf_attrib.execution import Foresight, foresight, say
from hf_attrib.methods import methods
from hf_attrib.render import to_text
from hf_attrib.results import to_json

# Longer than the answer, so that no pass along each input does for all of its tokens.
PROMPTS = ["the red key is blue " * 6, "the key is blue " * 8]
ANSWER = torch.arange(3, 23)


class Stopping:
    """Interrupts the n-th pass of a model, whatever it is for."""

    def __init__(self, model, at):
        self.count, self.at = 0, at
        self.handle = model.register_forward_pre_hook(self)

    def __call__(self, *_):
        self.count += 1
        if self.count == self.at:  # and no later one, which is another's
            raise KeyboardInterrupt

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.handle.remove()


@pytest.fixture(scope="module")
def explainer():
    return hf_attrib.Explainer(tiny.model("llama"), tiny.tokenizer())


@contextmanager
def caught():
    """Keep the interrupt that comes inside, if one does."""
    stops = []
    try:
        yield stops
    except KeyboardInterrupt as stop:
        stops.append(stop)


def passes(explainer, call):
    for _ in range(2):  # which check the model
        call()
    with Stopping(explainer.model, 0) as counting:
        found = call()
    return found, counting.count


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("method", ["integrated_gradients", "loo_shapley", "saliency"])
def test_an_interrupt_at_any_pass_keeps_the_targets_that_were_done(explainer, method):
    given = {"response_ids": ANSWER, "method": method}
    whole, count = passes(explainer, lambda: explainer.explain(PROMPTS[0], **given))
    before = {name: p.requires_grad for name, p in explainer.model.named_parameters()}
    rows = []
    for at in sorted({1, 2, *range(4, count, max(1, count // 8)), count}):
        with Stopping(explainer.model, at) as stopping, caught() as stops:
            explainer.explain(PROMPTS[0], **given)
        if not stops:  # fewer passes than before, as some only prove what may be reused
            assert stopping.count < at
            continue
        assert stopping.count == at
        (stop,) = stops
        assert stop.results == []
        parts = getattr(stop, "unfinished", [])
        rows.append(sum(map(len, parts)))
        for part in parts:
            check_part(part, whole)
    assert rows[:2] == [0, 0]
    assert (max(rows) > 0) == (method == "integrated_gradients")
    assert {name: p.requires_grad for name, p in explainer.model.named_parameters()} == before
    again = explainer.explain(PROMPTS[0], **given)
    torch.testing.assert_close(again.scores, whole.scores)


def check_part(part, whole):
    """Its rows are those of the whole result, its sums hold, and every view says what it lacks."""
    at = [whole.rows.index(row) for row in part.rows]
    assert 0 < len(at) < len(whole)
    torch.testing.assert_close(part.scores, whole.scores[at], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(part.value, whole.value[at])
    torch.testing.assert_close(part.gap, whole.gap[at], rtol=0.1, atol=1e-3)
    note = f"interrupted: {len(at)} of {len(whole)} targets were explained; the others are missing."
    assert part.notes[0] == note
    for view in (to_text(part, width=200), part.to_html(), to_json(part)):
        assert note in view
    assert hf_attrib.results.from_json(to_json(part).encode(), "x", type(part)).notes == part.notes


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_a_method_that_holds_another_does_not_pass_its_parts_on(explainer):
    method = "noise_average(inner='integrated_gradients', samples=2)"
    given = {"response_ids": ANSWER[:3], "method": method}
    _, count = passes(explainer, lambda: explainer.explain(PROMPTS[0], **given))
    for at in (count // 4, count // 2, 3 * count // 4):
        with Stopping(explainer.model, at), pytest.raises(KeyboardInterrupt) as stop:
            explainer.explain(PROMPTS[0], **given)
        assert not getattr(stop.value, "unfinished", [])


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_of_several_prompts_those_in_work_stand_apart_from_those_that_are_done(monkeypatch):
    monkeypatch.setattr("hf_attrib.engine.engine.TOGETHER", 1)
    explainer = hf_attrib.Explainer(tiny.model("llama"), tiny.tokenizer())
    given = {"response_ids": [ANSWER, ANSWER], "method": "integrated_gradients"}
    whole, count = passes(explainer, lambda: explainer.explain(PROMPTS, **given))
    with Stopping(explainer.model, count - 5), pytest.raises(KeyboardInterrupt) as stop:
        explainer.explain(PROMPTS, **given)
    assert len(stop.value.results) == 1
    torch.testing.assert_close(stop.value.results[0].scores, whole[0].scores)
    (part,) = stop.value.unfinished
    check_part(part, whole[1])


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("method", "seconds", "words"),
    [
        # Adaptive rules seldom take the most that they may.
        ("integrated_gradients", (100.0, 9000.0), "about 100 to 300 s, at most 9,000 s: "),
        ("occlusion", (100.0, 250.0), "about 100 to 250 s: "),
    ],
)
def test_what_takes_long_says_so_before_it_starts(
    explainer, caplog, monkeypatch, method, seconds, words
):
    given = {"response_ids": ANSWER, "method": method}
    explainer.explain(PROMPTS[0], **given)
    assert not caplog.records
    monkeypatch.setattr(foretelling, "PATIENCE", 0.0)
    started = []
    engine = explainer._engine
    estimate = engine.estimate

    def measured(*asked):
        started.append(len(caplog.records))
        return replace(estimate(*asked), seconds=seconds, peak_memory=3 * 2**20)

    monkeypatch.setattr(engine, "estimate", measured)
    found = explainer.explain(PROMPTS[0], **given)
    (record,) = caplog.records
    said = record.getMessage()
    assert (record.name, record.levelno, started) == ("hf_attrib", logging.WARNING, [0])
    assert f"this takes {words}" in said
    assert "forward rows" in said
    assert "3 MiB" in said
    assert "groups='sentence'" in said
    assert ("runs forward alone" in said) == (method == "integrated_gradients")
    assert found.forward_rows == explainer.explain(PROMPTS[0], **given).forward_rows


def test_a_method_that_does_not_say_what_it_runs_foretells_nothing(explainer, caplog, monkeypatch):
    def unknown(*_):
        raise InputError("nobody knows")

    monkeypatch.setattr(foretelling, "PATIENCE", 1e-9)
    monkeypatch.setattr(methods()["occlusion"], "cost", unknown)
    explainer.explain(PROMPTS[0], response_ids=ANSWER, method="occlusion")
    assert not caplog.records


def test_many_pieces_of_work_speak_once_for_all_inside_them(caplog, monkeypatch):
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(foresight.time, "monotonic", lambda: next(now))
    passed = []
    work = Foresight("rows", lambda *pair: passed.append(pair), " It goes on.")
    with work.speaking():
        for done in range(1, 5):
            say("of one row")
            work(done, 20)
    (record,) = caplog.records
    assert record.getMessage() == (
        "2 of 20 rows are done; by the pace of the last 1 the others take about 180 s. It goes on."
    )
    assert passed == [(done, 20) for done in range(1, 5)]
    say("of one row")
    assert len(caplog.records) == 2
    short = Foresight("rows", lambda *_: None)
    for done in range(1, 3):
        short(done, 3)
    assert len(caplog.records) == 2

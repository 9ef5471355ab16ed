"""What memory and time a run takes is told before, in Python and on the command line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.memory_events import ENDS, GIVEN, PROMPT, RESPONSE, Events
from helpers.residue import assert_same, prepared, state

from hf_attrib import Explainer, InputError
from hf_attrib.cli import main
from hf_attrib.execution import Meter
from hf_attrib.model import EmbeddingField

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

#: Two groups and a long answer, so that gradients come from directions.
GROUPED = {
    "input_ids": tiny.ids(250),
    "response_ids": tiny.ids(40),
    "groups": [(0, 125), (125, 250)],
    "method": "integrated_gradients",
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
    explainer.explain(**GIVEN, method="integrated_gradients", steps=2)
    monkeypatch.setattr(EmbeddingField, "pushforward", ended)
    assert explainer.estimate(**GROUPED).directional_rows == (0, 0)


def test_what_is_timed_is_no_more_than_usual(watch):
    explainer = Explainer(tiny.model("llama"), batch_size=10**6)
    explainer.explain(**GIVEN, method="integrated_gradients", steps=2)
    usual = 1024 // (len(PROMPT) + len(RESPONSE) - 1)
    events = watch(Events())
    assert explainer.estimate(**GIVEN, method="integrated_gradients").rows_at_once == usual
    assert (
        explainer.estimate(**GIVEN, method="integrated_gradients", steps=2 * usual).rows_at_once
        == 2 * usual
    )
    assert max(events.rows) <= usual


def test_rows_at_once_are_those_that_memory_left(watch):
    explainer = Explainer(tiny.model("llama"), batch_size=8)
    explainer.explain(**GIVEN, method="integrated_gradients", steps=2)
    every = watch(Events())
    assert explainer.estimate(**GIVEN, method="integrated_gradients", steps=8).rows_at_once == 8
    (first,) = [i for i, rows in enumerate(every.rows) if rows == 8][:1]
    watch(Events(first, ENDS[0]))
    assert explainer.estimate(**GIVEN, method="integrated_gradients", steps=8).rows_at_once == 4


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
    return dict(input_ids=tiny.ids(prompt), response_ids=tiny.ids(response), steps=6,
                method="integrated_gradients")
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

    code, out, _ = called(
        "--dry-run",
        "--max-new-tokens",
        "4",
        "--max-memory",
        "1GiB",
        "--method",
        "integrated_gradients",
    )
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

"""Memory may end at any point, and all that changes is how many rows run at once."""

import gc

import pytest
import torch
from helpers import tiny
from helpers.memory_events import ENDS, GIVEN, PROMPT, RESPONSE, Events
from helpers.residue import assert_same, state

from hf_attrib import Explainer, MemoryLimitError

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

#: Few chunks of several rows each, so that memory can end at every point of each of them.
ASKED = {
    "fixed": {"method": "integrated_gradients", "steps": 9},
    "adaptive": {"method": "integrated_gradients", "max_nodes": 21},
    "sampling": {"method": "expected_gradients", "samples": 9},
    "directions": {
        "method": "integrated_gradients",
        "steps": 9,
        "response_ids": tiny.ids(8),
        "movable": [True] * 2 + [False] * 7,
    },
}


@pytest.fixture
def _little_garbage():
    """Leave what is there to itself, or each end of memory looks through all of it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_little_garbage")
@pytest.mark.parametrize(
    ("family", "asked"), [*(("llama", asked) for asked in ASKED), ("t5", "adaptive")]
)
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
    explainer.explain(**GIVEN, method="integrated_gradients", steps=2)
    for event in (0, 2, 3):
        watch(Events(event, ENDS[event % 2]))
        with pytest.raises(MemoryLimitError, match="only one sequence"):
            explainer.explain(**GIVEN, method="integrated_gradients", steps=2)


def test_other_errors_pass(watch):
    explainer = Explainer(tiny.model("llama"), batch_size=4)
    explainer.explain(**GIVEN, method="integrated_gradients", steps=4)
    error = RuntimeError("shapes do not fit")
    watch(Events(2, lambda: error))
    with pytest.raises(RuntimeError) as raised:
        explainer.explain(**GIVEN, method="integrated_gradients", steps=4)
    assert raised.value is error


def test_what_memory_could_not_hold_is_not_tried_again(watch):
    explainer = Explainer(tiny.model("llama"))
    explainer.explain(**GIVEN, method="integrated_gradients", steps=32)
    width = len(PROMPT) + len(RESPONSE) - 1
    failing = watch(Events(2, ENDS[0]))  # after f(x), in the first chunk
    explainer.explain(**GIVEN, method="integrated_gradients", steps=32)
    ceiling = failing.failed // 2 * width
    assert failing.failed == 32
    for prompt in (PROMPT, tiny.ids(30), tiny.ids(4)):  # lengths differ: tokens are remembered
        later = watch(Events())
        explainer.explain(
            input_ids=prompt, response_ids=RESPONSE, method="integrated_gradients", steps=32
        )
        width = len(prompt) + len(RESPONSE) - 1
        assert max(later.rows) == min(32, ceiling // width)
    explainer.model.to(torch.float64)  # another model, so to speak
    fresh = watch(Events())
    explainer.explain(**GIVEN, method="integrated_gradients", steps=32)
    assert max(fresh.rows) == 32

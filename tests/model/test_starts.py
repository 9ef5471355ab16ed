"""Rows that begin as the prompt does are run behind its keys and values, and say the same."""

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer, UnsupportedModelError
from hf_attrib.model import embedding_field

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
PROMPT, RESPONSE = tiny.ids(19), tiny.ids(3, seed=1)
#: Windows of 8 are shorter than most beginnings; mamba keeps states and T5 has an encoder.
FAMILIES = ("llama", "gpt2", "gemma3_text", "mistral", "opt", "falcon", "mamba", "t5")


@pytest.fixture
def starts(monkeypatch):
    """Say how many beginnings are kept, of prompts as short as these."""
    monkeypatch.setattr(embedding_field, "_LONGER", 4)

    def keep(count):
        monkeypatch.setattr(embedding_field, "_STARTS", count)
        monkeypatch.setattr(embedding_field, "_FEW", 2 * count)

    return keep


def both(starts, explain):
    starts(0)
    whole = explain()
    starts(4)
    return whole, explain()


def assert_same(found, whole):
    size = float(whole.scores.abs().max())
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize("method", ["loo_shapley", "occlusion(mode=drop)", "rise(samples=20)"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_whole_rows(family, method, starts):
    model = tiny.model(family, dtype=torch.float64)
    asked = {"input_ids": PROMPT, "response_ids": RESPONSE, "method": method, "movable": "all"}
    whole, found = both(starts, lambda: Explainer(model).explain(**asked))
    assert_same(found, whole)
    kept = family not in ("mamba", "t5")
    assert (found.run.forward_rows > whole.run.forward_rows) == kept  # those that prove it
    assert Explainer(model).estimate(**asked).forward_rows == (found.run.forward_rows,) * 2


@pytest.mark.parametrize("method", ["loo_shapley", "shapley(samples=4, mode=drop)"])
def test_of_prompts_of_other_lengths_and_groups_that_end_the_prompt(method, starts):
    """All that a target is predicted from, behind the beginning, may be cut out."""
    model, tokenizer = tiny.model("llama", dtype=torch.float64), tiny.tokenizer()
    prompts = ["the key is red in the blue key", "Ada was born in the red key, and Bob was not"]
    answers = [" blue", " in the"]
    options = {"method": method, "groups": [(1, 4), (4, 9)], "attribute_to": "all"}
    whole, found = both(
        starts, lambda: Explainer(model, tokenizer).explain(prompts, response=answers, **options)
    )
    for one, other in zip(found, whole, strict=True):
        assert_same(one, other)


def test_fewer_tokens_are_run(starts):
    model, run = tiny.model("llama"), []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: run.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    asked = {"input_ids": tiny.ids(60), "response_ids": RESPONSE, "method": "occlusion"}
    explainer, counts = Explainer(model), []
    for count in (4, 0, 4):  # the first time, the model is checked as well
        starts(count)
        run.clear()
        explainer.explain(**asked)
        counts.append(sum(run))
    assert counts[2] < 0.75 * counts[1]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("mode", ["embed", "token", "drop"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_subsets_of_passages_are_those_of_whole_rows(family, mode, rows, starts):
    model = tiny.model(family, dtype=torch.float64)
    spans = [(1, 6), (6, 11), (11, 16)]
    asked = {"input_ids": PROMPT, "response_ids": RESPONSE, "groups": spans, "mode": mode}
    asked |= {"baseline": 3} if mode == "token" else {}
    whole, found = both(starts, lambda: Explainer(model, batch_size=rows).passages(**asked).table)
    order = [found.subsets.tolist().index(row) for row in whole.subsets.tolist()]
    torch.testing.assert_close(found.values[order], whole.values, rtol=1e-9, atol=1e-9)


def test_subsets_of_passages_share_what_they_begin_with(starts):
    """Each row runs from where it departs from the one before it: 2^n - 1 passages in all."""
    model, run = tiny.model("llama"), []
    spans = [(k, k + 10) for k in range(0, 40, 10)]
    asked = {"input_ids": tiny.ids(44), "response_ids": RESPONSE, "groups": spans}
    explainer = Explainer(model, batch_size=1)
    starts(4)
    explainer.passages(**asked, movable="all")  # which checks the model
    model.register_forward_pre_hook(
        lambda module, args, kwargs: run.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    explainer.passages(**asked, movable="all")
    behind = 4 + len(RESPONSE) - 1
    # Of the 16 rows, that of all passages was run before; the others depart in all passages but k.
    table = run[-15:]
    counts = [sum(length == 10 * k + behind for length in table) for k in range(1, 5)]
    assert counts == [8, 4, 2, 1]


def test_memory_and_time_are_measured_on_whole_rows(starts):
    """Beside the inputs as they are, of which little runs again."""
    model, run = tiny.model("llama"), []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: run.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    starts(4)
    asked = {"input_ids": tiny.ids(60), "response_ids": RESPONSE, "method": "occlusion"}
    explainer = Explainer(model)
    explainer.explain(**asked)
    run.clear()
    explainer.estimate(**asked)
    whole, alone = 60 + len(RESPONSE) - 1, [shape for shape in run if shape[0] > 1]
    assert {length for _, length in alone} == {whole, min(length for _, length in alone)}
    assert min(length for _, length in alone) < whole / 2
    peaks = []
    for count in (0, 4):
        starts(count)
        peaks.append(Explainer(model).estimate(**asked).peak_memory)
    assert peaks[1] >= peaks[0]


def test_what_gradients_are_taken_of_keeps_no_beginnings(starts):
    model = tiny.model("llama")
    asked = {"input_ids": PROMPT, "response_ids": RESPONSE, "method": "saliency"}
    whole, found = both(starts, lambda: Explainer(model).explain(**asked))
    assert found.run.forward_rows == whole.run.forward_rows


@pytest.mark.parametrize("sure", [1, 60], ids=["unsure", "sure"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_goes_on_otherwise_is_run_whole(starts, monkeypatch, dtype, sure):
    """Keys are of short passes and rows are long. A sure token's probability tells nothing."""
    monkeypatch.setattr(embedding_field, "_LONGER", 40)
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 16.0}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    model = tiny.model("llama", rope_parameters=rope | {"original_max_position_embeddings": 64})
    with torch.no_grad():
        model.lm_head.weight.mul_(sure)
        answer = model.to(dtype)(torch.tensor([tiny.ids(100)])).logits[0, -1:].argmax(-1)
    asked = {"input_ids": tiny.ids(100), "response_ids": answer, "movable": "all"}
    whole, found = both(starts, lambda: Explainer(model).explain(**asked, method="occlusion"))
    size = float(whole.scores.abs().max())
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-4, atol=1e-4 * size)


def switched_by(size, remember, recall):
    """Return a model that computes something else from its first pass of fewer tokens on."""
    model = tiny.model("llama")

    def before(module, args, kwargs):
        if kwargs["input_ids"].shape[1] < size:
            remember(module)
        module.model.norm.variance_epsilon = 0.5 if recall(module) else 1e-6

    model.register_forward_pre_hook(before, with_kwargs=True)
    return model


def test_a_model_that_a_short_pass_switches_is_run_whole(starts):
    def explain():
        model = switched_by(
            16,
            lambda module: setattr(module, "switched", True),
            lambda module: getattr(module, "switched", False),
        )
        model.switched = False
        asked = {"input_ids": tiny.ids(60), "response_ids": RESPONSE, "method": "occlusion"}
        found = Explainer(model).explain(**asked)
        assert not model.switched
        return found

    whole, found = both(starts, explain)
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-4, atol=1e-5)


def test_a_switch_that_cannot_be_put_back_is_refused(starts):
    switches = []
    model = switched_by(16, lambda module: switches.append(1), lambda module: bool(switches))
    starts(4)
    explainer, asked = Explainer(model), {"response_ids": RESPONSE, "method": "occlusion"}
    explainer.explain(input_ids=tiny.ids(60), **asked)  # the check has switched it by then
    switches.clear()
    with pytest.raises(UnsupportedModelError, match="passes over parts of them"):
        explainer.explain(input_ids=tiny.ids(60), **asked)

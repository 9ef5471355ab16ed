"""A call leaves the model, the tokenizer and the random state as they were, also when it fails."""

import copy

import pytest
import torch
from helpers import tiny
from helpers.residue import assert_same, prepared, state

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.methods import Method, Saliency, base

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


@pytest.mark.parametrize(
    "family", ["gpt2", "llama", "gemma3_text", "mamba", "mixtral", "t5", "bart"]
)
def test_a_call_leaves_no_trace(family):
    model, tokenizer = prepared(family)
    before = state(model, tokenizer)
    explainer = Explainer(model, tokenizer)
    for options in ({}, {"method": "saliency"}, {"attribute_to": "all", "target": "logit"}):
        explainer.explain("the key is red", max_new_tokens=3, **options)
        assert_same(before, state(model, tokenizer))


@pytest.fixture
def broken():
    """A method that fails in the middle of its work, registered for one test only."""

    class Broken(Method, name="broken"):
        CLAIMS = Saliency.CLAIMS

        def __call__(self, field, x, baseline):
            field.at(x, x)
            raise ZeroDivisionError("on purpose")

    yield Broken()
    base._METHODS._classes.pop("broken")


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_failing_call_leaves_no_trace(family, broken):
    model, tokenizer = prepared(family)
    before = state(model, tokenizer)
    with pytest.raises(ZeroDivisionError):
        Explainer(model, tokenizer).explain("the key", max_new_tokens=2, method=broken)
    assert_same(before, state(model, tokenizer))
    with pytest.raises(InputError):
        Explainer(model, tokenizer).explain("the key", max_new_tokens=2, baseline=10**6)
    assert_same(before, state(model, tokenizer))


def test_a_failing_forward_leaves_no_trace():
    model, tokenizer = prepared("llama")
    explainer = Explainer(model, tokenizer)
    explainer.explain("the key", response=" is", method="integrated_gradients", steps=2)
    before = state(model, tokenizer)
    layer = model.model.layers[1]
    original = layer.forward
    layer.forward = lambda *args, **kwargs: 1 / 0
    try:
        with pytest.raises(ZeroDivisionError):
            explainer.explain("the key", response=" is", method="integrated_gradients", steps=2)
    finally:
        layer.forward = original
        del layer.forward  # the class has its own
    assert_same(before, state(model, tokenizer))


def test_it_works_inside_no_grad_and_inference_mode():
    model, tokenizer = prepared("llama")
    explainer = Explainer(model, tokenizer)
    expected = explainer.explain(
        "the key is", response=" red", method="integrated_gradients", steps=4
    ).scores
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = explainer.explain(
                "the key is", response=" red", method="integrated_gradients", steps=4
            ).scores
        assert torch.equal(found, expected)


def test_importing_binds_nothing():
    import transformers

    assert not hasattr(transformers.PreTrainedModel, "explain")
    assert not hasattr(transformers.GenerationMixin, "explain")


def test_attach_binds_to_one_model_only():
    model, other = tiny.model("llama"), tiny.model("llama")
    assert hf_attrib.attach(model, tiny.tokenizer()) is model
    count = len(tiny.tokenizer()("the key").input_ids)
    assert model.explain("the key", max_new_tokens=1).scores.shape == (1, count)
    assert not hasattr(other, "explain")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_input_embeddings().weight.mul_(2)
    assert not torch.equal(
        twin.explain("the key", max_new_tokens=1).scores,
        model.explain("the key", max_new_tokens=1).scores,
    )


def test_sampling_follows_the_global_seed_as_generate_does():
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    ids = tokenizer("the key is", return_tensors="pt").input_ids
    torch.manual_seed(3)
    written = model.generate(ids, do_sample=True, max_new_tokens=5)[0, ids.shape[1] :]
    torch.manual_seed(3)
    found = Explainer(model, tokenizer).explain("the key is", do_sample=True, max_new_tokens=5)
    assert found.response_ids.tolist() == written.tolist()

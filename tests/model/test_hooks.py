"""Hooks and training state of the user's: the same scores, and no graph in any result."""

import copy
import gc
import weakref
from dataclasses import fields, is_dataclass

import pytest
import torch
from helpers import tiny
from helpers.quick import quick

import hf_attrib
from hf_attrib import Explainer, HFAttribError, InputError, UnsupportedModelError

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
QUESTION = {"input_ids": tiny.ids(7), "response_ids": tiny.ids(3, seed=1)}
FAMILIES = ["llama", "gpt2", "opt", "t5", "bart"]


def checkpointed(model):
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    return model.train()


def noisy(model):
    """As NEFTune trains."""
    embedding = model.get_input_embeddings()
    embedding.register_forward_hook(lambda m, a, o: o + torch.randn_like(o) if m.training else o)
    return model.train()


def watched(model):
    """As tools do that record activations and gradients."""
    model.seen = []
    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, a, o: model.seen.append(o))
            if not isinstance(module, torch.nn.Embedding):  # torch warns of these
                module.register_full_backward_hook(lambda m, i, o: None)
    embedding = model.get_input_embeddings()
    embedding.register_forward_hook(lambda m, a, o: o.detach().requires_grad_())
    return model


def adapted(model):
    """With an adapter that has learnt nothing yet."""
    peft = pytest.importorskip("peft")
    names = [n.split(".")[-1] for n, m in model.named_modules() if n.endswith((".q_proj", ".q"))]
    kind = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    modules = sorted(set(names)) or ["c_attn"]
    config = peft.LoraConfig(task_type=kind, target_modules=modules, fan_in_fan_out=not names)
    return peft.get_peft_model(model, config)


def tensors(found):
    if isinstance(found, torch.Tensor):
        yield found
    elif is_dataclass(found):
        for field in fields(found):
            yield from tensors(getattr(found, field.name))
    elif isinstance(found, dict | list | tuple):
        for part in found.values() if isinstance(found, dict) else found:
            yield from tensors(part)


@pytest.mark.parametrize("method", ["loo_shapley", "integrated_gradients"])
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # of transformers
@pytest.mark.parametrize("state", [checkpointed, noisy, watched])
def test_the_scores_are_those_of_the_model_without(state, method):
    for family in FAMILIES if method == "loo_shapley" else ("llama",):
        options = QUESTION | {"method": quick(method)}
        wanted = Explainer(tiny.model(family)).explain(**options)
        found = Explainer(state(tiny.model(family))).explain(**options)
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-3, atol=1e-4)
        assert not any(tensor.requires_grad for tensor in tensors(found))
        copy.deepcopy(found).scores.numpy()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of peft
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_that_has_learnt_nothing_changes_nothing(family):
    wanted = Explainer(tiny.model(family)).explain(**QUESTION)
    model = adapted(tiny.model(family)).train()
    found = Explainer(model).explain(**QUESTION)
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-3, atol=1e-4)
    assert model.training
    assert any(p.requires_grad for p in model.parameters())
    assert not any(tensor.requires_grad for tensor in tensors(found))


WRONG_PLACES = {
    "head": "lm_head",
    "the model": "",
    "embedding": "model.embed_tokens",
    "layer": "model.layers.1",
}


@pytest.mark.parametrize("given", [{"max_new_tokens": 2}, {"response_ids": [20, 30]}])
@pytest.mark.parametrize("place", WRONG_PLACES)
def test_a_hook_that_returns_something_else_is_refused_in_words(place, given):
    model = tiny.model("llama")
    name = WRONG_PLACES[place]

    def wrong(module, arguments, output):
        return (getattr(output, "logits", output),)

    model.get_submodule(name).register_forward_hook(wrong)
    with pytest.raises(HFAttribError) as error:
        Explainer(model).explain(input_ids=[5, 6], method="saliency", **given)
    assert "'tuple' object" in str(error.value) or "tuple indices" in str(error.value)
    if "max_new_tokens" in given:
        assert f"a forward hook on {name or 'the model'} may return" in str(error.value)
    assert "." not in str(error.value).rstrip(".").replace(name, "")


@pytest.mark.parametrize(
    "arguments", [{"num_beams": 2, "num_beam_groups": 3}, {"custom_generate": "nowhere"}], ids=str
)
def test_hooks_are_no_excuse_for_arguments(arguments):
    model = watched(tiny.model("llama"))
    with pytest.raises(InputError, match="generate refuses") as error:
        Explainer(model).explain(input_ids=[5, 6], **arguments)
    assert "hook" not in str(error.value)


@pytest.mark.parametrize("given", [{"max_new_tokens": 2}, {"response_ids": [20, 30]}])
@pytest.mark.parametrize("name", ["lm_head", "model.norm", "model.layers.1.mlp.up_proj", "model"])
def test_weights_that_are_nowhere_are_refused_by_name(name, given):
    model = tiny.model("llama")
    model.get_submodule(name).to("meta")
    with pytest.raises(UnsupportedModelError, match="meta device, and no accelerate hook") as error:
        Explainer(model).explain(input_ids=[5, 6], method="saliency", **given)
    assert name in str(error.value) or name == "model"


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of peft
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig"])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_virtual_tokens_are_named_as_the_cause(kind, family):
    peft = pytest.importorskip("peft")
    task = "SEQ_2_SEQ_LM" if family == "t5" else "CAUSAL_LM"
    more = {"encoder_hidden_size": 8} if kind == "PromptEncoderConfig" else {}
    config = getattr(peft, kind)(task_type=task, num_virtual_tokens=4, **more)
    model = peft.get_peft_model(tiny.model(family), config)
    with pytest.raises(UnsupportedModelError, match=r"virtual tokens do.*without"):
        Explainer(model).explain(**QUESTION)


def test_a_hook_that_changes_embeddings_is_part_of_the_model():
    model, plain = tiny.model("llama"), tiny.model("llama")
    model.get_input_embeddings().register_forward_hook(lambda m, a, o: 2 * o)
    with torch.no_grad():
        plain.get_input_embeddings().weight.mul_(2)
    found, wanted = (Explainer(m).explain(**QUESTION) for m in (model, plain))
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_are_freed_with_their_last_reference(family):
    gc.disable()
    try:
        # Whatever kept the first model of a process, torch.fx.wrap in frames, is collected first.
        attached, plain = hf_attrib.attach(tiny.model(family)), tiny.model(family)
        explainer = Explainer(plain)
        results = [attached.explain(**QUESTION), explainer.explain(**QUESTION)]
        gone = [weakref.ref(attached), weakref.ref(plain)]
        del attached, plain, explainer
        assert [one() for one in gone] == [None, None]
        assert len(results) == 2
    finally:
        gc.enable()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_an_attached_model_explains_itself(copied):
    model = hf_attrib.attach(tiny.model("llama"))
    wanted = model.explain(**QUESTION)
    twin = copied(model)
    if copied is copy.deepcopy:
        with torch.no_grad():
            model.lm_head.weight.zero_()
    del model
    assert torch.equal(twin.explain(**QUESTION).scores, wanted.scores)
    assert hf_attrib.attach(tiny.model("llama")).explain(**QUESTION).scores.equal(wanted.scores)

"""What others change while a model is explained stays; what would mix two models is refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import tiny
from torch import nn

import hf_attrib
from hf_attrib import Explainer, UnsupportedModelError
from hf_attrib.model import isolated, watch
from hf_attrib.model.weights import Weights

pytestmark = [
    pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of peft
]
QUESTION = {
    "input_ids": tiny.ids(9),
    "response_ids": tiny.ids(4, seed=1),
    "method": "integrated_gradients",
    "steps": 8,
}
HERE, ELSEWHERE = "called back", "another thread"


def changing(model, change, where=HERE, back=None):
    """Explain a model that is changed at the first sign of progress, and back at a later one."""
    calls = []

    def progress(done, total):
        calls.append(1)
        run = {1: change, 3: back}.get(len(calls))
        if run is None:
            return
        if where == HERE:
            run(model)
        else:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(run, model).result()

    return Explainer(model, batch_size=2, progress=progress).explain(**QUESTION)


def attach(model):
    hf_attrib.attach(model, tiny.tokenizer())


def label(model):
    model.served_by, model.model.layers[0].label = "me", "first"


def no_cache(model):
    model.config.use_cache, model.config.label = False, "mine"


def eager(model):
    model.set_attn_implementation("eager")


def checkpoint(model):
    model.gradient_checkpointing_enable()


HARMLESS = {
    attach: lambda m: callable(m.explain),
    label: lambda m: (m.served_by, m.model.layers[0].label) == ("me", "first"),
    no_cache: lambda m: (m.config.use_cache, m.config.label) == (False, "mine"),
    eager: lambda m: m.config._attn_implementation == "eager",
    checkpoint: lambda m: m.model.layers[0].gradient_checkpointing,
}


@pytest.mark.parametrize("where", [HERE, ELSEWHERE])
@pytest.mark.parametrize("change", HARMLESS)
def test_what_computes_the_same_stays_and_is_explained(change, where):
    wanted = Explainer(tiny.model("llama")).explain(**QUESTION)
    model = tiny.model("llama")
    found = changing(model, change, where)
    assert HARMLESS[change](model)
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)
    again = Explainer(model).explain(**QUESTION)
    torch.testing.assert_close(again.scores, wanted.scores, rtol=1e-4, atol=1e-5)
    assert HARMLESS[change](model)


def adapted():
    """A model with two adapters, and what makes more."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(tiny.model("llama"), config, adapter_name="first")
    model.add_adapter("second", config)
    model.set_adapter("first")
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([tiny.ids(5)])).logits


@pytest.mark.parametrize("where", [HERE, ELSEWHERE])
def test_another_adapter_is_refused_and_stays(where):
    model, expected = adapted(), adapted()
    expected.set_adapter("second")
    with pytest.raises(UnsupportedModelError, match=r"changed while .*active_adapter"):
        changing(model, lambda m: m.set_adapter("second"), where)
    assert torch.equal(logits(model), logits(expected))


def test_adapters_that_are_off_for_a_while_are_refused(monkeypatch):
    # Passes of a tiny model are over before it is time to look again.
    monkeypatch.setattr(watch, "_SELDOM", 0)
    model = adapted()
    before = logits(model)
    off = model.disable_adapter()
    with pytest.raises(UnsupportedModelError, match="changed while it was explained"):
        changing(model, lambda _: off.__enter__(), back=lambda _: off.__exit__(None, None, None))
    if model._adapters_disabled:  # the refusal came before
        off.__exit__(None, None, None)
    assert torch.equal(logits(model), before)


def test_an_adapter_that_is_merged_stays_merged():
    model = adapted()
    before = logits(model)
    with pytest.raises(UnsupportedModelError, match="weights of PeftModel changed"):
        changing(model, lambda m: m.merge_adapter())
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)


def add_adapter(model):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    model.add_adapter(config)


def resize(model):
    torch.manual_seed(0)
    model.resize_token_embeddings(tiny.VOCABULARY + 10)


def uncounted(model):
    model.lm_head.weight.data.mul_(1.2)


def averaged(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.01


def replaced(model):
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach() * 1.2)


def rope(model):
    model.model.rotary_emb.inv_freq.data.mul_(0.5)
    model.model.rotary_emb.scaled = True


@pytest.mark.parametrize("where", [HERE, ELSEWHERE])
@pytest.mark.parametrize("change", [add_adapter, resize, uncounted, averaged, replaced, rope])
def test_another_model_is_refused_and_stays(change, where):
    model, expected = tiny.model("llama"), tiny.model("llama")
    for each in (model, expected):
        each.requires_grad_(False)
    change(expected)
    with pytest.raises(UnsupportedModelError, match="changed while it was explained"):
        changing(model, change, where)
    assert model.config.to_dict() == expected.config.to_dict()
    assert [type(m) for m in model.modules()] == [type(m) for m in expected.modules()]
    found, wanted = model.state_dict(), expected.state_dict()
    assert found.keys() == wanted.keys()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in wanted.items()}
    assert torch.equal(logits(model), logits(expected))


class Quantised(nn.Parameter):
    """Numbers that mean nothing without their scales, as those of bitsandbytes."""


def quantised(model):
    """Give a layer 8-bit weights whose scales are in an attribute, and a bias that is trained."""
    linear = model.model.layers[0].mlp.up_proj
    scale = linear.weight.detach().abs().amax() / 127
    linear.weight = Quantised((linear.weight.detach() / scale).round(), requires_grad=False)
    linear.weight.scale = scale
    linear.bias = nn.Parameter(torch.zeros(len(linear.weight)))
    linear.forward = lambda x: nn.functional.linear(
        x, linear.weight * linear.weight.scale, linear.bias
    )
    return linear


def test_quantised_weights_keep_their_scales_beside_a_trained_bias():
    model = tiny.model("llama")
    linear = quantised(model)
    plain = tiny.model("llama")
    with torch.no_grad():
        plain.model.layers[0].mlp.up_proj.weight.copy_(linear.weight * linear.weight.scale)
    found, wanted = (Explainer(each).explain(**QUESTION) for each in (model, plain))
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-6)
    assert linear.bias.requires_grad


@pytest.mark.parametrize("trained", [False, True])
def test_frozen_weights_are_what_they_are(trained):
    """Whatever a forward reads of them: their kind, their attributes; and what it puts there."""
    model = tiny.model("llama").requires_grad_(trained)
    linear, norm = model.model.layers[0].mlp.up_proj, model.model.norm
    linear.weight = Quantised(linear.weight.detach(), requires_grad=trained)
    norm.weight.note, norm.weight.scale = "kept", torch.ones(1)
    model.lm_head.weight.note = "kept"
    new = torch.zeros_like(model.lm_head.weight)
    with isolated(model):
        assert type(linear.weight) is Quantised
        assert (norm.weight.note, norm.weight.scale) == ("kept", torch.ones(1))
        assert model.lm_head.weight.note == "kept"
        assert not model.lm_head.weight.requires_grad
        model.lm_head.weight.data = new
        with ThreadPoolExecutor(1) as pool:
            assert (model.lm_head.weight == 0).all()  # which hands it on to all
            assert (pool.submit(lambda: model.lm_head.weight).result() == 0).all()
    assert (model.lm_head.weight == 0).all()
    assert model.lm_head.weight.requires_grad == trained


def test_weights_are_seen_to_change():
    module = nn.Linear(3, 3)
    with torch.no_grad():
        module.weight[0, 0] = torch.nan
    before = Weights([module])
    assert before.same(Weights([module]))
    module.weight.data[2] += 1
    assert not before.same(Weights([module]))
    module.weight.data[2] -= 1
    assert not Weights([module]).same(Weights([nn.Linear(3, 3)]))

"""What a model remembers from pass to pass is put back, and does not carry over between answers."""

import copy
import time
from contextlib import suppress
from threading import Event, Thread

import pytest
import torch
from helpers import families, tiny
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig

from hf_attrib import Explainer, UnsupportedModelError
from hf_attrib.model.state import state_restored

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

QUICK = {"method": "input_x_gradient"}


class Restless(nn.Module):
    """Changes all that a module can hold besides parameters."""

    def __init__(self):
        super().__init__()
        self.child = nn.Linear(2, 2)
        self.mode = "sparse"
        self.seen, self.cache, self.kinds = [1], {"a": 1}, {1}
        self.table = torch.zeros(3)
        self.register_buffer("written", torch.zeros(3))
        self.register_buffer("replaced", torch.zeros(3))

    def forward(self):
        self.mode = "full"
        self.seen.append(2)
        self.cache["a"] = 2
        self.kinds.add(2)
        self.table[0] = 1
        self.written += 1
        self.replaced = torch.ones(5)
        child = self.child
        self.child = nn.Linear(2, 2)  # of another kind, on the same weights
        self.child.weight, self.child.bias = child.weight, child.bias
        self.more = 1
        self.register_buffer("another", torch.ones(1))


@pytest.mark.parametrize("known", [False, True])
def test_everything_but_parameters_is_put_back_also_after_an_error(known):
    module = Restless()
    if known:  # then no pass has to be run again
        with state_restored(module, module.forward):
            module()
    before = copy.deepcopy(module)
    child, written = module.child, module.written
    again = None if known else module.forward
    with suppress(RuntimeError), state_restored(module, again) as changed:
        assert not changed()
        module()
        assert changed()
        module()
        raise RuntimeError
    assert module.child is child
    assert module.written is written
    assert vars(module).keys() == vars(before).keys()
    for name in ("mode", "seen", "cache", "kinds"):
        assert getattr(module, name) == getattr(before, name)
    for name in ("table", "written", "replaced"):
        assert torch.equal(getattr(module, name), getattr(before, name))
    assert module._buffers.keys() == before._buffers.keys()


def test_what_others_change_meanwhile_stays():
    module, added = Restless(), nn.Identity()
    module.kept, module.list = "a", [1]
    with state_restored(module, module.forward):
        module()
        module.kept, module.label, module.other = "b", "new", added
        module.list.append(2)
        module.child.label = "gone with the child"
        module()
    assert (module.mode, module.kept, module.label) == ("sparse", "b", "new")
    assert (module.seen, module.list) == ([1], [1, 2])
    assert module.other is added
    passes = []
    with state_restored(module, lambda: passes.append(1)):
        module()
        module.kept = "c"  # is known to be none of the model's doing
    assert (module.mode, module.kept, passes) == ("sparse", "c", [])
    with state_restored(module):
        module.unknown = 1
    assert module.unknown == 1


def test_weights_hooks_and_modes_are_left_to_whoever_changes_them():
    module = nn.Linear(2, 2)
    with state_restored(module):
        module.register_forward_hook(lambda *args: None)
        module.train(False)
        with torch.no_grad():
            module.weight.fill_(3)
    assert module._forward_hooks
    assert not module.training
    assert (module.weight == 3).all()


def remembered(model):
    """Everything in a model's modules that is no parameter and no hook."""
    found = {}
    for name, module in model.named_modules():
        found[name] = (
            type(module),
            {
                key: value.clone() if isinstance(value, torch.Tensor) else value
                for key, value in (vars(module) | module._buffers).items()
                if not key.startswith("_") and key != "config"
            },
        )
    return found


def sparse():
    """Its encoder attends by blocks, and gives that up for good once a text is short."""
    config = AutoConfig.for_model(
        "bigbird_pegasus", vocab_size=tiny.VOCABULARY, block_size=4, num_random_blocks=1,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        **(tiny._BART | {"max_position_embeddings": 256}),
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(tiny.NOISE * torch.randn_like(parameter))
    model.generation_config = GenerationConfig(
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2
    )
    return model.eval()


def dynamic():
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    model = tiny.model("llama", max_position_embeddings=16, rope_parameters=rope)
    model.config.max_position_embeddings = 128
    model.generation_config.use_cache = False
    return model


@pytest.mark.parametrize("make", [sparse, dynamic, lambda: families.build("causal/phi3")])
@pytest.mark.parametrize("lengths", [(8, 3), (60, 5)])
def test_a_call_leaves_what_a_model_remembers(make, lengths):
    model = make()
    before = remembered(model)
    explainer = Explainer(model)
    explainer.explain(
        input_ids=families.ids(lengths[0], 1), response_ids=families.ids(lengths[1], 2), **QUICK
    )
    explainer.explain(input_ids=families.ids(lengths[0], 1), max_new_tokens=4, **QUICK)
    after = remembered(model)
    assert after.keys() == before.keys()
    for name, (kind, values) in before.items():
        assert after[name][0] is kind
        assert after[name][1].keys() == values.keys()
        for key, value in values.items():
            torch.testing.assert_close(after[name][1][key], value, rtol=0, atol=0) if isinstance(
                value, torch.Tensor
            ) else None
            assert isinstance(value, torch.Tensor) or after[name][1][key] == value


def test_sparse_attention_is_explained_as_such_after_short_texts():
    prompts = families.ids(8, 1), families.ids(100, 2)
    answer = families.ids(3, 3)
    with torch.no_grad():
        logits = sparse()(
            input_ids=torch.tensor([prompts[1]]),
            decoder_input_ids=torch.tensor([[2, *answer[:-1]]]),
        ).logits[0]
    expected = logits.log_softmax(-1)[range(3), answer]
    explainer = Explainer(sparse())
    for prompt in prompts:
        found = explainer.explain(input_ids=prompt, response_ids=answer, **QUICK)
    torch.testing.assert_close(found.value, expected, rtol=1e-4, atol=1e-5)


def test_frequencies_do_not_depend_on_what_was_explained_before():
    explainer = Explainer(dynamic())
    alone = Explainer(dynamic())
    explainer.explain(input_ids=families.ids(90, 1), response_ids=families.ids(3, 2), **QUICK)
    short = {"input_ids": families.ids(25, 4), "response_ids": families.ids(3, 5)}
    found, expected = (one.explain(**short, **QUICK) for one in (explainer, alone))
    assert torch.equal(found.value, expected.value)
    assert torch.equal(found.scores, expected.scores)


def in_place(linear):
    with torch.no_grad():
        linear.weight.div_(2)


def uncounted(linear):
    linear.weight.data.div_(2)


def replaced(linear):
    linear.weight = nn.Parameter(linear.weight.detach() / 2)


def packed(linear):
    linear.weight.data = linear.weight.data / 2


def in_an_attribute(linear):
    linear.weight.scale.div_(2)


def in_an_object(linear):
    linear.weight.state.scale.data.div_(2)


def large(linear):
    linear.table.data.div_(2)


class Scales:
    """What a quantised weight holds besides its numbers."""

    def __init__(self):
        self.scale = torch.ones(1)


def rescaling(write, layer):
    """A model whose first pass halves a layer for good, in one of many ways."""
    model = tiny.model("llama", num_hidden_layers=2)
    linear = model.model.layers[layer].mlp.up_proj
    linear.weight.scale, linear.weight.state, linear.rescaled = torch.ones(1), Scales(), False
    linear.register_buffer("table", torch.ones(2**20 + 1), persistent=False)
    calls = []

    def forward(x):
        if not linear.rescaled:
            calls.append(1)
            write(linear)
            linear.rescaled = True
        own = (linear.weight, linear.bias)
        scales = vars(linear.weight)
        factor = scales["scale"] * scales["state"].scale if scales else 1
        return nn.functional.linear(x, *own) * factor * linear.table[0]

    linear.forward = forward
    return model, calls


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(
    "write", [in_place, uncounted, replaced, packed, in_an_attribute, in_an_object, large]
)
def test_a_model_that_rescales_itself_once_does_it_once(write, layer):
    expected = tiny.model("llama", num_hidden_layers=2)
    in_place(expected.model.layers[layer].mlp.up_proj)
    ids = torch.tensor([tiny.ids(6)])
    question = {"input_ids": tiny.ids(6), "response_ids": tiny.ids(2, seed=1)}
    model, calls = rescaling(write, layer)
    Explainer(model).explain(input_ids=tiny.ids(6), max_new_tokens=2, **QUICK)
    found = Explainer(model).explain(**question, **QUICK)
    assert len(calls) == 1
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, expected(ids).logits)
    wanted = Explainer(expected).explain(**question, **QUICK)
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-6)
    assert len(calls) == 1


def test_passes_that_move_the_next_one_are_refused():
    """A pass over the same tokens, run again, must give the same."""
    model = tiny.model("llama")
    norm = model.model.layers[0].input_layernorm
    norm.register_buffer("drift", torch.zeros(()))

    def drift(module, args, output):
        if output.shape[1] > 20:
            module.drift += 0.1
        return output * (1 + module.drift)

    norm.register_forward_hook(drift)
    with pytest.raises(UnsupportedModelError, match="are run again"):
        Explainer(model).explain(input_ids=tiny.ids(30), response_ids=tiny.ids(1), **QUICK)


def test_what_changes_while_no_pass_runs_is_not_the_models_own():
    """A server counts its requests on the model: the count goes on, whatever is explained."""
    model, counted, stop = tiny.model("llama"), [], Event()
    model.requests = 0

    def count():
        while not stop.is_set():
            model.requests += 1
            counted.append(1)
            time.sleep(0.002)

    thread = Thread(target=count)
    thread.start()
    try:
        for _ in range(3):
            Explainer(model).explain(input_ids=tiny.ids(8), response_ids=[70], method="saliency")
    finally:
        stop.set()
        thread.join()
    # What is counted during the one pass that finds out whose the change is may be lost.
    assert len(counted) / 2 < model.requests <= len(counted)


def test_an_interrupt_at_any_pass_leaves_what_the_model_remembers():
    for at in (1, 2, 5, 9, 12, 13, 20):
        rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
        model = tiny.model("llama", max_position_embeddings=32, rope_parameters=rope)
        before, passes = model.model.rotary_emb.inv_freq.clone(), []

        def interrupt(module, args, at=at, passes=passes):
            passes.append(1)
            if len(passes) == at:
                raise KeyboardInterrupt

        model.register_forward_pre_hook(interrupt)
        with suppress(KeyboardInterrupt, UnsupportedModelError):
            Explainer(model).explain(input_ids=tiny.ids(50), response_ids=tiny.ids(5, seed=1))
        assert torch.equal(model.model.rotary_emb.inv_freq, before)
        assert model.model.rotary_emb.max_seq_len_cached == 32

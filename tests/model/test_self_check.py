"""Models that give plausible numbers and no error, though wrong ones, are found out and named."""

import threading
import warnings

import pytest
import torch
from helpers import tiny
from helpers.looking_ahead import bert

from hf_attrib import AttributionWarning, Explainer, InputError, UnsupportedModelError

QUESTION = {
    "input_ids": tiny.ids(7, seed=1),
    "response_ids": tiny.ids(3, seed=2),
    "method": "integrated_gradients",
    "steps": 2,
}


pytestmark = pytest.mark.filterwarnings("ignore:.*have not converged")


def refused(model, message):
    with pytest.raises(UnsupportedModelError, match=message):
        Explainer(model).explain(**QUESTION)


def test_attention_that_looks_ahead():
    """With a cache, BERT generates from states that never saw the tokens after them."""
    model = bert(is_decoder=False)
    refused(model, r"looks ahead .* Set model.generation_config.use_cache = False")
    model.generation_config.use_cache = False
    with pytest.warns(AttributionWarning, match="looks ahead"):
        found = Explainer(model).explain(**QUESTION)
    assert "a pass of its own" in found.notes[0]
    assert not Explainer(bert(is_decoder=True)).explain(**QUESTION).notes


@pytest.mark.filterwarnings("ignore:.*looks ahead")
def test_each_token_of_a_model_that_looks_ahead_is_explained_by_its_prefix(looking_ahead):
    """Against the prefixes one by one, whose last token has nothing after it."""
    explainer = Explainer(looking_ahead)
    options = {"input_ids": QUESTION["input_ids"], "attribute_to": "all", "movable": "all"}
    found = explainer.explain(
        **options, response_ids=QUESTION["response_ids"], method="integrated_gradients", steps=4
    )
    for target in range(3):
        prefix = QUESTION["response_ids"][: target + 1]
        alone = explainer.explain(
            **options, response_ids=prefix, method="integrated_gradients", steps=4
        )
        read = alone.scores.shape[1]
        torch.testing.assert_close(found.scores[target, :read], alone.scores[target])
        torch.testing.assert_close(found.value[target], alone.value[target])
        assert (found.scores[target, read:] == 0).all()
    assert found.forward_rows == 3 * (4 + 2)
    assert found.backward_rows == 3 * 4


@pytest.mark.filterwarnings("ignore:.*looks ahead")
def test_models_that_look_ahead_do_not_share_a_padded_batch(looking_ahead):
    prompts = ["Ada is", "Bob was born in the"]
    explainer = Explainer(looking_ahead, tiny.tokenizer())
    together = explainer.explain(
        prompts, response_ids=[[9, 8], [7, 6, 5]], method="integrated_gradients", steps=2
    )
    for prompt, response, found in zip(prompts, ([9, 8], [7, 6, 5]), together, strict=True):
        alone = explainer.explain(
            prompt, response_ids=response, method="integrated_gradients", steps=2
        )
        assert torch.equal(found.scores, alone.scores)


@pytest.mark.filterwarnings("ignore:.*looks ahead")
def test_a_cache_that_is_switched_on_again_is_noticed(looking_ahead):
    explainer = Explainer(looking_ahead)
    explainer.explain(**QUESTION)
    looking_ahead.generation_config.use_cache = True
    with pytest.raises(UnsupportedModelError, match="use_cache = False"):
        explainer.explain(**QUESTION)


def test_generation_that_reads_more_than_the_tokens_so_far(looking_ahead):
    """As XLM, which appends a mask token."""

    def with_a_mask(ids, **kwargs):
        return {"input_ids": torch.cat([ids, torch.full_like(ids[:, :1], 9)], 1)}

    looking_ahead.prepare_inputs_for_generation = with_a_mask
    refused(looking_ahead, r"generate\(\) feeds it something else than the tokens so far")


def test_generation_that_fails(looking_ahead):
    def failing(ids, **kwargs):
        raise ValueError("no such input")

    looking_ahead.prepare_inputs_for_generation = failing
    refused(looking_ahead, r"looks ahead .* generate\(\) fails: no such input")


def failing(error):
    model = tiny.model("llama")

    def fail(module, args):
        raise error

    model.model.layers[0].register_forward_pre_hook(fail)
    return model


def test_an_error_of_the_model_itself_is_a_refusal():
    error = ValueError("You must specify input_features\nor something else")
    refused(failing(error), r"LlamaForCausalLM .* fails on token ids: You must .*_features$")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), KeyboardInterrupt()])
def test_errors_that_are_not_the_model_s_pass_through(error):
    with pytest.raises(type(error)):
        Explainer(failing(error)).explain(**QUESTION)


def test_routing_to_experts_is_noted():
    with pytest.warns(AttributionWarning, match="f jumps where the routing changes"):
        found = Explainer(tiny.model("mixtral")).explain(**QUESTION)
    assert "routes tokens to experts (Mixtral" in found.notes[0]


def test_the_verdict_does_not_depend_on_the_first_prompt():
    explainer = Explainer(bert(is_decoder=False))
    with pytest.raises(UnsupportedModelError, match="looks ahead"):
        explainer.explain(input_ids=[20], response_ids=[30], method="integrated_gradients", steps=1)


def test_a_gradient_that_is_not_the_derivative():
    """As of layers that run some of their steps without gradients."""
    model = tiny.model("llama")
    model.model.layers[1].mlp.register_forward_hook(
        lambda module, args, output: 0.5 * output + 0.5 * output.detach()
    )
    refused(model, "is not its derivative")


def test_no_gradient_at_all():
    model = tiny.model("llama")
    model.model.layers[0].register_forward_hook(lambda module, args, output: output.detach())
    refused(model, "no gradient reaches")


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, ValueError, KeyError])
def test_a_backward_pass_that_fails_concerns_gradients_only(error):
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(context, states):
            return states.clone()

        @staticmethod
        def backward(context, gradient):
            raise error("no backward here")

    model = tiny.model("llama")
    expected = Explainer(model).explain(input_ids=tiny.ids(7), response_ids=tiny.ids(2, seed=1))
    model.model.layers[0].register_forward_hook(lambda module, args, out: Failing.apply(out))
    found = Explainer(model).explain(input_ids=tiny.ids(7), response_ids=tiny.ids(2, seed=1))
    assert torch.equal(found.scores, expected.scores)
    refused(model, "no gradient reaches .* .?no backward here")


def test_methods_that_take_no_gradient_need_none():
    """Neither of the model nor of the target, and they find what the model does."""
    model = tiny.model("llama")
    model.model.layers[0].register_forward_hook(lambda module, args, output: output.detach())
    explainer, prompt = Explainer(model), tiny.ids(7)

    def whether_likeliest(logits, ids):
        return (logits.argmax(-1) == ids).float()

    with torch.no_grad():
        best = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
        left = [prompt[:i] + prompt[i + 1 :] for i in range(1, 7)]
        after = model(torch.tensor(left)).logits[:, -1].argmax(-1)
    asked = {"input_ids": prompt, "response_ids": [best], "target": whether_likeliest}
    found = explainer.explain(**asked, method="occlusion(mode=drop)", movable="all")
    assert found.scores[0, 1:].tolist() == (after != best).float().tolist()
    assert explainer.explain(**asked).run.method == "loo_shapley"
    assert explainer.estimate(**asked).backward_rows == (0, 0)
    with pytest.raises(UnsupportedModelError, match="no gradient reaches"):
        explainer.explain(**asked, method="saliency")
    with pytest.raises(InputError, match=r"cannot be differentiated by the logits; .* loo_shapley"):
        Explainer(tiny.model("llama")).explain(**asked, method="saliency")


def test_quantised_layers_are_named():
    model = tiny.model("llama")
    model.model.layers[1].mlp = quantised(model.model.layers[1].mlp)
    refused(model, "model.layers.1.mlp.gate_proj .* rounds activations")


def quantised(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its own quantisation
        return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})


def test_a_change_after_the_first_use_is_noticed():
    model = tiny.model("llama")
    explainer = Explainer(model)
    explainer.explain(**QUESTION)
    model.model.layers[1].mlp = quantised(model.model.layers[1].mlp)
    with pytest.raises(UnsupportedModelError, match="rounds activations"):
        explainer.explain(**QUESTION)


def test_an_embedding_that_is_not_called():
    model = tiny.model("llama")
    model.get_input_embeddings = lambda: torch.nn.Embedding(tiny.VOCABULARY, 32).eval()
    refused(model, "Embedding of the decoder was not called")


def test_a_second_path_of_the_ids_is_noted_and_kept_in_the_result():
    """As in models with per-layer embeddings: the logits also read the ids themselves."""
    model = tiny.model("llama")
    second = torch.nn.Embedding(tiny.VOCABULARY, tiny.VOCABULARY)
    seen = {}
    model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    model.lm_head.register_forward_hook(
        lambda module, args, output: output + second(seen["input_ids"])[:, seen["logits_to_keep"]]
    )
    with pytest.warns(AttributionWarning, match="second path"):
        found = Explainer(model).explain(**QUESTION)
    assert "LlamaForCausalLM (Embedding) reads token ids by a second path" in found.notes[0]
    assert not Explainer(tiny.model("llama")).explain(**QUESTION).notes


def test_weights_made_in_inference_mode():
    with torch.inference_mode():
        model = tiny.model("gpt2")
    refused(model, r"made under torch.inference_mode\(\)")


@pytest.mark.parametrize("name", ["keys", "g2p"])
def test_sound_models_pass(name, request):
    model, tokenizer = request.getfixturevalue(name)
    assert Explainer(model, tokenizer).explain(
        "a", response_ids=[9], movable="all", method="integrated_gradients", steps=1
    )


def test_threads_that_share_a_model_take_turns():
    model = tiny.model("llama").train()
    prompts = [tiny.ids(8, seed=s) for s in (3, 4)]
    options = {
        "response_ids": QUESTION["response_ids"],
        "method": "integrated_gradients",
        "steps": 24,
    }
    expected = [Explainer(model).explain(input_ids=p, **options).scores for p in prompts]
    wrong = []

    def work(prompt, scores):
        explainer = Explainer(model)
        for _ in range(6):
            try:
                if not torch.equal(explainer.explain(input_ids=prompt, **options).scores, scores):
                    wrong.append(prompt)
            except Exception as error:
                wrong.append(error)

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(prompts, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert model.training


@pytest.mark.filterwarnings("ignore:.*looks ahead")
def test_models_that_look_ahead_have_no_layer_for_all_targets(looking_ahead):
    options = {name: QUESTION[name] for name in ("input_ids", "response_ids")}
    with pytest.raises(UnsupportedModelError, match="take an attack without one"):
        Explainer(looking_ahead).explain(**options, method="naa")

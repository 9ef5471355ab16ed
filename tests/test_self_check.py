"""Models that give plausible numbers and no error, though wrong ones, are found out and named."""

import threading
import warnings

import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hf_attrib import AttributionWarning, Explainer, UnsupportedModelError

QUESTION = {"input_ids": tiny.ids(7, seed=1), "response_ids": tiny.ids(3, seed=2), "steps": 2}

pytestmark = pytest.mark.filterwarnings("ignore:.*have not converged")


def refused(model, message):
    with pytest.raises(UnsupportedModelError, match=message):
        Explainer(model).explain(**QUESTION)


def bert(is_decoder):
    config = AutoConfig.for_model(
        "bert",
        vocab_size=tiny.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        is_decoder=is_decoder,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_attention_that_looks_ahead():
    refused(bert(is_decoder=False), "looks ahead")
    assert Explainer(bert(is_decoder=True)).explain(**QUESTION).scores.abs().max() > 0


def test_the_verdict_does_not_depend_on_the_first_prompt():
    explainer = Explainer(bert(is_decoder=False))
    with pytest.raises(UnsupportedModelError, match="looks ahead"):
        explainer.explain(input_ids=[20], response_ids=[30], steps=1)


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
    model.get_input_embeddings = lambda: torch.nn.Embedding(tiny.VOCABULARY, 32)
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
    assert Explainer(model, tokenizer).explain("a", response_ids=[9], movable="all", steps=1)


def test_threads_that_share_a_model_take_turns():
    model = tiny.model("llama").train()
    prompts = [tiny.ids(8, seed=s) for s in (3, 4)]
    options = {"response_ids": QUESTION["response_ids"], "steps": 24}
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

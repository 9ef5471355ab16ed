"""Wherever accelerate keeps a model's weights, it is explained as if they were all here."""

import copy
import logging

import accelerate
import pytest
import torch
from helpers import tiny

from hf_attrib import AttributionWarning, Explainer, UnsupportedModelError
from hf_attrib.model import device_of, sites_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning"),
    pytest.mark.filterwarnings("ignore:The following device_map keys"),  # a buffer of bart's
]

FAMILIES = ("llama", "gpt2", "t5", "bart")

#: Some parts kept in memory, the others on disk; gpt2, t5 and bart tie their heads.
MAPS = {
    "llama": {
        "model.embed_tokens": "disk",
        "model.rotary_emb": "cpu",
        "model.layers.0": "cpu",
        "model.layers.1": "disk",
        "model.norm": "cpu",
        "lm_head": "disk",
    },
    "gpt2": {
        "transformer.wte": "disk",
        "transformer.wpe": "cpu",
        "transformer.h.0": "cpu",
        "transformer.h.1": "disk",
        "transformer.ln_f": "cpu",
        "lm_head": "disk",
    },
    "t5": {"shared": "disk", "encoder": "cpu", "decoder": "disk", "lm_head": "disk"},
    "bart": {
        "model.shared": "disk",
        "model.encoder": "cpu",
        "model.decoder": "disk",
        "lm_head": "disk",
        "final_logits_bias": "cpu",
    },
}

LAYOUTS = {
    "buffers too": lambda model, folder: accelerate.cpu_offload(model, offload_buffers=True),
    "cpu_offload": lambda model, folder: accelerate.cpu_offload(model),
    "disk_offload": lambda model, folder: accelerate.disk_offload(model, folder),
    "device_map": lambda model, folder: accelerate.dispatch_model(
        model, MAPS[model.config.model_type], offload_dir=folder
    ),
}


@pytest.fixture(autouse=True)
def _quiet():
    """Accelerate warns that what was offloaded is offloaded."""
    logging.getLogger("accelerate").setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def plain():
    """Scores of models whose weights are all in memory, made once a family."""
    found = {}

    def of(family):
        if family not in found:
            found[family] = answer(tiny.model(family))
        return found[family]

    return of


def answer(model, **options):
    tokenizer = tiny.tokenizer(model.config.is_encoder_decoder)
    options = {"max_new_tokens": 3, "method": "integrated_gradients", "steps": 3} | options
    return Explainer(model, tokenizer).explain("the key is red", **options)


def state(model):
    """All of a model that hooks of accelerate move around, with the objects themselves."""
    return (
        [
            (id(p), name, p.device, p.requires_grad, id(p.grad))
            for module in model.modules()
            for name, p in module._parameters.items()
            if p is not None
        ]
        + [(name, buffer.device) for name, buffer in model.named_buffers()]
        + [
            (len(m._forward_hooks), len(m._forward_pre_hooks), id(getattr(m, "_hf_hook", None)))
            for m in model.modules()
        ]
    )


def prepared(family, layout, folder):
    """An offloaded model, half of it trainable, with gradients."""
    model = tiny.model(family)
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    model = LAYOUTS[layout](model, folder)
    for i, parameter in enumerate(model.parameters()):
        if i % 3 == 0:
            parameter.grad = torch.ones_like(parameter)
    return model


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_offloaded_equals_plain_and_leaves_no_trace(family, layout, plain, tmp_path):
    model = prepared(family, layout, tmp_path)
    before = state(model)
    assert any(parameter.device.type == "meta" for parameter in model.parameters())
    found, expected = answer(model), plain(family)
    assert found.response_ids.tolist() == expected.response_ids.tolist()
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-6, atol=1e-6)
    assert state(model) == before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["llama", "bart"])
def test_a_failure_unloads_what_was_loaded(family, layout, plain, tmp_path):
    model = prepared(family, layout, tmp_path)
    explainer = Explainer(model, tiny.tokenizer(model.config.is_encoder_decoder))
    explainer.explain("the key", response=" is", method="saliency")
    before = state(model)
    # A layer that loads its weights and then fails, inside of others that have loaded theirs.
    failing = next(m for m in reversed(list(model.modules())) if isinstance(m, torch.nn.Linear))
    original = failing._old_forward
    failing._old_forward = lambda *args, **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        explainer.explain("the key", response=" is", method="saliency")
    failing._old_forward = original
    assert state(model) == before
    expected = plain(family)
    torch.testing.assert_close(answer(model).scores, expected.scores, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "discretized_ig", "nodes": 4},
        {"method": "expected_gradients", "samples": 4},
        {
            "baseline": "token: the",
            "attribute_to": "all",
            "method": "integrated_gradients",
            "steps": 2,
        },
        {"spans": "response", "method": "integrated_gradients", "steps": 2},
    ],
    ids=str,
)
def test_methods_and_references_that_look_embeddings_up(options, tmp_path):
    found, expected = (
        Explainer(model, tiny.tokenizer()).explain("the key is", response=" red", **options)
        for model in (
            accelerate.disk_offload(tiny.model("llama"), tmp_path),
            tiny.model("llama"),
        )
    )
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-6, atol=1e-6)


def test_backward_loads_weights_anew_and_holds_none(tmp_path):
    """Each backward pass of a layer asks for its weights again, so its graph does not own them."""
    model = accelerate.disk_offload(tiny.model("llama"), tmp_path)
    (hook,) = {model.model.layers[0].mlp.up_proj._hf_hook}
    loads = []

    class Counting(dict):
        def __getitem__(self, key):
            loads.append(key)
            return original[key]

    original = hook.weights_map
    hook.weights_map = Counting()
    explainer = Explainer(model)
    spent = {}
    for targets in (2, 5):
        ids = {"input_ids": tiny.ids(4), "response_ids": tiny.ids(targets, seed=1)}
        explainer.explain(**ids, method="integrated_gradients", steps=1)
        loads.clear()
        explainer.explain(**ids, method="integrated_gradients", steps=1)
        spent[targets] = len(loads)
    assert spent[5] - spent[2] == 3  # one load for each further backward pass


def test_a_model_without_weights_is_refused_by_name():
    with torch.device("meta"):
        model = tiny.AutoModelForCausalLM.from_config(tiny.model("llama").config)
    with pytest.raises(UnsupportedModelError, match=r"Embedding has its weights on the meta"):
        Explainer(model).explain(input_ids=[5, 6], response_ids=[7])


def test_inputs_go_where_the_embedding_runs_not_where_its_weights_lie():
    model = tiny.model("llama")
    embedding = sites_of(model).modules["decoder"]
    assert device_of(embedding) == torch.device("cpu")
    accelerate.cpu_offload(model)
    embedding._hf_hook.execution_device = torch.device("cuda", 1)  # no test needs it to be there
    assert embedding.weight.device.type == "meta"
    assert device_of(embedding) == torch.device("cuda", 1)


@pytest.mark.skipif(torch.accelerator.device_count() < 2, reason="needs two accelerators")
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_sharded_over_two_accelerators(family, plain):
    model = tiny.model(family)
    parts = copy.deepcopy(MAPS[family])
    devices = {name: i % 2 for i, name in enumerate(parts)}
    found = answer(accelerate.dispatch_model(model, devices))
    torch.testing.assert_close(found.scores, plain(family).scores, rtol=1e-4, atol=1e-5)


def rows_off(found, expected):
    """Relative error of each row, sum over inputs of |difference| over sum of |score|."""
    return (found.scores - expected.scores).abs().sum(-1) / expected.scores.abs().sum(-1)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.bfloat16, 0.02), (torch.float16, 0.0025)], ids=str
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_half_precision_rounds_scores_and_no_more(family, dtype, bound):
    """Against the same rounded weights in float32; measured medians are a third of the bounds."""
    ids = {
        "input_ids": tiny.ids(12),
        "response_ids": tiny.ids(6, seed=1),
        "method": "integrated_gradients",
        "steps": 64,
    }
    half = Explainer(tiny.model(family).to(dtype)).explain(**ids)
    full = Explainer(tiny.model(family).to(dtype).float()).explain(**ids)
    assert half.run.dtype == str(dtype).removeprefix("torch.")
    assert half.scores.dtype == torch.float32
    assert float(rows_off(half, full).max()) < bound
    # The path itself is not rounded: its ends are numbers of the model, and differences exact.
    sums = (half.scores.sum(-1) - full.scores.sum(-1)).abs()
    assert float(sums.max()) < bound * float(full.scores.abs().sum(-1).max())


def test_what_rounding_keeps_from_its_tolerance_is_said_to_need_float32():
    """On a random model f changes by less than bfloat16 can tell."""
    model = tiny.model("llama").to(torch.bfloat16)
    with pytest.warns(AttributionWarning, match=r"not converged: .* Load the model in float32"):
        found = Explainer(model).explain(
            input_ids=tiny.ids(12), response_ids=tiny.ids(6, seed=1), method="integrated_gradients"
        )
    assert found.backward_rows < 6 * 60  # of 6 * 400


def overflowing(factor):
    """A float16 model whose logits leave its range, at some inputs or at all."""
    model = tiny.model("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(factor)
    return Explainer(model.to(torch.float16))


def test_overflow_on_the_path_is_said():
    with pytest.warns(AttributionWarning, match=r"not finite: the model overflows\. Load it"):
        found = overflowing(300).explain(
            input_ids=tiny.ids(8),
            response_ids=tiny.ids(3, seed=1),
            baseline="zero",
            method="integrated_gradients",
            steps=4,
        )
    assert not found.scores.isfinite().all()
    assert "the model overflows" in " ".join(found.run.notes)
    assert not found.converged.any()


@pytest.mark.parametrize(("factor", "method"), [(1e4, "saliency"), (1e6, "loo_shapley")])
def test_overflow_everywhere_is_refused(factor, method):
    """Of gradients, which leave the range first, and of logits."""
    with pytest.raises(UnsupportedModelError, match=r"not finite; .* float32 or bfloat16"):
        overflowing(factor).explain(input_ids=tiny.ids(8), response_ids=[7], method=method)

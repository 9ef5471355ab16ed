"""Models as people hold them: wrapped, changed after the first use, in a state of torch's own."""

import json
import re
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.laws import DISTINCT
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

import hf_attrib
from hf_attrib import Explainer, InputError

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
QUESTION = {
    "input_ids": tiny.ids(7),
    "response_ids": tiny.ids(3, seed=1),
    "method": "integrated_gradients",
    "steps": 4,
}


@contextmanager
def by_default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize(
    "state",
    [
        lambda: by_default(torch.float64),
        lambda: by_default(torch.bfloat16),
        lambda: by_default(torch.float16),
        torch.autograd.graph.save_on_cpu,
        lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    ],
    ids=["float64", "bfloat16", "float16", "saved elsewhere", "anomalies"],
)
def test_what_torch_is_set_to_changes_no_score(state):
    model = tiny.model("llama")
    wanted = Explainer(model).explain(**QUESTION)
    with warnings.catch_warnings(), state():
        warnings.simplefilter("ignore")  # anomaly detection says that it is on
        found = Explainer(model).explain(**QUESTION)
    assert found.scores.dtype == torch.float32
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*DISTINCT, "attexplore", "la", "isa", "pgd", "sia", "naa"])
def test_no_method_makes_numbers_of_the_type_that_torch_is_set_to(keys, name):
    explainer, question = Explainer(*keys), {"prompt": "Ada's key is red. Q:", "response": " Bob"}
    question["method"] = "integrated_gradients(steps=4)" if name == "integrated_gradients" else name
    wanted = explainer.explain(**question)
    for dtype in (torch.float64, torch.bfloat16):
        with by_default(dtype):
            found = explainer.explain(**question)
        assert found.scores.dtype == torch.float32
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.to(torch.bfloat16),
        lambda model: model.to(torch.float64),
        lambda model: model.load_state_dict(tiny.model("llama", 5).state_dict()),
        lambda model: model.resize_token_embeddings(400, mean_resizing=False),
        lambda model: model.train(),
    ],
    ids=["half", "double", "weights", "size", "training"],
)
def test_a_model_that_changed_is_explained_as_it_is_now(change):
    model = tiny.model("llama")
    explainer = Explainer(model)
    explainer.explain(**QUESTION)
    change(model)
    found, wanted = explainer.explain(**QUESTION), Explainer(model).explain(**QUESTION)
    assert torch.equal(found.scores, wanted.scores)
    with torch.no_grad():
        ids = torch.tensor([QUESTION["input_ids"] + QUESTION["response_ids"]])
        logits = model.eval()(ids).logits[0, 6:-1].float()
    expected = logits.log_softmax(-1)[range(3), QUESTION["response_ids"]]
    torch.testing.assert_close(found.value.float(), expected, rtol=0.01, atol=0.01)


def test_a_plain_pass_in_the_middle_sees_the_plain_model():
    model, seen = tiny.model("llama"), []
    ids = torch.tensor([tiny.ids(9)])
    with torch.no_grad():
        wanted = model(ids).logits

    def look(done, total):
        seen.append(torch.allclose(model(ids).logits, wanted, atol=1e-5))

    Explainer(model, progress=look).explain(**QUESTION)
    assert seen
    assert all(seen)


def test_an_interrupt_in_the_middle_leaves_nothing():
    model = tiny.model("llama").train()
    flags = [parameter.requires_grad for parameter in model.parameters()]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Explainer(model, progress=stop).explain(**QUESTION)
    assert all(module.training for module in model.modules())
    assert flags == [parameter.requires_grad for parameter in model.parameters()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}


@pytest.mark.parametrize(
    "make",
    [
        lambda: AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", **SMALL)),
        lambda: AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model("llama", **SMALL)
        ),
        lambda: AutoModel.from_config(AutoConfig.for_model("llama", **SMALL)),
        lambda: torch.nn.DataParallel(tiny.model("llama")),
        lambda: pipeline("text-generation", model=tiny.model("llama"), tokenizer=tiny.tokenizer()),
        lambda: "gpt2",
    ],
    ids=["masked", "classifier", "body", "parallel", "pipeline", "name"],
)
def test_what_generates_nothing_is_refused_by_its_name(make):
    given = make()
    with pytest.raises(InputError, match=re.escape(type(given).__name__)):
        Explainer(given)


def healed():
    """A tokenizer to which the dot that ends a prompt could have been part of longer tokens."""
    special = ["<pad>", "<bos>", "<eos>"]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), ".a", ".b"]
    made = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = dict(zip(("pad_token", "bos_token", "eos_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def test_a_prompt_whose_end_is_healed_is_refused_by_that_name():
    model, tokenizer = tiny.model("llama"), healed()
    options = {"token_healing": True, "tokenizer": tokenizer, "max_new_tokens": 3}
    ids = tokenizer("red.", return_tensors="pt").input_ids
    longer = tokenizer.convert_tokens_to_ids([".a", ".b"])
    with torch.no_grad():  # one of them is likelier than the dot, whatever the hidden state
        model.lm_head.weight[longer] = 50 * torch.stack([torch.ones(32), -torch.ones(32)])
    read = model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0]
    assert read[: ids.shape[1]].tolist() != ids[0].tolist()
    with pytest.raises(InputError, match="token_healing"):
        Explainer(model, tokenizer).explain("red.", method="saliency", **options)


@pytest.mark.parametrize(
    "written",
    [
        {"do_sample": False, "temperature": 0.0, "top_p": 0.5},
        {"return_dict_in_generate": True, "output_scores": True, "output_attentions": True},
        "{broken",
        None,
    ],
    ids=["no sampling", "dictionaries", "broken", "none"],
)
def test_a_generation_config_on_disk_may_be_odd(written, tmp_path):
    tiny.model("llama").save_pretrained(tmp_path)
    file = tmp_path / "generation_config.json"
    if written is None:
        file.unlink()
    else:
        file.write_text(written if isinstance(written, str) else json.dumps(written))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers says what it thinks of it
        model = AutoModelForCausalLM.from_pretrained(tmp_path)
        found = Explainer(model).explain(
            input_ids=QUESTION["input_ids"], max_new_tokens=3, method="saliency"
        )
        ids = torch.tensor([QUESTION["input_ids"]])
        written = model.generate(ids, max_new_tokens=3, return_dict_in_generate=False)
    assert written[0, ids.shape[1] :].tolist() == found.response_ids.tolist()


def test_an_attached_model_is_mapped_over_a_data_set():
    """Its fingerprint is that of the pickled model."""
    datasets = pytest.importorskip("datasets")
    model = hf_attrib.attach(tiny.model("llama"), tiny.tokenizer())
    texts = ["the key is red", "the"]
    options = {"max_new_tokens": 2, "method": "saliency"}
    wanted = [result.total for result in model.explain(texts, **options)]
    rows = datasets.Dataset.from_dict({"text": texts}).map(
        lambda row: {"total": model.explain(row["text"], **options).total.tolist()}
    )
    for found, total in zip(rows["total"], wanted, strict=True):
        torch.testing.assert_close(torch.tensor(found), total, rtol=1e-4, atol=1e-6)
    text = np.str_(texts[0])
    torch.testing.assert_close(model.explain(text, **options).total, wanted[0])

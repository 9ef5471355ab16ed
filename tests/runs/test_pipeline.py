"""The task of ``transformers.pipeline``: prompts as pipelines take them, results of ``explain``."""

import importlib.util
import sys
import warnings

import pytest
import torch
import transformers
from helpers import tiny
from helpers.fresh import loaded_after
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.pt_utils import KeyDataset

import hf_attrib
from hf_attrib import Attribution, Explainer, InputError
from hf_attrib.runs.pipeline import TokenAttributionPipeline

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
SHORT = "Ada's key is red. Q: What color is Ada's key? A:"
CHAT = [{"role": "user", "content": SHORT}]
LONG_CHAT = [{"role": "system", "content": "Bob's key is blue."}, *CHAT]
GRADIENTS = {"method": "integrated_gradients", "steps": 2}


def made(model, tokenizer, **options):
    return transformers.pipeline(
        "token-attribution", model=model, tokenizer=tokenizer, device="cpu", **options
    )


@pytest.fixture(scope="module")
def keys():
    return hf_attrib.embedded.load("keys-llama")


@pytest.fixture(scope="module")
def pipe(keys):
    return made(*keys)


@pytest.fixture(scope="module")
def explain(keys):
    return Explainer(*keys).explain


def check(found, wanted):
    assert isinstance(found, Attribution)
    assert found.input_ids.equal(wanted.input_ids)
    assert found.response_ids.equal(wanted.response_ids)
    assert found.scores.equal(wanted.scores)  # to the last bit
    assert found.value.equal(wanted.value)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_there_are_gradients_whatever_the_caller_turned_off(pipe, context):
    """Against autograd on the logits alone: the norm of the gradient of each token's f."""
    model, tokenizer = pipe.model, pipe.tokenizer
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    answer = tokenizer("blue", add_special_tokens=False).input_ids[:1]
    x = model.get_input_embeddings()(ids).detach().requires_grad_()
    value = model(inputs_embeds=x).logits[0, -1].log_softmax(-1)[answer[0]]
    (gradient,) = torch.autograd.grad(value, x)
    with context():
        row = {"prompt": PROMPT, "response_ids": answer}
        found = pipe(row, method="input_x_gradient", baseline="zero", movable="all")
    torch.testing.assert_close(found.scores[0], (x * gradient).sum(-1)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, GRADIENTS], ids=str)
def test_batches_equal_single_calls_exactly(pipe, explain, options):
    options = options | {"max_new_tokens": 2}
    wanted = [explain(prompt, **options) for prompt in (PROMPT, SHORT)]
    check(pipe(PROMPT, **options), wanted[0])
    found = pipe([PROMPT, SHORT, PROMPT], batch_size=2, **options)
    assert isinstance(found, list)
    for one, other in zip(found, (*wanted, wanted[0]), strict=True):
        check(one, other)


def test_a_list_with_two_chats_is_two_rows(pipe, explain):
    chats = [CHAT, LONG_CHAT]
    wanted = [explain(chat, max_new_tokens=1) for chat in chats]
    for found in (pipe(chats, max_new_tokens=1), pipe(tuple(chats), max_new_tokens=1)):
        for one, other in zip(found, wanted, strict=True):
            check(one, other)
    check(pipe(CHAT, max_new_tokens=1), wanted[0])
    check(pipe(LONG_CHAT, max_new_tokens=1), wanted[1])


def test_rows_hold_what_explain_takes_for_a_prompt(pipe, explain):
    check(
        pipe({"prompt": SHORT, "response": "red", "contrast": "blue", "documents": None}),
        explain(SHORT, response="red", contrast="blue"),
    )
    documents = ["Ada's key is red.", "Bob's key is blue."]
    rows = [
        {"messages": CHAT, "documents": documents, "response": "red"},
        {"prompt": CHAT, "response": "red"},
        {"input_ids": [5, 6, 7], "response_ids": [8]},
    ]
    found = pipe(rows)
    check(found[0], explain(CHAT, documents=documents, response="red"))
    check(found[1], explain(CHAT, response="red"))
    check(found[2], explain(input_ids=[5, 6, 7], response_ids=[8]))


class Rows(torch.utils.data.Dataset):
    """As torch has them: with a length and places, and no iterator."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.rows[place]


@pytest.mark.parametrize(
    "several",
    [
        lambda: (prompt for prompt in (PROMPT, SHORT)),
        lambda: KeyDataset([{"text": PROMPT}, {"text": SHORT}], "text"),
        lambda: Rows([PROMPT, {"prompt": SHORT}]),
    ],
    ids=["generator", "KeyDataset", "Dataset"],
)
def test_what_yields_prompts_is_read_one_by_one(pipe, explain, several):
    found = pipe(several(), max_new_tokens=1)
    assert not isinstance(found, list)
    for one, prompt in zip(found, (PROMPT, SHORT), strict=True):
        check(one, explain(prompt, max_new_tokens=1))


def test_nothing_is_read_ahead(pipe):
    read = []
    found = pipe((read.append(p) or p for p in (PROMPT, SHORT)), max_new_tokens=1)
    assert read == []
    next(found)
    assert read == [PROMPT]


def test_a_column_of_chats_is_a_row_for_each(pipe, explain):
    found = pipe(KeyDataset([{"turns": CHAT}, {"turns": LONG_CHAT}], "turns"), max_new_tokens=1)
    for one, chat in zip(found, (CHAT, LONG_CHAT), strict=True):
        check(one, explain(chat, max_new_tokens=1))


def test_options_hold_for_all_calls_or_for_one(keys, explain):
    pipe = made(*keys, method="saliency", max_new_tokens=2, max_memory="1GiB")
    check(pipe(PROMPT), explain(PROMPT, method="saliency", max_new_tokens=2))
    other = {"method": "input_x_gradient"}
    check(pipe(PROMPT, **other), explain(PROMPT, max_new_tokens=2, **other))
    check(pipe(PROMPT), explain(PROMPT, method="saliency", max_new_tokens=2))


def test_errors_may_stand_in_the_places_of_results(pipe):
    found = pipe([SHORT, "", SHORT], on_error="return", max_new_tokens=1)
    assert [type(one) for one in found] == [Attribution, InputError, Attribution]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (None, "expected a text, a chat .* got None"),
        (3, "expected a text, a chat .* got 3"),
        (b"text", "expected a text, a chat .* got b'text'"),
        ([], "empty"),
        ("", "empty"),
        ([SHORT, None], "input 2: expected a text"),
        ([SHORT, ""], "input 2: the prompt is empty"),
        ([[SHORT]], "input 1: expected a text"),
        ({}, "neither came"),
        ({"prompt": None}, "neither came"),
        ({"text": SHORT}, "'text', which model.explain reads in no row"),
        ({"prompt": SHORT, "method": "saliency"}, "'method', which model.explain reads in no row"),
        ({"prompt": SHORT, "messages": CHAT}, "a prompt and messages"),
        ({"prompt": [SHORT, SHORT]}, "holds one prompt"),
        ("\ud800", "no valid Unicode"),
    ],
    ids=str,
)
def test_bad_inputs_are_refused_in_one_sentence(pipe, inputs, words):
    with pytest.raises(InputError, match=words):
        pipe(inputs, max_new_tokens=1)


def test_bad_options_name_explain(keys, pipe):
    with pytest.raises(InputError, match=r"model\.explain.* no argument 'metod'.*'method'"):
        pipe(SHORT, metod="saliency")
    with pytest.raises(InputError, match=r"model\.explain.* no argument 'baselin'"):
        made(*keys, baselin="mean")
    with pytest.raises(InputError, match="prompt came by name"):
        pipe(SHORT, prompt=SHORT)
    for name, value in (("batch_size", 0), ("batch_size", "2"), ("num_workers", 2)):
        with pytest.raises(InputError, match=name):
            pipe(SHORT, **{name: value})
        with pytest.raises(InputError, match=name):
            made(*keys, **{name: value})


def test_models_that_do_not_generate_are_refused():
    model = transformers.BertModel(
        transformers.BertConfig(
            hidden_size=8, num_attention_heads=1, num_hidden_layers=1, intermediate_size=8
        )
    )
    with pytest.raises(InputError, match="expected a generative model"):
        made(model, tiny.tokenizer())


def test_a_pipeline_loads_encoder_decoder_models_by_name():
    pipe = transformers.pipeline(
        "token-attribution", model=str(hf_attrib.embedded.path("g2p-t5")), device="cpu"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = Explainer(*hf_attrib.embedded.load("g2p-t5")).explain("key", max_new_tokens=2)
    check(pipe("key", max_new_tokens=2), wanted)


def test_a_saved_pipeline_is_model_and_tokenizer(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    again = transformers.pipeline("token-attribution", model=str(tmp_path), device="cpu")
    check(again(SHORT, max_new_tokens=1), pipe(SHORT, max_new_tokens=1))


def test_the_task_joins_when_the_pipelines_are_imported():
    """Which hf_attrib leaves to others; and a task is no reason to import what explains."""
    loaded_after(
        "import sys, hf_attrib\nassert 'transformers' not in sys.modules\n"
        "import transformers.pipelines\n"
        "assert 'token-attribution' in transformers.pipelines.get_supported_tasks()\n"
        "assert 'hf_attrib.explainer' not in sys.modules"
    )


def test_the_task_joins_pipelines_that_are_there_already(monkeypatch):
    tasks = PIPELINE_REGISTRY.supported_tasks
    monkeypatch.delitem(tasks, "token-attribution")
    spec = importlib.util.spec_from_file_location("hf_attrib", hf_attrib.__file__)
    finders = [*sys.meta_path]
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert tasks["token-attribution"]["impl"] is TokenAttributionPipeline  # no name: 5.0 takes none
    assert sys.meta_path == finders


def test_the_task_is_this_class(pipe):
    assert type(pipe) is TokenAttributionPipeline

"""Models from folders and by name: how they load, and what is refused."""

import json
from types import SimpleNamespace

import pytest
import torch
from helpers.command_line import PROMPT, QUICK, WORDS, copied, edited

import hf_attrib
from hf_attrib.errors import InputError
from hf_attrib.model import load_model, name_of


def test_a_local_folder_loads_in_evaluation_mode(folder):
    model, tokenizer = load_model(str(folder), dtype="bfloat16", device="cpu:0")
    assert not model.training
    assert model.dtype == torch.bfloat16
    assert tokenizer("a")["input_ids"] == [WORDS.index("a")]


def test_an_embedded_name_goes_before_a_folder(folder, tmp_path, monkeypatch):
    copied(folder, tmp_path / "keys-llama")
    monkeypatch.chdir(tmp_path)
    assert len(load_model("keys-llama")[1]) > len(WORDS)
    assert len(load_model("./keys-llama")[1]) == len(WORDS)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
def test_a_folder_of_an_adapter_loads_with_its_model(folder, tmp_path):
    peft = pytest.importorskip("peft")
    base, tokenizer = load_model(str(folder))
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False
    )
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    model, found = load_model(str(tmp_path / "adapter"))
    ids = torch.tensor([[1, 2, 3]])
    assert len(found) == len(tokenizer)
    torch.testing.assert_close(model(ids).logits, base(ids).logits)


def test_an_adapter_without_its_model_is_refused_in_a_sentence(folder, tmp_path, monkeypatch):
    path, file = str(tmp_path), tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": None}))
    with pytest.raises(InputError, match="does not name its model"):
        load_model(path)
    file.write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    monkeypatch.setattr("hf_attrib.model.loading.find_spec", lambda name: None)
    with pytest.raises(InputError, match="install peft"):
        load_model(path)


def test_device_auto(folder):
    model, _ = load_model(str(folder), device="auto")
    assert str(model.device) in ("cpu", "cuda:0", "mps:0")


def test_encoder_decoder_models_load():
    assert load_model("g2p-t5")[0].config.is_encoder_decoder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "config.json").unlink(), "cannot load the model"),
        (lambda path: (path / "model.safetensors").unlink(), "no file named"),
        (lambda path: (path / "model.safetensors").write_bytes(b"1" * 99), "cannot load the model"),
        (lambda path: (path / "tokenizer.json").write_text("{"), "cannot load the tokenizer"),
        (lambda path: (path / "tokenizer.json").write_text("{}"), "cannot load the tokenizer"),
    ],
)
def test_damaged_models(folder, tmp_path, damage, message):
    copied(folder, tmp_path / "m")
    damage(tmp_path / "m")
    with pytest.raises(InputError, match=message):
        load_model(str(tmp_path / "m"))


def test_weights_that_are_missing_are_not_made_up(folder, tmp_path):
    edited(folder, tmp_path / "m", model_type="gpt2")
    with pytest.raises(InputError, match=r"lacks .* weights of a GPT2LMHeadModel, such as"):
        load_model(str(tmp_path / "m"))


def test_code_that_comes_with_a_model_does_not_run(folder, tmp_path):
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    edited(folder, tmp_path / "m", model_type="own", auto_map=own)
    (tmp_path / "m/own.py").write_text("raise SystemError('ran')")
    with pytest.raises(InputError, match="--trust-remote-code"):
        load_model(str(tmp_path / "m"))


def test_models_that_cannot_be_explained_are_refused(refused, monkeypatch):
    def refuse(*_):
        raise hf_attrib.UnsupportedModelError("no gradient")

    monkeypatch.setattr("hf_attrib.engine.engine.check_model", refuse)
    assert refused("explain", PROMPT, *QUICK) == "hf-attrib: no gradient\n"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("google/gemma-3-270m", "google/gemma-3-270m"),
        ("/home/ann/secret/my-model", "my-model"),
        ("./runs/checkpoint-100", "checkpoint-100"),
        ("~/models/tuned/", "tuned"),
        ("/c/hub/models--google--gemma-3-270m/snapshots/0a1b2c", "google/gemma-3-270m"),
        (r"C:\hub\models--gpt2\snapshots\0a1b2c", "gpt2"),
        ("", "SimpleNamespace"),
    ],
)
def test_results_name_a_model_and_never_where_it_lies(given, name):
    model = SimpleNamespace(config=SimpleNamespace(name_or_path=given))
    assert name_of(model) == name


def test_a_folder_below_the_working_directory_is_named_by_its_last_part(tmp_path, monkeypatch):
    (tmp_path / "own" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert name_of(SimpleNamespace(config=SimpleNamespace(name_or_path="own/model"))) == "model"

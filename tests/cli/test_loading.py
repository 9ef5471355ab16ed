"""Models from folders and by name: how they load, and what is refused."""

import pytest
import torch
from helpers.command_line import PROMPT, QUICK, WORDS, copied, edited

import hf_attrib
from hf_attrib.errors import InputError
from hf_attrib.model import load_model


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

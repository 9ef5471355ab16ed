"""The command line, within the process; a small model that lies in a folder."""

import sys

import pytest
import torch
from helpers.command_line import ESCAPE, WORDS
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hf_attrib.cli import main


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A random model that answers nonsense, saved as users save theirs."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(WORDS), **size, **heads, bos_token_id=0, eos_token_id=1)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(path)
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **special)
    tokenizer.chat_template = "{% for m in messages %}is {{ m.content }} {% endfor %}"
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def run(capsys):
    """Run the command line and return its exit code, standard output and standard error."""

    def called(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        return exit_.value.code, *capsys.readouterr()

    return called


@pytest.fixture
def refused(run):
    """Expect exit code 2, nothing on standard output, and return the one line of complaint."""

    def called(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert err.startswith("hf-attrib: ")
        assert err.endswith("\n")
        assert "Traceback" not in err
        assert ESCAPE not in err
        return err

    return called


@pytest.fixture
def pipe_in(monkeypatch, tmp_path):
    """Put bytes on standard input."""
    opened = []

    def given(data):
        path = tmp_path / "stdin"
        path.write_bytes(data)
        opened.append(path.open(encoding="utf-8"))
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield given
    for file in opened:
        file.close()

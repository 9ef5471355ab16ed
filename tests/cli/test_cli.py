"""The command line, within the process where that suffices, in a terminal where it matters."""

import dataclasses
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import warnings
from functools import partial

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import hf_attrib
from hf_attrib.attacks import attacks
from hf_attrib.cli import flags, main
from hf_attrib.errors import InputError
from hf_attrib.model import load_model

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
QUICK = ("--steps", "2", "--max-new-tokens", "2")
HF_ATTRIB = [sys.executable, "-m", "hf_attrib"]
ESCAPE = "\x1b"
CAPTURED = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
WORDS = ("<s>", "</s>", "<unk>", "a", "b", "c", "d", "is")


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


def saved(run, path, *arguments):
    code, _, _ = run("explain", *arguments, "--json", path)
    assert code == 0
    return hf_attrib.load(path)


def in_terminal(arguments, until=None, environment=()):
    """Run in a pseudo-terminal; interrupt once ``until`` shows. Return exit code and output."""
    master, slave = pty.openpty()
    variables = {**os.environ, **dict(environment)}
    process = subprocess.Popen(
        [*HF_ATTRIB, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=variables,
        # As a terminal starts it; what a shell starts in the background ignores interrupts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    os.close(slave)
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    seen = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        seen += chunk
        if not chunk:
            break
        if until is not None and until in seen:
            process.send_signal(signal.SIGINT)
            until = None
    watchdog.cancel()
    os.close(master)
    return process.wait(), seen.decode()


# The commands


def test_version_and_bare_call(run):
    assert run("--version") == (0, f"hf-attrib {hf_attrib.__version__}\n", "")
    code, out, _ = run()
    assert code == 0
    commands = ("explain", "show", "compare", "methods", "attacks", "models")
    assert all(command in out for command in commands)


def test_help_has_a_flag_for_every_field_of_every_method(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run("explain", "--help")
    assert code == 0
    assert "Example: hf-attrib explain" in out
    out = " ".join(out.replace("│", " ").split())  # in one line, as it is broken anywhere
    for name, kind in {**hf_attrib.methods(), **attacks()}.items():
        assert name in out or name in attacks()
        for field in dataclasses.fields(kind):
            if field.name == "generator":  # a function, which cannot be written
                assert "--generator" not in out
                continue
            assert f"--{field.name.replace('_', '-')} " in out
            if field.name not in ("seed", "spans"):  # options of the command itself
                assert field.metadata["help"] in out
                assert f": {field.default}" in out
    assert "or the name of one of hf-attrib attacks" in out


@pytest.mark.parametrize(
    ("command", "kinds"), [("methods", hf_attrib.methods()), ("attacks", attacks())]
)
def test_lists_say_all_there_is_to_choose(run, command, kinds):
    code, out, _ = run(command)
    flat = " ".join(out.split())
    assert code == 0
    for name, kind in kinds.items():
        assert name in flat
        assert " ".join(kind.__doc__.splitlines()[0].split()) in flat
        for field in dataclasses.fields(kind):
            assert f"--{field.name.replace('_', '-')}" in flat
            assert f"(default {field.default})" in flat


def test_a_flag_that_was_renamed_is_taken_but_not_shown(run):
    assert "--max-points" not in run("explain", "--help")[1]
    asked = ("explain", "Ada's key is red.", "--response", " blue", "--json", "-")
    with pytest.warns(
        FutureWarning, match="max_points of integrated_gradients is called max_nodes"
    ):
        before = json.loads(run(*asked, "--max-points", 17)[1])
    now = json.loads(run(*asked, "--max-nodes", 17)[1])
    assert before["run"]["method_fields"] == now["run"]["method_fields"]
    assert now["run"]["method_fields"]["max_nodes"] == 17


def test_methods_says_what_each_keeps(run):
    flat = " ".join(run("methods")[1].split())
    for method in hf_attrib.methods().values():
        assert method().claims.cost in flat
    assert "keeps dummy, implementation invariance, linearity breaks completeness, sens" in flat
    assert "scores sum to f(x) - f(x_adv) signed yes stochastic no cost 14 forward" in flat
    assert "breaks linearity not applicable sensitivity, as it finds x' itself" in flat
    assert flat.endswith("see hf-attrib attacks.")


def test_models_gives_paths_in_one_piece(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    code, out, _ = run("models")
    assert code == 0
    for name in hf_attrib.embedded.names():
        assert f"  {hf_attrib.embedded.path(name)}\n" in out


def test_explain_prints_what_show_prints(run, tmp_path):
    path, picture = tmp_path / "result.json", tmp_path / "picture.svg"
    code, out, err = run("explain", PROMPT, *QUICK, "--json", path, "--svg", picture)
    assert (code, err) == (0, "")
    assert out.startswith("keys-llama · integrated_gradients(steps=2, rule=auto)")
    assert str(hf_attrib.embedded.path("keys-llama")) not in out + path.read_text()
    first = picture.read_text()
    assert first.startswith("<svg")
    picture.unlink()
    assert run("show", path, "--svg", picture) == (0, out, "")
    assert picture.read_text() == first
    _, with_matrix, _ = run("show", path, "--matrix")
    assert "Matrix" in with_matrix
    assert "Matrix" not in out


@pytest.mark.parametrize("by", ["word", "sentence"])
def test_tokens_are_shown_in_groups(run, tmp_path, by):
    path, picture = tmp_path / "r.json", tmp_path / "r.svg"
    arguments = (*QUICK, "--group", by, "--json", path, "--svg", picture)
    code, out, err = run("explain", PROMPT, *arguments)
    assert (code, err) == (0, "")
    assert "total attribution of each group" in out
    assert "of each group" in picture.read_text().replace("&#160;", " ")
    assert run("show", path, "--group", by) == (0, out, "")
    result = hf_attrib.load(path)
    assert len(result.columns) == len(result.inputs)  # the file keeps all there is


def test_what_is_only_looked_at_in_groups_is_explained_in_groups(run, tmp_path):
    """The same, but for what it took."""
    arguments = ("explain", PROMPT, *QUICK, "--group", "sentence")
    _, joined, _ = run(*arguments)
    _, shown, _ = run(*arguments, "--json", tmp_path / "r.json")
    assert "of each group" in joined
    assert re.sub(r"\S+ s\b", "", joined) == re.sub(r"\S+ s\b", "", shown)


def test_compare(run, tmp_path):
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    results = [
        saved(run, path, PROMPT, "--response", " Bob", "--method", method)
        for path, method in zip(paths, ("input_x_gradient", "saliency"), strict=True)
    ]
    code, out, err = run("compare", *paths, "--k", "3")
    assert (code, err) == (0, "")
    assert out.startswith("Comparison · keys-llama")
    found = hf_attrib.compare(*results, k=3)
    assert f"{found.total.spearman:+.2f}" in out
    assert "top 3 in common" in out
    assert max(map(len, out.splitlines())) <= 80


def test_columns_are_respected(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    _, out, _ = run("explain", PROMPT, *QUICK)
    assert max(map(len, out.splitlines())) <= 50


def test_flags_reach_the_question(run, tmp_path):
    result = saved(
        run, tmp_path / "r.json", PROMPT, "--response", " Bob", "--method", "integrated_gradients",
        "--steps", "3", "--rule", "midpoint", "--target", "logit", "--contrast", " Ada",
        "--baseline", "id:5", "--attribute-to", "all", "--movable", "all", "--batch-size", "1",
        "--seed", "7",
    )  # fmt: skip
    _, tokenizer = hf_attrib.embedded.load("keys-llama")
    ada = tokenizer(" Ada", add_special_tokens=False)["input_ids"]
    fields = {k: v for k, v in result.run.method_fields.items() if v is not None}
    assert fields == {"steps": 3, "rule": "midpoint"}
    assert (result.run.target, result.run.attribute_to) == ("logit", "all")
    assert result.run.baseline == "token 5"
    assert list(result.run.contrast_ids) == ada * len(result.response)
    assert bool(result.scores[:, 0].any())


def test_a_contrast_may_be_an_id(run, tmp_path):
    result = saved(run, tmp_path / "r.json", PROMPT, *QUICK, "--contrast", "id:9")
    assert set(result.run.contrast_ids) == {9}


def test_defaults_are_those_of_the_library(run, keys, tmp_path):
    result = saved(run, tmp_path / "r.json", PROMPT, "--max-new-tokens", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hf_attrib.AttributionWarning)
        expected = hf_attrib.Explainer(*keys).explain(PROMPT, max_new_tokens=1)
    torch.testing.assert_close(result.scores, expected.scores)
    assert result.run.method_fields == expected.run.method_fields


@pytest.mark.parametrize(("update", "seed"), [("pgd", 5), ("pgd(seed = 2)", 2), ("bim", None)])
def test_a_method_that_follows_a_random_walk_passes_the_seed_on(update, seed):
    from hf_attrib.cli.options import Asked

    made = str(Asked(method="fundamental").made_method({"update": update}, 5))
    assert re.findall(r"seed ?= ?(\d+)", made) == ([] if seed is None else [str(seed)])


def test_a_method_that_samples_takes_the_seed():
    from hf_attrib.cli.options import Asked
    from hf_attrib.methods import base

    @dataclasses.dataclass(frozen=True)
    class Noisy(hf_attrib.Method, name="noisy"):
        """Draw."""

        seed: int = dataclasses.field(default=0, metadata={"help": "Seed."})

        def __call__(self, field, x, baseline):
            raise NotImplementedError

    try:
        assert Asked(method="noisy").made_method({}, 5).seed == 5
    finally:
        del base._METHODS._classes["noisy"]


# Where the prompt comes from


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_all_sources_give_the_same_prompt(run, pipe_in, tmp_path, ending):
    data = (PROMPT + ending).encode()
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\xef\xbb\xbf" + data)
    pipe_in(data)
    outs = [run("explain", *source, *QUICK, "--json", "-")[1] for source in ([], ["--file", file])]
    pipe_in(data)
    outs.append(run("explain", "-", *QUICK, "--json", "-")[1])
    pipe_in(b"ignored")
    outs.append(run("explain", PROMPT, *QUICK, "--json", "-")[1])
    scores = [(json.loads(out)["inputs"], json.loads(out)["scores"]) for out in outs]
    assert scores[1:] == scores[:1] * 3


def test_chat(run, folder, tmp_path):
    messages = tmp_path / "messages.json"
    turns = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]
    messages.write_text(json.dumps(turns))
    path, use = tmp_path / "r.json", ("--model", folder, "--chat", *QUICK)
    assert saved(run, path, "a b", *use).roles == ("template", "user", "user")
    roles = saved(run, path, "--file", messages, *use).roles
    assert roles == ("template", "user", "user", "template", "assistant")


def test_chat_of_a_text_file_is_one_message(run, folder, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("a b\n")
    result = saved(
        run, tmp_path / "r.json", "--file", file, "--model", folder, "--chat", *QUICK
    )  # fmt: skip
    assert result.roles == ("template", "user", "user")


@pytest.mark.parametrize(
    "prompt", ["🦙 and 日本語", "\x1b[31mred\x07", "[bold]b[/bold] [/]", "a " * 120]
)
def test_any_prompt_is_data(run, prompt):
    code, out, err = run("explain", prompt, *QUICK)
    assert (code, err) == (0, "")
    assert ESCAPE not in out
    assert "\x07" not in out


# Bad input


def test_no_prompt_at_a_terminal(refused, monkeypatch):
    master, slave = pty.openpty()
    with os.fdopen(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert "no prompt was given" in refused("explain")
    os.close(master)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", *QUICK], "the prompt is empty"),
        ([PROMPT, "--file", "x"], "both given"),
        ([PROMPT, "--method", "magic"], "method 'magic' is unknown"),
        ([PROMPT, "--method", "saliency", "--steps", "3"], "method saliency has no field"),
        ([PROMPT, "--method", "bim", "--norm", "l2"], "method bim has no field norm; it has eps, "),
        ([PROMPT, "--method", "bim", "--update", "mim"], "method bim has no field update; it has"),
        ([PROMPT, "--steps", "0"], "steps is 0"),
        ([PROMPT, "--steps", "many"], "--steps"),
        ([PROMPT, "--stepz", "3"], "--stepz"),
        ([PROMPT, "--target", "truth"], "target 'truth' is unknown"),
        ([PROMPT, "--baseline", "nothing"], "baseline 'nothing' is unknown"),
        ([PROMPT, "--baseline", "id:999999"], "outside the vocabulary"),
        ([PROMPT, "--method", "saliency", "--baseline", "zero"], "saliency has no baseline; leave"),
        (
            [PROMPT, "--method", "mim", "--baseline", "zero"],
            "fundamental has no baseline; leave",
        ),
        ([PROMPT, "--method", "advgan", "--generator", "mine"], "No such option: --generator"),
        ([PROMPT, "--method", "advgan"], "advgan needs a trained generator"),
        ([PROMPT, "--contrast", "two words", *QUICK], "not one"),
        ([PROMPT, "--attribute-to", "me"], "attribute_to is 'me'"),
        ([PROMPT, "--movable", "me"], "movable is 'me'"),
        ([PROMPT, "--batch-size", "0"], "--batch-size is 0"),
        ([PROMPT, "--max-new-tokens", "0"], "--max-new-tokens is 0"),
        ([PROMPT, "--max-new-tokens", "2", "--response", "x"], "both given"),
        ([PROMPT, "--response", ""], "the response is empty"),
        ([PROMPT, "--seed", "-1"], "--seed is -1"),
        ([PROMPT, "--device", "toaster"], "device 'toaster' is unknown"),
        ([PROMPT, "--device", "cpu:one"], "device 'cpu:one' is unknown"),
        ([PROMPT, "--device", "cuda:99"], "device 'cuda:99' is not available"),
        ([PROMPT, "--dtype", "int3"], "dtype 'int3' is unknown"),
        ([PROMPT, "--model", "no/such-model"], "cannot load the model 'no/such-model'"),
        ([PROMPT, "--model", "no/such-model"], "HF_HUB_OFFLINE is set"),
        ([PROMPT, "--model", "\x1b[31m[red]no"], "␛[31m[red]no"),
        ([PROMPT, "--model", "./no-such-folder"], "there is no model folder"),
        ([PROMPT, "--model", ""], "there is no model folder"),
        ([PROMPT, "--model", __file__], "is a file"),
        ([PROMPT, "--json", "no-such-folder/r.json"], "No such file or directory"),
        ([PROMPT, "--json", "."], "no regular file"),
        ([PROMPT, "--json", os.devnull], "no regular file"),
        ([PROMPT, "--json", "x" * 300], "cannot write"),
        ([PROMPT, "--svg", f"{__file__}/r.svg"], "Not a directory"),
        ([PROMPT, "--svg", "-"], "takes JSON only"),
        (["--file", "no-such-file"], "cannot read no-such-file: No such file or directory"),
        (["--file", "."], "cannot read .: Is a directory"),
        (["\udcff"], "the prompt is not UTF-8"),
        ([PROMPT, "one", "more"], "unexpected extra argument"),
    ],
)
def test_bad_arguments_get_one_sentence(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused("explain", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_checked_before_the_model_is_loaded(refused, monkeypatch):
    monkeypatch.setattr("hf_attrib.cli.commands.load_model", lambda *_, **__: pytest.fail("loaded"))
    refused("explain", PROMPT, "--json", "no-such-folder/r.json")
    refused("explain", PROMPT, "--svg", "no-such-folder/r.svg")


def test_bad_comparisons(refused, run, tmp_path):
    for name, response in (("a", " Bob"), ("b", " Ada")):
        saved(run, tmp_path / name, PROMPT, *QUICK[:2], "--response", response)
    assert "the responses differ" in refused("compare", tmp_path / "a", tmp_path / "b")
    assert "--k is 0" in refused("compare", tmp_path / "a", tmp_path / "a", "--k", "0")
    assert "cannot read" in refused("compare", tmp_path / "a", tmp_path / "c")
    assert "'turn'; expected" in refused("show", tmp_path / "a", "--group", "turn")
    (tmp_path / "c").write_text("{}")
    assert "not a saved attribution" in refused("compare", tmp_path / "c", tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"role": "user"}', "no list of messages"),
        (b"[]", "no list of messages"),
        (b'["hello"]', "no list of messages"),
        (b"[1]", "no list of messages"),
        (b'[[{"role": "user", "content": "a"}]]', "no list of messages"),
        (b'[{"role": "user"}]', "a message needs a role and a content"),
    ],
)
def test_bad_message_files(refused, folder, tmp_path, content, message):
    path = tmp_path / "messages.json"
    path.write_bytes(content)
    assert message in refused("explain", "--chat", "--file", path, "--model", folder)


def test_standard_input_that_is_no_text(refused, pipe_in):
    pipe_in(b"\xff\xfe")
    assert "standard input is not UTF-8" in refused("explain")


def test_chat_without_a_template(refused, folder, tmp_path):
    copied(folder, tmp_path / "m")
    (tmp_path / "m/chat_template.jinja").unlink()
    assert "no chat template" in refused("explain", "a", "--chat", "--model", tmp_path / "m")


def test_show_reads_standard_input(run, tmp_path, pipe_in):
    path = tmp_path / "r.json"
    saved(run, path, PROMPT, *QUICK)
    expected = run("show", path)
    pipe_in(path.read_bytes())
    assert run("show", "-") == expected
    pipe_in(b"{}")
    assert "standard input is not a saved attribution" in run("show", "-")[2]
    assert "standard input holds one result" in run("compare", "-", "-")[2]


@pytest.mark.parametrize("flags", [("--json", "--html"), ("--json", "--svg"), ("--svg", "--html")])
def test_two_outputs_in_one_file(refused, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    first, second = flags
    message = refused("explain", PROMPT, first, "x", second, tmp_path / "x")
    assert "was given for two outputs; give each a file of its own" in message
    assert not list(tmp_path.iterdir())


def test_help_says_of_each_method_what_a_shared_flag_is(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    out = " ".join(run("explain", "--help")[1].replace("│", " ").split())
    fields = {n: {f.name: f for f in dataclasses.fields(m)} for n, m in hf_attrib.methods().items()}
    for name in ("idgi", "integrated_gradients"):
        steps = fields[name]["steps"]
        assert f"{steps.metadata['help']} ({name}: {steps.default}" in out
    assert "; fgsm: 1)" in out


def test_help_cuts_long_lists_of_methods_that_share_a_default():
    field = dataclasses.fields(Shared)[0]
    few, many = (dict.fromkeys("abcdefg"[:n], field) for n in (4, 7))
    assert flags._about(few) == "Nodes. (a, b, c, d: 3)"
    assert flags._about(many) == "Nodes. (a, b, c and 4 more: 3)"


@dataclasses.dataclass
class Shared:
    nodes: int = dataclasses.field(default=3, metadata={"help": "Nodes."})


@pytest.mark.parametrize("name", ["no-such-file", "."])
def test_result_that_cannot_be_read(refused, name):
    assert f"cannot read {name}" in refused("show", name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"{", "not JSON"),
        (b"{}", "not a saved attribution"),
        (b'{"format": "hf_attrib.results.attribution", "format_version": 99}', "format version 99"),
        (b'{"format": "hf_attrib.results.attribution", "format_version": 1}', "damaged"),
    ],
)
def test_result_that_is_none(refused, tmp_path, content, message):
    path = tmp_path / "result\x1b[31m.json"
    path.write_bytes(content)
    assert message in refused("show", path)


def test_results_are_data(run, tmp_path):
    path = tmp_path / "r.json"
    saved(run, path, PROMPT, *QUICK)
    content = json.loads(path.read_text())
    content["run"]["model"] = content["inputs"]["pieces"][3] = "\x1b[2J[bold]x[/]"
    path.write_text(json.dumps(content))
    code, out, err = run("show", path)
    assert (code, err) == (0, "")
    assert ESCAPE not in out
    assert "␛[2J[bold]x[/]" in out


def test_writing_that_fails_after_the_run_still_shows_the_result(run, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hf_attrib.Attribution, "save", full)
    code, out, err = run("explain", PROMPT, *QUICK, "--json", tmp_path / "r.json")
    assert code == 2
    assert out.startswith("keys-llama")
    assert err == f"hf-attrib: cannot write {tmp_path / 'r.json'}: No space left on device.\n"


def test_bugs_are_not_hidden(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("hf_attrib.cli.commands.load_model", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["explain", PROMPT])


# Models


def copied(folder, to):
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())


def edited(folder, to, **changes):
    copied(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **changes}))


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

    monkeypatch.setattr("hf_attrib.model.self_check.check", refuse)
    assert refused("explain", PROMPT, *QUICK) == "hf-attrib: no gradient\n"


# Real processes


def test_a_pipe_gets_the_result_alone():
    process = subprocess.run(
        [*HF_ATTRIB, "explain", *QUICK], input=PROMPT, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("keys-llama")
    assert ESCAPE not in process.stdout
    assert all(line == line.rstrip() for line in process.stdout.splitlines())


def test_json_on_standard_output_is_json_alone():
    process = subprocess.run([*HF_ATTRIB, "explain", PROMPT, *QUICK, "--json", "-"], **CAPTURED)
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(process.stdout)["format"] == "hf_attrib.results.attribution"


def test_bad_input_exits_with_2():
    process = subprocess.run([*HF_ATTRIB, "explain", PROMPT, "--method", "magic"], **CAPTURED)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1


def test_a_reader_that_stops_early_is_no_error():
    command = f"{' '.join(HF_ATTRIB)} methods"
    script = f"set -o pipefail; {command} | head -c 1; {command} | true"
    process = subprocess.run(["bash", "-c", script], **CAPTURED)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output():
    script = f"{' '.join(HF_ATTRIB)} methods > /dev/full"
    process = subprocess.run(["bash", "-c", script], **CAPTURED)
    assert process.returncode == 2
    message = "hf-attrib: cannot write standard output: No space left on device.\n"
    assert process.stderr == message


def test_terminals_that_know_few_characters():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = subprocess.run([*HF_ATTRIB, "explain", PROMPT, *QUICK], env=environment, **CAPTURED)
    assert (process.returncode, process.stderr) == (0, "")
    assert "--- -- - 0 + ++ +++" in process.stdout
    assert "?++" not in process.stdout


COLOUR = re.compile(r"\x1b\[[0-9;]*[34]8;[25];")


def test_a_terminal_gets_colours_unless_it_declines():
    code, out = in_terminal(["explain", PROMPT, *QUICK])
    assert code == 0
    assert COLOUR.search(out)
    code, out = in_terminal(["explain", PROMPT, *QUICK], environment={"NO_COLOR": "1"})
    assert code == 0
    assert not COLOUR.search(out)
    assert "⁺" in out


def test_an_interrupt_shows_progress_before_and_nothing_after():
    arguments = ["explain", PROMPT, "--steps", "100000", "--rule", "midpoint"]
    code, out = in_terminal(arguments, until=b"Explaining")
    assert code == 130
    assert "Traceback" not in out

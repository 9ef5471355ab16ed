"""Bad input ends with one sentence and exit code 2, before anything long runs."""

import os

import pytest
from helpers.command_line import PROMPT, QUICK, saved


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", *QUICK], "the prompt is empty"),
        ([PROMPT, "--file", "x"], "both given"),
        ([PROMPT, "--method", "magic"], "method 'magic' is unknown"),
        ([PROMPT, "--method", "saliency", "--steps", "3"], "method saliency has no field"),
        ([PROMPT, "--method", "bim", "--norm", "l2"], "method bim has no field norm; it has eps, "),
        ([PROMPT, "--method", "bim", "--update", "mim"], "method bim has no field update; it has"),
        ([PROMPT, "--eps", "3"], "eps was given and no method, and loo_shapley"),
        ([PROMPT, "--method", "idgi", "--steps", "0"], "steps is 0"),
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
        ([PROMPT, "--contrast", "", *QUICK], "the contrast is empty"),
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
    assert "'page'; expected" in refused("show", tmp_path / "a", "--group", "page")
    (tmp_path / "c").write_text("{}")
    assert "not a saved attribution" in refused("compare", tmp_path / "c", tmp_path / "a")


@pytest.mark.parametrize("flags", [("--json", "--html"), ("--json", "--svg"), ("--svg", "--html")])
def test_two_outputs_in_one_file(refused, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    first, second = flags
    message = refused("explain", PROMPT, first, "x", second, tmp_path / "x")
    assert "was given for two outputs; give each a file of its own" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["no-such-file", "."])
def test_result_that_cannot_be_read(refused, name):
    assert f"cannot read {name}" in refused("show", name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"{", "not JSON"),
        (b"{}", "not a saved result"),
        (b'{"format": "hf_attrib.attribution", "format_version": 99}', "format version 99"),
        (b'{"format": "hf_attrib.attribution", "format_version": 1}', "damaged"),
    ],
)
def test_result_that_is_none(refused, tmp_path, content, message):
    path = tmp_path / "result\x1b[31m.json"
    path.write_bytes(content)
    assert message in refused("show", path)


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "--file", "a.txt", "--json", "a.txt"),
        ("explain", "--file", "a.txt", "--html", "./a.txt"),
        ("explain", PROMPT, "--documents", "d.jsonl", "--svg", "d.jsonl"),
        ("rag", "--question", "Q", "--document", "a.txt", "--json", "a.txt"),
        ("rag", "--question", "Q", "--document", "*.txt", "--html", "link.txt"),
        ("rag", "--question-file", "q.md", "--document", "a.txt", "--save", "q.md"),
        ("rag", "--question", "Q", "--documents", "d.jsonl", "--html", "d.jsonl"),
        ("robustness", "--file", "a.txt", "--json", "a.txt"),
        ("evaluate", "p.json", "--output", "p.json"),
        ("evaluate", "d.jsonl", "--resume", "d.jsonl"),
        ("show", "p.json", "--html", "p.json"),
        ("compare", "p.json", "d.jsonl", "--html", "d.jsonl"),
    ],
)
def test_what_is_read_is_never_written_over(refused, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "d.jsonl", "q.md", "p.json"):
        (tmp_path / name).write_text('"Ada has a red key."\n')
    (tmp_path / "link.txt").symlink_to("q.md")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert "is read here and would be overwritten; write another file" in refused(*words)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_links_that_lead_in_circles_are_no_documents(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot read loop" in refused("rag", "--question", "Q", "--document", "loop")

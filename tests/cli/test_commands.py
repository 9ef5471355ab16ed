"""What the commands do with a result: explain, show and compare it, save it, draw it."""

import dataclasses
import json
import re
import warnings

import pytest
import torch
from helpers.command_line import ESCAPE, PROMPT, QUICK, saved

import hf_attrib
from hf_attrib.cli import main


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
        "--steps", "3", "--rule", "midpoint", "--target", "logit", "--contrast", " Ada's",
        "--baseline", "id:5", "--attribute-to", "all", "--movable", "all", "--batch-size", "1",
        "--seed", "7",
    )  # fmt: skip
    _, tokenizer = hf_attrib.embedded.load("keys-llama")
    ada = tokenizer(" Ada's", add_special_tokens=False)["input_ids"]
    fields = {k: v for k, v in result.run.method_fields.items() if v is not None}
    assert fields == {"steps": 3, "rule": "midpoint"}
    assert (result.run.target, result.run.attribute_to) == ("logit", "all")
    assert result.run.baseline == "token 5"
    assert (list(result.run.contrast_ids), result.run.fork) == (ada, 0)
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
    from hf_attrib.cli.options import QuestionOptions

    made = str(QuestionOptions(method="fundamental").made_method({"update": update}, 5))
    assert re.findall(r"seed ?= ?(\d+)", made) == ([] if seed is None else [str(seed)])


@pytest.mark.parametrize(
    "text", ["noise_average(inner=idgi(steps=3), samples=2)", "mim(decay=0.5, steps=2)", "idgi"]
)
def test_a_method_is_read_as_it_is_written_wherever_it_is_named(text):
    from hf_attrib.cli.options import QuestionOptions
    from hf_attrib.engine import Question
    from hf_attrib.validation.entrants import entrants_of

    made = Question.of({"method": text})[0].method
    assert made == QuestionOptions(method=text).made_method({}, None)
    assert made == entrants_of(text, 1, {})[0].question.method
    assert made == Question.of({"method": str(made)})[0].method
    more = {"seed": 3} if "samples" in text else {"steps": 5}
    if "(" in text and "seed" not in more:
        with pytest.raises(hf_attrib.InputError, match="steps came within"):
            Question.of({"method": text, **more})
    else:
        assert vars(Question.of({"method": text, **more})[0].method).items() >= more.items()


@pytest.mark.parametrize(("text", "seed"), [("smooth_grad(seed=3)", 3), ("smooth_grad", 5)])
def test_a_seed_that_is_written_with_the_method_stays(text, seed):
    from hf_attrib.cli.options import QuestionOptions

    assert QuestionOptions(method=text).made_method({}, 5).seed == seed


def test_a_method_that_samples_takes_the_seed():
    from hf_attrib.cli.options import QuestionOptions
    from hf_attrib.methods import base

    @dataclasses.dataclass(frozen=True)
    class Noisy(hf_attrib.Method, name="noisy"):
        """Draw."""

        seed: int = dataclasses.field(default=0, metadata={"help": "Seed."})

        def __call__(self, field, x, baseline):
            raise NotImplementedError

    try:
        assert QuestionOptions(method="noisy").made_method({}, 5).seed == 5
    finally:
        del base._METHODS._classes["noisy"]


def test_show_reads_standard_input(run, tmp_path, pipe_in):
    path = tmp_path / "r.json"
    saved(run, path, PROMPT, *QUICK)
    expected = run("show", path)
    pipe_in(path.read_bytes())
    assert run("show", "-") == expected
    pipe_in(b"{}")
    assert "standard input is not a saved result" in run("show", "-")[2]
    assert "standard input holds one result" in run("compare", "-", "-")[2]


def test_results_are_data(run, tmp_path):
    path = tmp_path / "r.json"
    saved(run, path, PROMPT, *QUICK)
    content = json.loads(path.read_text())
    content["run"]["model"] = content["sequence"]["prompt"]["pieces"][3] = "\x1b[2J[bold]x[/]"
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


def test_a_flag_that_was_renamed_is_taken_but_not_shown(run):
    assert "--max-points" not in run("explain", "--help")[1]
    asked = ("explain", "Ada's key is red.", "--response", " blue", "--json", "-")
    asked += ("--method", "integrated_gradients")
    with pytest.warns(
        FutureWarning, match="max_points of integrated_gradients is called max_nodes"
    ):
        before = json.loads(run(*asked, "--max-points", 17)[1])
    now = json.loads(run(*asked, "--max-nodes", 17)[1])
    assert before["run"]["method_fields"] == now["run"]["method_fields"]
    assert now["run"]["method_fields"]["max_nodes"] == 17

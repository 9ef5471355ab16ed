"""``hf-attrib evaluate``: a file of prompts, tables as files, and runs that are taken up."""

import csv
import json

import pytest
from helpers.command_line import PROMPT

import hf_attrib
from hf_attrib import Evaluation
from hf_attrib.cli.evaluation import EvaluationOptions, PromptFile
from hf_attrib.engine.options import GenerateOptions
from hf_attrib.validation import EvaluateOptions

OTHER = "Bob's key is green. Q: What color is Bob's key? A:"
QUICK = ("--random-orders", "2", "--metric", "morf_lerf", "--max-new-tokens", "2")
TWO = ("--method", "saliency", "--method", "smooth_grad(samples=2)")


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text(f"{PROMPT}\n\n{OTHER}\n")
    return path


def test_it_shows_what_it_writes(run, prompts, tmp_path):
    paths = [tmp_path / f"table{end}" for end in (".json", ".csv", ".html")]
    outputs = [word for path in paths for word in ("--output", path)]
    code, out, err = run("evaluate", prompts, *TWO, *QUICK, *outputs)
    assert (code, err) == (0, "")
    assert out.startswith("Methods on keys-llama · 2 prompts")
    result = hf_attrib.load(paths[0])
    assert isinstance(result, Evaluation)
    assert result.labels == ("saliency", "smooth_grad(samples=2)")
    assert [prompt.text for prompt in result.prompts] == [PROMPT, OTHER]
    assert run("show", paths[0]) == (0, out, "")
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert [row["method"] for row in rows] == [row["method"] for row in result.table()]
    assert float(rows[0]["mean"]) == result.summary[0].mean.mean
    assert "smooth_grad(samples=2)" in paths[2].read_text()


def test_every_option_of_evaluate_has_a_flag_or_a_file():
    asked = set(EvaluationOptions().asked())
    elsewhere = {"responses", "template_options", "resume", "progress"}
    own = set(EvaluateOptions.__annotations__) - set(GenerateOptions.__annotations__)
    assert asked == own - elsewhere


def test_what_is_asked_is_written_down(run, prompts, tmp_path):
    flags = {"target": "logit", "movable": "all", "subsets": "9", "attribute-to": "all"}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    path = tmp_path / "t.json"
    code, _, _ = run("evaluate", prompts, "--method", "saliency", *QUICK, *words, "--output", path)
    assert code == 0
    done = hf_attrib.load(path).run
    assert (done.score, done.movable, done.subsets, done.attribute_to) == ("logit", "all", 9, "all")


def test_answers_may_come_with_the_prompts(run, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": p, "response": " Bob"}) for p in (PROMPT, OTHER))
    )
    quick = QUICK[:-2]
    code, _, _ = run(
        "evaluate", path, "--method", "saliency", *quick, "--output", tmp_path / "t.json"
    )
    assert code == 0
    assert [p.response for p in hf_attrib.load(tmp_path / "t.json").prompts] == [" Bob"] * 2


def test_it_goes_on_from_its_file(run, refused, prompts, tmp_path):
    path = tmp_path / "run.jsonl"
    call = ("evaluate", prompts, "--method", "saliency", *QUICK, "--resume", path)
    _, out, _ = run(*call)
    written = path.read_text()
    assert run(*call) == (0, out, "")
    assert path.read_text() == written
    assert "seed was 0, is 1" in refused(*call, "--seed", "1")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.txt", "\n\n", "holds no prompts"),
        ("p.json", "[", "is not JSON"),
        ("p.jsonl", '{"prompt": "a"}\n\n\nb', "is not JSON in line 4"),
        ("p.json", "[1]", "prompt 1 of"),
        ("p.json", '[{"prompt": "a", "response": "b"}, {"prompt": "c"}]', "1 responses"),
        ("p.json", '{"prompt": "a"}', "holds no prompts"),
        ("p.txt", None, "cannot read"),
    ],
)
def test_files_that_are_none_are_refused(refused, tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert said in refused("evaluate", path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "salience"], "'salience' is unknown"),
        (["--method", "saliency(steps=3)"], "has no fields"),
        (["--metric", "depth"], "'depth' is unknown"),
        (["--target", "depth"], "'depth' is unknown"),
        (["--movable", "none"], "movable is 'none'"),
        (["--subsets", "1"], "subsets is 1; expected at least 2"),
        (["--operator", "blur"], "'blur' is unknown"),
        (["--groups", "page"], "--groups is 'page'"),
        (["--output", "table.txt"], "expected a name that ends in .json or .csv or .html"),
        (["--output", "none/t.json"], "cannot write none/t.json"),
        (["--output", "a.csv", "--output", "a.csv"], "for two outputs"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_model_is_loaded(refused, prompts, words, said):
    assert said in refused("evaluate", prompts, "--model", "none/such", *words)


def test_messages_are_prompts(tmp_path):
    path = tmp_path / "p.json"
    messages = [{"role": "user", "content": "a"}]
    path.write_text(json.dumps([{"prompt": messages}]))
    assert PromptFile(path).read() == ([messages], None)


def test_lines_end_where_files_end_them_and_not_within_a_text(tmp_path):
    texts = ["a\u2028b", "c\x0cd", "e\x85f"]
    (tmp_path / "p.txt").write_bytes("\r\n".join([*texts, ""]).encode())
    lines = [json.dumps({"prompt": text}, ensure_ascii=False) for text in texts]
    (tmp_path / "p.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for name in ("p.txt", "p.jsonl"):
        assert PromptFile(tmp_path / name).read()[0] == texts


def test_explain_takes_the_most_faithful_method(run, tmp_path):
    words = ("--method", "auto", "--budget", "600", "--max-new-tokens", "2")
    code, out, err = run("explain", PROMPT, *words, "--json", tmp_path / "r.json")
    assert (code, err) == (0, "")
    kept = hf_attrib.load(tmp_path / "r.json").run
    assert f"contest 1: {kept.method}: rank" in out
    assert len(kept.contest) > 1
    code, _, err = run("explain", PROMPT, "--method", "auto", "--contrast", " red")
    assert code == 2
    assert "contrast came with method='auto'" in err
    code, out, _ = run("explain", PROMPT, *words, "--dry-run")
    assert code == 0
    assert all(line in out for line in ("saliency", "judging", "in all"))


def test_what_it_would_cost_is_printed_and_nothing_is_judged(run, prompts, tmp_path):
    code, out, err = run("evaluate", prompts, *TWO, *QUICK, "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("2 prompts, whose answers are at most")
    assert "smooth_grad(samples=2)" in out
    code, _, err = run("evaluate", prompts, *TWO, "--dry-run", "--output", tmp_path / "t.json")
    assert code == 2
    assert "--dry-run judges nothing" in err

"""``hf-attrib dataset``: a run in a folder, from the command line."""

import json
from itertools import count

import pytest
from helpers.command_line import PROMPT, in_terminal

from hf_attrib import load_run
from hf_attrib.cli.dataset import Bar, KeptOptions, SourceOptions, asked
from hf_attrib.cli.options import ModelOptions, QuestionOptions

SHORT = "Bob's key \x1b[31mis green 😀. Q: What color is Bob's key? A:"
FAST = ("--method", "occlusion", "--max-new-tokens", "2")


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"question": PROMPT}, {"question": ""}, {"question": SHORT}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_a_run_is_written_gone_on_with_and_told(run, questions, tmp_path):
    words = ("dataset", questions, tmp_path / "run", "--column", "prompt=question", *FAST)
    code, out, _ = run(*words, "--limit", "1")
    assert (code, out) == (0, f"{tmp_path}/run: rows 1 done\n")
    code, out, _ = run(*words, "--window", "1")
    assert (code, out) == (0, f"{tmp_path}/run: rows 2 done, 1 failed\n")
    found = load_run(tmp_path / "run")
    assert found.errors == [(1, "the prompt is empty; give at least one token to explain.")]
    assert found.question["method"] == "occlusion(mode=embed, window=1)"
    code, out, err = run(*words, "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("open rows      0, 3 more are finished\n")


def test_what_it_would_cost_is_told_and_nothing_written(run, questions, tmp_path):
    words = ("dataset", questions, tmp_path / "run", "--column", "prompt=question", *FAST)
    code, out, err = run(*words, "--dry-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "open rows      3"
    assert lines[1] == "measured       2 of them, spread over their lengths"
    assert lines[-1].startswith("row 1 fails    the prompt is empty")
    assert "\x1b" not in out
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_bar_shows_rows_and_their_rate(questions, tmp_path):
    words = ["dataset", questions, tmp_path / "run", "--column", "prompt=question", *FAST]
    code, out = in_terminal([str(word) for word in words], environment={"COLUMNS": "100"})
    assert code == 0
    assert "Explaining" in out
    assert "3/3" in out
    assert "rows/s" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "no column holds prompts; the columns are 'question'"),
        (("--column", "prompt"), "expected one like prompt=question"),
        (("--column", "prompts=question"), "'prompts', which no row has"),
        (("--shard", "2/2"), "expected i/n"),
        (("--shard", "1"), "expected i/n"),
        (("--limit", "0"), "--limit is 0"),
        (("--group", "verse"), "--group is 'verse'"),
        (("--scores", "all"), "scores is 'all'"),
        (("--column", "prompt=question", "--method", "magic"), "magic"),
        (("--column", "prompt=question", "--spans", "verse"), "verse"),
        (("--column", "prompt=question", "--baseline", "men"), "men"),
        (("--column", "prompt=question", "--target", "lgit"), "lgit"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words, expected, refused, questions, tmp_path):
    assert expected in refused("dataset", questions, tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_flags_say_what_explain_takes():
    source = SourceOptions("x", "y", column=["prompt=q", "response=a=b"], shard="1/4", limit=3)
    asking = QuestionOptions(method="occlusion", contrast="id:7", baseline="pad", spans="word")
    kept = KeptOptions(scores="tokens", group="word", results=True, max_new_tokens=4)
    given = asked(source, asking, kept, ModelOptions(dtype="bfloat16"), {"window": 2})
    assert given == {
        "model": "keys-llama",
        "columns": {"prompt": "q", "response": "a=b"},
        "split": None,
        "limit": 3,
        "shard": (1, 4),
        "revision": None,
        "device": "cpu",
        "dtype": "bfloat16",
        "trust_remote_code": False,
        "batch_size": None,
        "max_memory": None,
        "scores": "tokens",
        "groups": "word",
        "results": True,
        "max_new_tokens": 4,
        "method": "occlusion",
        "contrast": 7,
        "baseline": "pad",
        "spans": "word",
        "window": 2,
    }


def test_the_time_that_is_left_is_told_of_rows_that_take_minutes():
    bar, minutes = Bar(), count()
    bar._bar.get_time = lambda: 60.0 * next(minutes)
    bar._bar.reset(bar._task)
    for done in range(1, 5):
        bar.now(done, 10)
    (task,) = bar._bar.tasks
    assert task.time_remaining == pytest.approx(6 * 60)

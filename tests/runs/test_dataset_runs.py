"""Runs of data sets: what they read, what they write, how they go on, what they refuse."""

import json
import sqlite3

import numpy as np
import pyarrow.parquet as parquet
import pytest

import hf_attrib
from hf_attrib import (
    Explain,
    InputError,
    UnsupportedModelError,
    estimate_dataset,
    explain_dataset,
    load_run,
)
from hf_attrib.engine.memory import written
from hf_attrib.runs import COLUMNS
from hf_attrib.runs import dataset as runner

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
SHORT = "Bob's key is green. Q: What color is Bob's key? A:"
FAST = {"method": "occlusion", "max_new_tokens": 2}
ROWS = [{"prompt": SHORT}, {"prompt": PROMPT}, {"prompt": SHORT}]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return explain_dataset(ROWS, tmp_path_factory.mktemp("run"), results=True, **FAST)


@pytest.fixture
def quick(monkeypatch):
    """Count rows instead of explaining them."""
    done = []

    def found(self, explainer, values, row_id):
        done.append(self.request(values)["prompt"])
        return {**runner.failure(row_id, ""), "scores": [[float(len(values["prompt"]))]]}

    monkeypatch.setattr(Explain, "found", found)
    monkeypatch.setattr(Explain, "explainer", lambda self, rank=None: None)
    return done


def test_rows_come_back_in_the_order_of_the_source_as_what_explain_returns(run):
    expected = Explain("keys-llama", results=True, **FAST)({"prompt": [SHORT, PROMPT]})
    found = run.dataset
    assert found["row"] == [0, 1, 2]
    assert found["id"] == [expected["id"][0], expected["id"][1], f"{expected['id'][0]}-2"]
    for name in set(COLUMNS) - {"id", "seconds", "result"}:
        assert repr([found[0][name], found[1][name]]) == repr(expected[name]), name
        assert repr(found[2][name]) == repr(found[0][name])
    assert (len(run), run.counts["done"], run.errors) == (3, 3, [])


def test_a_row_is_a_whole_result_again(run):
    result = run.result(1)
    assert isinstance(result, hf_attrib.Attribution)
    assert result.scores.tolist() == run.dataset[1]["scores"]
    assert result.inputs.text == PROMPT
    with pytest.raises(InputError, match="index is 3"):
        run.result(3)


def test_what_is_done_is_not_done_again_and_new_rows_are_added(quick, tmp_path):
    explain_dataset(ROWS[:2], tmp_path, limit=1)
    assert quick == [SHORT]
    told = []
    explain_dataset(ROWS[:2], tmp_path, progress=lambda *numbers: told.append(numbers))
    assert quick == [SHORT, PROMPT]
    assert told == [(2, 2), (2, 2)]
    run = explain_dataset(ROWS, tmp_path)
    assert quick == [SHORT, PROMPT, SHORT]
    assert run.dataset["row"] == [0, 1, 2]
    assert [len(row) for row in run.dataset["id"]] == [20, 20, 22]


def test_longest_rows_come_first_and_shards_are_apart(quick, tmp_path):
    rows = [{"prompt": "a" * n} for n in (1, 5, 3, 4)]
    explain_dataset(rows, tmp_path / "a", shard=(0, 2))
    assert [len(text) for text in quick] == [3, 1]
    explain_dataset(rows, tmp_path / "a", shard=(1, 2))
    assert [len(text) for text in quick] == [3, 1, 5, 4]
    assert load_run(tmp_path / "a").dataset["scores"] == [[[n]] for n in (1.0, 5.0, 3.0, 4.0)]


def test_no_more_is_held_in_memory_than_a_part_of_full_maps(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_SCORES", 2)
    run = explain_dataset([{"prompt": "a" * n} for n in range(1, 6)], tmp_path)
    sizes = [parquet.read_metadata(file).num_rows for file in tmp_path.glob("*.parquet")]
    assert sorted(sizes) == [1, 2, 2]
    assert run.dataset["row"] == [0, 1, 2, 3, 4]


def test_sources_of_all_kinds_hold_the_same_rows(quick, tmp_path):
    import datasets

    datasets.disable_progress_bars()
    odd = 'tab\t, comma, "quote" and 😀\nline'
    rows = [{"q": odd, "documents": ["one", "two"]}, {"q": "null", "documents": None}]
    data = datasets.Dataset.from_list(rows)
    data.to_parquet(tmp_path / "x.parquet")
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "x.jsonl").write_text(f"\ufeff{lines}\n\n", encoding="utf-8")
    quoted = odd.replace('"', '""')
    cells = f'q,documents\r\n"{quoted}","[""one"", ""two""]"\r\nnull,\r\n'
    (tmp_path / "x.csv").write_text(cells, encoding="utf-8", newline="")
    sources = {
        "list": rows,
        "dataset": data,
        "stream": data.to_iterable_dataset(),
        "numpy": data.with_format("numpy"),
        **{end: tmp_path / f"x.{end}" for end in ("parquet", "jsonl", "csv")},
    }
    ids = {}
    for name, source in sources.items():
        run = explain_dataset(source, tmp_path / name, columns={"prompt": "q"})
        assert quick[-2:] == [odd, "null"]
        ids[name] = run.dataset["id"][:]
    csv = ids.pop("csv")  # whose documents are a text
    assert all(own == ids["list"] for own in ids.values())
    assert csv[1] == ids["list"][1]


def test_rows_that_cannot_be_read_are_failures_and_can_be_tried_again(quick, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"prompt": "\xff"}\n{"prompt": "a"}\n7\n{"prompt"\n{"other": 1}\n')
    run = explain_dataset(path, tmp_path / "run")
    words = ["line 1 is not UTF-8", "line 3 is '7'", "line 4 is not JSON", "a row needs one of"]
    assert [place for place, _ in run.errors] == [0, 2, 3, 4]
    for (_, error), start in zip(run.errors, words, strict=True):
        assert error.startswith(start)
    assert [bool(error) for error in run.dataset["error"]] == [True, False, True, True, True]
    with pytest.raises(InputError, match="row 0 has no result: line 1"):
        run.result(0)
    with pytest.raises(InputError, match="results=True"):
        run.result(1)
    explain_dataset(path, tmp_path / "run")
    assert quick == ["a"]
    again = explain_dataset(path, tmp_path / "run", retry=True)
    assert (again.counts, quick) == (run.counts, ["a"])
    assert again.dataset["row"] == [0, 1, 2, 3, 4]
    (tmp_path / "x.csv").write_bytes(b"prompt\nd,e\n\xff\na,b\nc\n")
    run = explain_dataset(tmp_path / "x.csv", tmp_path / "csv")
    assert run.errors == [(at, f"row {at + 1} has more cells than the header.") for at in (0, 2)]
    assert quick[-2:] == ["\udcff", "c"]  # the first of which explain refuses


def test_another_question_is_refused_and_another_version_is_told(quick, tmp_path):
    explain_dataset(ROWS, tmp_path, **FAST)
    with pytest.raises(InputError, match=r"method was 'occlusion.*', is 'saliency'"):
        explain_dataset(ROWS, tmp_path, **{**FAST, "method": "saliency"})
    with pytest.raises(InputError, match="max_new_tokens was 2, is None"):
        explain_dataset(ROWS, tmp_path, method="occlusion")
    with pytest.raises(InputError, match="max_new_tokens was 2, is None"):
        estimate_dataset(ROWS, tmp_path, method="occlusion")
    explain_dataset(ROWS, tmp_path, batch_size=2, device="auto", **FAST)  # the same question
    base = sqlite3.connect(tmp_path / "manifest.sqlite")
    with base:
        base.execute(
            "UPDATE about SET value = replace(value, ?, '0.0.9')", (hf_attrib.__version__,)
        )
    base.close()
    with pytest.warns(hf_attrib.AttributionWarning, match=r"hf_attrib 0\.0\.9, now"):
        explain_dataset(ROWS, tmp_path, **FAST)


def test_a_row_that_ends_processes_is_given_up(quick, tmp_path):
    explain_dataset(ROWS[:2], tmp_path)
    base = sqlite3.connect(tmp_path / "manifest.sqlite")
    with base:
        base.execute("UPDATE rows SET status = 'running', worker = 'gone', attempts = 5")
    base.close()
    run = explain_dataset(ROWS[:2], tmp_path)
    assert [error for _, error in run.errors] == [
        "5 processes ended while this row was running."
    ] * 2


def test_a_model_that_cannot_be_explained_ends_the_run(quick, tmp_path, monkeypatch):
    def found(self, explainer, values, row_id):
        raise UnsupportedModelError("no.")

    with monkeypatch.context() as changed:
        changed.setattr(Explain, "found", found)
        with pytest.raises(UnsupportedModelError):
            explain_dataset(ROWS, tmp_path)
    run = load_run(tmp_path)
    assert run.counts == {"done": 0, "failed": 0, "open": 3, "in work": 0}
    with pytest.raises(InputError, match="no finished rows"):
        run.dataset  # noqa: B018
    explain_dataset(ROWS, tmp_path)
    assert len(quick) == 3


def test_an_interrupt_keeps_what_was_found(quick, tmp_path, monkeypatch):
    of_quick = Explain.found

    def found(self, explainer, values, row_id):
        if len(quick) == 2:
            raise KeyboardInterrupt
        return of_quick(self, explainer, values, row_id)

    monkeypatch.setattr(Explain, "found", found)
    with pytest.raises(KeyboardInterrupt):
        explain_dataset(ROWS, tmp_path)
    assert load_run(tmp_path).counts == {"done": 2, "failed": 0, "open": 1, "in work": 0}


def test_folders_that_hold_something_else_or_take_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        load_run(tmp_path)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        explain_dataset(ROWS, file)
    with pytest.raises(InputError, match="cannot write"):
        explain_dataset(ROWS, "/proc/nowhere")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "manifest.sqlite").write_text("no data base, for sure\n" * 100)
    with pytest.raises(InputError, match=r"cannot use .*not a database"):
        explain_dataset(ROWS, damaged)


@pytest.mark.parametrize("folder", [None, 5, "", b"run", "a\0b"])
def test_what_is_no_path_of_a_folder_is_refused(folder):
    for call in (load_run, lambda folder: explain_dataset(ROWS, folder)):
        with pytest.raises(InputError, match=r"folder is .*; expected the path of one"):
            call(folder)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("./none.jsonl", {}, "there is no file './none.jsonl'"),
        ("x.txt", {}, "expected .jsonl, .csv, .parquet"),
        ("twice.csv", {}, "has two columns 'prompt'"),
        ([], {}, "has no rows"),
        (7, {}, "source is 7"),
        ({"train": ROWS}, {}, "source is"),
        ([{"text": "a"}], {}, "the columns are 'text'"),
        (ROWS, {"limit": 0}, "limit is 0"),
        (ROWS, {"shard": (2, 2)}, "from 0 to n - 1"),
        (ROWS, {"shard": "0/2"}, "shard is"),
        (ROWS, {"prefix": "a"}, "prefix"),
        (ROWS, {"model": None}, "expected the name or the folder"),
        (ROWS, {"metod": "saliency"}, "did you mean 'method'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    source, options, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("a")
    (tmp_path / "twice.csv").write_text("prompt,prompt,\na,b,\n")
    for call in (explain_dataset, estimate_dataset):
        with pytest.raises(InputError, match=words):
            call(source, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_an_estimate_counts_what_is_open(run):
    estimate = estimate_dataset(ROWS, **FAST)
    assert (estimate.rows, estimate.finished) == (3, 0)
    assert [place for place, _ in estimate.measured] == [0, 2, 1]
    each = [own.forward_rows[1] for _, own in estimate.measured]
    assert estimate.passes[1] == sum(each)
    assert estimate.seconds[0] <= estimate.seconds[1]
    longest = estimate.measured[-1][1].tokens
    assert f"longest        row 1: {longest} tokens" in str(estimate)
    done = estimate_dataset(ROWS, run.folder, results=True, **FAST)
    assert (done.rows, done.finished) == (0, 3)
    with pytest.raises(InputError, match="the prompt is empty"):
        estimate_dataset([{"prompt": ""}], **FAST)


@pytest.mark.parametrize("scores", ["groups", "tokens"])
def test_an_estimate_tells_the_bytes_of_all_scores(scores, tmp_path):
    """Of rows whose answers are there, so that nothing is open, and which are all measured."""
    rows = [{**row, "response": " Bob's key"} for row in ROWS]
    asked = {"method": "occlusion", "scores": scores}
    run = explain_dataset(rows, tmp_path, **asked)
    maps = [np.array(row) for row in run.dataset["scores"]]
    estimate = estimate_dataset(rows, **asked)
    assert estimate.size == sum(one.nbytes for one in maps)
    assert f"about {written(estimate.size)}, before compression" in str(estimate)

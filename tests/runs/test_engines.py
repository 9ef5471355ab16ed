"""Engines that run data sets elsewhere, for real: they find what a run of ours finds, and go on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pyarrow.parquet as parquet
import pytest

from hf_attrib import Explain, explain_dataset
from hf_attrib.runs.rows import plain

ROOT = Path(__file__).parents[2]
FACTS = ("Ada's key is red.", "Bob's key is blue.", "Eve's key is green.")
ROWS = [
    {"question": f"{' '.join(FACTS[: n % 3 + 1])} Q: What color is Bob's key? A:", "id": n}
    for n in range(3)
] + [{"question": "", "id": 3}]
ASKED = {"columns": {"prompt": "question"}, "method": "occlusion", "max_new_tokens": 2}
#: What takes another time in each run.
TIMED = "seconds"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What is written about each row, by its id."""
    run = explain_dataset(ROWS, tmp_path_factory.mktemp("run"), **ASKED)
    return by_id(run.dataset.remove_columns("row").to_list())


def by_id(rows):
    found = {row["id"]: {n: v for n, v in row.items() if n != TIMED} for row in rows}
    assert len(found) == len(rows)
    return found


def same(found, expected):
    """Bit by bit; repr writes NaN alike and every float exactly."""
    assert found.keys() == expected.keys()
    for name, row in found.items():
        assert repr(sorted(row.items())) == repr(sorted(expected[name].items()))


def test_ids_are_told_before_anything_is_loaded(expected, monkeypatch):
    explain = Explain("keys-llama", **ASKED)
    monkeypatch.setattr(Explain, "explainer", None)
    batch = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    assert set(explain.ids(batch)) == set(expected)


def test_partitions_of_dask_hold_what_a_run_finds(expected, tmp_path):
    frames = pytest.importorskip("dask.dataframe", reason="pip install hf_attrib[dask]")
    explain = Explain("keys-llama", **ASKED)
    schema = explain.features.arrow_schema

    def explained(frame):
        return pandas.DataFrame(explain(frame[["question"]].to_dict("list")))

    data = frames.from_pandas(pandas.DataFrame(ROWS), npartitions=2)
    found = data.map_partitions(explained, meta=schema.empty_table().to_pandas())
    found.to_parquet(tmp_path, schema=schema, compute_kwargs={"scheduler": "synchronous"})
    # To pandas NaN is nothing, inside of lists as well.
    same(plain(by_id(parquet.read_table(tmp_path).to_pylist())), plain(expected))


@pytest.mark.slow  # a cluster and its actors take half a minute to start
def test_ray_finds_the_same_and_goes_on_row_by_row(expected, tmp_path):
    pytest.importorskip("ray", reason="pip install hf_attrib[ray]")
    source, folder = tmp_path / "rows.jsonl", tmp_path / "scores"
    words = ["--columns", "prompt=question", "--method", "occlusion", "--max-new-tokens", "2"]
    command = [sys.executable, ROOT / "examples" / "ray_data.py", source, folder, *words]

    def run(rows):
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*command, "--rows", "1"], capture_output=True, text=True, env=environment, timeout=500
        )
        assert done.returncode == 0, done.stderr
        return {path: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}

    before = run(ROWS[:3])
    torn, *others = before
    torn.write_bytes(before[torn][:-8])  # as a kill leaves it
    rows_before = sum(parquet.read_metadata(path).num_rows for path in others)
    after = run(ROWS)
    assert torn not in after
    assert {path: after[path] for path in others} == {path: before[path] for path in others}
    added = after.keys() - before.keys()
    assert sum(parquet.read_metadata(p).num_rows for p in added) == len(ROWS) - rows_before
    same(by_id(parquet.read_table(folder).to_pylist()), expected)

"""Processes that are killed at random moments: nothing is lost, torn, or done twice."""

import json
import subprocess
import sys

import pytest
from helpers.dataset_runs import check_whole, killed_at_random, started

from hf_attrib import explain_dataset, load_run

#: Of names, so that processes share no code with what forks them but what is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

ROWS = [{"prompt": f"row {n} {'x' * (n % 7)}"} for n in range(40)]
FACTS = ("Ada's key is red.", "Bob's key is blue.", "Eve's key is green.")
PROMPTS = [
    {"prompt": f"{' '.join(FACTS[: n % 3 + 1])} Q: What color is {name}'s key? A:"}
    for n in range(2)
    for name in ("Ada", "Bob", "Eve")
]
FAST = {"method": "occlusion", "max_new_tokens": 2}


@pytest.fixture
def undisturbed(tmp_path):
    process = started(ROWS, tmp_path / "undisturbed", delay=0.0)
    process.join()
    assert process.exitcode == 0
    return load_run(tmp_path / "undisturbed")


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_kills_cost_nothing_but_time(processes, undisturbed, tmp_path):
    killed_at_random(ROWS, tmp_path / "run", 4, processes, 0.4, seed=processes, delay=0.01)
    check_whole(load_run(tmp_path / "run"), undisturbed)


@pytest.mark.slow  # it loads the model in five processes
def test_rows_of_a_model_are_the_same_whoever_explains_them_and_is_killed(tmp_path):
    whole = explain_dataset(PROMPTS, tmp_path / "whole", **FAST)
    killed_at_random(PROMPTS, tmp_path / "run", 2, 2, 1.5, seed=0, **FAST)
    check_whole(load_run(tmp_path / "run"), whole)


def test_processes_share_the_rows(undisturbed, tmp_path):
    both = [started(ROWS, tmp_path / "run", delay=0.01) for _ in range(2)]
    for process in both:
        process.join()
    run = load_run(tmp_path / "run")
    check_whole(run, undisturbed)
    writers = {file.name.split("-")[1] for file in run.folder.glob("*.parquet")}
    assert len(writers) == 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_many_kills_cost_nothing_but_time(processes, undisturbed, tmp_path):
    for seed in range(5):
        folder = tmp_path / f"run {seed}"
        killed_at_random(ROWS, folder, 8, processes, 0.4, seed=100 * processes + seed, delay=0.01)
        check_whole(load_run(folder), undisturbed)


@pytest.mark.slow
def test_processes_of_a_launcher_share_the_rows(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in PROMPTS))
    words = ["dataset", path, tmp_path / "run", "--method", "occlusion", "--max-new-tokens", "2"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--module"]
    command = [*map(str, [*torchrun, "hf_attrib", *words])]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("6 done") == 1
    check_whole(load_run(tmp_path / "run"), explain_dataset(PROMPTS, tmp_path / "whole", **FAST))

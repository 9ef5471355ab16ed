"""Several processes explain as one does: the same scores in each, and errors of one in all."""

import json
import os
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers import processes_worker

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.execution import Processes
from hf_attrib.execution.processes import fingerprint
from hf_attrib.results import Attribution, from_json
from hf_attrib.text import Request

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

#: Seconds after which processes that wait for each other count as hanging.
_PATIENCE = 120


def run(command, **options):
    """Run a command that starts processes; return its exit code, output and errors."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = {"cwd": Path(__file__).parents[1]} | options  # where the helpers are
    process = subprocess.Popen(command, **pipes, **options, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=_PATIENCE)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # all that it has started, too
        raise
    return process.returncode, output, errors


#: As few as share unevenly.
_COUNT = 3


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What came out of each case in each process, for all workers of one run of the tests."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    files = [folder / f"{i}.json" for i in range(_COUNT)]
    with FileLock(folder / "processes.lock"):
        if not all(map(Path.exists, files)):
            code, _, errors = run(
                [sys.executable, "-m", processes_worker.__name__, str(_COUNT), str(folder)]
            )
            assert code == 0, errors
    return [json.loads(file.read_text()) for file in files]


@pytest.fixture(scope="module")
def alone():
    """Results of the same cases in this process alone, each made once."""
    made = {}

    def of(name):
        if name not in made:
            result = processes_worker.SAME[name]()
            made[name] = result if isinstance(result, list) else [result]
        return made[name]

    return of


def results(outcome):
    assert "error" not in outcome, outcome
    return [from_json(text.encode(), "a worker's", Attribution) for text in outcome["results"]]


def content(outcome):
    """What must be equal in all processes: everything but the time it took."""
    content = [json.loads(text) for text in outcome["results"]]
    for result in content:
        result["run"].pop("seconds")
    return content


#: Cases that must come to the same as another one.
EXPECTED = {name: name for name in processes_worker.SAME} | {
    "after a failure": "fixed rule",
    "short of memory": "chunks of two",
    "other batch sizes": "chunks of two",
    "after all": "fixed rule",
}


@pytest.mark.parametrize("case", EXPECTED)
def test_many_equal_one_and_each_other(case, found, alone):
    for process in found:
        assert "error" not in process[case], process[case]
        assert content(process[case]) == content(found[0][case])
    together, expected = results(found[0][case]), alone(EXPECTED[case])
    assert len(together) == len(expected)
    for ours, theirs in zip(together, expected, strict=True):
        assert ours.inputs.ids.tolist() == theirs.inputs.ids.tolist()
        assert ours.response_ids.tolist() == theirs.response_ids.tolist()
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ours.value, theirs.value, rtol=1e-12, atol=1e-12)
        # Each row counts once, whoever ran it.
        assert ours.backward_rows == theirs.backward_rows
        if len(expected) < len(found):  # prompts that run together share forward rows
            assert ours.forward_rows == theirs.forward_rows


def test_the_work_is_shared(found):
    """Of 14 rows, twelve nodes and both ends, and none is run twice that another has run."""
    rows = [process["rows run"] for process in found]
    shares = [len(range(i, 12, len(found))) for i in range(len(found))]
    assert rows == [share + 2 for share in shares]  # one row is too few to share


def test_attacks_come_to_the_same(found):
    expected = processes_worker.radii()
    for process in found:
        assert process["radii"] == [pytest.approx(radii, rel=1e-3) for radii in expected]


def test_all_explain_the_answer_that_the_first_one_sampled(found):
    for process in found:
        assert content(process["sampled"]) == content(found[0]["sampled"])


@pytest.mark.parametrize(
    ("case", "index", "error", "message"),
    [
        ("interrupted", 1, "ZeroDivisionError", "on purpose"),
        ("interrupted", 0, "ProcessError", "process 1 failed: ZeroDivisionError: on purpose"),
        ("interrupted", -1, None, "on purpose"),
        ("other prompts", None, "InputError", "the processes were asked different things"),
        ("other steps", None, "InputError", "the processes were asked different things"),
        ("other template", None, "InputError", "the processes were asked different things"),
        ("other template, dealt out", None, "InputError", "were asked different things"),
        ("other generation, dealt out", None, "InputError", "were asked different things"),
        ("other tokenizer", None, "InputError", "the processes were asked different things"),
        ("other special token", None, "InputError", "the processes were asked different things"),
        ("other large baseline", None, "InputError", "the processes were asked different things"),
        ("other type", None, "InputError", "the processes were asked different things"),
        ("other target", None, "InputError", "find other values for the same tokens"),
        ("other weights", None, "InputError", "find other values for the same tokens"),
        ("other windows", None, "ProcessError", "the processes went different ways"),
        ("one bad prompt", None, "InputError", "the prompt is empty"),
        ("one bad model", None, "UnsupportedModelError", "LlamaForCausalLM (Embedding)"),
    ],
)
def test_what_ends_one_ends_all(case, index, error, message, found):
    for process in found if index is None else [found[index]]:
        assert process[case].get("error") == (error or process[case].get("error"))
        assert message in process[case].get("message", "no error")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (torch.zeros(2000), torch.zeros(2000), True),
        (torch.zeros(2000), torch.zeros(2000).index_fill(0, torch.tensor(1000), 1), False),
        (torch.ones(3), torch.ones(3, requires_grad=True), True),
        (torch.zeros(4), torch.zeros(2, 2), False),
        (torch.zeros(1), torch.zeros(1, dtype=torch.int32), False),
        (torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(1.0, dtype=torch.bfloat16), True),
        (torch.zeros(0), np.zeros(0), False),
        (np.zeros(2000), np.eye(1, 2000, 1000)[0], False),
        ({"a": 1, "b": [2]}, {"b": (2,), "a": 1}, True),
        ({"a", "b"}, {"b", "a"}, True),
        (["a", "b"], ["a, b"], False),
        ("one at 0x12", "one at 0x13", False),
        (object(), object(), True),
        (Request("a"), Request("a"), True),
        (Request("a"), Request("a", response="a"), False),
    ],
    ids=range(15),
)
def test_a_fingerprint_tells_contents_apart_but_not_places(one, other, same):
    assert (fingerprint(one) == fingerprint(other)) is same


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 15])
def test_rows_are_dealt_out_once_and_evenly(rows, count):
    shares = [Processes(i, count, torch.device("cpu")).own(rows).tolist() for i in range(count)]
    assert sorted(chain(*shares[:rows])) == list(range(rows))
    assert all(shares)  # each runs something, since each must know what results look like
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_needs_no_launcher(keys, monkeypatch):
    model, tokenizer = keys
    prompt = "Ada's key is red. Q: What color is Ada's key? A:"
    alone = Explainer(model, tokenizer).explain(prompt, method="integrated_gradients", steps=2)
    assert torch.equal(
        Explainer(model, tokenizer, distributed=True)
        .explain(prompt, method="integrated_gradients", steps=2)
        .scores,
        alone.scores,
    )


def test_a_library_call_does_not_wait_for_others(keys, monkeypatch):
    """In a training job of many processes, one of them may explain without the others."""
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert (
        len(Explainer(*keys).explain("Ada's key is", method="integrated_gradients", steps=1).scores)
        > 0
    )


def test_processes_that_cannot_be_connected_are_an_error(keys, monkeypatch):
    import accelerate

    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setattr(accelerate, "PartialState", lambda cpu: None)
    with pytest.raises(InputError, match="8 processes, but they cannot be connected"):
        hf_attrib.attach(*keys, distributed=True)


def launch(folder, *words, program=("-m", "hf_attrib"), stdin=os.devnull):
    """Run the command line in two processes; return the exit code, output and errors."""
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(hf_attrib.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    with open(stdin) as given:
        command = [sys.executable, "-m", *launcher, *program, *words]
        return run(command, cwd=folder, env=environment, stdin=given)


@pytest.mark.slow
def test_the_command_prints_and_writes_once(tmp_path, keys):
    prompt = tmp_path / "prompt"
    prompt.write_text("Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:")
    code, output, errors = launch(
        tmp_path, "explain", "--json", "out.json", "--html", "out.html", stdin=prompt
    )
    assert code == 0, errors
    assert output.count("scores sum to") == 1
    result, alone = (
        hf_attrib.load(tmp_path / "out.json"),
        Explainer(*keys).explain(prompt.read_text()),
    )
    torch.testing.assert_close(result.scores, alone.scores, rtol=1e-5, atol=1e-5)
    assert result.backward_rows == alone.backward_rows
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "out.json", "prompt"]


_TO_THE_END = """
import atexit
from pathlib import Path

from hf_attrib.cli import main


def report():
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    print("at the end:", *names)


atexit.register(report)
main(["explain", "Ada's key is"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads have names under Linux")
def test_no_thread_of_the_connection_outlives_it(tmp_path):
    """One that lets go of a tensor while the interpreter ends aborts the process."""
    (tmp_path / "program.py").write_text(_TO_THE_END)
    code, output, errors = launch(tmp_path, program=["program.py"])
    assert code == 0, errors
    assert output.count("at the end:") == 2
    assert "gloo" not in output


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["Ada's key is", "--target", "nonsense"],
        ["Ada's key is", "--contrast", "id:99999"],
        ["--file", "missing"],
    ],
    ids=str,
)
def test_the_command_complains_once_and_fails(words, tmp_path):
    code, output, errors = launch(tmp_path, "explain", *words)
    assert code != 0
    assert not output
    assert errors.count("hf-attrib: ") == 1
    assert "exitcode  : 2" in errors

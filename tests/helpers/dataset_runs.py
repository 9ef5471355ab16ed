"""Runs of data sets by processes that are killed, with a model or with what stands for one."""

import hashlib
import multiprocessing
import random
import time

import pyarrow.parquet as parquet

from hf_attrib import explain_dataset
from hf_attrib.runs import dataset
from hf_attrib.runs.explain import Explain
from hf_attrib.runs.rows import failure

#: Rows that a part holds, so that kills meet all that a process does.
PER_PART = 3
#: What takes another time in each run.
TIMED = "seconds"


def pretend(delay):
    """Put a function of the row that takes ``delay`` seconds in the place of the model's."""

    def found(self, explainer, values, row_id):
        time.sleep(delay)
        number = int(hashlib.sha256(values["prompt"].encode()).hexdigest()[:12], 16)
        return {**failure(row_id, ""), "scores": [[number / 7.0, -1.0]], "seconds": delay}

    Explain.found = found
    Explain.explainer = lambda self, rank=None: None


def work(source, folder, delay, options):
    dataset._ROWS = PER_PART
    if delay is not None:
        pretend(delay)
    explain_dataset(source, folder, **options)


def started(source, folder, delay=None, **options):
    """Start a process that works on a run; it knows all that this one has imported."""
    process = multiprocessing.get_context("fork").Process(
        target=work, args=(source, folder, delay, options)
    )
    process.start()
    return process


def killed_at_random(source, folder, kills, processes, within, seed, **options):
    """Run a data set while one process after the other is killed; then let it come to its end.

    Args:
        source: as for ``explain_dataset``.
        folder: of the run.
        kills: how many processes are killed.
        processes: how many work at the same time; another number ends the run.
        within: seconds in which the next kill comes.
        seed: of the moments.
        **options: of ``started``.
    """
    draw, running = random.Random(seed), []
    for _ in range(kills):
        running = [p for p in running if p.is_alive()]
        while len(running) < processes:
            running.append(started(source, folder, **options))
        time.sleep(draw.uniform(0, within))
        victim = running.pop(draw.randrange(len(running)))
        victim.kill()
        victim.join()
    last = [*running, *(started(source, folder, **options) for _ in range(1 + processes % 3))]
    for process in last:
        process.join()
    assert [process.exitcode for process in last] == [0] * len(last)


def check_whole(run, undisturbed):
    """Ids exactly once on disk, no torn part, nothing left behind, the same to the last bit."""
    files = sorted(run.folder.glob("*.parquet"))
    ids = [i for file in files for i in parquet.read_table(file)["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == len(undisturbed)
    assert sorted(ids) == sorted(undisturbed.dataset["id"])
    assert run.counts == undisturbed.counts
    assert not list(run.folder.glob(".part*"))
    names = {file.name for file in (run.folder / "workers").iterdir()}
    assert names == {"turn.lock"}
    found, expected = run.dataset.to_dict(), undisturbed.dataset.to_dict()
    for name in found.keys() - {TIMED}:
        assert repr(found[name]) == repr(expected[name]), name

"""What a run of a data set costs beyond the explanations: rows a second, next to bare calls.

``python benchmarks/dataset_run.py [--rows 150]`` explains rows of mixed length of keys-llama by
``Explainer.explain``, one by one, and by ``explain_dataset``, block by block in turn, so that what
else the machine does falls on both. Seconds are those of this process's CPU, and a run loads its
model once for all of its rows: that is told apart, since it is the same of 150 rows and of 150,000.
Then two processes of one thread share a run of all rows, next to one, from when each has imported
what it needs and made its first run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from peers import machine

import hf_attrib
from hf_attrib.embedded import retrieval

#: Facts in a prompt, which decide its length.
FACTS = (2, 4, 6, 8)
BLOCKS = 3
#: What a process of a shared run does.
WORK = """
import json, sys, time, warnings, torch, hf_attrib
torch.set_num_threads(1)
warnings.simplefilter("ignore")
rows = json.load(open(sys.argv[1]))
hf_attrib.explain_dataset(rows[:1], sys.argv[4], method=sys.argv[3])
print("ready", flush=True)
input()
started = time.process_time()
hf_attrib.explain_dataset(rows, sys.argv[2], method=sys.argv[3])
print(time.process_time() - started)
"""


def prompts(count):
    """Return prompts of different lengths."""
    streams = [retrieval.examples(count, facts, seed=0) for facts in FACTS]
    return [next(streams[n % len(streams)]).prompt for n in range(count)]


def cpu(call):
    """Return the CPU seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def alone(every, method):
    """Return CPU seconds of bare calls, of runs, and of what a run takes before its first row."""
    explainer = hf_attrib.Explainer(*hf_attrib.embedded.load("keys-llama"))
    explainer.explain(every[0])  # which checks the model
    totals = {"bare": 0.0, "run": 0.0, "start": 0.0}
    size = -(-len(every) // BLOCKS)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(BLOCKS):
            block = every[number * size : (number + 1) * size]
            rows = [{"prompt": prompt} for prompt in block]
            place = Path(folder) / str(number)

            def bare(block=block):
                for prompt in block:
                    explainer.explain(prompt, groups="sentence", spans="response", method=method)

            def run(rows=rows, place=place):
                hf_attrib.explain_dataset(rows, place, method=method)

            def start(rows=rows, place=place):
                hf_attrib.explain_dataset(rows[:1], f"{place}-first", method=method)

            calls = {"bare": bare, "run": run, "start": start}
            for name in sorted(calls, reverse=bool(number % 2)):
                totals[name] += cpu(calls[name])
    row = totals["bare"] / len(every)
    totals["start"] -= BLOCKS * row  # of the row that it was measured with
    return totals


def shared(every, method, count):
    """Return seconds on the wall in which processes explain all rows, and their CPU seconds."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.json"
        source.write_text(json.dumps([{"prompt": prompt} for prompt in every]))
        command = [sys.executable, "-c", WORK, str(source), str(Path(folder) / "run"), method]
        several = [
            subprocess.Popen([*command, str(Path(folder) / f"first-{n}")], **pipes)
            for n in range(count)
        ]
        for one in several:
            one.stdout.readline()
        started = time.perf_counter()
        for one in several:
            one.stdin.write("\n")
            one.stdin.flush()
        seconds = [float(one.communicate()[0]) for one in several]
        return time.perf_counter() - started, sum(seconds)


def main():
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--method", default="saliency")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    every = prompts(options.rows)
    totals = alone(every, options.method)
    report = {
        "machine": machine(1),
        "rows": options.rows,
        "method": options.method,
        "characters": [min(map(len, every)), max(map(len, every))],
        "cpu_seconds": totals,
        "share_of_bare_speed": totals["bare"] / totals["run"],
        "share_of_bare_speed_once_started": totals["bare"] / (totals["run"] - totals["start"]),
    }
    print(json.dumps(report, indent=1))
    one, two = (shared(every, options.method, count) for count in (1, 2))
    report["processes"] = {
        "1": {"wall_seconds": one[0], "cpu_seconds": one[1]},
        "2": {"wall_seconds": two[0], "cpu_seconds": two[1]},
        # On a machine that others use, cores are not two; CPU seconds are what is paid for it.
        "speed_up": one[0] / two[0],
        "speed_up_by_cpu": 2 * one[1] / two[1],
    }
    path = Path(__file__).parent / "results" / "dataset-run.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

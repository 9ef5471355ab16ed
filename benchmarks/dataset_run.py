"""What a run of a data set costs beyond the explanations: rows a second, memory, a second process.

``python benchmarks/dataset_run.py [--parts alone batches memory processes inseq]`` explains rows of
mixed length of keys-llama. Each part is kept with the load of the machine at its time.

- *alone*: ``explain_dataset`` next to a bare loop over ``Explainer.explain``. Both begin with
  nothing loaded, and take turns every few rows, so that what else the machine does falls on both.
  Seconds are those of this process's CPU; ``inside`` is the share of a run that ``explain`` takes.
- *batches*: ``Explain`` called on batches, next to a run and to lists that ``explain`` pads.
- *memory*: how much the process grows for each row, once caches are full.
- *processes*: two processes of one thread that share a run, next to one, from when each has
  imported what it needs and made its first run; and next to two that share nothing, each with half
  of the rows, which is what the machine has to give.
- *inseq*: ``hf-attrib dataset`` next to ``inseq attribute-dataset``, both given the same answers,
  as inseq takes those that it generates behind padding for others. A row is what more rows cost.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import torch
from peers import machine

import hf_attrib
from hf_attrib.embedded import retrieval
from hf_attrib.runs import dataset

#: Facts in a prompt, which decide its length.
FACTS = (2, 4, 6, 8)
#: Rows after which the other side takes its turn.
TURN = 10
#: Of rows that are batched: how many there are, and how many come in a batch.
BATCHED, BATCH = 100, 16
#: Rows of a part, so that all parts are alike; a process keeps what the largest one took.
PART = 50
#: Share of the rows after which memory is looked at: until then caches fill.
WARM = 0.2
#: Rows of the shorter of two runs that tell what a row costs.
FEW = 50
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


def loaded():
    """Return what explains, with nothing learnt."""
    return hf_attrib.Explainer(*hf_attrib.embedded.load("keys-llama"))


class Clock:
    """CPU seconds of this process, counted where it is entered."""

    def __init__(self):
        self.seconds = 0.0

    def __enter__(self):
        self.seconds -= time.process_time()
        return self

    def __exit__(self, *_):
        self.seconds += time.process_time()


def alone(every, method):
    """Return CPU seconds of a bare loop and of a run of the same rows, which take turns."""
    bare, inside, left = Clock(), Clock(), list(every)
    explainer, genuine = None, hf_attrib.Explainer.explain

    def some_bare(count):
        nonlocal explainer
        with bare:
            explainer = explainer or loaded()
            for prompt in left[:count]:
                genuine(explainer, prompt, groups="sentence", spans="response", method=method)
            del left[:count]

    def progress(done, total):
        if done % TURN == 0:
            some_bare(TURN)

    def explain(self, *given, **options):
        with inside:
            return genuine(self, *given, **options)

    hf_attrib.Explainer.explain = explain
    try:
        with tempfile.TemporaryDirectory() as folder, Clock() as run:
            rows = [{"prompt": prompt} for prompt in every]
            hf_attrib.explain_dataset(rows, folder, method=method, progress=progress)
            some_bare(len(left))
    finally:
        hf_attrib.Explainer.explain = genuine
    seconds = run.seconds - bare.seconds
    return {
        "rows": len(every),
        "cpu_seconds": {"bare": bare.seconds, "run": seconds, "inside": inside.seconds},
        "share_of_bare_speed": bare.seconds / seconds,
        "inside": inside.seconds / seconds,
    }


def batches(every, method):
    """Return rows per CPU second of batches, of runs, and of rows that are padded together.

    Each begins with nothing loaded.
    """
    every = every[:BATCHED]
    asked = {"groups": "sentence", "spans": "response", "method": method}

    def calls():
        explain = hf_attrib.Explain("keys-llama", method=method)
        for start in range(0, len(every), BATCH):
            explain({"prompt": every[start : start + BATCH]})

    def run():
        with tempfile.TemporaryDirectory() as folder:
            rows = [{"prompt": prompt} for prompt in every]
            hf_attrib.explain_dataset(rows, folder, method=method)

    def together():
        explainer = loaded()
        for start in range(0, len(every), BATCH):
            explainer.explain(every[start : start + BATCH], **asked)

    ways = {"Explain": calls, "explain_dataset": run, "explain of lists": together}
    found = {}
    for _ in range(2):  # the first of which fills caches
        for name, way in ways.items():
            with Clock() as clock:
                way()
            found[name] = len(every) / clock.seconds
    return {"rows": len(every), "batch": BATCH, "rows_per_cpu_second": found}


def memory(every, method):
    """Return how many kB of memory a process grows by for each row, with scores of either kind."""
    dataset._ROWS = PART
    process, found = psutil.Process(), {}
    for scores in ("groups", "tokens"):
        sizes = []

        def progress(done, total, sizes=sizes):
            sizes.append(process.memory_info().rss / 1000)

        with tempfile.TemporaryDirectory() as folder:
            rows = [{"prompt": prompt} for prompt in every]
            asked = {"method": method, "scores": scores}
            hf_attrib.explain_dataset(rows, folder, progress=progress, **asked)
        warm = sizes[round(WARM * len(sizes)) :]
        slope = np.polyfit(np.arange(len(warm)), warm, 1)[0]
        found[scores] = {"kB_per_row": slope, "kB_first": warm[0], "kB_most": max(warm)}
    return {"rows": len(every), **found}


def at_once(sources, folders, method):
    """Return seconds on the wall in which processes explain their rows, and their CPU seconds."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    several = []
    for number, (source, folder) in enumerate(zip(sources, folders, strict=True)):
        first = source.parent / f"first-{folder.name}-{number}"
        command = [sys.executable, "-c", WORK, *map(str, (source, folder, method, first))]
        several.append(subprocess.Popen(command, **pipes))
    for one in several:
        one.stdout.readline()
    started = time.perf_counter()
    for one in several:
        one.stdin.write("\n")
        one.stdin.flush()
    seconds = [float(one.communicate()[0]) for one in several]
    return {"wall_seconds": time.perf_counter() - started, "cpu_seconds": sum(seconds)}


def processes(every, method):
    """Return what one process takes, what two that share the rows, and two that share nothing."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        parts = {"all": every, "even": every[::2], "odd": every[1::2]}
        for name, part in parts.items():
            rows = json.dumps([{"prompt": prompt} for prompt in part])
            (place / f"{name}.json").write_text(rows)
        whole, *halves = (place / f"{name}.json" for name in parts)
        one = at_once([whole], [place / "one"], method)
        two = at_once([whole] * 2, [place / "two"] * 2, method)
        apart = at_once(halves, [place / "even", place / "odd"], method)
    return {
        "rows": len(every),
        "one": one,
        "two": two,
        "two that share nothing": apart,
        "speed_up": one["wall_seconds"] / two["wall_seconds"],
        # On a machine that others use, cores are not two; CPU seconds are what is paid for it.
        "speed_up_by_cpu": 2 * one["cpu_seconds"] / two["cpu_seconds"],
        "speed_up_that_there_is": one["wall_seconds"] / apart["wall_seconds"],
    }


def command_seconds(command):
    """Return the CPU seconds that a command and its children take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def inseq(every, method):
    """Return CPU seconds of a row, and of starting, by our command and by inseq's."""
    explainer, counts, found = loaded(), (FEW, len(every)), {}
    model = Path(hf_attrib.embedded.__file__).parent / "keys-llama"
    answers = explainer.explain(every, method=method, spans="response")
    rows = []
    for prompt, result in zip(every, answers, strict=True):
        answer = "".join(result.response_pieces)
        rows.append({"prompt": prompt, "response": answer, "whole": prompt + answer})
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        for count in counts:
            file = place / f"{count}.jsonl"
            file.write_text("\n".join(map(json.dumps, rows[:count])))
            ours = ["hf-attrib", "dataset", file, place / f"run-{count}", "--model", model]
            theirs = ["inseq", "attribute-dataset", "--dataset", "json", "--files", file]
            theirs += ["--model_name_or_path", model, "--device", "cpu", "--hide"]
            theirs += ["--input_text_field", "prompt", "--generated_text_field", "whole"]
            theirs += ["--save_path", place / f"{count}.json", "--attribution_method", method]
            for name, command in {
                "hf_attrib": [*ours, "--method", method],
                "inseq": theirs,
            }.items():
                found.setdefault(name, []).append(command_seconds(command))
    each = {name: (b - a) / (counts[1] - counts[0]) for name, (a, b) in found.items()}
    start = {name: found[name][0] - counts[0] * each[name] for name in found}
    return {
        "rows": list(counts),
        "cpu_seconds": found,
        "of_a_row": each,
        "of_starting": start,
        "inseq_over_hf_attrib": each["inseq"] / each["hf_attrib"],
    }


PARTS = {
    "alone": (alone, 500),
    "batches": (batches, BATCHED),
    "memory": (memory, 1000),
    "processes": (processes, 500),
    "inseq": (inseq, 250),
}


def main():
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--method", default="saliency")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = Path(__file__).parent / "results" / "dataset-run.json"
    report = json.loads(path.read_text())
    for name in options.parts:
        measure, count = PARTS[name]
        found = measure(prompts(count), options.method)
        report[name] = {"machine": machine(1), "method": options.method, **found}
        print(json.dumps({name: report[name]}, indent=1))
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

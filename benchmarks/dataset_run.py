"""What a run of a data set costs beyond the explanations: rows a second, next to bare calls.

``python benchmarks/dataset_run.py [--rows 500]`` explains rows of mixed length of keys-llama by
``Explainer.explain``, one by one, and by ``explain_dataset``, block by block in turn, so that what
else the machine does falls on both. Seconds are those of this process's CPU.
"""

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import torch

import hf_attrib
from hf_attrib.embedded import retrieval

#: Facts in a prompt, which decide its length.
FACTS = (2, 4, 6, 8)
BLOCKS = 5


def prompts(count):
    """Return prompts of different lengths."""
    streams = [retrieval.examples(count, facts, seed=0) for facts in FACTS]
    return [next(streams[n % len(streams)]).prompt for n in range(count)]


def seconds(call):
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    count = parser.parse_args().rows
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", hf_attrib.AttributionWarning)
    every = prompts(count)
    explainer = hf_attrib.Explainer(*hf_attrib.embedded.load("keys-llama"))
    explainer.explain(every[0])  # which checks the model

    def bare(block):
        for prompt in block:
            explainer.explain(prompt, groups="sentence", spans="response")

    totals = {"bare": [0.0, 0.0], "run": [0.0, 0.0]}
    size = -(-count // BLOCKS)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(BLOCKS):
            block = every[number * size : (number + 1) * size]
            rows = [{"prompt": prompt} for prompt in block]
            place = Path(folder) / str(number)
            calls = {
                "bare": lambda block=block: bare(block),
                "run": lambda rows=rows, place=place: hf_attrib.explain_dataset(rows, place),
            }
            order = sorted(calls, reverse=bool(number % 2))
            for name in order:
                found = seconds(calls[name])
                totals[name] = [a + b for a, b in zip(totals[name], found, strict=True)]
    lengths = sorted(len(prompt) for prompt in every)
    report = {
        "rows": count,
        "characters": [lengths[0], lengths[-1]],
        "wall_seconds": {name: total[0] for name, total in totals.items()},
        "cpu_seconds": {name: total[1] for name, total in totals.items()},
        "share_of_bare_speed": totals["bare"][1] / totals["run"][1],
    }
    path = Path(__file__).parent / "results" / "dataset-run.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

"""Time and memory of integrated gradients for every generated token: hf_attrib and its peers.

    pip install "hf_attrib[bench]"
    python benchmarks/peers.py --model llama6

Every contestant lives in a process of its own, with the same number of threads. Rounds are
interleaved, so that what else the machine does falls on all alike, and the best round counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("hf_attrib", "torch", "transformers", "captum", "inseq", "interpreto")


def main() -> None:
    """Run the rounds, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llama6", help="llama6, keys-llama or gemma")
    parser.add_argument("--repeats", type=int, default=5, help="rounds after one to warm up")
    parser.add_argument("--threads", type=int, default=1, help="threads of each contestant")
    parser.add_argument("--only", nargs="*", help="names of contestants; all by default")
    parser.add_argument("--output", help="name of the files in results/; by default the model's")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # read when a worker loads torch
    from contestants import CONTESTANTS, NODES
    from subjects import TARGETS

    names = options.only or list(CONTESTANTS)
    runs = compete(names, options.model, options.repeats, options.threads)
    report = {
        "model": options.model,
        "targets": TARGETS,
        "nodes": NODES,
        "repeats": options.repeats,
        "machine": machine(options.threads),
        "contestants": {name: summary(name, runs) for name in names},
    }
    table = markdown(report)
    print(table)
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"peers-{options.output or options.model}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(table, encoding="utf-8")


def compete(
    names: list[str], model: str, repeats: int, threads: int
) -> dict[str, list[dict[str, Any]]]:
    """Return what each contestant measured in each round; the first round only warms up."""
    context = multiprocessing.get_context("spawn")
    workers: dict[str, Connection] = {}
    for name in names:
        here, there = context.Pipe()
        context.Process(target=work, args=(there, name, model, threads), daemon=True).start()
        there.close()
        here.recv()  # ready; one after another, so that loading disturbs nobody
        workers[name] = here
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        for name, worker in workers.items():
            worker.send("run")
            runs[name].append(worker.recv())
            seconds, cpu = runs[name][-1]["seconds"], runs[name][-1]["cpu_seconds"]
            print(f"round {turn} {name:20} {seconds:7.2f} s, {cpu:7.2f} s of CPU", flush=True)
    for worker in workers.values():
        worker.send(None)
    return runs


def work(pipe: Connection, name: str, model: str, threads: int) -> None:
    """Prepare one contestant, then run it whenever told to."""
    import torch
    from contestants import CONTESTANTS
    from subjects import SUBJECTS, TARGETS

    torch.set_num_threads(threads)
    run = CONTESTANTS[name](SUBJECTS[model](TARGETS))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory("VmRSS")
    pipe.send("ready")
    while pipe.recv() is not None:
        start, cpu = time.perf_counter(), time.process_time()
        scores = run()
        pipe.send(
            {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - cpu,
                "peak_mib": memory("VmHWM") - before,
                "scores": None if scores is None else scores.detach().numpy(),
            }
        )


def memory(field: str) -> float:
    """Return a field of this process's status in MiB (Linux only)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def summary(name: str, runs: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the best round after the first, the peak of all, and the distance to our scores."""
    own, ours = runs[name], runs.get("hf_attrib", runs[name])
    scores, reference = own[-1]["scores"], ours[-1]["scores"]
    difference = None
    if scores is not None and reference is not None:
        difference = abs(scores - reference).max() / abs(reference).max()
    return {
        "seconds": [run["seconds"] for run in own[1:]],
        "best_seconds": min(run["seconds"] for run in own[1:]),
        "best_cpu_seconds": min(run["cpu_seconds"] for run in own[1:]),
        "peak_mib": max(run["peak_mib"] for run in own),
        "relative_difference": None if difference is None else float(difference),
    }


def machine(threads: int) -> dict[str, Any]:
    """Describe the machine, without naming it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((li.split(":")[1].strip() for li in lines if "model name" in li), "unknown")
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    found, about = report["contestants"], report["machine"]
    ours = found.get("hf_attrib", next(iter(found.values())))
    lines = [
        f"Model `{report['model']}`, T = {report['targets']} tokens, N = {report['nodes']} nodes, "
        f"best of {report['repeats']} interleaved rounds after one to warm up.",
        "",
        "| | seconds | CPU seconds | x hf_attrib (CPU) | peak memory, MiB | max difference |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, row in found.items():
        difference = row["relative_difference"]
        agreement = "other convention" if difference is None else f"{difference:.0e}"
        lines.append(
            f"| {name} | {row['best_seconds']:.2f} | {row['best_cpu_seconds']:.2f} "
            f"| {row['best_cpu_seconds'] / ours['best_cpu_seconds']:.2f} "
            f"| {row['peak_mib']:.0f} | {agreement} |"
        )
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    lines += [
        "",
        f"{about['processor']}, {about['cores']} cores shared with other work (load "
        f"{about['load_average']:.1f}), {about['threads']} thread(s) each, Python "
        f"{about['python']}, {versions}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""How time and memory grow with the prompt, the answer and the nodes, next to a bare loop.

    python benchmarks/scaling.py

A random Llama of 6 layers. The loop is written by hand and runs the same rows in the same chunks:
what it takes, every implementation must. Every figure comes from a process of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers import RESULTS, machine, memory

#: What grows, and what is held meanwhile: prompt tokens P, generated tokens T, nodes K.
SERIES = {
    "prompt tokens": [{"P": p, "T": 4, "K": 8} for p in (64, 128, 256, 512, 1024, 2048)],
    "generated tokens": [{"P": 64, "T": t, "K": 8} for t in (1, 4, 16, 64, 256)],
    "nodes": [{"P": 64, "T": 4, "K": k} for k in (4, 8, 16, 32, 64, 128)],
}


def main() -> None:
    """Run every series, print the table, keep it."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process loads torch
    report: dict[str, Any] = {"machine": machine(1), "series": {}}
    for name, settings in SERIES.items():
        report["series"][name] = [{**s, **compared(s)} for s in settings]
        stem = RESULTS / "scaling-llama6"
        stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def compared(setting: Mapping[str, int]) -> dict[str, float]:
    """Return seconds and memory of both in one setting."""
    found = {}
    for who in ("ours", "floor"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, peak = pool.apply(measured, (who, dict(setting)))
        found |= {f"{who} seconds": seconds, f"{who} peak MiB": peak}
    return found


def measured(who: str, setting: Mapping[str, int]) -> tuple[float, float]:
    """Return CPU seconds of the better of two runs, and the peak of memory on top of a model."""
    import contestants
    import torch
    from subjects import random_llama

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    subject = random_llama(targets=setting["T"], prompt_tokens=setting["P"])
    nodes = setting["K"]
    ours = {"rule": "gauss_legendre", "steps": nodes}
    run = contestants.ours(subject, **ours) if who == "ours" else contestants.floor(subject, nodes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, seconds = memory("VmRSS"), []
    for _ in range(2):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds), memory("VmHWM") - before


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as tables."""
    lines = [
        "# How time and memory grow",
        "",
        "A random Llama of 6 layers; CPU seconds, one thread.",
    ]
    for name, rows in report["series"].items():
        lines += ["", f"## {name.capitalize()}", ""]
        lines += ["| P | T | K | seconds | x bare loop | peak MiB | x bare loop |"]
        lines += ["|--:" * 7 + "|"]
        for row in rows:
            time_ratio = row["ours seconds"] / row["floor seconds"]
            memory_ratio = row["ours peak MiB"] / row["floor peak MiB"]
            lines.append(
                f"| {row['P']} | {row['T']} | {row['K']} | {row['ours seconds']:.2f} "
                f"| {time_ratio:.2f} | {row['ours peak MiB']:.0f} | {memory_ratio:.2f} |"
            )
    about = report["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    return "\n".join(
        [*lines, "", f"{about['processor']}, Python {about['python']}, {versions}.", ""]
    )


if __name__ == "__main__":
    main()

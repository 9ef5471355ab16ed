"""Memory and time of explaining a model whose weights are on disk.

    MALLOC_MMAP_THRESHOLD_=131072 python benchmarks/offload.py

The setting makes the C library return freed weights; accelerators have allocators that do. Every
figure comes from a process of its own (Linux only).
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from peers import RESULTS, machine, memory

WAYS = {
    "in memory": "plain",
    "on disk, weights held until backward is done": "hold",
    "on disk, weights loaded anew (what is done)": "reload",
}


def main() -> None:
    """Measure every way, print the table, keep it."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process loads torch
    found = {}
    for name, way in WAYS.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(measured, (way,))
    about = machine(1)
    weights = next(iter(found.values()))["weights MiB"]
    lines = [
        f"A 12-layer Llama of {weights:.0f} MiB, T = 6 tokens, 6 nodes, one row at once; peak of "
        "memory above the process without the model.",
        "",
        "| | MiB | CPU seconds |",
        "|---|--:|--:|",
    ]
    lines += [f"| {n} | {r['peak MiB']:.0f} | {r['seconds']:.1f} |" for n, r in found.items()]
    lines += ["", f"{about['processor']}, one thread, Python {about['python']}.", ""]
    print("\n".join(lines))
    stem = RESULTS / "offload"
    report = {"machine": about, "ways": found}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


def measured(way: str) -> dict[str, float]:
    """Return the size of the weights, the peak of memory and the CPU seconds of one call."""
    import accelerate

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from helpers import tiny

    from hf_attrib import Explainer

    question: dict[str, Any] = {"input_ids": tiny.ids(12), "response_ids": tiny.ids(6, 1)}
    Explainer(tiny.model("llama")).explain(
        **question, method="integrated_gradients", steps=1
    )  # what is loaded late
    before = memory("RssAnon")
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    model = tiny.model("llama", **sizes, head_dim=192)
    weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    held = mock.patch("hf_attrib.model.sites.weights_reloaded", return_value=nullcontext())
    with tempfile.TemporaryDirectory() as folder, held if way == "hold" else nullcontext():
        if way != "plain":
            model = accelerate.disk_offload(model, folder)
        gc.collect()
        explainer = Explainer(model, batch_size=1)
        explainer.explain(
            **question, method="integrated_gradients", steps=1
        )  # the check of the model
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        mapped, started = memory("VmRSS") - memory("RssAnon"), time.process_time()
        explainer.explain(**question, method="integrated_gradients", steps=6)
        seconds = time.process_time() - started
    return {
        "weights MiB": weights,
        "peak MiB": memory("VmHWM") - mapped - before,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()

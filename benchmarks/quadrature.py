"""How near to the exact scores integrated gradients come, and for how many gradients.

    python benchmarks/quadrature.py --model keys-llama --prompts 8

Every rule explains the same answers; the truth is the adaptive rule at a tolerance twenty times
finer. The error of a row is that of all its scores, sum |A - A*| / sum |A*|, not of their sum.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import warnings
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import hf_attrib
from hf_attrib.embedded import retrieval

RESULTS = Path(__file__).parent / "results"

#: What is compared: our default, fixed Gauss rules, and what captum and inseq take by default.
RULES: Mapping[str, Mapping[str, Any]] = {
    "adaptive (default)": {},
    "Gauss-Legendre 16": {"steps": 16},
    "Gauss-Legendre 32": {"steps": 32},
    "Gauss-Legendre 50 (captum's default)": {"steps": 50},
    "trapezoid 50 (inseq's default)": {"steps": 50, "rule": "trapezoid"},
    "Gauss-Legendre 64": {"steps": 64},
    "Gauss-Legendre 128": {"steps": 128},
}
TRUTH = {"tolerance": 1e-3, "max_points": 4000}
BASELINES = ("mean", "zero", "pad", "token")

#: A base model goes on writing; of questions with a known answer it is at least sure.
QUESTIONS = (
    "The capital of France is",
    "Alice moved from Oslo to Rome because she loved the food. Alice now lives in",
    "Monday, Tuesday, Wednesday,",
    "Water boils at one hundred degrees and freezes at",
)


def main() -> None:
    """Run every rule on every prompt and baseline, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="keys-llama", help="keys-llama or gemma")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--baselines", nargs="*", default=BASELINES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", hf_attrib.AttributionWarning)
    explainer, prompts, word = subject(options.model, options.prompts)
    report = {
        "model": options.model,
        "prompts": len(prompts),
        "new_tokens": options.new_tokens,
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
        "baselines": {},
    }
    for name in options.baselines:
        baseline = {"token": f"token:{word}", "pad": pad(explainer)}.get(name, name)
        rows = [one(explainer, p, baseline, options.new_tokens) for p in prompts]
        report["baselines"][name] = {rule: joined([r[rule] for r in rows]) for rule in rows[0]}
        print(markdown({**report, "baselines": {name: report["baselines"][name]}}), flush=True)
    stem = RESULTS / f"quadrature-{options.model}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")


def subject(name: str, count: int) -> tuple[hf_attrib.Explainer, list[str], str]:
    """Return an explainer, prompts for it, and a frequent word of its vocabulary."""
    if name == "gemma":
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        from real_models import gemma

        return hf_attrib.Explainer(*gemma()), list(QUESTIONS[:count]), " the"
    examples = islice(retrieval.examples(count, 4, seed=23), count)
    explainer = hf_attrib.Explainer(*hf_attrib.embedded.load(name))
    return explainer, [example.prompt for example in examples], "is"


def pad(explainer: hf_attrib.Explainer) -> str:
    """Return the name of the padding token, or of what stands in for it."""
    return "pad" if explainer.tokenizer.pad_token_id is not None else "eos"


def one(
    explainer: hf_attrib.Explainer, prompt: str, baseline: str, new: int
) -> dict[str, dict[str, list[float]]]:
    """Return the errors, gaps and costs of every rule on the answer to one prompt."""
    options = {"prompt": prompt, "baseline": baseline}
    truth = explainer.explain(**options, **TRUTH, max_new_tokens=new)
    size = truth.scores.double().abs().sum(-1)
    found = {}
    for rule, fields in RULES.items():
        result = explainer.explain(**options, response_ids=truth.response_ids, **fields)
        missed = (result.scores - truth.scores).double().abs().sum(-1)
        found[rule] = {
            "error": (missed / size).tolist(),
            "gap": result.gap.tolist(),
            "gradients": [result.backward_rows / len(result.rows)],
        }
        if result.error_bound is not None:
            found[rule]["under_bound"] = (missed <= result.error_bound).float().tolist()
    found["truth"] = {"gap": truth.gap.tolist(), "gradients": [truth.backward_rows / len(truth)]}
    return found


def joined(rows: list[dict[str, list[float]]]) -> dict[str, float]:
    """Return figures over all rows of all prompts."""
    every = {key: torch.tensor([v for row in rows for v in row[key]]) for key in rows[0]}
    figures = {
        "gradients per token": float(every["gradients"].mean()),
        "gap <= 2 %": float((every["gap"] <= 0.02).float().mean()),
    }
    if "error" in every:
        figures["median error"] = float(every["error"].median())
        figures["95 % error"] = float(every["error"].quantile(0.95))
    if "under_bound" in every:
        figures["error under bound"] = float(every["under_bound"].mean())
    return figures


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as tables."""
    lines = [
        f"# Quadrature on {report['model']}",
        "",
        f"{report['prompts']} prompts, up to {report['new_tokens']} generated tokens each; "
        f"{report['machine']}. By `benchmarks/quadrature.py`.",
    ]
    for name, rules in report["baselines"].items():
        lines += ["", f"## Baseline: {name}", ""]
        heads = list(next(iter(rules.values())))
        lines += ["| rule | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
        for rule, figures in rules.items():
            cells = [written(head, figures.get(head)) for head in heads]
            lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def written(head: str, value: float | None) -> str:
    """Write one figure."""
    if value is None:
        return ""
    return f"{value:.1f}" if head == "gradients per token" else f"{100 * value:.1f} %"


if __name__ == "__main__":
    main()

"""How near to the exact scores integrated gradients come, and for how many gradients.

    python benchmarks/quadrature.py --model keys-llama --prompts 8

Every rule explains the same answers; the truth is the adaptive rule at a tolerance ten times
finer. The error of a row is that of all its scores, sum |A - A*| / sum |A*|, not of their sum; the
matrix error is the same over the rows of all prompts together.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
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
_GAUSS = {
    "Gauss-Legendre 50 (captum's and inseq's default)": {"steps": 50, "rule": "gauss_legendre"},
    **{
        f"Gauss-Legendre {steps}": {"steps": steps, "rule": "gauss_legendre"}
        for steps in (16, 24, 32, 40, 64, 80, 100, 128)
    },
}
RULES: Mapping[str, Mapping[str, Any]] = {
    "adaptive (default)": {},
    "trapezoid 50": {"steps": 50, "rule": "trapezoid"},
    **dict(sorted(_GAUSS.items(), key=lambda rule: rule[1]["steps"])),
}
#: Gradients of the real model cost so much that it is compared with fewer rules.
FEWER = (
    "adaptive (default)",
    "Gauss-Legendre 32",
    "Gauss-Legendre 50 (captum's and inseq's default)",
    "trapezoid 50",
    "Gauss-Legendre 64",
    "Gauss-Legendre 100",
)
TRUTH = {"tolerance": 2e-3, "max_nodes": 4000}
BASELINES = ("mean", "zero", "pad", "token")

#: A base model goes on writing; of questions with a known answer it is at least sure.
QUESTIONS = (
    "The capital of France is",
    "Alice moved from Oslo to Rome because she loved the food. Alice now lives in",
    "Monday, Tuesday, Wednesday,",
    "Water boils at one hundred degrees and freezes at",
    "The opposite of hot is",
    "She opened the umbrella because it was",
    "Two plus two equals",
    "The largest planet in the solar system is",
    "A baby cat is called a",
    "The doctor washed his hands before the",
    "Once upon a time there was a",
    "Red, orange, yellow, green,",
    "He put the milk back into the",
    "The sun rises in the",
    "Romeo and",
    "In winter the lake was covered with",
    "To be or not to be, that is the",
    "The author of Hamlet is William",
    "One, two, three, four,",
    "My dog loves to chase",
    "She plays the piano and he plays the",
    "Paris is in France and Berlin is in",
    "The train was late, so they missed the",
    "Please turn off the",
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
    rules = {name: RULES[name] for name in (FEWER if options.model == "gemma" else RULES)}
    report = {
        "model": options.model,
        "prompts": len(prompts),
        "new_tokens": options.new_tokens,
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
        "baselines": {},
    }
    stem = RESULTS / f"quadrature-{options.model}"
    report["baselines"] = kept(stem.with_suffix(".json"), report)
    for name in options.baselines:
        baseline = {"token": f"token:{word}", "pad": pad(explainer)}.get(name, name)
        question = {"baseline": baseline, "max_new_tokens": options.new_tokens}
        rows = [one(explainer, p, question, rules) for p in prompts]
        report["baselines"][name] = {rule: joined([r[rule] for r in rows]) for rule in rows[0]}
        print(markdown({**report, "baselines": {name: report["baselines"][name]}}), flush=True)
        # After each baseline, since the real model takes hours.
        stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")


def kept(path: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the baselines of an earlier run that asked the same."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = {**old, "baselines": {}} == report
    return dict(old["baselines"]) if same else {}


def subject(name: str, count: int) -> tuple[hf_attrib.Explainer, list[str], str]:
    """Return an explainer, prompts for it, and a frequent word of its vocabulary."""
    if name == "gemma":
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        from helpers.real_models import gemma

        return hf_attrib.Explainer(*gemma()), list(QUESTIONS[:count]), " the"
    examples = islice(retrieval.examples(count, 4, seed=23), count)
    explainer = hf_attrib.Explainer(*hf_attrib.embedded.load(name))
    return explainer, [example.prompt for example in examples], "is"


def pad(explainer: hf_attrib.Explainer) -> str:
    """Return the name of the padding token, or of what stands in for it."""
    return "pad" if explainer.tokenizer.pad_token_id is not None else "eos"


def one(
    explainer: hf_attrib.Explainer,
    prompt: str,
    question: Mapping[str, Any],
    rules: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, list[float]]]:
    """Return the errors, gaps and costs of every rule on the answer to one prompt."""
    truth = explainer.explain(prompt, method="integrated_gradients", **question, **TRUTH)
    size = truth.scores.double().abs().sum(-1)
    asked = {"baseline": question["baseline"], "response_ids": truth.response_ids}
    found = {}
    for rule, fields in rules.items():
        started = time.process_time()
        result = explainer.explain(prompt, method="integrated_gradients", **asked, **fields)
        seconds = time.process_time() - started
        missed = (result.scores - truth.scores).double().abs().sum(-1)
        found[rule] = {
            "error": (missed / size).tolist(),
            "missed": missed.tolist(),
            "size": size.tolist(),
            "gap": result.gap.tolist(),
            "flagged": (~result.converged).float().tolist(),
            "gradients": [result.backward_rows / len(result.rows)],
            "passes": [result.forward_rows / len(result.rows)],
            "seconds": [seconds / len(result.rows)],
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
    if "seconds" in every:
        figures["passes per token"] = float(every["passes"].mean())
        figures["CPU seconds per token"] = float(every["seconds"].mean())
    if "error" in every:
        figures["median error"] = float(every["error"].median())
        figures["mean error"] = float(every["error"].mean())
        figures["95 % error"] = float(every["error"].quantile(0.95))
        figures["matrix error"] = float(every["missed"].sum() / every["size"].sum())
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
        lines += ["", matched(rules)]
    return "\n".join(lines) + "\n"


def matched(rules: Mapping[str, Mapping[str, float]]) -> str:
    """Say how many nodes Gauss-Legendre rules take to be as good as the default."""
    ours = rules["adaptive (default)"]
    gauss = [rule for name, rule in rules.items() if name.startswith("Gauss")]
    found = []
    for error in ("median error", "mean error", "95 % error", "matrix error"):
        enough = [r["gradients per token"] for r in gauss if r[error] <= ours[error]]
        most = max(rule["gradients per token"] for rule in gauss)
        nodes = f"{min(enough):.0f}" if enough else f"more than {most:.0f}"
        found.append(f"{nodes} for the same {error}")
    return f"Of these, Gauss-Legendre rules need {', '.join(found)}."


def written(head: str, value: float | None) -> str:
    """Write one figure."""
    if value is None:
        return ""
    if head == "CPU seconds per token":
        return f"{value:.3f}"
    counted = head in ("gradients per token", "passes per token")
    return f"{value:.1f}" if counted else f"{100 * value:.1f} %"


if __name__ == "__main__":
    main()

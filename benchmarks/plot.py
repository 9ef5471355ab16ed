"""Draw what the benchmarks measured into docs/, from the files in results/.

pip install "hf_attrib[bench]"
python benchmarks/plot.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"

#: The same picture on every run, so that only new figures change the files.
matplotlib.rcParams.update(
    {"svg.hashsalt": "hf_attrib", "font.size": 9, "axes.spines.top": False}
    | {"axes.spines.right": False, "figure.constrained_layout.use": True}
)


def main() -> None:
    """Draw every picture."""
    for model in ("keys-llama", "gemma"):
        quadrature(model)
    scaling()


def quadrature(model: str) -> None:
    """Draw the error of whole rows over the gradients that each rule spends."""
    report = result(f"quadrature-{model}")
    figure, axes = plt.subplots(1, len(report["baselines"]), figsize=(11, 3), sharey=True)
    for axis, (name, rules) in zip(axes, report["baselines"].items(), strict=True):
        gauss = [rules[rule] for rule in rules if rule.startswith("Gauss")]
        ours = rules["adaptive (default)"]
        for error, style in (("median error", "-"), ("95 % error", ":")):
            spent = [rule["gradients per token"] for rule in gauss]
            label = f"Gauss–Legendre, {error.removesuffix(' error')}"
            axis.plot(spent, [rule[error] for rule in gauss], f"o{style}", color="C7", label=label)
        spent = ours["gradients per token"]
        axis.plot([spent] * 2, [ours["median error"], ours["95 % error"]], "s-", label="default")
        axis.set(title=f"from {name}", xlabel="gradients per token", yscale="log")
    axes[0].set_ylabel("relative error of a row of scores")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=3)
    figure.suptitle(f"{model}: {report['prompts']} prompts")
    save(figure, f"quadrature-{model}")


def scaling() -> None:
    """Draw how time and memory grow, next to the bare loop."""
    series = result("scaling-llama6")["series"]
    figure, axes = plt.subplots(2, len(series), figsize=(11, 5), squeeze=False)
    for column, (name, rows) in enumerate(series.items()):
        letter = {"prompt tokens": "P", "generated tokens": "T", "nodes": "K"}[name]
        over = [row[letter] for row in rows]
        for row, unit in enumerate(("seconds", "peak MiB")):
            axis = axes[row, column]
            axis.plot(
                over, [r[f"floor {unit}"] for r in rows], "o--", color="C7", label="bare loop"
            )
            axis.plot(over, [r[f"ours {unit}"] for r in rows], "s-", label="hf_attrib")
            axis.set(xlabel=name, xscale="log", yscale="log")
            axis.set_ylabel("CPU seconds" if unit == "seconds" else "peak memory, MiB")
    axes[0, 0].legend(frameon=False)
    save(figure, "scaling")


def result(stem: str) -> Any:
    """Return what a benchmark saved."""
    return json.loads((HERE / "results" / f"{stem}.json").read_text(encoding="utf-8"))


def save(figure: Any, name: str) -> None:
    """Write a picture without a date."""
    figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()

"""How near attacks find other answers, and whether what they move is what the answer was read off.

    python benchmarks/robustness.py --prompts 6

The embedded retrieval model, whose prompts have a known cause. Every attack searches the smallest
radius for the same answers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from baselines import Tasks, planted
from peers import machine

import hf_attrib

RESULTS = Path(__file__).parent / "results"
ATTACKS = ("fgsm", "bim", "mim", "pgd", "pgd(norm=l2)")
RADII = (0.125, 0.25, 0.5, 1.0)


def main() -> None:
    """Measure every attack, and keep the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=6, help="of each of 5 sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    explainer = hf_attrib.Explainer(*hf_attrib.embedded.load("keys-llama"))
    tasks = planted(explainer, options.prompts)
    report: dict[str, Any] = {"prompts": len(tasks), "machine": machine(1), "attacks": {}}
    for attack in ATTACKS:
        started = time.process_time()
        results = [explainer.robustness(task.prompt, attack=attack) for task in tasks]
        seconds = time.process_time() - started
        report["attacks"][attack] = figures(tasks, results, seconds)
        save(report)


def figures(tasks: Tasks, results: list[hf_attrib.Robustness], seconds: float) -> dict[str, float]:
    """Return radii, and what the attack did to the value that only the right fact tells."""
    radii = torch.cat([result.radius for result in results])
    found = headed = strongest = flipped = 0
    for task, result in zip(tasks, results, strict=True):
        words = [piece.strip() for piece in result.response.pieces]
        value = len(words) - 1 - words[::-1].index(task.value)
        strongest += int(result.radius[value] == result.radius.max())
        if not torch.isfinite(result.radius[value]):
            continue
        flipped += 1
        most = int(result.drop[value].argmax())
        start, end = result.inputs.offsets[most]
        found += task.cause[0] < end and start < task.cause[1]
        headed += result.headed(value, most) == result.flips_to_piece(value)
    curve = hf_attrib.robust_accuracy(results, RADII)
    return {
        "median radius": float(radii.median()),
        **{f"robust at {r:g}": float(v) for r, v in zip(RADII, curve.tokens, strict=True)},
        "value flipped": flipped / len(tasks),
        "cause moved most": found / max(1, flipped),
        "moved to the new value": headed / max(1, flipped),
        "value most robust": strongest / len(tasks),
        "CPU seconds": seconds / len(radii),
    }


def save(report: Mapping[str, Any]) -> None:
    """Write the report as it is so far."""
    stem = RESULTS / "robustness-keys-llama"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report), flush=True)


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    about, found = report["machine"], report["attacks"]
    heads = list(next(iter(found.values())))
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    lines = [
        "# Smallest radii on keys-llama",
        "",
        f"{report['prompts']} prompts with a known cause. Radii are in embedding scales; *robust* "
        "is the share of generated tokens that an attack did not flip within a radius; *cause "
        "moved most*, of the values that flipped, how often the word that the value was read off "
        "lost most of its lead. CPU seconds are for one generated token.",
        "",
        "| attack | " + " | ".join(heads) + " |",
        "|---" + "|--:" * len(heads) + "|",
    ]
    for name, entry in found.items():
        lines.append(f"| {name} | " + " | ".join(written(h, entry[h]) for h in heads) + " |")
    lines += ["", f"{about['processor']}, one thread, Python {about['python']}, {versions}."]
    return "\n".join(lines) + "\n"


def written(head: str, figure: float) -> str:
    """Write one figure."""
    plain = head in ("median radius", "CPU seconds")
    return f"{figure:.3f}" if plain else f"{100 * figure:.1f} %"


if __name__ == "__main__":
    main()

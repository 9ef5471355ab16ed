"""A gate for CI: does a changed model still answer from the fact that it should answer from?

Both variants are scored on the same prompts and the same right answers. Of each answer the mass on
the fact that states it is held against the mass on all other facts. The difference of the two
variants, prompt by prompt, gets a bootstrap interval; where all of it is below the tolerance, the
gate is closed and the script exits with 1. Two variants of the embedded model stand here for yours:
the second has noise in its weights.

    python examples/regression_gate.py              # noise that does harm: exits with 1
    python examples/regression_gate.py --noise 0    # the same model twice: exits with 0
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

import hf_attrib
from hf_attrib.embedded import retrieval

#: How much of the share of the right fact a change may cost.
TOLERANCE = 0.02


def perturbed(model: Any, noise: float, seed: int = 0) -> Any:
    """Return a copy of a model with noise in its weights.

    Args:
        model: stays as it is.
        noise: standard deviation, in units of that of each weight matrix.
        seed: of the noise.
    """
    made, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(noise * weight.std() * torch.randn(weight.shape, generator=generator))
    return made


def records(
    model: Any, tokenizer: Any, data: Sequence[retrieval.RetrievalExample]
) -> list[dict[str, Any]]:
    """Return a record for each prompt: masses on the right fact and on the others.

    Args:
        model: a variant.
        tokenizer: of it.
        data: prompts whose right answer and responsible fact are known.
    """
    explainer = hf_attrib.Explainer(model, tokenizer)
    results = explainer.explain(
        [case.prompt for case in data],
        response=[f" {case.answer}" for case in data],
        groups="sentence",
    )
    found = []
    for case, result in zip(data, results, strict=True):
        facts = [case.prompt[start:end] for start, end in case.facts]
        right = facts.pop(case.right_fact)
        found.append(result[case.value].to_record(right=right, others=facts))
    return found


def paired(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of after - before over prompts, and its 95 % bootstrap interval.

    Args:
        before: a number for each prompt.
        after: the same of the changed model.
    """
    difference = np.asarray(after) - np.asarray(before)
    # Pairs are drawn together, since the same prompts are hard for both.
    found = bootstrap((difference,), np.mean, method="percentile", random_state=0)
    low, high = found.confidence_interval
    return float(difference.mean()), float(low), float(high)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two variants; return 1 if the second regressed.

    Args:
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", type=float, default=0.6, help="in units of each weight's spread")
    parser.add_argument("--prompts", type=int, default=16)
    asked = parser.parse_args(arguments)
    model, tokenizer = hf_attrib.embedded.load("keys-llama")
    data = list(retrieval.examples(asked.prompts, facts=4, seed=5))
    before = records(model, tokenizer, data)
    after = records(perturbed(model, asked.noise), tokenizer, data)

    for name in ("right_share", "right_mass", "others_mass"):
        mean, low, high = paired([r[name] for r in before], [r[name] for r in after])
        old, new = (np.mean([r[name] for r in rows]) for rows in (before, after))
        print(f"{name:12} {old:+.3f} -> {new:+.3f}   {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    _, _, high = paired([r["right_share"] for r in before], [r["right_share"] for r in after])
    flagged = high < -TOLERANCE
    if flagged:
        print("Look at the prompts that lost most of the share of the right fact:")
        changes = [b["right_share"] - a["right_share"] for a, b in zip(before, after, strict=True)]
        for place in np.argsort(changes)[:3]:
            print(f"  {changes[place]:+.2f}  {data[place].prompt}")
    print("regression" if flagged else "no regression found")
    return int(flagged)


if __name__ == "__main__":
    sys.exit(main())

"""Which methods fail a sanity check, on prompts of which the cause is known.

    python benchmarks/sanity.py

Each method is asked as it is without any options, on prompts that the embedded keys-llama answers
from one of several facts. `docs/methods.md` marks those that fail.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from peers import machine

from hf_attrib import AttributionWarning, Explainer, embedded
from hf_attrib.embedded import retrieval
from hf_attrib.methods import methods

RESULTS = Path(__file__).parent / "results"
#: The checks that can be failed.
CHECKS = ("other target", "weights", "causality", "seeds")


def main() -> None:
    """Check, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=3, help="how many prompts")
    parser.add_argument("--methods", nargs="*", help="some alone; what is known of others is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    explainer = Explainer(*embedded.load("keys-llama"))
    prompts = [case.prompt for case in retrieval.examples(options.prompts, 2, seed=17)]
    kept = RESULTS / "sanity-keys-llama.json"
    known = json.loads(kept.read_text())["found"] if options.methods else {}
    found: dict[str, dict[str, Any]] = {}
    for name in options.methods or methods():
        checks = explainer.sanity(prompts, name, CHECKS, max_new_tokens=3).checks
        found[name] = {
            check.check: {"outcome": check.outcome, "value": rounded(check.value)}
            for check in checks
        }
        print(name, found[name], flush=True)
    found = dict(sorted((known | found).items()))
    report = {"machine": machine(1), "model": "keys-llama", "prompts": prompts, "found": found}
    text = json.dumps(report, indent=1, allow_nan=False)
    kept.write_text(text + "\n")


def rounded(value: float) -> float | None:
    """Return three digits of a number that is one."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


if __name__ == "__main__":
    main()

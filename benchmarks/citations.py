"""Which threshold makes citations false in at most 5 % of the answers that no passage supports.

    pip install "hf_attrib[bench,sparse]"
    python benchmarks/citations.py
    python benchmarks/citations.py --model gemma  # with hf_attrib[real]

Cases are made of facts that the embedded keys-llama reads, each a passage: one of them answers
(*single*); it is said twice (*duplicate*), or in one of two facts that contradict each other
(*contradiction*); a passage asks the question as well, and answers it wrongly (*injected*, for
Gemma 3 270M); or no fact answers, and an answer is forced all the same (*no support*). The models
follow no fact to another, so that there are no cases of two hops. Some prompts find a threshold
for each way of taking passages away, and for each rival; others are reported. Gemma, and rivals
there, are asked by the thresholds that keys-llama found. What a model said is kept in a folder, so
that a run goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from citation_cases import FACTS, SHOWN, TRAINED, Case, cases
from citation_records import Record, recorded
from citation_report import reported, table
from citation_rivals import looked_into
from peers import machine
from subjects import gemma_model

from hf_attrib import AttributionWarning, Explainer, embedded

RESULTS = Path(__file__).parent / "results"
RECORDS = Path(tempfile.gettempdir()) / "hf_attrib-citations"
#: Rivals look into the model in one mode, and for the cases of some seeds.
_RIVALS = (31, 41)


class Plan(NamedTuple):
    """What a model is asked.

    Args:
        load: gives the model and its tokenizer.
        modes: ways of taking passages away.
        facts: numbers of facts.
        frame: what is around them.
        per_size: cases of each family, for each number.
        seeds: of the cases that find thresholds, if any do, and of those that are reported.
    """

    load: Callable[[], tuple[Any, Any]]
    modes: Sequence[str]
    facts: Sequence[int]
    frame: str
    per_size: int
    seeds: Mapping[str, Sequence[int]]


PLANS = {
    "keys-llama": Plan(
        partial(embedded.load, "keys-llama"), ("embed", "token", "attention", "drop"), FACTS,
        TRAINED, 16, {"calibration": (31, 33), "held-out": (41,)},
    ),
    "gemma": Plan(
        gemma_model, ("embed",), (3, 4, 5),
        SHOWN, 6, {"held-out": (43,)},
    ),
}  # fmt: skip


class Asked(NamedTuple):
    """A case to ask a model about, and whether rivals look into it as well."""

    split: str
    case: Case
    rivals: bool


def every(plan: Plan, mode: str) -> Iterator[Asked]:
    """Yield the cases; those that find a threshold are without support."""
    for split, seeds in plan.seeds.items():
        for seed in seeds:
            for case in cases(plan.per_size, seed, plan.facts, plan.frame):
                if split == "held-out" or case.family == "no support":
                    yield Asked(split, case, mode == "embed" and seed in _RIVALS)


def records(name: str, explainer: Explainer, mode: str, folder: Path) -> list[tuple[str, Record]]:
    """Return what a model says of its cases, and which split each is of."""
    path = folder / f"{name}-{mode}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done = [json.loads(line) for line in lines]
    found = [(one.pop("split"), Record(**one)) for one in done]
    asking = list(every(PLANS[name], mode))
    with path.open("a", encoding="utf-8") as file:
        for asked in asking[len(found) :]:
            record = recorded(explainer, asked.case, mode)
            if asked.rivals:
                record.scores = looked_into(explainer, asked.case)
            found.append((asked.split, record))
            file.write(json.dumps({"split": asked.split, **asdict(record)}) + "\n")
            file.flush()
            print(mode, len(found), "of", len(asking), record.family, flush=True)
    return found


def known(plan: Plan, mode: str) -> dict[str, float]:
    """Return the threshold of each way, where a model has no cases that find them."""
    if "calibration" in plan.seeds:
        return {}
    other = json.loads((RESULTS / "citations-keys-llama.json").read_text(encoding="utf-8"))
    return {name: row["threshold"] for name, row in other["modes"][mode]["rivals"].items()}


def main() -> None:
    """Ask the model, calibrate on some cases, report others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=PLANS, default="keys-llama")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of what it says")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    options.records.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine(1), "modes": {}}
    explainer = Explainer(*PLANS[options.model].load())
    for mode in PLANS[options.model].modes:
        found = records(options.model, explainer, mode, options.records)
        report["modes"][mode] = reported(found, mode, known(PLANS[options.model], mode))
    stem = RESULTS / f"citations-{options.model}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(table(report, options.model), encoding="utf-8")
    print(table(report, options.model))


if __name__ == "__main__":
    main()

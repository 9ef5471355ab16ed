"""Which threshold makes citations false in at most 5 % of the answers that no passage supports.

    pip install "hf_attrib[bench,sparse]"
    python benchmarks/citations.py

Cases are made of facts that the embedded keys-llama reads, each a passage: one of them answers
(*single*); it is said twice (*duplicate*), or in one of two facts that contradict each other
(*contradiction*); or it is left out, and its answer forced all the same (*no support*). The model
follows no fact to another, so that there are no cases of two hops. Some prompts find a threshold
for each way of taking passages away, and for each rival; others are reported. What the model said
is kept in a folder, so that a run goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from citation_cases import Case, cases
from citation_records import Record, recorded
from citation_report import reported, table
from citation_rivals import looked_into
from peers import machine

from hf_attrib import AttributionWarning, Explainer, embedded

RESULTS = Path(__file__).parent / "results"
RECORDS = Path(tempfile.gettempdir()) / "hf_attrib-citations"
MODES = ("embed", "token", "attention", "drop")
#: Seeds of cases: those that find thresholds and those that are reported; cases of each size.
_SEEDS = {"calibration": (31, 33), "held-out": (41,)}
_PER_SIZE = 16
#: Rivals look into the model in one mode, and for the cases of some seeds.
_RIVALS = {"calibration": (31,), "held-out": (41,)}


class Asked(NamedTuple):
    """A case to ask a model about, and whether rivals look into it as well."""

    split: str
    case: Case
    rivals: bool


def every(mode: str) -> Iterator[Asked]:
    """Yield the cases; those that find a threshold are without support."""
    for split, seeds in _SEEDS.items():
        for seed in seeds:
            for case in cases(_PER_SIZE, seed):
                if split == "held-out" or case.family == "no support":
                    yield Asked(split, case, mode == "embed" and seed in _RIVALS[split])


def records(mode: str, folder: Path) -> list[tuple[str, Record]]:
    """Return what a model says of its cases, and which split each is of."""
    path = folder / f"keys-llama-{mode}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done = [json.loads(line) for line in lines]
    found = [(one.pop("split"), Record(**one)) for one in done]
    explainer, asking = Explainer(*embedded.load("keys-llama")), list(every(mode))
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


def main() -> None:
    """Ask the model, calibrate on some cases, report others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of what it says")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    options.records.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine(1), "modes": {}}
    for mode in MODES:
        found = records(mode, options.records)
        report["modes"][mode] = reported(found)
    stem = RESULTS / "citations-keys-llama"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(table(report), encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    main()

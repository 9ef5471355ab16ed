"""Time of hf_attrib and its peers for equally good scores, with as many nodes as each needs.

    pip install "hf_attrib[bench]"
    python benchmarks/equal_error.py --model llama6 --targets 1 16 64
    python benchmarks/equal_error.py --model gemma --targets 1 4 --chunked

hf_attrib runs with its default settings. The others take fixed rules, and are given the fewest
nodes whose error is no larger: sum |A - A*| / sum |A*| over the whole matrix of scores. That number
is found with our own fixed rules, which equal theirs to rounding; their own error is printed, too.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any

import torch
from contestants import captum, inseq, ours
from peers import RESULTS, machine
from subjects import SUBJECTS, Subject
from torch import Tensor

from hf_attrib import AttributionWarning

#: Nodes that the fixed rules may take.
LADDER = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256)
TRUTH = {"tolerance": 1e-3, "max_points": 4000}


def main() -> None:
    """Compare on one model for some lengths of the answer, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llama6", help="llama6, keys-llama or gemma")
    parser.add_argument("--targets", type=int, nargs="*", default=(1, 16, 64))
    parser.add_argument(
        "--chunked", action="store_true", help="peers run no more at once than hf_attrib does"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    report: dict[str, Any] = {"model": options.model, "machine": machine(1), "targets": {}}
    report["chunked"] = options.chunked
    stem = RESULTS / f"equal-error-{options.model}"
    for targets in options.targets:
        report["targets"][targets] = compared(SUBJECTS[options.model](targets), options.chunked)
        print(markdown(report), flush=True)
        stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")


def compared(subject: Subject, chunked: bool) -> dict[str, dict[str, Any]]:
    """Return nodes, error and CPU seconds of each library on one subject."""
    ours(subject, steps=1)()  # the check of the model, and whatever else comes first
    default, everything = {"tolerance": 0.02}, {"attribute_to": "all"}
    truth, truth_of_all = ours(subject, **TRUTH)(), ours(subject, **TRUTH, **everything)()
    seconds, scores = timed(ours(subject, **default))
    error = distance(scores, truth)
    found = {"hf_attrib": {"nodes": "adaptive", "error": error, "seconds": seconds}}
    nodes = enough(subject, truth, error, rule="gauss_legendre")
    seconds, scores = timed(captum(subject, chunked, nodes or LADDER[-1]))
    its = distance(scores, truth)
    found["captum"] = {"nodes": nodes, "error": its, "seconds": seconds}
    # inseq moves the generated prefix, too, which is another question; it is put to both.
    seconds, scores = timed(ours(subject, **default, **everything))
    error = distance(scores, truth_of_all)
    found["hf_attrib, all moves"] = {"nodes": "adaptive", "error": error, "seconds": seconds}
    nodes = enough(subject, truth_of_all, error, rule="trapezoid", **everything)
    seconds, _ = timed(inseq(subject, chunked, nodes or LADDER[-1]))
    found["inseq"] = {"nodes": nodes, "error": None, "seconds": seconds}
    return found


def enough(subject: Subject, truth: Tensor, error: float, **rule: Any) -> int | None:
    """Return the fewest nodes of a fixed rule that reach an error, if any do, by bisection."""
    found = bisect_left(
        LADDER,
        True,  # the errors of a rule fall as its nodes grow
        key=lambda nodes: distance(ours(subject, steps=nodes, **rule)(), truth) <= error,
    )
    return LADDER[found] if found < len(LADDER) else None


def distance(scores: Tensor, truth: Tensor) -> float:
    """Return the relative error of the whole matrix."""
    return float((scores - truth).abs().sum() / truth.abs().sum())


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of the better of two runs, and what it returned."""
    seconds = []
    for _ in range(2):
        started = time.process_time()
        result = run()
        seconds.append(time.process_time() - started)
    return min(seconds), result


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    lines = [
        f"Model `{report['model']}`; the peers have the fewest nodes of "
        f"{', '.join(map(str, LADDER))} that reach the error of hf_attrib's default.",
        "",
        "| T | | nodes | matrix error | CPU seconds | x hf_attrib |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for targets, found in report["targets"].items():
        base = found["hf_attrib"]["seconds"]
        for name, row in found.items():
            if name == "hf_attrib, all moves":
                base = row["seconds"]
            nodes = f"not by {LADDER[-1]}" if row["nodes"] is None else row["nodes"]
            error = "" if row["error"] is None else f"{100 * row['error']:.2f} %"
            ratio = row["seconds"] / base
            lines.append(
                f"| {targets} | {name} | {nodes} | {error} | {row['seconds']:.2f} | {ratio:.2f} |"
            )
    about = report["machine"]
    some = "as many sequences at once as hf_attrib" if report["chunked"] else "all nodes at once"
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    lines += [
        "",
        "inseq moves and scores the generated prefix, too; it is compared with hf_attrib doing so. "
        f"captum and inseq run {some}.",
        f"{about['processor']}, one thread, Python {about['python']}, {versions}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Time of hf_attrib and its peers for equally good scores, with as many nodes as each needs.

    pip install "hf_attrib[bench]"
    python benchmarks/equal_error.py --model llama6 --targets 1 16 64
    python benchmarks/equal_error.py --model gemma --targets 1 16 --chunked
    python benchmarks/equal_error.py --model gemma --targets 64 --chunked --truth 2e-3 400

hf_attrib runs with its default settings. The others take fixed rules, and are given the fewest
nodes whose error is no larger: sum |A - A*| / sum |A*| over the whole matrix of scores. That number
is found with our own fixed rules, which equal theirs to rounding; their own error is printed, too.

The truth is the adaptive rule at a fine tolerance. Many tokens of a long answer hardly depend on
the prompt. Their rows add next to nothing to the sum, and rounding keeps them from a fine
tolerance, so that halving would go on: hence a number of gradients at which it ends.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeAlias

import torch
from contestants import captum, inseq, ours
from peers import RESULTS, machine
from subjects import SUBJECTS, Subject
from torch import Tensor

from hf_attrib import AttributionWarning

#: Nodes that the fixed rules may take.
LADDER = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256)
#: Tolerance of the truth, and gradients for each target at most.
TRUTH = (1e-3, 4000)

#: Nodes, error and seconds, by library.
Found: TypeAlias = dict[str, dict[str, Any]]


def main() -> None:
    """Compare on one model for some lengths of the answer, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llama6", help="llama6, keys-llama or gemma")
    parser.add_argument("--targets", type=int, nargs="*", default=(1, 16, 64))
    parser.add_argument(
        "--chunked", action="store_true", help="peers run no more at once than hf_attrib does"
    )
    parser.add_argument("--nodes", type=int, nargs="*", default=LADDER, help="fixed rules' nodes")
    parser.add_argument("--peers", nargs="*", default=("captum", "inseq"))
    parser.add_argument(
        "--truth", type=float, nargs=2, default=TRUTH, metavar=("TOLERANCE", "MAX_POINTS")
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    report: dict[str, Any] = {"model": options.model, "machine": machine(1), "targets": {}}
    report["chunked"] = options.chunked
    report["baseline"] = baseline_of(SUBJECTS[options.model](1))
    stem = RESULTS / f"equal-error-{options.model}"
    report["targets"] = kept(stem.with_suffix(".json"), report)
    for targets in options.targets:
        subject = SUBJECTS[options.model](targets)
        rows = report["targets"].setdefault(str(targets), {})
        for peer in options.peers:
            rows.update(AGAINST[peer](subject, options.chunked, options.nodes, options.truth))
            text = json.dumps(report, indent=1) + "\n"
            stem.with_suffix(".json").write_text(text, encoding="utf-8")
            stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
            print(markdown(report), flush=True)


def baseline_of(subject: Subject) -> str:
    """Return the token that stands for nothing."""
    return str(subject.tokenizer.convert_ids_to_tokens(subject.baseline))


def kept(path: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an earlier run on the same model found, with the same versions."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def asked(report: Mapping[str, Any]) -> Any:
        about = ("model", "baseline", "chunked", "machine")
        return [report[key]["versions"] if key == "machine" else report[key] for key in about]

    return dict(old["targets"]) if old and asked(old) == asked(report) else {}


def against_captum(
    subject: Subject, chunked: bool, ladder: Sequence[int], fine: Sequence[float]
) -> Found:
    """Return nodes, error and CPU seconds of ours and of captum."""
    truth, found = ourselves(subject, "hf_attrib", fine)
    error = found["hf_attrib"]["error"]
    nodes, _ = enough(subject, truth, error, ladder, rule="gauss_legendre")
    seconds, scores = timed(captum(subject, chunked, nodes or ladder[-1]))
    error = distance(scores, truth)
    return found | {
        "captum": {"nodes": nodes, "most": ladder[-1], "error": error, "seconds": seconds}
    }


def against_inseq(
    subject: Subject, chunked: bool, ladder: Sequence[int], fine: Sequence[float]
) -> Found:
    """Return the same for inseq, which moves everything, the generated prefix too: so do ours."""
    name, everything = "hf_attrib, all moves", {"attribute_to": "all", "movable": "all"}
    truth, found = ourselves(subject, name, fine, **everything)
    rule = {"rule": "gauss_legendre", **everything}  # captum's: inseq asks captum
    nodes, error = enough(subject, truth, found[name]["error"], ladder, **rule)
    seconds, _ = timed(inseq(subject, chunked, nodes or ladder[-1]))
    return found | {
        "inseq": {"nodes": nodes, "most": ladder[-1], "error": error, "seconds": seconds}
    }


AGAINST = {"captum": against_captum, "inseq": against_inseq}


def ourselves(
    subject: Subject, name: str, fine: Sequence[float], **options: Any
) -> tuple[Tensor, Found]:
    """Return the truth, and error and CPU seconds of our default."""
    ours(subject, steps=1)()  # the check of the model, and whatever else comes first
    tolerance, points = fine[0], int(fine[1])
    truth = ours(subject, tolerance=tolerance, max_nodes=points, **options)()
    seconds, scores = timed(ours(subject, tolerance=0.02, **options))
    error = distance(scores, truth)
    row = {"nodes": "adaptive", "error": error, "seconds": seconds}
    row |= {"truth": [tolerance, points], "processor": machine(1)["processor"]}
    return truth, {name: row}


def enough(
    subject: Subject, truth: Tensor, error: float, ladder: Sequence[int], **rule: Any
) -> tuple[int | None, float]:
    """Return the fewest nodes of a fixed rule that reach an error, if any do, and theirs."""
    errors = dict[int, float]()

    def reaches(nodes: int) -> bool:
        errors[nodes] = distance(ours(subject, steps=nodes, **rule)(), truth)
        return errors[nodes] <= error

    # Errors fall as nodes grow, and time does not: from the middle, step by step.
    middle = len(ladder) // 2
    fewer = list(takewhile(reaches, reversed(ladder[: middle + 1])))
    nodes = fewer[-1] if fewer else next(filter(reaches, ladder[middle + 1 :]), None)
    return nodes, errors[nodes or ladder[-1]]


def distance(scores: Tensor, truth: Tensor) -> float:
    """Return the relative error of the whole matrix."""
    return float((scores - truth).abs().sum() / truth.abs().sum())


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of the better of two runs, if one takes no minute, and its result."""
    seconds = list[float]()
    while not seconds or (len(seconds) < 2 and seconds[0] < 60):
        started = time.process_time()
        result = run()
        seconds.append(time.process_time() - started)
    return min(seconds), result


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    base = math.nan
    lines = [
        f"Model `{report['model']}`, baseline `{report['baseline']}`; the peers have the fewest "
        f"nodes of {', '.join(map(str, LADDER))} that reach the error of hf_attrib's default.",
        "",
        "| T | | nodes | matrix error | CPU seconds | x hf_attrib |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for targets, found in report["targets"].items():
        for name, row in found.items():
            base = row["seconds"] if name.startswith("hf_attrib") else base
            nodes = f"not by {row['most']}" if row["nodes"] is None else row["nodes"]
            lines.append(
                f"| {targets} | {name} | {nodes} | {100 * row['error']:.2f} % "
                f"| {row['seconds']:.2f} | {row['seconds'] / base:.2f} |"
            )
    about = report["machine"]
    some = "as many sequences at once as hf_attrib" if report["chunked"] else "all nodes at once"
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    lines += [
        "",
        truths(report["targets"]),
        "",
        "inseq moves everything, and moves and scores the generated prefix, too; it is compared "
        "with hf_attrib doing so, and the error is that of the same rule there. captum and inseq "
        f"run {some}.",
        f"{processors(report['targets'])}, one thread, Python {about['python']}, {versions}.",
        "",
    ]
    return "\n".join(lines)


def truths(found: Mapping[str, Found]) -> str:
    """Tell what the truth was, by the length of the answer."""
    parts = [
        f"{tolerance:g} with up to {points:,} gradients for each token ({lengths})"
        for (tolerance, points), lengths in by_length(found, "truth").items()
    ]
    return f"The truth is the adaptive rule at a tolerance of {', and of '.join(parts)}."


def processors(found: Mapping[str, Found]) -> str:
    """Tell what ran, by the length of the answer."""
    return ", ".join(f"{name} ({of})" for name, of in by_length(found, "processor").items())


def by_length(found: Mapping[str, Found], key: str) -> dict[Any, str]:
    """Return the lengths of answers of each value of a key."""
    lengths: dict[Any, list[str]] = {}
    for targets, rows in found.items():
        values = [row[key] for row in rows.values() if key in row]
        for value in dict.fromkeys(tuple(v) if isinstance(v, list) else v for v in values):
            lengths.setdefault(value, []).append(targets)
    return {value: f"T = {', '.join(some)}" for value, some in lengths.items()}


if __name__ == "__main__":
    main()

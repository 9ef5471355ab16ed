"""What a pass along a direction costs, and what explaining groups of inputs does.

    python benchmarks/directions.py --model llama6        # or keys-llama
    python benchmarks/directions.py --prompt-tokens 512   # as with retrieved context

First the ratio of a pass along a direction to a pullback, which decides between them in the
package. Then integrated gradients on a fixed rule as the answer grows, of four groups and of all
tokens: CPU seconds for each path point.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from subjects import SUBJECTS, Subject, random_llama

import hf_attrib
from hf_attrib.execution import RowRunner
from hf_attrib.model import EmbeddingField, Transcriber, collate, isolated, sites_of
from hf_attrib.targets import TARGETS
from hf_attrib.text import Request

RESULTS = Path(__file__).parent / "results"

LENGTHS = (8, 16, 32, 64)
GROUPS = 4
POINTS = 8


def main() -> None:
    """Measure, print the tables, keep them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llama6", help="llama6 or keys-llama")
    parser.add_argument("--prompt-tokens", type=int, help="of llama6; 64 by default")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", hf_attrib.AttributionWarning)
    long = options.prompt_tokens
    if long and options.model != "llama6":
        parser.error("only the prompt of llama6 can be of any length")
    subject = random_llama(prompt_tokens=long) if long else SUBJECTS[options.model]()
    answers = {length: answer(subject, length) for length in LENGTHS}
    report = {
        "model": options.model,
        "prompt": len(subject.prompt_ids),
        "points": POINTS,
        "groups": GROUPS,
        "rounds": options.rounds,
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        "passes": {n: passes(subject, ids, options.rounds) for n, ids in answers.items()},
        "explained": explained(subject, answers, options.rounds),
    }
    stem = RESULTS / f"directions-{options.model}{f'-{long}' if long else ''}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def answer(subject: Subject, length: int) -> list[int]:
    """Return so many ids that nobody generated; what they are does not matter to the cost."""
    generator = torch.Generator().manual_seed(0)
    size = subject.model.config.vocab_size
    return torch.randint(2, size, (length,), generator=generator).tolist()


def passes(subject: Subject, ids: list[int], rounds: int) -> dict[str, float]:
    """Return CPU seconds of each kind of pass over one row."""
    request = Request(input_ids=subject.prompt_ids, response_ids=ids)
    transcriber = Transcriber(subject.model, None)
    sequence = transcriber.sequence(transcriber.prompt(request), request, {})
    moves = torch.ones(len(sequence.inputs), dtype=torch.bool)
    batch = collate([sequence], [moves], None, 0)
    with isolated(subject.model):
        field = EmbeddingField(
            subject.model, sites_of(subject.model), batch, TARGETS["log_prob"], RowRunner(POINTS)
        )
        points = field.observe().x[0].repeat(POINTS, 1, 1)
        rows = torch.zeros(POINTS, dtype=torch.int64)
        targets = torch.arange(len(ids)).expand(POINTS, -1)
        weights = torch.nn.functional.one_hot(rows + len(ids) - 1, len(ids))
        direction = torch.randn_like(points)
        linear = field.linearise(points, rows, targets)
        forward = field.pushforward(points, rows, targets)
        every = torch.arange(POINTS)
        kinds: Mapping[str, Callable[[], Any]] = {
            "forward": lambda: field.linearise(points, rows, targets),
            "pullback": lambda: linear.pullback(weights),
            "direction": lambda: forward.along(every, direction),
        }
        return {name: best(kind, rounds) / POINTS for name, kind in kinds.items()}


def explained(
    subject: Subject, answers: Mapping[int, list[int]], rounds: int
) -> dict[int, dict[str, float]]:
    """Return CPU seconds of each path point, and rows, for answers of every length."""
    explainer = hf_attrib.Explainer(subject.model)
    size = len(subject.prompt_ids)
    edges = [size * i // GROUPS for i in range(GROUPS + 1)]
    groups = list(itertools.pairwise(edges))
    found: dict[int, dict[str, float]] = {}
    for length, ids in answers.items():
        asked = {"input_ids": subject.prompt_ids, "response_ids": ids, "steps": POINTS}
        asked |= {"movable": "all", "method": "integrated_gradients"}
        found[length] = {}
        for name, more in (("groups", {"groups": groups}), ("tokens", {})):
            run = explainer.explain(**asked, **more).run
            found[length] |= {
                name: best(lambda kind=more, a=asked: explainer.explain(**a, **kind), rounds)
                / POINTS,
                f"{name}: directional rows": run.directional_rows / POINTS,
                f"{name}: backward rows": run.backward_rows / POINTS,
            }
    return found


def best(work: Callable[[], Any], rounds: int) -> float:
    """Return the CPU seconds of the best of some rounds, after one that warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as tables."""
    lines = [
        f"# Directions on {report['model']}",
        "",
        f"{report['prompt']} prompt tokens; {report['machine']}; best of {report['rounds']} "
        "rounds. By `benchmarks/directions.py`.",
        "",
        "## One pass over one row, CPU milliseconds",
        "",
        "| generated tokens | forward | pullback | direction | direction / pullback |",
        "|---|---|---|---|---|",
    ]
    for length, kinds in report["passes"].items():
        cells = [f"{1000 * kinds[kind]:.1f}" for kind in ("forward", "pullback", "direction")]
        ratio = kinds["direction"] / kinds["pullback"]
        lines.append(f"| {length} | {' | '.join(cells)} | {ratio:.2f} |")
    lines += [
        "",
        f"## Integrated gradients, CPU milliseconds for each of {report['points']} points",
        "",
        "A pass covers the prompt and all generated tokens but the last, so that it grows with the "
        "answer itself; the last column divides by that.",
        "",
        f"| generated tokens | all tokens | {report['groups']} groups | rows of tokens | "
        "rows of groups | groups, by position |",
        "|---|---|---|---|---|---|",
    ]
    for length, row in report["explained"].items():
        positions = report["prompt"] + int(length) - 1
        rows = [
            f"{row[f'{name}: backward rows']:.0f} backward, "
            f"{row[f'{name}: directional rows']:.0f} directional"
            for name in ("tokens", "groups")
        ]
        lines.append(
            f"| {length} | {1000 * row['tokens']:.0f} | {1000 * row['groups']:.0f} | {rows[0]} | "
            f"{rows[1]} | {1000 * row['groups'] / positions:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

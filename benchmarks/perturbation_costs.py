"""What leaving out and Shapley values cost for T = 16 generated tokens: ours and peers'.

    pip install "hf_attrib[bench]"
    python benchmarks/perturbation_costs.py --model keys-llama

captum runs the same subsets of the prompt with the same token in place of the rest, and finds the
same scores, for every generated token; interpreto leaves out the same tokens, but puts one of its
own in their place, and its scores are of logits. All run in one process; rounds are interleaved,
the first only warms up, and the best counts.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from contestants import interpreto_scores, rows_at_once
from peers import machine
from subjects import SUBJECTS, TARGETS, Subject
from torch import Tensor

from hf_attrib import AttributionWarning, Explainer
from hf_attrib.methods.perturbation.staircases import orders

RESULTS = Path(__file__).parent / "results"
SAMPLES = 8
#: What is run on a subject, to be timed; it returns scores [T, P].
Run: TypeAlias = Callable[[], Tensor]


def main() -> None:
    """Run the rounds, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="keys-llama", choices=list(SUBJECTS))
    parser.add_argument("--repeats", type=int, default=3, help="rounds after one to warm up")
    parser.add_argument("--methods", nargs="*", help="some of them; by default both")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    subject = SUBJECTS[options.model](TARGETS)
    report = {
        "model": options.model,
        "inputs": sum(subject.moves),
        "targets": TARGETS,
        "orders": SAMPLES,
        "repeats": options.repeats,
        "machine": machine(1),
        "methods": {
            name: timed(runs, options.repeats)
            for name, runs in contests(subject).items()
            if name in (options.methods or [name])
        },
    }
    stem = RESULTS / f"perturbation-costs-{options.model}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def contests(subject: Subject) -> dict[str, dict[str, Run]]:
    """Return who runs the same subsets, by method; ours come first."""
    from captum.attr import FeatureAblation, ShapleyValueSampling

    def sampling(model: Any) -> Any:
        made = ShapleyValueSampling(model)
        drawn = orders(sum(subject.moves), 0, SAMPLES // 2, seed=0).flatten(0, 1).tolist()
        made.permutation_generator = lambda count, samples: iter(map(tuple, drawn))
        return made

    samples = {"n_samples": SAMPLES}
    return {
        "occlusion": {
            "hf_attrib": ours(subject, "occlusion"),
            **captums(subject, FeatureAblation, {}),
            "interpreto": interpreto_scores(subject, "Occlusion", rows_at_once(subject)),
        },
        "shapley": {
            "hf_attrib": ours(subject, f"shapley(samples={SAMPLES})"),
            **captums(subject, sampling, samples),
        },
    }


def ours(subject: Subject, method: str) -> Run:
    """Return our run of a method; a prefix that all subsets share is reused, as by default."""
    explainer = Explainer(subject.model)
    question = {
        "input_ids": subject.prompt_ids,
        "response_ids": subject.response_ids,
        "baseline": subject.baseline,
        "movable": subject.moves,
        "method": method,
    }
    return lambda: explainer.explain(**question).scores


def captums(
    subject: Subject, kind: Callable[[Any], Any], options: Mapping[str, Any]
) -> dict[str, Run]:
    """Return captum's ways: for language models token by token, as by default, or in one pass.

    By default it keeps keys and values for the next token, behind which, with transformers 5, it
    feeds the whole text again, so that scores are those of another text from the second token on;
    so it runs without them, too. The last way has the class itself run rows together, as many at
    once as we do, a target after another.
    """
    ways = {"": {}, ", no cache": {"use_cached_outputs": False}}
    ways[", one pass"] = {"forward_in_tokens": False}
    return {
        **{
            f"captum{name}": for_language_models(subject, kind, {**options, **way})
            for name, way in ways.items()
        },
        "captum, target by target": by_target(subject, kind, options),
    }


def for_language_models(
    subject: Subject, kind: Callable[[Any], Any], options: Mapping[str, Any]
) -> Run:
    """Return captum's run for all tokens at once, which takes one row at a time."""
    from captum.attr import LLMAttribution, TextTokenInput

    method = LLMAttribution(kind(subject.model), subject.tokenizer)
    question = TextTokenInput(
        subject.prompt,
        subject.tokenizer,
        baselines=subject.baseline,
        skip_tokens=list(subject.fixed),
    )
    target = torch.tensor(subject.response_ids)

    def run() -> Tensor:
        found = method.attribute(question, target=target, **options).token_attr
        return spread(subject, found)

    return run


def by_target(subject: Subject, kind: Callable[[Any], Any], options: Mapping[str, Any]) -> Run:
    """Return captum's run of the class itself on log-probabilities, one target after another."""
    answer = torch.tensor(subject.response_ids)
    prompt = torch.tensor([subject.prompt_ids])
    moves = torch.tensor(subject.moves)
    keep = torch.arange(prompt.shape[1] - 1, prompt.shape[1] + len(answer) - 1)

    @torch.no_grad()
    def forward(some: Tensor) -> Tensor:
        ids = prompt.repeat(len(some), 1)
        ids[:, moves] = some
        whole = torch.cat([ids, answer[:-1].expand(len(ids), -1)], 1)
        logits = subject.model(whole, use_cache=False, logits_to_keep=keep).logits
        return logits.log_softmax(-1)[:, torch.arange(len(answer)), answer]

    method = kind(forward)
    question = {"baselines": subject.baseline, "perturbations_per_eval": rows_at_once(subject)}

    def run() -> Tensor:
        found = [
            method.attribute(prompt[:, moves], target=t, **question, **options)
            for t in range(len(answer))
        ]
        return spread(subject, torch.cat(found))

    return run


def spread(subject: Subject, found: Tensor) -> Tensor:
    """Return scores of the tokens that move as those of all, [T, P]."""
    scores = torch.zeros(len(found), len(subject.prompt_ids))
    scores[:, torch.tensor(subject.moves)] = found.float()
    return scores


def timed(runs: Mapping[str, Run], repeats: int) -> dict[str, dict[str, float]]:
    """Return CPU seconds of the best round, how often ours, and how far scores are from ours."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    scores: dict[str, Tensor] = {}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            started = time.process_time()
            scores[name] = run()
            seconds[name].append(time.process_time() - started)
            print(f"round {turn} {name:26} {seconds[name][-1]:8.3f} s of CPU", flush=True)
    best = {name: min(taken[1:]) for name, taken in seconds.items()}
    own = scores["hf_attrib"]
    return {
        name: {
            "cpu_seconds": best[name],
            "times_ours": best[name] / best["hf_attrib"],
            "relative_difference": float((found - own).abs().max() / own.abs().max()),
        }
        for name, found in scores.items()
    }


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    about = report["machine"]
    lines = [
        f"Model `{report['model']}`, {report['inputs']} inputs, T = {report['targets']} tokens, "
        f"{report['orders']} orders; CPU seconds, best of {report['repeats']} interleaved rounds.",
        "",
        "| method | library | CPU seconds | x hf_attrib | max difference |",
        "|---|---|--:|--:|--:|",
    ]
    for method, rows in report["methods"].items():
        lines += [
            f"| {method} | {name} | {row['cpu_seconds']:.2f} | {row['times_ours']:.1f} "
            f"| {row['relative_difference']:.0e} |"
            for name, row in rows.items()
        ]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    lines += [
        "",
        f"{about['processor']}, one thread, load {about['load_average']:.1f}, Python "
        f"{about['python']}, {versions}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

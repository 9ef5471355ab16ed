"""Which reference input integrated gradients should start from by default.

    python benchmarks/baselines.py --model keys-llama --prompts 40
    python benchmarks/baselines.py --model gemma --prompts 24 --new-tokens 2

Every baseline explains the same answers with the default settings. Two judges look at which tokens
score highest: removing them in ways that are none of the baselines, and prompts whose cause is
known. A random order goes before the same judges, so that they can be seen to fail.
"""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from quadrature import pad, subject
from torch import Tensor

import hf_attrib
from hf_attrib.embedded.retrieval import RetrievalExample, examples

RESULTS = Path(__file__).parent / "results"
BASELINES = ("mean", "zero", "pad", "unk", "token")
#: Facts in the prompts whose cause is known.
FACTS = (2, 4, 6, 8, 10)
#: How many of the highest scoring tokens are removed.
REMOVED = (1, 2, 4)
#: Random tokens that take the place of each removed one, one after the other.
DRAWS = 4
#: Generated tokens for which f moves so little, in nats, leave little to explain.
SLIGHT = "change below 0.1"

Tasks: TypeAlias = list[RetrievalExample]
Results: TypeAlias = list[hf_attrib.Attribution]
#: By way of removing: how far the log-probability of each token falls, [T] for each answer.
Drops: TypeAlias = dict[str, list[Tensor]]


def main() -> None:
    """Measure every baseline, then a random order, and keep the tables after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="keys-llama", help="keys-llama or gemma")
    parser.add_argument("--prompts", type=int, default=40, help="keys-llama: of each of 5 sizes")
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--baselines", nargs="*", default=BASELINES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", hf_attrib.AttributionWarning)
    explainer, prompts, word = subject(options.model, options.prompts)
    tasks = planted(explainer, options.prompts) if options.model == "keys-llama" else []
    prompts = [task.prompt for task in tasks] or prompts
    report = {
        "model": options.model,
        "prompts": len(prompts),
        "new_tokens": options.new_tokens,
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
        "rankings": {},
    }
    names = {"token": f"token:{word}", "pad": pad(explainer)}
    spare = stand_ins(explainer, word)
    drops: dict[str, Drops] = {}
    for name in options.baselines:
        asked = {"baseline": names.get(name, name), "max_new_tokens": options.new_tokens}
        asked["method"] = "integrated_gradients"
        results = [explainer.explain(prompt, **asked) for prompt in prompts]
        orders = [by_score(result) for result in results]
        drops[name] = dropped(explainer.model, results, orders, spare)
        entry = {"cost": cost(results), **judged(drops, tasks, results, orders)}
        if tasks:
            results = [explainer.explain(prompt, target="logit", **asked) for prompt in prompts]
            entry["logit"] = found(tasks, results, [by_score(result) for result in results])
        report["rankings"][name] = entry
        save(report)
    orders = [at_random(result, seed) for seed, result in enumerate(results)]
    drops["random order"] = dropped(explainer.model, results, orders, spare)
    report["rankings"]["random order"] = judged(drops, tasks, results, orders)
    save(report)


def planted(explainer: hf_attrib.Explainer, per_size: int) -> Tasks:
    """Return held-out prompts that the model answers right, other ones than the tests use."""
    tasks = []
    for task in [task for facts in FACTS for task in examples(per_size, facts, seed=31)]:
        encoded = explainer.tokenizer(task.prompt, return_tensors="pt")
        ids = explainer.model.generate(**encoded, max_new_tokens=12, do_sample=False)[0]
        said = explainer.tokenizer.decode(ids, skip_special_tokens=True)
        if said.removeprefix(task.prompt).strip() == task.answer:
            tasks.append(task)
    return tasks


def stand_ins(explainer: hf_attrib.Explainer, word: str) -> Tensor:
    """Return the ids of the vocabulary that are no baseline."""
    tokenizer = explainer.tokenizer
    barred = {*tokenizer.all_special_ids, *tokenizer.encode(word, add_special_tokens=False)}
    return torch.tensor(sorted({*range(len(tokenizer))} - barred))


def by_score(result: hf_attrib.Attribution) -> Tensor:
    """Return the positions that move for each generated token, highest score first, [T, M]."""
    held = ("special", "template")
    places = torch.tensor([n for n, role in enumerate(result.roles) if role not in held])
    return places[result.scores[:, places].argsort(dim=-1, descending=True)]


def at_random(result: hf_attrib.Attribution, seed: int) -> Tensor:
    """Return the same positions in random order, [T, M]."""
    places, random = by_score(result).sort().values, torch.Generator().manual_seed(seed)
    return torch.stack([row[torch.randperm(len(row), generator=random)] for row in places])


def cost(results: Results) -> dict[str, float]:
    """Return what the answers took, and how much there was to explain."""
    change = torch.cat([result.value - result.reference_value for result in results])
    return {
        "gradients per token": sum(result.backward_rows for result in results) / len(change),
        "converged": float(torch.cat([r.converged for r in results]).float().mean()),
        "mean change of f": float(change.mean()),
        SLIGHT: float((change < 0.1).float().mean()),
    }


@torch.no_grad()
def dropped(model: Any, results: Results, orders: list[Tensor], spare: Tensor) -> Drops:
    """Return how far the log-probability of each token falls, [T] for each answer."""
    drops: Drops = {}
    for seed, (result, order) in enumerate(zip(results, orders, strict=True)):
        ids, response, size = result.input_ids, result.response_ids, len(result)
        # Drawn anew from the same seed for every baseline: only the order differs.
        random = torch.Generator().manual_seed(seed)
        drawn = spare[torch.randint(len(spare), (DRAWS, len(ids)), generator=random)]
        before = log_probs(model, ids[None], response)[0]
        for count in REMOVED:
            gone = torch.zeros(size, len(ids), dtype=torch.bool).scatter_(1, order[:, :count], True)
            replaced = torch.where(gone[:, None], drawn, ids).flatten(0, 1)
            after = log_probs(model, replaced, response).view(size, DRAWS, size)
            fall = before - after.diagonal(dim1=0, dim2=2).mean(0)
            drops.setdefault(f"replaced {count}", []).append(fall)
            shorter = ids.expand(size, -1)[~gone].view(size, -1)
            fall = before - log_probs(model, shorter, response).diagonal()
            drops.setdefault(f"deleted {count}", []).append(fall)
    return drops


def log_probs(model: Any, prompts: Tensor, response: Tensor) -> Tensor:
    """Return the log-probability of each token of a response after each prompt, [B, T]."""
    answers = response.expand(len(prompts), -1)
    ids = torch.cat([prompts, answers], 1)[:, :-1]
    logits = model(ids, logits_to_keep=len(response), use_cache=False).logits.float()
    return logits.log_softmax(-1).gather(-1, answers[..., None])[..., 0]


def judged(
    drops: Mapping[str, Drops], tasks: Tasks, results: Results, orders: list[Tensor]
) -> dict[str, Any]:
    """Return what both judges say of the last ranking."""
    figures: dict[str, Any] = {"drop": summary(drops, [slice(None)] * len(results))}
    if tasks:
        values = [slice(row, row + 1) for row in map(value_row, tasks, results)]
        figures["value"] = summary(drops, values)
        figures["log_prob"] = found(tasks, results, orders)
    return figures


def summary(drops: Mapping[str, Drops], tokens: list[slice]) -> dict[str, dict[str, float]]:
    """Return mean drops of some tokens of each answer, and how far they are from the first's."""
    first, last = next(iter(drops.values())), list(drops.values())[-1]
    figures = {}
    for way in last:
        falls, others = (
            torch.stack([fall[some].mean() for fall, some in zip(of[way], tokens, strict=True)])
            for of in (last, first)
        )
        error = (falls - others).std() / len(falls) ** 0.5
        means = {"mean": float(falls.mean()), "difference": float((falls - others).mean())}
        figures[way] = {**means, "standard error": float(error)}
    return figures


def value_row(task: RetrievalExample, result: hf_attrib.Attribution) -> int:
    """Return which generated token is the value that only the right fact tells."""
    words = [piece.strip() for piece in result.response_pieces]
    return len(words) - 1 - words[::-1].index(task.value)


def found(tasks: Tasks, results: Results, orders: list[Tensor]) -> dict[str, dict[str, int]]:
    """Count values whose cause comes first, by number of facts."""
    counts = {f"{facts} facts": {"found": 0, "asked": 0} for facts in FACTS}
    for task, result, order in zip(tasks, results, orders, strict=True):
        start, end = result.offsets[int(order[value_row(task, result), 0])]
        here = counts[f"{len(task.facts)} facts"]
        here["found"] += task.cause[0] < end and start < task.cause[1]
        here["asked"] += 1
    return counts


def save(report: Mapping[str, Any]) -> None:
    """Write the report as it is so far."""
    stem = RESULTS / f"baselines-{report['model']}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report), flush=True)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as tables."""
    lines = [
        f"# Baselines on {report['model']}",
        "",
        f"{report['prompts']} prompts, up to {report['new_tokens']} generated tokens each; "
        f"{report['machine']}. By `benchmarks/baselines.py`.",
    ]
    for key, title in {
        "cost": "Cost, and what there is to explain",
        "drop": "Mean drop of the log-probability without the highest scoring tokens",
        "value": "The same, of the answer's value alone",
        "log_prob": "Values whose cause scores highest",
        "logit": "The same, with the logit as target",
    }.items():
        rows = {name: entry[key] for name, entry in report["rankings"].items() if key in entry}
        if not rows:
            continue
        heads = list(next(iter(rows.values())))
        lines += ["", f"## {title}", ""]
        lines += ["| baseline | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
        for name, row in rows.items():
            lines.append(f"| {name} | " + " | ".join(written(h, row[h]) for h in heads) + " |")
    return "\n".join(lines) + "\n"


def written(head: str, figure: Any) -> str:
    """Write one figure, or a few that belong together."""
    if "facts" in head:
        return f"{figure['found']} of {figure['asked']}"
    if head in ("converged", SLIGHT):
        return f"{100 * figure:.1f} %"
    if head in ("gradients per token", "mean change of f"):
        return f"{figure:.1f}"
    if not figure["standard error"]:
        return f"{figure['mean']:.2f}"
    return "{mean:.2f} ({difference:+.2f} ± {standard error:.2f})".format(**figure)


if __name__ == "__main__":
    main()

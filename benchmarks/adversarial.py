"""What attributions along adversarial walks cost, how far they add up, and what they find.

    python benchmarks/adversarial.py --model keys-llama --prompts 12
    python benchmarks/adversarial.py --model gemma --prompts 6 --new-tokens 2

Every method explains the same answers with its default settings. Integrated gradients, the length
of the gradient and a random order go before the same judges: prompts whose cause is known, and
the removal of the tokens that score highest. The walk alone is timed next to a loop by hand.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from baselines import Drops, Results, Tasks, at_random, by_score, dropped, planted, stand_ins
from baselines import value_row as row_of_value
from peers import machine
from quadrature import subject
from torch import Tensor

import hf_attrib
from hf_attrib.attacks import attacks
from hf_attrib.methods import Saliency, methods
from hf_attrib.methods.adversarial.base import AdversarialMethod

RESULTS = Path(__file__).parent / "results"
#: How many of the highest scoring tokens are removed.
REMOVED = "deleted 2"
#: Steps, prompt tokens and generated tokens of the walk that is timed.
STEPS, PROMPT, ANSWER = 10, 64, 16

Explain = Callable[..., Any]


def main() -> None:
    """Measure every method, and keep the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="keys-llama", help="keys-llama or gemma")
    parser.add_argument("--prompts", type=int, default=12, help="keys-llama: of each of 5 sizes")
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--methods", nargs="*", help="some of them; by default all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", hf_attrib.AttributionWarning)
    explainer, prompts, word = subject(options.model, options.prompts)
    tasks = planted(explainer, options.prompts) if options.model == "keys-llama" else []
    prompts = [task.prompt for task in tasks] or prompts
    report: dict[str, Any] = {
        "model": options.model,
        "prompts": len(prompts),
        "new_tokens": options.new_tokens,
        "machine": machine(1),
        "walk": walk(),
        "methods": {},
    }
    spare = stand_ins(explainer, word)
    for name, asked in contestants():
        if options.methods and name not in options.methods:
            continue
        started = time.process_time()
        results = [
            explainer.explain(prompt, max_new_tokens=options.new_tokens, **asked)
            for prompt in prompts
        ]
        seconds = time.process_time() - started
        orders = [by_score(result) for result in results]
        drops = dropped(explainer.model, results, orders, spare)
        entry = {**cost(results, seconds), **judged(tasks, results, orders, drops)}
        report["methods"][name] = entry
        save(report)
    orders = [at_random(result, seed) for seed, result in enumerate(results)]
    drops = dropped(explainer.model, results, orders, spare)
    report["methods"]["random order"] = judged(tasks, results, orders, drops)
    save(report)


def contestants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield methods by name, and how they are asked for."""
    for name in ("integrated_gradients", "saliency"):
        yield name, {"method": name}
    for name in attacks():
        if name != "advgan":  # which needs a generator that somebody has trained
            yield name, {"method": name}
    for objective in ("per_token", "runner_up"):
        yield f"bim, {objective}", {"method": "bim", "objective": objective}
    for name, kind in methods().items():
        if issubclass(kind, AdversarialMethod) and name != "fundamental":
            yield name, {"method": name}
            if "variant" in kind.__dataclass_fields__:
                yield f"{name}, released", {"method": name, "variant": "released"}
    yield "bsm", {"method": "bsm"}


def cost(results: Results, seconds: float) -> dict[str, float]:
    """Return what a generated token took, and how far its scores add up."""
    tokens = sum(len(result) for result in results)
    change = torch.cat([result.value - result.reference_value for result in results])
    figures = {
        "forward rows": sum(result.forward_rows for result in results) / tokens,
        "backward rows": sum(result.backward_rows for result in results) / tokens,
        "CPU seconds": seconds / tokens,
    }
    if results[0].run.identity is None:
        return figures
    gap = torch.cat([result.gap for result in results])
    return figures | {
        "median gap": float(gap.median()),
        "gap <= 2 %": float((gap <= 0.02).float().mean()),
        "flagged": float(torch.cat([~result.converged for result in results]).float().mean()),
        "mean fall of f": float(change.mean()),
    }


def judged(tasks: Tasks, results: Results, orders: list[Tensor], drops: Drops) -> dict[str, float]:
    """Return how often the known cause comes first, and what the first tokens are worth."""
    rows = [row_of_value(*pair) for pair in zip(tasks, results, strict=False)]
    figures = {"fall without the first 2": float(torch.cat(drops[REMOVED]).mean())}
    if tasks:
        hits = 0
        for task, result, order, row in zip(tasks, results, orders, rows, strict=True):
            start, end = result.offsets[int(order[row, 0])]
            hits += task.cause[0] < end and start < task.cause[1]
        figures["cause first"] = hits / len(tasks)
    return figures


def walk() -> dict[str, float]:
    """Return CPU seconds of a walk of ours and of the same rows run by hand."""
    from subjects import random_llama

    from hf_attrib.attacks import Objective, attack

    subject = random_llama(targets=ANSWER, prompt_tokens=PROMPT)
    found: dict[str, float] = {}

    def ours(field: Any, x: Tensor) -> None:
        attack("bim", {"eps": 0.25, "steps": STEPS}).walk(Objective.shared(field), x)

    model, targets = subject.model.requires_grad_(False), torch.tensor(subject.response_ids)
    ids = torch.tensor([subject.prompt_ids + subject.response_ids[:-1]])
    keep = torch.arange(PROMPT - 1, ids.shape[1])

    def by_hand(field: Any, x: Tensor) -> None:
        z, scale = x[:, 0], 0.1
        for _ in range(STEPS):
            z = z.detach().requires_grad_()
            logits = model(inputs_embeds=z, use_cache=False, logits_to_keep=keep).logits
            total = logits.log_softmax(-1)[0, torch.arange(ANSWER), targets].sum()
            z = z - 0.03 * scale * torch.autograd.grad(total, z)[0].sign()

    for name, run in (("ours", ours), ("by hand", by_hand)):
        found[name] = timed(subject, run)
    return found


def timed(subject: Any, run: Callable[[Any, Tensor], None]) -> float:
    """Return the CPU seconds of the best of five runs on the field of a subject."""
    seconds: list[float] = []

    class Timed(AdversarialMethod):
        """Times a walk, and attributes nothing."""

        claims = methods()["fundamental"]().claims

        def __call__(self, field: Any, x: Tensor, baseline: Tensor) -> Any:
            for _ in range(5):
                started = time.process_time()
                run(field, x)
                seconds.append(time.process_time() - started)
            return Saliency()(field, x, baseline)

    hf_attrib.Explainer(subject.model).explain(
        input_ids=subject.prompt_ids, response_ids=subject.response_ids, method=Timed()
    )
    return min(seconds)


def save(report: Mapping[str, Any]) -> None:
    """Write the report as it is so far."""
    stem = RESULTS / f"adversarial-{report['model']}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report), flush=True)


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    about, found = report["machine"], report["methods"]
    heads = list(dict.fromkeys(head for entry in found.values() for head in entry))
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    ratio = report["walk"]["ours"] / report["walk"]["by hand"]
    lines = [
        f"# Adversarial walks on {report['model']}",
        "",
        f"{report['prompts']} prompts, up to {report['new_tokens']} generated tokens each. Rows "
        "and seconds are for one generated token.",
        "",
        "| method | " + " | ".join(heads) + " |",
        "|---" + "|--:" * len(heads) + "|",
    ]
    for name, entry in found.items():
        cells = [written(head, entry[head]) if head in entry else "" for head in heads]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"A walk of {STEPS} steps for {ANSWER} tokens at once after {PROMPT} on a random Llama of "
        f"6 layers takes {ratio:.2f} x the CPU time of the same rows in a loop by hand.",
        f"{about['processor']}, one thread, Python {about['python']}, {versions}.",
    ]
    return "\n".join(lines) + "\n"


def written(head: str, figure: float) -> str:
    """Write one figure."""
    if head in ("gap <= 2 %", "flagged", "cause first"):
        return f"{100 * figure:.1f} %"
    if head == "median gap":
        return f"{100 * figure:.2f} %"
    return f"{figure:.1f}" if "rows" in head else f"{figure:.2f}"


if __name__ == "__main__":
    main()

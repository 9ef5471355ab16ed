"""How well scores predict what a model does without the tokens that they rank: ours and peers'.

    pip install "hf_attrib[bench,real]"
    python benchmarks/faithfulness.py --split held-out --per-kind 3
    python benchmarks/faithfulness.py --costs

Each method explains the same answers of Gemma 3 270M to the prompts of ``prompts.jsonl``, whose odd
lines are held out: the default was chosen on the even ones. The tokens that a method ranks highest,
and those that it ranks lowest, are taken away in two ways; the table shows by how much more the
answer's log-probability falls. Findings are kept in ``results``, so that a run that ends early, or
with fewer prompts, can be taken up. ``--costs`` times the explanations alone.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contestants import captum, inseq_scores, interpreto_scores
from peers import machine
from subjects import Subject, gemma_model
from torch import Tensor

from hf_attrib import AttributionWarning, Evaluation, Explainer
from hf_attrib.engine import DEFAULTS, Case
from hf_attrib.validation.statistics import Interval, interval

HERE = Path(__file__).parent
#: Steps of captum's and inseq's integrated gradients: what they take when nothing is said.
STEPS = 50
RANDOM_ORDERS = 4
DEFAULT = DEFAULTS["method"]
#: Generated tokens of the answers that are timed.
LENGTHS = (3, 16)
PEERS: Mapping[str, Callable[..., Callable[[], Tensor]]] = {
    "captum": captum,
    "inseq": inseq_scores,
    "interpreto": interpreto_scores,
    "interpreto (KernelShap)": partial(interpreto_scores, kind="KernelShap"),
}

OURS: Mapping[str, str | Mapping[str, str]] = {
    "loo_shapley": "loo_shapley",
    "shapley": "shapley",
    "kernel_shap": "kernel_shap",
    "occlusion": "occlusion",
    "occlusion (drop)": "occlusion(mode=drop)",
    "occlusion (token)": "occlusion(mode=token)",
    "sequential_ig": "sequential_ig",
    "saliency": "saliency",
    "input_x_gradient": "input_x_gradient",
    "attention_x_gradient": "attention_x_gradient",
    "integrated_gradients": "integrated_gradients",
    "integrated_gradients (pad)": {"method": "integrated_gradients", "baseline": "pad"},
}


def main() -> None:
    """Judge, or time, and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="held-out", choices=("development", "held-out"))
    parser.add_argument("--per-kind", type=int, default=12, help="prompts of each of six kinds")
    parser.add_argument("--new-tokens", type=int, default=3)
    parser.add_argument("--methods", nargs="*", help="some of them; by default all")
    parser.add_argument("--costs", action="store_true", help="time the explanations alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    model, tokenizer = gemma_model()
    explainer = Explainer(model, tokenizer)
    every = contestants(model, tokenizer)
    chosen = {name: every[name] for name in options.methods or every}
    prompts = texts(options.split, options.per_kind)
    if options.costs:
        kept = HERE / "results" / "faithfulness-costs"
        seconds = costs(explainer, chosen, prompts[::3])  # peers take minutes for each
        report = {"machine": machine(1), "prompts": len(prompts[::3]), "seconds": seconds}
        kept.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
        kept.with_suffix(".md").write_text(cost_table(report))
        print(cost_table(report))
        return
    stem = HERE / "results" / f"faithfulness-{options.split}"
    found = explainer.evaluate(
        prompts,
        chosen,
        metrics="morf_lerf",
        operators=("drop", "token"),
        random_orders=RANDOM_ORDERS,
        max_new_tokens=options.new_tokens,
        min_new_tokens=options.new_tokens,
        resume=stem.with_suffix(".jsonl"),
        progress=lambda done, total: print(f"{done}/{total}", end="\r", flush=True),
    )
    stem.with_suffix(".md").write_text(table(found, options.split))
    print(table(found, options.split))


def texts(split: str, per_kind: int) -> list[str]:
    """Return the prompts of one half, so many of each kind."""
    lines = (HERE / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    half = [json.loads(line) for line in lines][split == "held-out" :: 2]
    kinds: dict[str, list[str]] = {}
    for entry in half:
        kinds.setdefault(entry["kind"], []).append(entry["prompt"])
    return [prompt for some in kinds.values() for prompt in some[:per_kind]]


def contestants(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Return methods by name: ours as they are asked for, peers as functions of a case."""

    def of(prepare: Callable[..., Callable[[], Tensor]]) -> Callable[[Case], Tensor]:
        return lambda case: prepare(subject_of(case, model, tokenizer), nodes=STEPS)()

    return {**OURS, **{name: of(prepare) for name, prepare in PEERS.items()}}


def subject_of(case: Case, model: Any, tokenizer: Any) -> Subject:
    """Return what peers explain: the same ids, as text, from the token that they start from."""
    prompt, response = case.sequence.prompt, case.sequence.response
    return Subject(
        model,
        tokenizer,
        tokenizer.decode(prompt.ids, skip_special_tokens=True),
        tokenizer.decode(response.ids),
        prompt.ids.tolist(),
        response.ids.tolist(),
        baseline=0,  # captum's own default
        fixed=(tokenizer.bos_token_id,),
    )


def costs(
    explainer: Explainer, chosen: Mapping[str, Any], prompts: list[str]
) -> dict[str, dict[str, float]]:
    """Return the CPU seconds of each method for a prompt, by the number of generated tokens."""
    found: dict[str, dict[str, float]] = {name: {} for name in chosen}
    for tokens in LENGTHS:
        length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        saliency = [explainer.explain(p, method="saliency", **length) for p in prompts]
        for name, entry in chosen.items():
            started = time.process_time()
            for known in saliency:
                if callable(entry):
                    entry(known)
                else:
                    asked = entry if isinstance(entry, Mapping) else {"method": entry}
                    ids = {"input_ids": known.input_ids, "response_ids": known.response_ids}
                    explainer.explain(**ids, **asked)
            found[name][str(tokens)] = (time.process_time() - started) / len(prompts)
    return found


def cost_table(report: Mapping[str, Any]) -> str:
    """Write seconds, and what share of captum's they are."""
    lines = [
        f"CPU seconds of a prompt, mean of {report['prompts']} prompts; in brackets the share of "
        f"captum's. {report['machine']['processor']}, one thread.",
        "",
        f"| method | {' | '.join(f'T = {tokens}' for tokens in LENGTHS)} |",
        f"|---|{'--:|' * len(LENGTHS)}",
    ]
    captums = report["seconds"].get("captum", {})
    for name, taken in report["seconds"].items():
        cells = [
            f"{seconds:.1f}" + (f" ({seconds / captums[tokens]:.3f})" if captums else "")
            for tokens, seconds in taken.items()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table(found: Evaluation, split: str) -> str:
    """Write MoRF - LeRF of each method under both operators, with intervals over prompts."""
    rows = {}
    for row in found.summary:
        rows.setdefault(row.method, {})[row.operator] = row
    order = sorted(rows, key=lambda name: -sum(r.mean.mean for r in rows[name].values()))
    lines = [
        f"{len(found)} {split} prompts of Gemma 3 270M, {found.prompts[0].generated} generated "
        "tokens each; mean and 95 % interval of MoRF - LeRF in nats, larger is better. *Default "
        f"less it*: of {DEFAULT} less that of the method, prompt by prompt.",
        "",
        "| method | tokens dropped | default less it | tokens replaced | default less it | "
        "forward rows | backward rows |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in order:
        m = found.labels.index(name)
        cells = []
        for operator in found.run.operators:
            own, best = (found.of(each, operator=operator).numpy() for each in (name, DEFAULT))
            pairs = "" if name == DEFAULT else written(interval(best - own))
            cells += [written(rows[name][operator].mean), pairs]
        kinds = found.forward_rows, found.backward_rows
        run = [
            "not counted" if name in PEERS else f"{float(kind[:, m].double().mean()):.0f}"
            for kind in kinds
        ]
        lines.append(f"| {name} | {' | '.join(cells + run)} |")
    random = found.random_means().nanmean(0)[:, 0].tolist()
    lines.append(f"| random order | {random[0]:.2f} | | {random[1]:.2f} | | | |")
    return "\n".join(lines) + "\n"


def written(found: Interval) -> str:
    """Write a mean and its interval."""
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"


if __name__ == "__main__":
    main()

"""Other ways to say which passages an answer rests on: a score for each, and a threshold.

Those that play subsets read them off a record of all of them. Others look into the model here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from citation_cases import Case
from citation_records import Record, encoded
from torch import Tensor

from hf_attrib import Explainer
from hf_attrib.methods import ContextCite, KernelShap, Shapley
from hf_attrib.methods.perturbation.base import Perturbation


def leave_one_out(record: Record) -> list[float]:
    """Return what the answer loses without each passage."""
    return record.table.leave_one_out().tolist()


def exact_shapley(record: Record) -> list[float]:
    """Return Shapley values over all subsets."""
    return record.table.shapley().tolist()


def permutations(record: Record) -> list[float]:
    """Return Shapley values along drawn orders, of as many rows as ours has."""
    orders = (len(record.subsets) - 2) // max(1, record.count - 1) // 2 * 2
    return _played(record, Shapley(samples=max(4, orders)))


def kernel_shap(record: Record) -> list[float]:
    """Return KernelSHAP of as many rows as ours has: of all subsets, where ours runs all."""
    samples = max(4, 3 * record.count + record.count % 2, (len(record.subsets) - 2) // 2 * 2)
    return _played(record, KernelShap(samples=samples))


def context_cite(record: Record) -> list[float]:
    """Return ContextCite of the answer's log-odds, by all subsets where ours runs all."""
    method = ContextCite(samples=max(8, len(record.subsets)))
    total = torch.tensor(record.values, dtype=torch.float64)
    odds = total - torch.log(-torch.expm1(total.clamp_max(-1e-12)))
    return _played(record, method, odds / record.tokens, record.tokens)


def random_order(record: Record) -> list[float]:
    draw = random.Random("".join(record.passages))
    return [draw.random() for _ in record.passages]


def retrieval(record: Record) -> list[float]:
    """Return which share of the question's words each passage has, as a retriever might."""
    asked = _words(record.question)
    return [len(asked & _words(text)) / len(asked) for text in record.passages]


#: Rivals that a record suffices for.
PLAYED: dict[str, Callable[[Record], list[float]]] = {
    "leave-one-out": leave_one_out,
    "Shapley, drawn orders": permutations,
    "Shapley, all subsets": exact_shapley,
    "KernelSHAP": kernel_shap,
    "ContextCite": context_cite,
    "retrieval": retrieval,
    "random": random_order,
}


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _played(
    record: Record, method: Perturbation, values: Tensor | None = None, times: float = 1.0
) -> list[float]:
    """Return the scores of a method that asks for subsets, which are looked up."""
    every = torch.tensor(record.values, dtype=torch.float64) if values is None else values
    subsets = method.subsets(record.count)
    where = {number: place for place, number in enumerate(record.subsets)}
    numbers = (subsets.long() << torch.arange(record.count)).sum(1).tolist()
    asked = every[[where[number] for number in numbers]][:, None]
    return (method.solve(subsets, asked).scores[:, 0] * times).tolist()


def looked_into(explainer: Explainer, case: Case) -> dict[str, list[float]]:
    """Return the scores of rivals that need the model."""
    model, tokenizer = explainer.model, explainer.tokenizer
    start, ids = encoded(tokenizer, case)
    offsets = tokenizer(case.prompt, return_offsets_mapping=True)["offset_mapping"]
    parts = [
        [i for i, (a, b) in enumerate(offsets) if a < b and a < stop and b > begin]
        for begin, stop in case.ranges()
    ]
    return {
        "attention": _attention(model, start, ids, parts),
        "saliency": _saliency(model, start, ids, parts),
        "ARC-JSD": _arc_jsd(model, start, ids, parts),
    }


def _attention(model: Any, start: int, ids: Tensor, parts: Sequence[list[int]]) -> list[float]:
    """Return the attention that answer tokens are predicted with, over layers and heads."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            layers = model(ids[None], output_attentions=True, logits_to_keep=1).attentions
    finally:
        model.set_attn_implementation(before)
    mass = torch.stack([layer[0, :, start - 1 : -1].mean((0, 1)) for layer in layers]).mean(0)
    return [float(mass[part].sum()) for part in parts]


def _saliency(model: Any, start: int, ids: Tensor, parts: Sequence[list[int]]) -> list[float]:
    """Return the length of the gradient at each token of a passage, summed."""
    x = model.get_input_embeddings()(ids[None]).detach().requires_grad_()
    kept = len(ids) - start + 1
    logits = model(inputs_embeds=x, logits_to_keep=kept).logits[0, :-1]
    total = logits.log_softmax(-1).gather(1, ids[start:, None]).sum()
    mass = torch.autograd.grad(total, x)[0][0].norm(dim=-1)
    return [float(mass[part].sum()) for part in parts]


def _arc_jsd(model: Any, start: int, ids: Tensor, parts: Sequence[list[int]]) -> list[float]:
    """Return how far distributions of answer tokens move without each (arXiv:2505.16415)."""

    def spread(left: Tensor) -> Tensor:
        kept = len(ids) - start + 1
        with torch.no_grad():
            logits = model(ids[left][None], logits_to_keep=kept).logits[0, :-1]
        found: Tensor = logits.double().log_softmax(-1)
        return found

    every = torch.arange(len(ids))
    whole, found = spread(every), []
    for part in parts:
        gone = spread(every[~torch.isin(every, torch.tensor(part))])
        middle = torch.logaddexp(whole, gone) - torch.log(torch.tensor(2.0))
        sides = [(p.exp() * (p - middle)).sum() for p in (whole, gone)]
        found.append(float(sum(sides)) / 2)
    return found

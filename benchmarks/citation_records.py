"""What a model says of a case: the answer's log-probability with every subset of its passages.

All that citations and their rivals say follows from such a record, without the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from citation_cases import Case
from torch import Tensor

from hf_attrib import Explainer
from hf_attrib.results import Coalitions, Passages
from hf_attrib.results.passages import confirm


@dataclass
class Record:
    """The numbers of a case.

    Args:
        family: of the case.
        gold: passages that should be cited.
        tokens: of the answer, T.
        question: what is asked.
        passages: their texts.
        subsets: that a call runs by default, as numbers whose bit i is set where passage i stays.
        values: log-probability of the answer with each of them.
        shapley: scores of the n passages by that call.
        least: probability of its least likely token, with all passages.
        scores: of the n passages, by rivals that look into the model.
    """

    family: str
    gold: list[int]
    tokens: int
    question: str
    passages: list[str]
    subsets: list[int]
    values: list[float]
    shapley: list[float]
    least: float
    scores: dict[str, list[float]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.passages)

    @property
    def supported(self) -> bool:
        return self.family != "no support"

    @property
    def table(self) -> Coalitions:
        """What the call ran."""
        kept = (torch.tensor(self.subsets)[:, None] >> torch.arange(self.count)) % 2 == 1
        return Coalitions(kept, torch.tensor(self.values, dtype=torch.float64)[:, None])

    @property
    def most_lost(self) -> float:
        """Nats of log-odds that the answer loses without some of its passages, at most."""
        odds = self.table.odds()
        return odds.value(range(self.count)) - float(odds.values.min())

    def cited(self, threshold: float) -> frozenset[int]:
        """Return who is cited."""
        if self.most_lost < threshold:
            return frozenset()  # no drop reaches it: nobody, and sooner told
        scores = torch.tensor(self.shapley, dtype=torch.float64)
        return frozenset(confirm(self.table, scores, threshold).cited)


def recorded(explainer: Explainer, case: Case, mode: str, **options: Any) -> Record:
    """Ask a model about a case.

    Args:
        explainer: of the model.
        case: what is asked.
        mode: how passages are taken away.
        **options: of the call.
    """
    found = asked(explainer, case, mode, **options)
    (sentence,) = found.citations()
    rows = sentence.rows
    subsets = [sum(1 << i for i, k in enumerate(row) if k) for row in found.table.subsets.tolist()]
    values = found.table.values[:, slice(*rows)].sum(1).tolist()
    return Record(
        case.family, sorted(case.gold), rows[1] - rows[0], case.question, list(case.facts),
        subsets, values, found.score(rows).tolist(), float(found.probability.min()),
    )  # fmt: skip


def asked(explainer: Explainer, case: Case, mode: str, **options: Any) -> Passages:
    """Return what the passages of a case are worth for its answer."""
    tokens = explainer.tokenizer(case.prompt, return_offsets_mapping=True)["offset_mapping"]
    parts = []
    for start, stop in case.ranges():
        held = [i for i, (a, b) in enumerate(tokens) if a < b and a < stop and b > start]
        parts.append((held[0], held[-1] + 1))
    given = {"groups": parts, "response": f" {case.answer}", "mode": mode}
    return explainer.passages(case.prompt, **given, **options)


def encoded(tokenizer: Any, case: Case) -> tuple[int, Tensor]:
    """Return how many tokens a prompt has, and those of prompt and answer."""
    before = tokenizer(case.prompt).input_ids
    answer = tokenizer(f" {case.answer}", add_special_tokens=False).input_ids
    return len(before), torch.tensor(before + answer)

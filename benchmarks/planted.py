"""How often methods find a cause that is known: one fact among others, or a fact said twice.

    python benchmarks/planted.py

The embedded keys-llama answers questions from facts in its prompt, so that an answer's value can
come from one place alone, or, where that fact is repeated, from two. Methods score the value that
was generated. In *once* the planted word has to have the highest score; in *twice*, the highest
score has to be on a copy; in *both words*, the two highest scores on the two copies; in *both
facts*, of scores for sentences, the two highest among the facts on the two that say it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peers import machine

from hf_attrib import Attribution, AttributionWarning, Explainer, embedded
from hf_attrib.embedded import retrieval

RESULTS = Path(__file__).parent / "results"
METHODS = (
    "loo_shapley",
    "shapley",
    "occlusion",
    "occlusion(mode=drop)",
    "sequential_ig",
    "integrated_gradients",
    "input_x_gradient",
    "saliency",
)
FACTS = (2, 4, 6, 8, 10)
COLUMNS = ("once", "twice", "both words", "both facts")


@dataclass(frozen=True)
class Planted:
    """A prompt and where its cause is said.

    Args:
        prompt: facts and a question.
        answer: what the model is to say.
        value: the word of the answer that is explained.
        causes: where it stands in the prompt, as ranges of characters.
    """

    prompt: str
    answer: str
    value: str
    causes: tuple[tuple[int, int], ...]


def main() -> None:
    """Count, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-size", type=int, default=12, help="prompts of each number of facts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AttributionWarning)
    explainer = Explainer(*embedded.load("keys-llama"))
    once = [
        Planted(case.prompt, case.answer.strip(), case.value, (case.cause,))
        for facts in FACTS
        for case in retrieval.examples(options.per_size, facts, seed=11)
    ]
    draw = random.Random(0)
    twice = [repeated(case, draw) for case in once]
    found: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        found[method] = {
            "once": counted(explainer, once, method, first),
            "twice": counted(explainer, twice, method, first),
            "both words": counted(explainer, twice, method, every),
            "both facts": counted(explainer, twice, method, facts_of_all, groups="sentence"),
        }
        print(method, found[method], flush=True)
    report = {"machine": machine(1), "found": found}
    (RESULTS / "planted.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "planted.md").write_text(table(report))
    print(table(report))


def repeated(case: Planted, draw: random.Random) -> Planted:
    """Return the case with its fact said again, before another fact or before the question."""
    (start, stop), prompt = case.causes[0], case.prompt
    parts = [m.span() for m in re.finditer(r"\S[^.?]*[.?]", prompt[: prompt.index("Q:")])]
    own = next(part for part in parts if part[0] <= start < part[1])
    places = [a for a, _ in parts if a != own[0]] + [prompt.index("Q:")]
    place, fact = draw.choice(places), prompt[slice(*own)] + " "
    moved = len(fact) * (place <= own[0])
    copies = (start + moved, stop + moved), (place + start - own[0], place + stop - own[0])
    text = prompt[:place] + fact + prompt[place:]
    assert {text[a:b] for a, b in copies} == {prompt[start:stop]}
    return Planted(text, case.answer, case.value, copies)


def counted(
    explainer: Explainer, cases: list[Planted], method: str, holds: Any, **options: Any
) -> tuple[int, int]:
    """Return for how many of the cases that are answered rightly a method holds, and how many."""
    found, asked = 0, 0
    for case, result in answered(explainer, cases, method, **options):
        asked += 1
        words = [piece.strip() for piece in result.response_pieces]
        row = len(words) - 1 - words[::-1].index(case.value)
        hits = [[a < stop and start < b for start, stop in result.offsets] for a, b in case.causes]
        found += holds(case, result, result.scores[row], torch.tensor(hits))
    return found, asked


def answered(
    explainer: Explainer, cases: list[Planted], method: str, **options: Any
) -> Iterator[tuple[Planted, Attribution]]:
    """Yield the cases that the model answers rightly, explained."""
    for case in cases:
        result = explainer.explain(case.prompt, method=method, **options)
        if result.response.text.removesuffix("</s>").strip() == case.answer:
            yield case, result


def first(_: Planted, __: Attribution, scores: torch.Tensor, hits: torch.Tensor) -> bool:
    """Whether the highest score is on a cause."""
    return bool(hits[:, int(scores.argmax())].any())


def every(_: Planted, __: Attribution, scores: torch.Tensor, hits: torch.Tensor) -> bool:
    """Whether as many highest scores as there are causes hit each of them."""
    return bool(hits[:, scores.topk(len(hits)).indices].any(1).all())


def facts_of_all(
    case: Planted, result: Attribution, scores: torch.Tensor, hits: torch.Tensor
) -> bool:
    """Whether the highest scores among the facts hit each cause."""
    question = case.prompt.index("Q:")
    # The question's own piece starts with the space before it.
    facts = torch.tensor([start < stop <= question for start, stop in result.offsets])
    return every(case, result, scores.masked_fill(~facts, -torch.inf), hits)


def table(report: dict[str, Any]) -> str:
    """Write the counts."""
    lines = [
        "Answers of keys-llama whose cause is found, of those that it gives rightly.",
        "",
        f"| method | {' | '.join(COLUMNS)} |",
        f"|---|{'--:|' * len(COLUMNS)}",
    ]
    for name, row in report["found"].items():
        cells = [f"{found} of {asked}" for found, asked in (row[column] for column in COLUMNS)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

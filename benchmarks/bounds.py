"""How often a row of scores is further off than its bound says.

    python benchmarks/bounds.py

Tiny random models of several families, as they are and three times as steep, with several
baselines and targets; ``quadrature.py`` does the same for keys-llama. The truth is a dense rule in
float64 on the same line: Gauss rules on many equal parts of it, and on more where it is uncertain,
by another density or by its own sum. Rows of which it stays so are counted apart.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import torch
from peers import RESULTS, machine

import hf_attrib
from hf_attrib.field import Cost, Decomposition, Field
from hf_attrib.integration import composite, gauss_legendre, line_integral, straight
from hf_attrib.integration.rules import Rule
from hf_attrib.methods import AXIOMS, Claims, Method

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from helpers import tiny

FAMILIES = ("llama", "gpt2", "gemma3_text", "qwen3", "gpt_neox", "opt", "olmo2", "t5", "bart")
#: Weights are multiplied by so much.
STEEPNESS = (1.0, 3.0)
TARGETS = ("log_prob", "prob", "logit", "log_odds", "margin")
INPUTS, NEW_TOKENS = 8, 2
#: Equal parts of the line with a Gauss rule of so many nodes each: to compare, and in need.
PARTS, NODES, IN_NEED = 40, 8, 160
#: The line from zero is run as u to this power: narrow structure is wide there.
POWER = 12
#: Of the bound, what two densities may differ by at most.
UNCERTAIN = 0.1


@dataclass(frozen=True)
class Dense(Method, name="dense"):
    """The integral on the straight line by Gauss rules on many equal parts of it."""

    CLAIMS: ClassVar[Claims] = Claims(identity="f(x) - f(x')", cost="K", axioms=frozenset(AXIOMS))
    parts: int = 20
    power: int = 1

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run."""
        return Cost(values=1, gradients=NODES * self.parts).exactly()

    def __call__(self, field: Field, x: torch.Tensor, baseline: torch.Tensor) -> Decomposition:
        """Attribute along the straight line."""
        plain = composite(gauss_legendre(NODES), self.parts)
        # In u, with d alpha = p u^(p - 1) du: the line itself need not know of it.
        pace = self.power * plain.nodes ** (self.power - 1)
        rule = Rule(plain.nodes**self.power, plain.weights * pace)
        return line_integral(field, straight(baseline, x), rule)


@dataclass(frozen=True)
class Row:
    """One row of scores: what it is of, how far off it is, and what it says.

    Args:
        what: model, baseline and target.
        change: f(x) - f(x').
        error: of all its scores, without sign.
        uncertain: what two densities of the truth differ by.
        bound: on the error.
        gap: relative, of the sum.
        gradients: spent on each row of the result.
        status: what the result calls it.
    """

    what: str
    change: float
    error: float
    uncertain: float
    bound: float
    gap: float
    gradients: float
    status: str

    @property
    def is_beyond(self) -> bool:
        """Whether it is surely further off than its bound."""
        return self.error - self.uncertain > self.bound

    @property
    def is_off(self) -> bool:
        """Whether it is off by over a twentieth of what is to be shared out."""
        return self.error - self.uncertain > 0.05 * abs(self.change)


def main() -> None:
    """Run all models, print what was found, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="of each tiny model")
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for name, model, question in subjects(options.families, options.seeds):
        rows += measured(name, model, question)
        print(f"{len(rows)} rows, {sum(row.is_beyond for row in rows)} beyond: {name}", flush=True)
    about = machine(1)
    text = markdown(rows, about)
    print(text)
    stem = RESULTS / "bounds"
    beyond = [asdict(row) for row in rows if row.is_beyond]
    report = {"machine": about, "rows": len(rows), "beyond": beyond}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")


def subjects(families: Sequence[str], seeds: int) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield models, what they are called, and what is asked of them."""
    for seed, steepness, family in product(range(seeds), STEEPNESS, families):
        model = tiny.model(family, seed=seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(steepness)
        given = {
            "input_ids": tiny.ids(INPUTS, seed),
            "response_ids": tiny.ids(NEW_TOKENS, 1 + seed),
        }
        yield f"{family} {steepness:g} times as steep, seed {seed}", model, given


def measured(name: str, model: Any, question: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of one model for all baselines and targets."""
    ours = hf_attrib.Explainer(model)
    exact = hf_attrib.Explainer(copy.deepcopy(model).double())
    for baseline, target in product(("mean", "zero", tiny.EOS, 5), TARGETS):
        asked = {**question, "baseline": baseline, "target": target}
        asked["method"] = "integrated_gradients"
        found = ours.explain(**asked)
        power = POWER if baseline == "zero" else 1
        bound = found.error_bound.double()
        for parts in (PARTS, IN_NEED):
            fewer, scores, change = truth(exact, asked, parts, power)
            uncertain = (fewer - scores).abs().sum(-1).maximum((scores.sum(-1) - change).abs())
            if (uncertain <= UNCERTAIN * bound).all():
                break
        numbers = {
            "change": change,
            "error": (found.scores.double() - scores).abs().sum(-1),
            "uncertain": uncertain,
            "bound": bound,
            "gap": found.gap,
        }
        for t in range(len(found)):
            own = {key: float(values[t]) for key, values in numbers.items()}
            spent = found.backward_rows / len(found)
            what = f"{name}, {baseline}, {target}"
            yield Row(what, **own, gradients=spent, status=found.status[t])


def truth(
    explainer: hf_attrib.Explainer, asked: dict[str, Any], parts: int, power: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scores on half of the parts and on all, and the change of f that they sum to."""
    fewer, found = (
        explainer.explain(**asked, method=Dense(parts=count, power=power))
        for count in (parts // 2, parts)
    )
    return fewer.scores, found.scores, found.value - found.reference_value


def markdown(rows: list[Row], about: dict[str, Any]) -> str:
    """Say what was found."""
    sure = [row for row in rows if row.uncertain <= UNCERTAIN * row.bound]
    beyond = [row for row in sure if row.is_beyond]
    ratios = torch.tensor([row.error / row.bound for row in sure if row.bound])
    median, most = (float(ratios.quantile(q)) for q in (0.5, 0.99))
    counts = Counter(row.status for row in sure)
    lines = [
        "# Bounds",
        "",
        f"{len(rows)} rows, of which the truth is certain for {len(sure)}. Of these {len(beyond)} "
        f"are further off than their bound; the median error is {100 * median:.2g} % of the bound, "
        f"and 99 % are below {100 * most:.2g} % of it.",
        "",
        "| status | rows | off by over 5 % of the change |",
        "|---|--:|--:|",
    ]
    for status, number in counts.most_common():
        off = [row for row in sure if row.status == status and row.is_off]
        lines.append(f"| {status} | {number} | {len(off)} |")
    if beyond:
        lines += ["", "| beyond | error | bound | f(x) - f(x') |", "|---|--:|--:|--:|"]
        lines += [f"| {r.what} | {r.error:.3g} | {r.bound:.3g} | {r.change:.3g} |" for r in beyond]
    ran = f"{about['processor']}, torch {torch.__version__}. By `{Path(__file__).name}`."
    return "\n".join([*lines, "", ran, ""])


if __name__ == "__main__":
    main()

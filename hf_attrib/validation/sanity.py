"""Sanity checks: what scores must not do, whatever they predict.

A check that fails is a mark beside a method, not an error; one whose number could be chance, or
that has none, is undecided. Adebayo et al. 2018, arXiv:1810.03292, for the weights; methods that
multiply by the input keep its structure whatever the weights are (arXiv:2106.07475), so that a
correlation that stays is a warning and no proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from hf_attrib.engine import Answering, Engine, Memory, Plan, Question
from hf_attrib.errors import InputError
from hf_attrib.execution import silent
from hf_attrib.hyperparameters import names_among
from hf_attrib.integration import derived
from hf_attrib.model import isolated, name_of
from hf_attrib.results import Result
from hf_attrib.text import Requests, TokenSequence, settings_kept
from hf_attrib.validation.contest import Contest
from hf_attrib.validation.entrants import entrants_of
from hf_attrib.validation.metrics import Array, lds, max_sensitivity

__all__ = ["CHECKS", "Sanity", "SanityCheck", "checked_sanity"]

#: Largest rank correlations: with scores for another token, and of a model of random blocks.
_OTHER, _RANDOM = 0.9, 0.3
#: Draws of noise and its largest size, in typical coordinates of an embedding.
_DRAWS, _NOISE = 4, 0.02
_SEEDS = 5
#: Standard deviations up to which a correlation may be chance, of 95 % of those that are.
_CHANCE = 1.645

#: Whether a method passed, a number, and what that is.
_Found: TypeAlias = tuple[str, float, str]


@dataclass(frozen=True)
class SanityCheck:
    """What one check found of one method.

    Args:
        method: its label.
        check: of :data:`CHECKS`.
        outcome: ``"passed"``, ``"failed"``, ``"undecided"`` where its number could be chance or
            there is none, or ``"no mark"`` where there is nothing to pass, as of a number alone.
        value: the number it looks at, a mean over prompts.
        about: what that is, in a few words.
    """

    method: str
    check: str
    outcome: str
    value: float
    about: str

    @property
    def passed(self) -> bool | None:
        """Whether it passed or failed; ``None`` where that cannot be said."""
        return {"passed": True, "failed": False}.get(self.outcome)


@dataclass(frozen=True)
class Sanity(Result):
    """What sanity checks found of some methods.

    Args:
        model: name or path of the model.
        prompts: how many there were.
        checks: each check of each method.
    """

    model: str
    prompts: int
    checks: tuple[SanityCheck, ...]

    @property
    def failed(self) -> tuple[SanityCheck, ...]:
        """Those that failed."""
        return self._of("failed")

    @property
    def undecided(self) -> tuple[SanityCheck, ...]:
        """Those of which it cannot be said whether they passed; ``about`` says why."""
        return self._of("undecided")

    def _of(self, outcome: str) -> tuple[SanityCheck, ...]:
        return tuple(check for check in self.checks if check.outcome == outcome)


@dataclass(frozen=True, eq=False)
class _Bench:
    """What checks work with: a question to one method, on one model, of some answers."""

    engine: Engine
    question: Question
    sequences: Sequence[TokenSequence]
    seed: int

    def plan(self, sequences: Sequence[TokenSequence], **asked: Any) -> Plan:
        return self.engine.plan(replace(self.question, **asked), sequences)

    def scores(self, plan: Plan, engine: Engine | None = None) -> list[Array]:
        """Return scores over what may move, summed over the answer, for each sequence, [n]."""
        found = []
        results = (engine or self.engine).attribute(plan)
        for case, result in zip(plan.cases, results, strict=True):
            moves = case.moves[: len(case.inputs)]
            columns = [bool(moves[c.start : c.stop].any()) for c in result.columns]
            found.append(result.total.double().numpy()[columns])
        return found


def _below(pairs: Iterable[tuple[Array, Array]], most: float, about: str) -> _Found:
    """Say whether the rank correlation of two scores is below a limit, on average over prompts.

    Args:
        pairs: scores of each prompt, both [n].
        most: the limit.
        about: what is correlated.
    """
    found = [(lds(a, b), len(a)) for a, b in pairs]
    known = [(value, count) for value, count in found if math.isfinite(value)]
    if not known:
        return "undecided", math.nan, f"there are no units whose scores differ; {about}"
    value = float(np.mean([value for value, _ in known]))
    # What does not depend on one another correlates with a variance of 1 / (n - 1).
    chance = _CHANCE * math.sqrt(sum(1 / (count - 1) for _, count in known)) / len(known)
    if chance >= 1:
        return "undecided", value, f"too few units to tell; {about}"
    if value < most:
        return "passed", value, about
    if value < chance:
        return "undecided", value, f"with so few units it could be chance; {about}"
    return "failed", value, about


def _other_target(bench: _Bench) -> _Found:
    """Compare scores for the first token with those for the likeliest other one."""
    first = [replace(s, response=s.response[:1], unlikely=None) for s in bench.sequences]
    others: list[TokenSequence] = []
    for ready in bench.engine.each(bench.plan(first, spans=None)):
        rivals = ready.field.rivals(ready.seen.x, 1)[:, 0, 0].tolist()
        for case, rival in zip(ready.plan.cases, rivals, strict=True):
            response = replace(case.sequence.response, ids=torch.tensor([rival]))
            others.append(replace(case.sequence, response=response))
    own, other = (bench.scores(bench.plan(some, spans=None)) for some in (first, others))
    about = "rank correlation with scores for the likeliest other token"
    return _below(zip(own, other, strict=True), _OTHER, about)


def _weights(bench: _Bench) -> _Found:
    """Compare scores with those of a copy of the model whose blocks are random."""
    about = "rank correlation of sizes with those of random blocks"
    copy = deepcopy(bench.engine.model)
    if not _randomise(copy, bench.seed):
        return "undecided", math.nan, "the model has no list of blocks to draw anew"
    own = bench.scores(bench.plan(bench.sequences))
    with isolated(copy):
        # Another model may take other memory; what the caller allows is the same.
        allowed = bench.engine.memory
        memory = Memory(allowed.batch_size, allowed.max_memory)
        engine = Engine(copy, bench.engine.tokenizer, memory, silent)
        plan = engine.plan(bench.question, bench.sequences)
        random = bench.scores(plan, engine)
    sizes = ((np.abs(a), np.abs(b)) for a, b in zip(own, random, strict=True))
    return _below(sizes, _RANDOM, about)


def _causality(bench: _Bench) -> _Found:
    """Look for scores of tokens that come after the one that is explained."""
    own = bench.question.movable
    movable = own if isinstance(own, str) else "content"  # flags are of other tokens
    plan = bench.plan(bench.sequences, attribute_to="all", movable=movable)
    about, sizes = "largest score of a token after the one that is explained", []
    for case, result in zip(plan.cases, bench.engine.attribute(plan), strict=True):
        read = len(case.sequence.prompt) + len(case.sequence.start) - 1
        for row, target in zip(result.scores, case.targets, strict=True):
            later = [n for n, c in enumerate(result.columns) if c.start >= read + target.stop]
            sizes += row[later].abs().tolist()
    if not sizes:
        return "undecided", math.nan, f"nothing comes after what is explained; {about}"
    largest = float(np.max(sizes))
    if math.isnan(largest):
        return "undecided", largest, f"scores are not all numbers; {about}"
    return "failed" if largest else "passed", largest, about


def _seeds(bench: _Bench) -> _Found:
    """Compare the ranks of several seeds; those that draw must say how sure they are."""
    method = bench.question.method
    about = "rank correlation between seeds, of scores with standard errors"
    if not method.claims.stochastic:
        return "no mark", math.nan, "draws nothing"
    every, errors = [], True
    for seed in range(bench.seed, bench.seed + _SEEDS):
        made = method.reseeded(derived(seed, method.name, 0))
        plan = bench.plan(bench.sequences, method=made)
        results = list(bench.engine.attribute(plan))
        errors &= all(result.standard_error is not None for result in results)
        every.append([result.total.double().numpy() for result in results])
    pairs = [(a, b) for i, a in enumerate(every) for b in every[:i]]
    value = _mean(lds(x, y) for a, b in pairs for x, y in zip(a, b, strict=True))
    return "passed" if errors else "failed", value, about


def _sensitivity(bench: _Bench) -> _Found:
    """Move the inputs a little and look how far the scores move."""
    mode = vars(bench.question.method).get("mode", "embed")
    if mode != "embed":
        return "no mark", math.nan, f"mode {mode} takes tokens away, which cannot move a little"
    found = []
    for ready in bench.engine.each(bench.plan(bench.sequences)):
        field, x, reference = ready.field, ready.seen.x, ready.reference()
        moves = field.movable[:, None, :, None].to(x)
        size = (_NOISE * field.space.scale).to(x) * moves
        draw = torch.Generator().manual_seed(bench.seed)

        def scores(points: Tensor, reference: Tensor = reference, ready: Any = ready) -> Tensor:
            found = bench.question.method(ready.field, points, reference)
            return found.scores.sum(1).double().cpu()  # [B, N]

        own = scores(x)
        noise = [
            torch.rand(x.shape, generator=draw, dtype=torch.float32).to(x) * 2 - 1
            for _ in range(_DRAWS)
        ]
        moved = torch.stack([scores(x + size * each) for each in noise], 1)
        found += [max_sensitivity(a.numpy(), b.numpy()) for a, b in zip(own, moved, strict=True)]
    about = f"largest relative change as inputs move by {_NOISE} of their scale"
    return "no mark", _mean(found), about


#: The checks by name; each returns whether a method passed, a number and what that is.
CHECKS: Mapping[str, Callable[[_Bench], _Found]] = MappingProxyType(
    {
        "other target": _other_target,
        "weights": _weights,
        "causality": _causality,
        "seeds": _seeds,
        "sensitivity": _sensitivity,
    }
)


def checked_sanity(
    answering: Answering,
    requests: Requests,
    contest: Contest,
    generation: Mapping[str, Any],
    checks: str | Sequence[str] = tuple(CHECKS),
) -> Sanity:
    """Return what sanity checks find of methods.

    Args:
        answering: of the model.
        requests: prompts, with responses or without.
        contest: methods of this package, what is asked of them, and the seed.
        generation: arguments of ``generate``.
        checks: of :data:`CHECKS`, by name.

    Raises:
        InputError: a check is unknown, or a method brings scores alone.
    """
    checks = names_among("check", checks, CHECKS)
    engine = answering.engine
    entrants = entrants_of(contest.methods, len(requests.each), contest.common)
    seed = contest.settings.seed
    found = []
    with answering.processes.together(), isolated(engine.model), settings_kept(engine.tokenizer):
        for entrant in entrants:
            if entrant.question is None:
                raise InputError(
                    f"{entrant.label!r:.80} brings scores, which cannot be asked again; name "
                    "methods of hf_attrib."
                )
            plan = answering.planned(requests, entrant.question, generation)
            bench = _Bench(engine, entrant.question, [case.sequence for case in plan.cases], seed)
            found += [SanityCheck(entrant.label, name, *CHECKS[name](bench)) for name in checks]
    answering.warn([])
    name = name_of(engine.model)
    return Sanity(name, len(requests.each), tuple(found))


def _mean(values: Any) -> float:
    """Return the mean of numbers, of those that are some."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _randomise(model: nn.Module, seed: int) -> int:
    """Draw the weights of all blocks anew, norms included, each tensor as spread as it was.

    Args:
        model: whose weights.
        seed: of what is drawn.

    Returns:
        how many tensors of weights that are.
    """
    blocks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) > 0]
    draw = torch.Generator().manual_seed(seed)
    seen: set[int] = set()
    with torch.no_grad():
        for parameter in (p for block in blocks for p in block.parameters()):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            flat = parameter.detach().float()
            spread = flat.std(unbiased=False) if flat.numel() > 1 else flat.new_zeros(())
            drawn = torch.randn(flat.shape, generator=draw).to(flat) * spread + flat.mean()
            parameter.copy_(drawn.to(parameter))
    return len(seen)

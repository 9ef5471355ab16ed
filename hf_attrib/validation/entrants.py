"""What is compared: methods of this package by name, and scores that come from elsewhere."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hf_attrib.engine import Case, Engine, Plan, Question
from hf_attrib.errors import InputError
from hf_attrib.execution import ALONE, Processes
from hf_attrib.hyperparameters import listed
from hf_attrib.methods import Method
from hf_attrib.results import Attribution
from hf_attrib.validation.metrics import Array

__all__ = ["Entrant", "Explained", "Scored", "entrants_of"]

#: Scores of one prompt from elsewhere: [T, N], or their sums over the answer [N], over its input
#: tokens, or over its units.
Scored: TypeAlias = Attribution | Tensor | Array | Sequence[Any]


#: What is asked of all methods alike, as they are judged on the same units.
_SHARED = ("attribute_to", "movable")
_KEYS = (
    "An entry may have method, fields of the method, target, contrast, baseline, spans, and groups "
    "that are parts of the units."
)
_EXPECTED = "a name, a Method, a mapping of arguments of explain, a function that returns scores"


@dataclass(frozen=True, eq=False)
class Explained:
    """What one method says of one prompt.

    Args:
        scores: of the T generated tokens over G units, [T, G], float64.
        seconds: that it took.
        forward_rows: sequences run forward; 0 where nobody counted.
        backward_rows: (sequence, target) pairs run backward; likewise.
        gap: relative completeness gap, its mean over targets; NaN where there is none.
        result: all of it, where the method is one of this package.
    """

    scores: Array
    seconds: float
    forward_rows: int = 0
    backward_rows: int = 0
    gap: float = float("nan")
    result: Attribution | None = None


@dataclass(frozen=True, eq=False)
class Entrant:
    """A method that takes part.

    Args:
        label: what it is called.
        question: what is asked, of a method of this package.
        scorer: returns the scores of a case, which is the prompt of a place, otherwise.
        digest: of scores that came as numbers; a function is known by its label.
        finer: whether it scores groups of its own, which are summed over the units.
    """

    label: str
    question: Question | None
    scorer: Callable[[int, Case], Scored] | None = None
    digest: str = ""
    finer: bool = False

    @property
    def signed(self) -> bool:
        """Whether its scores carry a sign; scores from elsewhere are taken as they are."""
        return self.question is None or self.question.method.claims.signed

    @property
    def own_operator(self) -> str | None:
        """The way of taking inputs away that it uses itself, which favours it."""
        if self.question is None:
            return None
        method = self.question.method
        mode = vars(method).get("mode")
        if mode is not None:
            return str(mode)
        return "embed" if method.claims.baseline is not None else None

    @property
    def written(self) -> str:
        """The method with its hyperparameters, and its baseline if that is not its own."""
        if self.question is None:
            return "scores from elsewhere"
        baseline = self.question.baseline
        groups = f", groups={self.question.groups}" if self.finer else ""
        own = "" if baseline is None else f", baseline={baseline}"
        return f"{self.question.method}{own}{groups}"

    @property
    def key(self) -> str:
        """What tells its findings from those of another method, however that is called."""
        if self.question is None:
            return f"{self.label}: {self.digest or self.written}"
        # What all methods share is no part of it, so that findings of before are taken up.
        asked = self.question.recorded(), self.question.contrast, self.question.spans
        return f"{self.label}: {self.written} {asked}"

    def explained(
        self, engine: Engine, plan: Plan, places: Sequence[int], processes: Processes = ALONE
    ) -> Iterator[Explained]:
        """Yield what it says of some prompts, in order.

        Args:
            engine: of the model.
            plan: what is judged, of all prompts, in units that all methods share.
            places: which of them.
            processes: those that share the rows to run.
        """
        cases = [plan.cases[place] for place in places]
        if self.question is None:
            for place, case in zip(places, cases, strict=True):
                yield self._from_elsewhere(place, case)
            return
        if not cases:
            return
        own = engine.plan(self.question, [case.sequence for case in cases])
        units = [self._units(mine, case) for mine, case in zip(own.cases, cases, strict=True)]
        results = engine.attribute(own, processes)
        for case, unit, result in zip(cases, units, results, strict=True):
            summed = torch.zeros(len(result.scores), len(case.groups), dtype=torch.float64)
            summed.index_add_(1, torch.tensor(unit), result.scores.double())
            yield replace(_of_result(result), scores=self._fitting(summed, case))

    def _units(self, own: Case, case: Case) -> list[int]:
        """Return which unit of a case each group is part of that the method scores.

        Raises:
            InputError: a group reaches over several units.
        """
        unit = [g for g, span in enumerate(case.groups) for _ in range(span.start, span.stop)]
        for span in own.groups:
            if unit[span.start] != unit[span.stop - 1]:
                raise InputError(
                    f"{self.label!r:.80} scores {own.inputs.piece(span)!r:.40} as one, which lies "
                    f"in several of the units that are judged; give it finer groups, or the call "
                    f"(groups=) coarser ones."
                )
        return [unit[span.start] for span in own.groups]

    def _from_elsewhere(self, place: int, case: Case) -> Explained:
        assert self.scorer is not None  # since there is no question
        started = time.perf_counter()
        found = self.scorer(place, case)
        seconds = time.perf_counter() - started
        if isinstance(found, Attribution):
            return replace(_of_result(found), scores=self._fitting(found.scores, case))
        return Explained(self._fitting(found, case), seconds)

    def _fitting(self, found: Any, case: Case) -> Array:
        """Return scores [T or 1, G] of what came from elsewhere.

        Raises:
            InputError: they are not numbers, or of another shape.
        """
        tokens, units, targets = len(case.inputs), len(case.groups), len(case.targets)
        try:
            scores = np.asarray(torch.as_tensor(found).detach().cpu().double().numpy())
        except (TypeError, ValueError, RuntimeError):
            raise InputError(
                f"scores of {self.label} are {found!r:.80}; expected numbers [T, N]."
            ) from None
        scores = scores[None] if scores.ndim == 1 else scores
        if scores.ndim != 2 or len(scores) not in (1, targets):
            scores = np.zeros((0, 0))
        if scores.shape[-1] == tokens and units != tokens:
            scores = np.stack(
                [scores[:, span.start : span.stop].sum(1) for span in case.groups], axis=1
            )
        if self.question is None and not np.isfinite(scores).all():
            raise InputError(
                f"scores of {self.label} are not all finite numbers, so that they rank nothing; "
                "give 0 to what has none."
            )
        if scores.shape[-1] != units:
            raise InputError(
                f"scores of {self.label} are {tuple(np.shape(found))}; expected [T, N] or [N] with "
                f"T = {targets} generated and N = {tokens} input tokens, or {units} units."
            )
        return scores


def _numbers(found: Any) -> Any:
    """Return scores as numbers that can be written down, or what came instead."""
    found = found.scores if isinstance(found, Attribution) else found
    return found.tolist() if hasattr(found, "tolist") else found


def _of_result(result: Attribution) -> Explained:
    known = result.gap[result.gap.isfinite()]
    return Explained(
        scores=result.scores.double().numpy(),
        seconds=result.run.seconds,
        forward_rows=result.run.forward_rows,
        backward_rows=result.run.backward_rows,
        gap=float(known.mean()) if len(known) else float("nan"),
        result=result,
    )


def entrants_of(methods: Any, prompts: int, common: Mapping[str, Any]) -> tuple[Entrant, ...]:
    """Return who takes part, each by a label of its own.

    Args:
        methods: a name, or ``"name(field=value)"``; a :class:`Method`; a mapping of arguments of
            ``explain``, such as ``{"method": "integrated_gradients", "baseline": "pad"}``; a
            function of a :class:`Case` that returns scores; a list of scores, for each prompt; or
            several of them: in a list, or by label in a mapping.
        prompts: how many there are.
        common: what is asked of all methods: target, groups and so on.

    Raises:
        InputError: one is none of these, or there is none, or one twice.
    """
    if callable(methods) or (isinstance(methods, Mapping) and "method" in methods):
        methods = [methods]
    if isinstance(methods, Mapping):
        labels, entries = [str(label) for label in methods], list(methods.values())
    else:
        entries = listed("methods", methods, f"{_EXPECTED}, or several of them")
        labels = [_label(entry, i) for i, entry in enumerate(entries)]
    if not entries:
        raise InputError("methods are empty; name at least one, or leave them out.")
    if twice := [label for label in dict.fromkeys(labels) if labels.count(label) > 1]:
        raise InputError(
            f"method {twice[0]!r:.80} came twice; give each once, or give each a name of its own: "
            "methods={name: method}."
        )
    return tuple(
        _entrant(label, entry, prompts, common)
        for label, entry in zip(labels, entries, strict=True)
    )


def _label(entry: Any, place: int) -> str:
    if isinstance(entry, str | Method):
        return str(entry)
    if isinstance(entry, Mapping):
        return ", ".join(f"{v}" if k == "method" else f"{k}={v}" for k, v in entry.items())
    return str(getattr(entry, "__name__", f"scores {place + 1}"))


def _entrant(label: str, entry: Any, prompts: int, common: Mapping[str, Any]) -> Entrant:
    if isinstance(entry, str | Method | Mapping):
        own: dict[str, Any] = dict(entry) if isinstance(entry, Mapping) else {"method": entry}
        if shared := [name for name in own if name in _SHARED]:
            raise InputError(
                f"{shared[0]} of {label!r:.80} is asked of all methods alike, so that they are "
                f"judged on the same units; give it to the call. {_KEYS}"
            )
        question, rest = Question.of({**common, **own})
        if question.groups is None and question.method.most_players is not None:
            # Or it would join what is judged one by one.
            question = replace(question, groups="token")
        if rest:
            raise InputError(
                f"{', '.join(map(str, rest))} of {label!r:.80} is neither a field of the method "
                f"nor an argument of explain that says what is asked; leave it out. {_KEYS}"
            )
        return Entrant(label, question, finer="groups" in own)
    if callable(entry):
        return Entrant(label, None, lambda place, case: entry(case))
    if isinstance(entry, Sequence | Tensor | np.ndarray) and len(entry) == prompts:
        digest = hashlib.sha256(repr([_numbers(one) for one in entry]).encode()).hexdigest()
        return Entrant(label, None, lambda place, case: entry[place], digest)
    raise InputError(
        f"method {entry!r:.80} is none; expected {_EXPECTED}, or a list of scores, one for each of "
        f"{prompts} prompts."
    )

"""From a question about passages to a table of subsets, and what each passage was worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from hf_attrib.engine.case import Case
from hf_attrib.engine.engine import Engine
from hf_attrib.engine.options import DEFAULTS, field_names
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.ready import ReadyBatch
from hf_attrib.engine.record import checked, run_of, spent, unlikely, with_own
from hf_attrib.errors import InputError
from hf_attrib.execution import Processes
from hf_attrib.field import Table
from hf_attrib.hyperparameters import plain_number
from hf_attrib.methods import Method, Occlusion, Shapley
from hf_attrib.methods import method as method_named
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Game, Solution, distinct
from hf_attrib.methods.perturbation.values import all_subsets, semivalues, shapley_weights
from hf_attrib.results import Coalitions, Passages
from hf_attrib.results.passages import THRESHOLDS, checked_threshold, confirm
from hf_attrib.results.passages.citations import sentences, trimmed
from hf_attrib.targets import target as target_named
from hf_attrib.text import Span, Tokens, chosen
from hf_attrib.text.documents import Document
from hf_attrib.text.grouping import by_document

__all__ = [
    "PassageQuestion",
    "about_passages",
    "in_passages",
]

#: Passages whose subsets may all be run, at most.
_ENUMERATED = 10
#: Rows at most where nothing is said: so many, or so many for each passage, and beyond some
#: passages so many for each further one, which a few orders and leaving out each take.
_ROWS, _ROWS_EACH = 64, 10
_MANY, _ROWS_FURTHER = 32, 5
#: Of these for confirming what is cited, where not all subsets are run.
_RESERVED = 16
#: Orders of passages at least, where they are drawn.
_ORDERS = 4


@dataclass(frozen=True, eq=False)
class PassageQuestion(Question):
    """A question about passages: the groups that were named, or the documents of the prompt.

    Args:
        documents: how many documents came, where these are the passages.
        origins: what is known of each that was named.
        threshold: nats of log-odds that a sentence must lose without what it cites.
        budget: forward rows at most.

    Raises:
        InputError: there are too many passages or none, or origins of other passages.
    """

    documents: int | None = None
    origins: Sequence[Mapping[str, Any]] | None = None
    threshold: float | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_threshold(self.confirming)
        if (least := len(self.first)) > self.rows:
            raise InputError(
                f"budget is {self.budget}; to rank {self.count} passages by {self.method} and to "
                f"leave out each of them takes {least} rows."
            )
        if self.origins is not None and len(self.origins) != self.count:
            raise InputError(
                f"there are {len(self.origins)} origins for {self.count} passages; give a "
                "mapping for each, in the order of groups."
            )
        if self.documents is not None and self.origins is not None:
            raise InputError("origins came next to documents, which say themselves what they are.")
        for place, given in enumerate(self.origins or ()):
            _check_origin(given, place)

    @property
    def count(self) -> int:
        """How many passages there are, n."""
        return _counted(self.groups) if self.documents is None else self.documents

    @property
    def confirming(self) -> float:
        """What a sentence must lose for a citation, in nats of log-odds."""
        given = self.threshold
        return THRESHOLDS[self.ranking.mode] if given is None else checked_threshold(given)

    @property
    def exact(self) -> bool:
        """Whether all subsets are run."""
        return _enumerates(self.count, _reach(self.count, self.budget))

    @property
    def first(self) -> Tensor:
        """The subsets that are run whatever they tell, [R, n] bool, without repetition."""
        every = all_subsets(self.count) if self.exact else _ends(self.count)
        return distinct(torch.cat([every, self.ranking.subsets(self.count)]))

    @property
    def rows(self) -> int:
        """How many subsets are run at most."""
        if self.budget is not None:
            return self.budget
        return max(_reach(self.count, None), len(self.first) + _RESERVED)

    def known(self, inputs: Tokens, extents: Sequence[tuple[int, int]]) -> tuple[Document, ...]:
        """Return the document that each passage is, n.

        Args:
            inputs: of the prompt.
            extents: of each passage in its text.
        """
        if self.documents is not None:
            return inputs.documents
        pairs = zip(self.origins or [{}] * self.count, extents, strict=True)
        return tuple(
            Document.about(inputs.text[slice(*extent)], place, given)
            for place, (given, extent) in enumerate(pairs)
        )

    @property
    def ranking(self) -> Perturbation:
        """The method, which plays the passages."""
        assert isinstance(self.method, Perturbation)
        return self.method

    def located(self, inputs: Tokens) -> tuple[tuple[Span, ...], tuple[tuple[int, int], ...]]:
        """Return the tokens of each passage, and its characters.

        Args:
            inputs: of the prompt.

        Raises:
            InputError: a passage is not there, or more than once.
        """
        if self.documents is not None:
            return self._documents_in(inputs)
        given: Any = self.groups
        named = isinstance(given, Mapping)
        parts: list[tuple[Any, Any]] = [
            ({part: given[part]}, given[part]) if named else ([part], part) for part in given
        ]
        texts = [each.get("text") for each in self.origins or [{}] * self.count]
        spans = tuple(chosen(inputs, by)[0] for by, _ in parts)
        extents = tuple(
            _extent(inputs, span, (text, where))
            for span, text, (_, where) in zip(spans, texts, parts, strict=True)
        )
        return spans, extents

    def _documents_in(self, inputs: Tokens) -> tuple[tuple[Span, ...], tuple[tuple[int, int], ...]]:
        """Return the tokens of each document, and its characters."""
        every = inputs.documents
        if len(every) != self.documents:
            raise InputError(
                f"it came with {len(every)} documents and the first prompt with {self.documents}; "
                "ask about prompts with as many documents together, and about others in calls of "
                "their own."
            )
        # Without it, those behind it would have other numbers than they were given by.
        if empty := [document.name for document in every if not document.text.strip()]:
            raise InputError(f"{empty[0]} has no text, so nothing can rest on it; leave it out.")
        where = {span.name: span for span in by_document(inputs)}
        spans = tuple(where[document.name] for document in every)
        # Whatever the template made of its text, it is all that these tokens are.
        return spans, tuple(trimmed(inputs.text, *inputs.extent(span)) for span in spans)

    def check(self, prompts: Sequence[Tokens], tokenizer: Any, tables: Sequence[Table]) -> None:
        """Refuse what could not be answered for prompts, passages that cannot go among them."""
        super().check(prompts, tokenizer, tables)
        for prompt in prompts:
            moves = self._moves(prompt, len(prompt))
            for span in self.located(prompt)[0]:
                if not moves[span.start : span.stop].any():
                    raise InputError(
                        f"the passage {prompt.piece(span)!r:.80} may not move, as the tokenizer or "
                        "the template made all of it; pass movable='all'."
                    )


def about_passages(given: Mapping[str, Any]) -> tuple[PassageQuestion, dict[str, Any]]:
    """Return the question of a call, and what it was given for ``generate``.

    Args:
        given: :class:`PassagesOptions`, those of a request aside.

    Raises:
        InputError: something that was named does not make sense.
    """
    asked = {f.name: given[f.name] for f in fields(PassageQuestion) if f.name in given}
    rest = {name: value for name, value in given.items() if name not in asked}
    own = {name: rest.pop(name) for name in list(rest) if name in field_names()}
    count, budget = asked.get("documents"), plain_number(asked.pop("budget", None))
    count = _counted(asked.get("groups")) if count is None else _checked_count(count)
    if budget is not None and (type(budget) is not int or budget < 1):
        raise InputError(f"budget is {budget!r:.80}; expected forward rows, at least 1.")
    made = _ranking(asked.pop("method", None), own, count, _reach(count, budget))
    return PassageQuestion(made, target_named(DEFAULTS["target"]), budget=budget, **asked), rest


def _counted(groups: Any) -> int:
    """Return how many passages are named."""
    if not isinstance(groups, Mapping | Sequence) or isinstance(groups, str):
        raise InputError(
            f"groups are {groups!r:.80}; expected the passages: names with text that occurs once "
            "or ranges of tokens, e.g. {'report': (3, 90)}, or a list of such."
        )
    return _checked_count(len(groups))


def _checked_count(count: int) -> int:
    if count < 1:
        raise InputError("there are no passages; give one at least, as documents or groups.")
    return count


def _check_origin(given: Any, place: int) -> None:
    if not isinstance(given, Mapping):
        raise InputError(f"origins[{place}] is {given!r:.80}; expected a mapping.")
    score = given.get("score")
    if score is not None and Document.about("", place, {"score": score}).score is None:
        raise InputError(
            f"origins[{place}]['score'] is {score!r:.80}; expected a number that is finite."
        )


def _reach(count: int, budget: int | None) -> int:
    """Return how many rows there are to be spent on passages."""
    usual = _ROWS_EACH * min(count, _MANY) + _ROWS_FURTHER * max(0, count - _MANY)
    return max(_ROWS, usual) if budget is None else budget


def _enumerates(count: int, budget: int) -> bool:
    return count <= _ENUMERATED and 1 << count <= budget


def _ranking(named: Any, own: Mapping[str, Any], count: int, budget: int) -> Perturbation:
    """Return the method that scores passages."""
    if named is not None:
        if isinstance(named, Method) and own:
            raise InputError(f"{', '.join(own)} came next to {named!r}; set them when you make it.")
        found = method_named(named, own) if isinstance(named, str) else named
        if not isinstance(found, Perturbation):
            raise InputError(
                f"method is {named!r:.80}, which does not play groups forward alone; take "
                "'shapley', 'kernel_shap', 'banzhaf', 'occlusion', 'context_cite' or another."
            )
        return found
    if _enumerates(count, budget) or "samples" in own:
        return Shapley(**own)
    between = max(1, count - 1)  # rows of an order that are neither all nor none
    samples = (budget - 2 - count - min(_RESERVED, budget // 4)) // between // 2 * 2
    if samples < _ORDERS and not own.keys() - {"mode"}:
        # Rows that confirm tell more than orders that leave none for it.
        return Occlusion(**own)
    return Shapley(samples=max(_ORDERS, samples), **own)


def _extent(inputs: Tokens, span: Span, texts: Sequence[Any]) -> tuple[int, int]:
    """Return which characters a passage is: those of a text that was given, if they are there."""
    start, stop = inputs.extent(span)
    for text in texts:
        if isinstance(text, str) and text:
            found = inputs.text.find(text, start, stop)
            if found >= 0:
                return found, found + len(text)
    return trimmed(inputs.text, start, stop)


def in_passages(engine: Engine, plan: Plan, processes: Processes) -> Iterator[Passages]:
    """Run subsets of the passages of some prompts, and yield what was found of each.

    Args:
        engine: of the model, which is isolated.
        plan: what is asked of each sequence.
        processes: those that share the rows to run.
    """
    # What is asked next depends on what was found.
    for ready in engine.each_alone(plan, processes):
        done: list[Passages] = []
        with ready.attempt():
            done = [_found(ready, engine)]
        del ready  # with what it holds on the device, before the next one is made
        yield from done


def _found(ready: ReadyBatch, engine: Engine) -> Passages:
    (case,), question = ready.plan.cases, ready.plan.question
    assert isinstance(question, PassageQuestion)
    spans, extents = question.located(case.inputs)
    columns = {(group.start, group.stop): number for number, group in enumerate(case.groups)}
    playing = torch.tensor([columns[span.start, span.stop] for span in spans])
    game = Game(ready.field, ready.seen.x, ready.reference(), question.ranking.mode, [playing])
    table, solution, missing = _table(game, question, case)
    run = with_own(run_of(ready, engine.model), case, engine.tokenizer)
    notes = (*unlikely(ready, 0), *_reserved(question, table, missing))
    known = question.known(case.inputs, extents)
    run = replace(run, **spent(ready.field, 0), notes=(*run.notes, *notes), documents=known)
    count, error = len(case.targets), solution.standard_error
    return Passages(
        table=table,
        scores=solution.scores[:, :count],
        spans=spans,
        extents=extents,
        inputs=case.inputs,
        response=case.sequence.response,
        probability=ready.seen.probability[0, :count].double().cpu(),
        run=checked(run, table.values),
        threshold=question.confirming,
        standard_error=None if error is None else error[:, :count],
        sequence=case.sequence.bare(),
    )


def _table(
    game: Game, question: PassageQuestion, case: Case
) -> tuple[Coalitions, Solution, set[tuple[int, ...]]]:
    """Run subsets, score passages, and run what confirms them while the budget reaches.

    Returns:
        the table, the scores, and what would tell more and was not run.
    """
    count, method = question.count, question.ranking
    ranked, asked = method.subsets(count), question.first
    value = game.values([asked])[0]
    where = {tuple(row): place for place, row in enumerate(asked.tolist())}
    own = value[[where[tuple(row)] for row in ranked.tolist()]]
    solution = method.solve(ranked, own)
    if question.exact and isinstance(method, Shapley):
        scores = semivalues(value, shapley_weights(count)).scores
        return Coalitions(asked, value), Solution(scores), set()
    table, missing = Coalitions(asked, value), set[tuple[int, ...]]()
    while missing := _missing(table, solution, question, case):
        left = sorted(missing)[: max(0, question.rows - len(table.subsets))]
        if not left:
            break
        more = torch.zeros(len(left), count, dtype=torch.bool)
        for row, kept in enumerate(left):
            more[row, list(kept)] = True
        values = torch.cat([table.values, game.values([more])[0]])
        table = Coalitions(torch.cat([table.subsets, more]), values)
    return table, solution, missing


def _ends(count: int) -> Tensor:
    """Return all passages, none, and all but each, [n + 2, n] bool."""
    whole = torch.ones(1, count, dtype=torch.bool)
    return torch.cat([whole, ~whole, ~torch.eye(count, dtype=torch.bool)])


def _missing(
    table: Coalitions, solution: Solution, question: PassageQuestion, case: Case
) -> set[tuple[int, ...]]:
    """Return the subsets that would tell more about the answer and about its sentences."""
    parts = [(0, len(case.targets))]
    parts += [(span.start, span.stop) for span in sentences(case.sequence.response)]
    return {
        kept
        for start, stop in parts
        for kept in confirm(
            table, solution.scores[:, start:stop].sum(1), question.confirming, (start, stop)
        ).missing
    }


def _reserved(
    question: PassageQuestion, table: Coalitions, missing: set[tuple[int, ...]]
) -> list[str]:
    """Say what was not run."""
    if table.complete:
        return []
    run, every = len(table.subsets), 1 << table.count
    said = f"{run} of {every:,} subsets of the {table.count} passages were run"
    if not missing:
        return [f"{said}: those that rank passages and confirm what is cited."]
    return [
        f"{said}, as budget={question.rows} reaches for no more: where that leaves open what is "
        "cited, the status is 'not decided'."
    ]

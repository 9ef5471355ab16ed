"""What is asked about a response, and what that means for each sequence of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from hf_attrib.baselines import (
    STAND_IN,
    Baseline,
    BaselineLike,
    parse,
    stand_in,
)
from hf_attrib.engine.case import Case, Within
from hf_attrib.engine.memory import Demand
from hf_attrib.engine.options import DEFAULTS, default_method, field_names
from hf_attrib.engine.zeros import contrasted, fixed, unseen
from hf_attrib.errors import InputError
from hf_attrib.field import Table
from hf_attrib.methods import Method
from hf_attrib.methods import method as method_named
from hf_attrib.model import Fork
from hf_attrib.targets import Target
from hf_attrib.targets import target as target_named
from hf_attrib.text import Grouping, Span, Tokens, TokenSequence, chosen, finest, partition
from hf_attrib.text.encoding import check_text

__all__ = ["Plan", "Question"]

#: Roles that ``movable="content"`` leaves where they are.
_FIXED_ROLES = {"special", "template"}
#: Groups that belong together in sentences, and groups that do in documents and messages.
_IN_SENTENCES = (None, "token", "word")
_IN_PARTS = (*_IN_SENTENCES, "sentence", "line", "paragraph")


@dataclass(frozen=True, eq=False)
class Question:
    """Everything an attribution depends on besides the model and the token ids.

    It is asked before anything runs: :meth:`check` refuses what a prompt already rules out, and
    :meth:`plan` says once, for all who follow, what moves, what is explained and in which parts.

    Args:
        method: how to attribute.
        target: the scalar f of each generated token.
        contrast: id of one token that each generated token is contrasted with, or ``None``;
            another answer comes with the prompt.
        baseline: the reference; ``None`` for the method's own.
        attribute_to: ``"prompt"`` or ``"all"``.
        movable: ``"content"``, ``"all"``, or a flag for each input token.
        spans: parts of the response to explain as sums, or ``None`` for each token.
        groups: how to join the inputs, or ``None`` for each token.

    Raises:
        InputError: two of them do not go together, or one is unknown.
    """

    method: Method
    target: Target
    contrast: int | None = None
    baseline: BaselineLike | None = None
    attribute_to: str = "prompt"
    movable: str | Sequence[bool] = "content"
    spans: Grouping | None = None
    groups: Grouping | None = None

    def __post_init__(self) -> None:
        check_text((self.baseline, self.spans, self.groups))
        given: Any = self.contrast
        if given is not None and (isinstance(given, bool) or not isinstance(given, Integral)):
            raise InputError(
                f"contrast is {given!r:.80}; expected the id of one token here. Another answer "
                "comes with its prompt, in explain(), interactions(), game() and estimate()."
            )
        if given is not None:
            self._check_of_token()
        if self.attribute_to not in ("prompt", "all"):
            raise InputError(f"attribute_to is {self.attribute_to!r}; expected 'prompt' or 'all'.")
        if isinstance(self.movable, str) and self.movable not in ("content", "all"):
            raise InputError(
                f"movable is {self.movable!r}; expected 'content', 'all' or a flag for each token."
            )
        if self.baseline is not None and self.method.claims.baseline is None:
            mode = getattr(self.method, "mode", "embed")
            where = "" if mode == "embed" else f" in mode {mode!r}"
            raise InputError(f"method {self.method.name} has no baseline{where}; leave it out.")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> tuple[Question, dict[str, Any]]:
        """Return the question of a call, and what it was given for ``generate``.

        Args:
            given: this question by the names that it has here, hyperparameters of the method, and
                arguments of ``generate``.

        Raises:
            InputError: a hyperparameter of another method, or one next to a method that is made
                already; or the question does not make sense.
        """
        asked = {f.name: given[f.name] for f in fields(cls) if f.name in given}
        rest = {name: value for name, value in given.items() if name not in asked}
        known = field_names()
        own = {name: rest.pop(name) for name in list(rest) if name in known}
        given_method = asked.pop("method") if "method" in asked else default_method(own)
        if not isinstance(given_method, str | Method):
            raise InputError(
                f"method is {given_method!r:.80}; expected a name or an instance of a method."
            )
        if given_method == "auto":
            raise InputError(
                "method 'auto' runs several methods, and only explain() takes it; name a method. "
                "What several cost, estimate_evaluation() tells."
            )
        if own and isinstance(given_method, Method):
            names = ", ".join(sorted(own))
            raise InputError(f"{names} came next to {given_method!r}; set them when you make it.")
        made = method_named(given_method, own) if isinstance(given_method, str) else given_method
        scalar = target_named(asked.pop("target", DEFAULTS["target"]))
        return cls(made, scalar, **asked), rest

    @property
    def joins(self) -> bool:
        """Whether the method sees groups of inputs, and not their tokens one by one."""
        claims = self.method.claims.groups
        return claims == "players" or (self.groups is not None and claims == "joined")

    @property
    def demand(self) -> Demand:
        """What of the question decides over the memory of a row."""
        kind = self.target.name, self.contrast is None, self.spans is None
        claims = self.method.claims
        joined = claims.groups == "joined"
        return Demand(kind, claims.whole_gradients, joined, claims.differentiates, claims.attention)

    def recorded(self) -> dict[str, Any]:
        """Return what a result keeps of the question, by the names that it has there."""
        return {
            "target": self.target.name,
            "attribute_to": self.attribute_to,
            "movable": self.movable if isinstance(self.movable, str) else "given",
        }

    def check_fork(self) -> None:
        """Refuse to explain an answer against another one where that has no meaning.

        Raises:
            InputError: the target is no token's, or several parts of the answer are explained.
        """
        self._check_of_token()
        spans: Any = self.spans
        if isinstance(spans, str) and spans != "response":
            raise InputError(
                f"spans={spans!r} came with another answer as contrast, which is explained as one; "
                "leave spans out, or name the one part that the contrast stands in for."
            )
        if not isinstance(spans, str) and hasattr(spans, "__len__") and len(spans) != 1:
            raise InputError(
                f"spans name {len(spans)} parts, but a contrast stands in the place of one; name "
                "that one."
            )

    def _check_of_token(self) -> None:
        if not self.target.of_token:
            raise InputError(
                f"the target {self.target.name} is the same for every token, so it has no "
                "contrast; leave it out."
            )

    def part(self, response: Tokens) -> Span:
        """Return the part of a response that another answer stands in for.

        Raises:
            InputError: it is not there.
        """
        return Span(0, len(response)) if self.spans is None else self._targets(response)[0]

    def check(self, prompts: Sequence[Tokens], tokenizer: Any, tables: Sequence[Table]) -> None:
        """Refuse what could not be answered for prompts, before anything is generated or run.

        Args:
            prompts: of the sequences that will be explained.
            tokenizer: for whatever is said in words.
            tables: the embeddings of the model's tokens.

        Raises:
            InputError: a baseline, a contrast, a group or a flag that does not fit.
        """
        # Or else what is generated counts, too.
        own = self.attribute_to == "prompt" and len(prompts) > 0
        self._baseline(tokenizer).check(tables, [len(p) for p in prompts] if own else None)
        self._contrast(1, tables[-1].size)
        for prompt in prompts:
            if isinstance(self.spans, str):
                self._targets(prompt)  # where the rule is known, it fits any tokens
            if self.groups is not None and (own or isinstance(self.groups, str)):
                partition(prompt, self.groups)
            if own:
                self._moves(prompt, len(prompt))

    def plan(
        self,
        sequences: Sequence[TokenSequence],
        tokenizer: Any,
        tables: Sequence[Table],
        forks: Sequence[Fork] = (),
    ) -> Plan:
        """Say what the question asks of each sequence; other arguments as for :meth:`check`.

        Args:
            sequences: what the model read and generated.
            tokenizer: for whatever is said in words.
            tables: the embeddings of the model's tokens.
            forks: for each sequence, where it and another one part, if there are others.

        Raises:
            InputError: something that was named is not there.
        """
        size = tables[-1].size
        cases = [self._case(sequence, size, None) for sequence in sequences if not forks]
        cases += [self._case(fork.sequence, size, fork) for fork in forks]
        baseline = self._baseline(tokenizer)
        baseline.check(tables, [len(case.inputs) for case in cases])
        token = stand_in(baseline, tokenizer)
        return Plan(self, tuple(cases), baseline, None if token is None else token.ids[0])

    def _case(self, sequence: TokenSequence, vocabulary: int, fork: Fork | None) -> Case:
        inputs = sequence.scored(self.attribute_to)
        moves = self._moves(sequence.inputs, len(inputs))
        contrast = self._contrast(len(sequence.response), vocabulary)
        if fork is None:
            targets = self._targets(sequence.response)
        else:
            targets = (fork.span,)
            moves[len(sequence.prompt) + len(sequence.start) + fork.span.start :] = False
        groups = self._groups(inputs, moves)
        notes = (
            *fixed(inputs, moves, groups, self.groups, self.movable),
            *unseen(sequence, inputs, targets, groups, self.groups),
            *self._joined(inputs, groups),
            *contrasted(sequence.response, contrast),
            *(() if fork is None else fork.notes),
        )
        # Parts that the caller named stand for themselves.
        asked = self.groups if self.groups is None or isinstance(self.groups, str) else "parts"
        within = self.joins and asked in _IN_SENTENCES
        nested = self.joins and asked in _IN_PARTS and len(inputs.segments) > 0
        parts = partition(inputs, "document") if nested else (Span(0, len(inputs)),)
        sentences = partition(inputs, "sentence") if within else groups
        words = partition(inputs, "word") if within else groups
        of_groups = Within(parts, sentences, words)
        return Case(sequence, inputs, moves, contrast, targets, groups, of_groups, notes, fork)

    def _baseline(self, tokenizer: Any) -> Baseline:
        """Return the baseline asked for, or the method's own."""
        claims = self.method.claims
        if claims.baseline == STAND_IN:
            return self._token(tokenizer)
        own = claims.baseline or "zero"  # which a method without one ignores
        baseline = parse(own if self.baseline is None else self.baseline, tokenizer)
        if baseline.distribution and not claims.many_references:
            raise InputError(
                f"{self.method.name} takes one reference, but the baseline ({baseline.name}) is a "
                "distribution; give one, or explain with method='expected_gradients', or with "
                "'baseline_average' whose inner is your method."
            )
        return baseline

    def _token(self, tokenizer: Any) -> Baseline:
        """Return the token that takes the place of others."""
        given = None if self.baseline is None else parse(self.baseline, tokenizer)
        if given is not None and len(given.ids) != 1:
            raise InputError(
                f"the baseline ({given.name}) is no single token, and {self.method} puts "
                "one in the place of others; name it, as in baseline='token:TEXT', or take another "
                "mode."
            )
        found = stand_in(given, tokenizer)
        if found is None:
            raise InputError(
                "no token of this tokenizer stands for nothing (unk, mask, pad, eos); name one, as "
                "in baseline='token:TEXT', or take another mode."
            )
        return found

    def _targets(self, response: Tokens) -> tuple[Span, ...]:
        """Return the spans of a response that are explained, one for each row of the scores."""
        if self.spans is None:
            return response.singles()
        if self.spans == "response":
            return (Span(0, len(response)),)
        if isinstance(self.spans, str):
            return partition(response, self.spans)
        spans = chosen(response, self.spans)
        if not spans:
            raise InputError("spans are empty; give at least one, or leave them out.")
        return spans

    def _groups(self, inputs: Tokens, moves: Tensor) -> tuple[Span, ...]:
        most = self.method.most_players
        if self.groups is not None or most is None:
            return partition(inputs, self.groups or "token")
        return finest(inputs, moves.tolist(), most)

    def _joined(self, inputs: Tokens, groups: Sequence[Span]) -> list[str]:
        """Say that groups were made which the caller did not name."""
        if self.groups is not None or len(groups) == len(inputs):
            return []
        return [
            f"{len(inputs)} tokens are scored as {len(groups)} groups, words or parts of "
            f"sentences, since {self.method.name} takes {self.method.most_players} at most unless "
            "it is asked; groups='token' asks for each."
        ]

    def _moves(self, inputs: Tokens, count: int) -> Tensor:
        """Return which inputs may leave their embedding, bool; only the first ``count`` may."""
        if isinstance(self.movable, str):
            everything = self.movable == "all"
            flags = [everything or role not in _FIXED_ROLES for role in inputs.roles]
        else:
            flags = _flags(self.movable)
            if len(flags) != count:
                raise InputError(f"movable has {len(flags)} flags for {count} scored tokens.")
        moves = torch.zeros(len(inputs), dtype=torch.bool)
        moves[:count] = torch.tensor(flags[:count])
        if not moves.any():
            raise InputError(
                "no token may move: the tokenizer made special and template tokens of the prompt, "
                "and nothing else. Give it content, or pass movable='all'."
                if isinstance(self.movable, str)
                else "no token may move: all flags of movable are False; set some."
            )
        return moves

    def _contrast(self, count: int, vocabulary: int) -> Tensor | None:
        """Return the id that each of so many generated tokens is contrasted with, [T]."""
        if self.contrast is None:
            return None
        if not 0 <= self.contrast < vocabulary:
            raise InputError(f"contrast id {self.contrast} is outside the {vocabulary} tokens.")
        return torch.full((count,), int(self.contrast))


@dataclass(frozen=True, eq=False)
class Plan:
    """What a question asks of all its sequences, settled before anything runs on the model.

    Args:
        question: what is asked.
        cases: of each sequence.
        baseline: what references are.
        stand_in: id of a token that stands for nothing, if there is one.
    """

    question: Question
    cases: tuple[Case, ...]
    baseline: Baseline
    stand_in: int | None

    @property
    def baseline_name(self) -> str | None:
        """What references are, in words; ``None`` if the method has none."""
        named = self.question.method.claims.baseline is not None
        return self.baseline.name if named else None

    def part(self, start: int, stop: int) -> Plan:
        """Return the plan of some sequences, which run together."""
        return replace(self, cases=self.cases[start:stop])


def _flags(given: Any) -> list[bool]:
    try:
        flags = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        flags = torch.empty(0, 0)
    if flags.dim() != 1 or flags.is_floating_point():
        raise InputError(
            f"movable is {given!r:.80}; expected 'content', 'all' or a flag for each token."
        )
    return [bool(flag) for flag in flags]

"""What is asked about a response: by which method, of which scalar, against which reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from hf_attrib.attacks import attacks
from hf_attrib.baselines import Baseline, BaselineLike, parse, single_token
from hf_attrib.engine.memory import Demand
from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import argument_names
from hf_attrib.methods import Method, method, methods
from hf_attrib.targets import Target
from hf_attrib.text import Grouping, Span, Tokens, TokenSequence, chosen, partition
from hf_attrib.text.encoding import as_ids

__all__ = ["Question", "split_arguments"]

#: Roles that ``movable="content"`` leaves where they are.
_FIXED_ROLES = {"special", "template"}


@dataclass(frozen=True, eq=False)
class Question:
    """Everything an attribution depends on besides the model and the token ids.

    Args:
        method: how to attribute.
        target: the scalar f of each generated token.
        contrast: one token (text or id) or an id for each generated token, or ``None``.
        baseline: the reference; ``None`` for the method's own.
        attribute_to: ``"prompt"`` or ``"all"``.
        movable: ``"content"``, ``"all"``, or a flag for each input token.
        spans: parts of the response to explain as sums, or ``None`` for each token.
        groups: how to join the inputs, or ``None`` for each token.
    """

    method: Method
    target: Target
    contrast: str | int | Sequence[int] | None
    baseline: BaselineLike | None
    attribute_to: str
    movable: str | Sequence[bool]
    spans: Grouping | None = None
    groups: Grouping | None = None

    def __post_init__(self) -> None:
        if self.contrast is not None and not self.target.of_token:
            raise InputError(
                f"the target {self.target.name} is the same for every token, so it has no "
                "contrast; leave it out."
            )
        if self.attribute_to not in ("prompt", "all"):
            raise InputError(f"attribute_to is {self.attribute_to!r}; expected 'prompt' or 'all'.")
        if isinstance(self.movable, str) and self.movable not in ("content", "all"):
            raise InputError(
                f"movable is {self.movable!r}; expected 'content', 'all' or a flag for each token."
            )
        if self.baseline is not None and self.method.claims.baseline is None:
            raise InputError(f"method {self.method.name} has no baseline; leave it out.")

    def reference(self, tokenizer: Any) -> Baseline:
        """Return the baseline asked for, or the method's own.

        Raises:
            InputError: it is a distribution, and the method takes a single reference.
        """
        own = self.method.claims.baseline or "zero"  # which a method without one ignores
        baseline = parse(own if self.baseline is None else self.baseline, tokenizer)
        if baseline.distribution and not self.method.claims.many_references:
            raise InputError(
                f"{self.method.name} takes one reference, but the baseline ({baseline.name}) is a "
                "distribution; give one, or explain with method='expected_gradients', or with "
                "'baseline_average' whose inner is your method."
            )
        return baseline

    def rows(self, sequence: TokenSequence) -> tuple[Span, ...]:
        """Return the spans of a response that are explained, one for each row of the scores.

        Raises:
            InputError: there is no such span.
        """
        response = sequence.response
        if self.spans is None:
            return response.singles()
        if self.spans == "response":
            return (Span(0, len(response)),)
        if isinstance(self.spans, str):
            return partition(response, self.spans)
        rows = chosen(response, self.spans)
        if not rows:
            raise InputError("spans are empty; give at least one, or leave them out.")
        return rows

    def inputs(self, sequence: TokenSequence) -> Tokens:
        """Return the N inputs of a sequence that are scored."""
        whole = self.scored(sequence) == len(sequence.prompt)
        return sequence.prompt if whole else sequence.inputs

    def columns(self, sequence: TokenSequence) -> tuple[Span, ...]:
        """Return the groups of a sequence's inputs, or each of them.

        Raises:
            InputError: they cannot be grouped so.
        """
        inputs = self.inputs(sequence)
        return inputs.singles() if self.groups is None else partition(inputs, self.groups)

    def demand(self) -> Demand:
        """Return what decides over the memory of a row."""
        kind = self.target.name, self.contrast is None, self.spans is None
        claims = self.method.claims
        return Demand(kind, claims.whole_gradients, claims.additive)

    @property
    def joins(self) -> bool:
        """Whether each group is explained as one input, and not the sum of its tokens."""
        return self.groups is not None and self.method.claims.additive

    def scored(self, sequence: TokenSequence) -> int:
        """Return N, how many of a sequence's inputs are scored: they come first."""
        return len(sequence.prompt) if self.attribute_to == "prompt" else len(sequence.inputs)

    def moves(self, sequence: TokenSequence) -> Tensor:
        """Return which input tokens of a sequence may leave their embedding, bool.

        Raises:
            InputError: none may, or the flags given do not fit.
        """
        count = self.scored(sequence)
        if isinstance(self.movable, str):
            everything = self.movable == "all"
            flags = [everything or role not in _FIXED_ROLES for role in sequence.inputs.roles]
        else:
            flags = _flags(self.movable)
            if len(flags) != count:
                raise InputError(f"movable has {len(flags)} flags for {count} scored tokens.")
        moves = torch.zeros(len(sequence.inputs), dtype=torch.bool)
        moves[:count] = torch.tensor(flags[:count])
        if not moves.any():
            raise InputError(
                "no token may move: the tokenizer made special and template tokens of the prompt, "
                "and nothing else. Give it content, or pass movable='all'."
                if isinstance(self.movable, str)
                else "no token may move: all flags of movable are False; set some."
            )
        return moves

    def contrasts(self, sequence: TokenSequence, tokenizer: Any) -> Tensor | None:
        """Return the id each generated token is contrasted with, [T], or ``None``.

        Raises:
            InputError: the contrast is not one token, nor one for each generated token.
        """
        if self.contrast is None:
            return None
        given: Any = self.contrast
        count = len(sequence.response)
        if isinstance(given, str):
            given = single_token(tokenizer, given)
        if isinstance(given, int | Integral) and not isinstance(given, bool):
            given = [int(given)] * count
        ids = as_ids(given, "contrast")
        if len(ids) != count:
            raise InputError(f"contrast has {len(ids)} ids for {count} generated tokens.")
        return torch.tensor(ids)


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


def split_arguments(
    chosen: str | Method, arguments: Mapping[str, Any]
) -> tuple[Method, dict[str, Any]]:
    """Tell fields of the method from arguments of ``generate``.

    Raises:
        InputError: a field of another method, or fields next to a method that is already made.
    """
    if not isinstance(chosen, str | Method):
        raise InputError(f"method is {chosen!r:.80}; expected a name or an instance of a method.")
    registered = [*methods().values(), *attacks().values()]
    every = {name for kind in registered for name in argument_names(kind)}
    own = {name: value for name, value in arguments.items() if name in every}
    rest = {name: value for name, value in arguments.items() if name not in every}
    if isinstance(chosen, str):
        return method(chosen, own), rest
    if own:
        names = ", ".join(sorted(own))
        raise InputError(f"{names} came next to {chosen!r}; set them when you make the method.")
    return chosen, rest

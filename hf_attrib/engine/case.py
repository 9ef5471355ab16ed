"""What a question asks of one sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hf_attrib.model import Fork
from hf_attrib.text import Span, Tokens, TokenSequence

__all__ = ["Case", "Within", "running"]


class Within(NamedTuple):
    """Spans that partition the inputs of a sequence, in each of which groups belong together.

    Args:
        parts: documents, the question, other messages; all inputs where there are none of these.
        sentences: or the groups that the caller named.
        words: and so, within sentences.
    """

    parts: tuple[Span, ...]
    sentences: tuple[Span, ...]
    words: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """What a question asks of one sequence.

    Args:
        sequence: what the model read and generated.
        inputs: the N tokens that are scored, which come first of all that it reads.
        moves: which of all tokens that it reads may leave their embedding, bool.
        contrast: id that each generated token is contrasted with, [T], or ``None``.
        targets: spans of the response that are explained, one for each row of the scores.
        groups: spans that partition the inputs; each token is one unless groups were named.
        within: what groups belong together in.
        notes: what of the question has no answer but 0.
        fork: another answer that is explained against, if there is one.
    """

    sequence: TokenSequence
    inputs: Tokens
    moves: Tensor
    contrast: Tensor | None
    targets: tuple[Span, ...]
    groups: tuple[Span, ...]
    within: Within
    notes: tuple[str, ...] = ()
    fork: Fork | None = None


def running(cases: Sequence[Case]) -> Iterator[tuple[TokenSequence, Tensor, tuple[Span, ...]]]:
    """Yield what runs for cases, and what of it moves and is explained.

    Behind all of them come the answers that they are explained against, where there are such.

    Args:
        cases: that run together.
    """
    yield from ((case.sequence, case.moves, case.targets) for case in cases)
    for case in cases:
        if case.fork is None:
            continue
        other, spans = case.fork.other, (case.fork.other_span,)
        shared = len(other.prompt) + len(other.start) + spans[0].start
        moves = torch.zeros(len(other.inputs), dtype=torch.bool)
        moves[:shared] = case.moves[:shared]
        yield other, moves, spans

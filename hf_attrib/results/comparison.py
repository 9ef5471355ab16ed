"""Two results of one response, side by side: by two methods, of two models, for two prompts.

Where both explain the same ids, or one of them those of the other and then some, columns are paired
as they are, and joined wherever one result has joined them; so are rows. Where the ids differ,
because the prompts do or the tokenizers, words are paired instead: those that both results have in
the same order (:mod:`difflib`). The rest is left out, and the comparison says how much that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.results.agreement import Agreement, agreement
from hf_attrib.results.attribution import Attribution
from hf_attrib.results.protocol import Result
from hf_attrib.results.selection import join, take
from hf_attrib.text import Span, Tokens

__all__ = [
    "Comparison",
    "Pairs",
    "compare",
    "keys",
    "matched",
    "same_start",
    "with_common_columns",
    "with_common_rows",
]


@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """What two results of one response have in common, and where they part.

    Args:
        a: the first result, joined to what can be paired.
        b: the second one, joined to the same.
        k: how many of the strongest inputs :attr:`Agreement.overlap` looks at.
        rows: T pairs (row of a, row of b).
        columns: N pairs (column of a, column of b).
        magnitudes: whether magnitudes are compared, because only one result has signs.
    """

    a: Attribution
    b: Attribution
    k: int
    rows: Pairs = field(repr=False)
    columns: Pairs = field(repr=False)
    magnitudes: bool

    @cached_property
    def results(self) -> tuple[Attribution, Attribution]:
        """Both results with their paired rows only, in the same order: what is shown."""
        a, b = (
            take(result, [pair[side] for pair in self.rows])
            for side, result in enumerate((self.a, self.b))
        )
        return a, b

    @cached_property
    def scores(self) -> tuple[Tensor, Tensor]:
        """What is compared: the paired scores of a and of b, each [T, N], float64."""
        a, b = self._paired
        return (a.abs(), b.abs()) if self.magnitudes else (a, b)

    @cached_property
    def total(self) -> Agreement:
        """How well the scores summed over the response agree."""
        a, b = (scores.sum(0) for scores in self._paired)
        return agreement(a.abs(), b.abs(), self.k) if self.magnitudes else agreement(a, b, self.k)

    @cached_property
    def by_row(self) -> tuple[Agreement, ...]:
        """How well the scores of each of the T pairs of rows agree."""
        return tuple(agreement(a, b, self.k) for a, b in zip(*self.scores, strict=True))

    @property
    def difference(self) -> Tensor:
        """Scores of a less those of b, [T, N]; it means something where both have one unit."""
        a, b = self.scores
        return a - b

    @property
    def left_out(self) -> tuple[float, float]:
        """What part of each result's magnitudes has no counterpart in the other, 0 to 1."""
        shares = []
        for result, paired in zip((self.a, self.b), self._paired, strict=True):
            whole = float(result.scores.double().abs().sum())
            shares.append(1 - float(paired.abs().sum()) / whole if whole else 0.0)
        return shares[0], shares[1]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before relying on the comparison."""
        found = []
        if self.magnitudes:
            unsigned = "a" if self.b.run.signed else "b"
            found.append(f"the scores of {unsigned} have no sign, so magnitudes are compared")
        if not same_start(self.a.input_ids, self.b.input_ids):
            found.append(
                "the inputs differ, so words that both have in the same order are compared"
            )
        sides = zip("ab", (self.a, self.b), self.left_out, strict=True)
        for name, result, share in sides:
            missing = (
                (len(result.columns) - len(self.columns), len(result.columns), "input"),
                (len(result.rows) - len(self.rows), len(result.rows), "generated part"),
            )
            parts = " and ".join(
                f"{n} of {every} {what}{'s' * (every > 1)}" for n, every, what in missing if n
            )
            if parts:
                left = "is" if sum(n for n, _, _ in missing) == 1 else "are"
                found.append(
                    f"{parts} of {name} {left} left out, {100 * share:.2g} % of its attribution"
                )
        return tuple(found)

    @cached_property
    def _paired(self) -> tuple[Tensor, Tensor]:
        a, b = (
            result.scores.double()[:, [pair[side] for pair in self.columns]]
            for side, result in enumerate(self.results)
        )
        return a, b


def compare(a: Attribution, b: Attribution, *, k: int = 5) -> Comparison:
    """Compare two results of one response.

    Args:
        a: the first result.
        b: the second one: by another method, of another model, or for another prompt.
        k: how many of the strongest inputs to look at for the overlap.

    Raises:
        InputError: the responses differ, or the inputs share nothing.
    """
    for result in (a, b):
        if not isinstance(result, Attribution):
            raise InputError(f"two results can be compared; got {type(result).__name__}.")
    k = plain_number(k)
    if type(k) is not int or k < 1:
        raise InputError(f"k is {k!r:.80}; expected at least 1.")
    if same_start(a.input_ids, b.input_ids):
        a, b, columns = with_common_columns(a, b)
    else:
        a, b = a.group("word"), b.group("word")
        columns = matched(keys(a.inputs, a.columns), keys(b.inputs, b.columns))
    if torch.equal(a.response_ids, b.response_ids):
        a, b, rows = with_common_rows(a, b)
    else:
        _check_response(a.response, b.response)
        a, b = a.group(response="word"), b.group(response="word")
        rows = matched(keys(a.response, a.rows), keys(b.response, b.rows))
    if not columns or not rows:
        what = "inputs" if rows else "generated tokens"
        raise InputError(f"the two results have no {what} in common, so nothing can be compared.")
    return Comparison(a, b, k, rows, columns, magnitudes=a.run.signed != b.run.signed)


def _check_response(a: Tokens, b: Tokens) -> None:
    """Refuse two responses of different text, special tokens and white space aside."""

    def text(tokens: Tokens) -> str:
        pieces = zip(tokens.offsets, tokens.roles, strict=True)
        extents = dict.fromkeys(extent for extent, role in pieces if role != "special")
        return "".join("".join(tokens.text[start:stop].split()) for start, stop in extents)

    if text(a) != text(b):
        raise InputError(
            f"the responses differ, {a.text!r:.80} and {b.text!r:.80}; explain the same one with "
            "both, given as response= or response_ids=."
        )


#: Indices of what belongs together in two results.
Pairs: TypeAlias = tuple[tuple[int, int], ...]
_Joined: TypeAlias = tuple[Attribution, Attribution, Pairs]
_OWN_KINDS = ("generated", "special", "template")


def same_start(a: Tensor, b: Tensor) -> bool:
    """Whether ids are the same as far as both go, as with and without the generated prefix.

    Args:
        a: ids, [N].
        b: ids, [M].
    """
    shared = min(len(a), len(b))
    return torch.equal(a[:shared], b[:shared])


def with_common_columns(a: Attribution, b: Attribution) -> _Joined:
    """Join columns of two results that start alike, wherever one of them has them joined.

    Args:
        a: the first result.
        b: the second one.

    Returns:
        both results, and which columns are the same.
    """
    edges = [{0, *(span.stop for span in result.columns)} for result in (a, b)]
    common = sorted(edges[0] & edges[1])
    names = _names(*a.columns, *b.columns)
    shared = [Span(*extent, names.get(extent)) for extent in pairwise(common)]
    joined = []
    for result in (a, b):
        rest = [span for span in result.columns if span.start >= common[-1]]
        joined.append(join(result, rows=result.rows, columns=[*shared, *rest]))
    return joined[0], joined[1], tuple((i, i) for i in range(len(shared)))


def with_common_rows(a: Attribution, b: Attribution) -> _Joined:
    """Join consecutive rows of one response, wherever one of two results has them joined.

    Args:
        a: the first result.
        b: the second one.

    Returns:
        both results, and which rows are the same.
    """
    runs, names = _common_runs(a.rows, b.rows), _names(*a.rows, *b.rows)
    joined, places = [], []
    for side, result in enumerate((a, b)):
        of_first = {run[side].start: run for run in runs}
        inside = {i for run in runs for i in run[side][1:]}
        spans: list[Span] = []
        place: dict[tuple[range, range], int] = {}
        for i, span in enumerate(result.rows):
            if i in inside:
                continue
            if run := of_first.get(i):
                place[run] = len(spans)
                extent = (span.start, result.rows[run[side][-1]].stop)
                span = Span(*extent, names.get(extent))
            spans.append(span)
        joined.append(join(result, rows=spans, columns=result.columns))
        places.append(place)
    return joined[0], joined[1], tuple((places[0][run], places[1][run]) for run in runs)


def _common_runs(a: Sequence[Span], b: Sequence[Span]) -> list[tuple[range, range]]:
    """Return the shortest runs of consecutive spans that cover the same in both."""
    starts = {span.start: k for k, span in enumerate(b)}
    found: list[tuple[range, range]] = []
    i = 0
    while i < len(a):
        k = starts.get(a[i].start)
        run = None if k is None else _run(a, i, b, k)
        # Spans that overlap could be asked for twice.
        if run and all(run[1].stop <= r.start or run[1].start >= r.stop for _, r in found):
            found.append(run)
            i = run[0].stop
        else:
            i += 1
    return found


def _run(a: Sequence[Span], i: int, b: Sequence[Span], k: int) -> tuple[range, range] | None:
    """Extend two spans that start alike until they end alike, if their neighbours let them."""
    runs = [range(i, i + 1), range(k, k + 1)]
    while (stop := a[runs[0][-1]].stop) != (other := b[runs[1][-1]].stop):
        side = int(stop > other)
        spans, end = (a, b)[side], runs[side].stop
        if end == len(spans) or spans[end].start != min(stop, other):
            return None
        runs[side] = range(runs[side].start, end + 1)
    return runs[0], runs[1]


def _names(*spans: Span) -> dict[tuple[int, int], str]:
    """Return what ranges of tokens are called, where they have a name."""
    return {(s.start, s.stop): s.name for s in spans if s.name is not None}


def keys(tokens: Tokens, spans: Sequence[Span]) -> list[tuple[str, str]]:
    """Return by what spans of different token sequences are known to be the same.

    Args:
        tokens: what the spans are made of.
        spans: N spans.
    """
    roles = map(tokens.role, spans)
    kinds = (role if role in _OWN_KINDS else "content" for role in roles)
    return [(kind, tokens.piece(s).strip()) for kind, s in zip(kinds, spans, strict=True)]


def matched(a: Sequence[Any], b: Sequence[Any]) -> Pairs:
    """Pair equal entries, in order.

    Args:
        a: any entries.
        b: others.
    """
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return tuple((i + n, j + n) for i, j, size in blocks for n in range(size))

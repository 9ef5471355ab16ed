"""Which columns and rows of two results belong together."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hf_attrib.attribution import Attribution
from hf_attrib.query import join
from hf_attrib.tokens import Span, Tokens

__all__ = ["Pairs", "keys", "matched", "same_start", "with_common_columns", "with_common_rows"]

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

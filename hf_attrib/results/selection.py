"""Parts of a result, and its tokens joined to groups: a result again, without running the model."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.text import Grouping, Span, Tokens, chosen, partition

if TYPE_CHECKING:
    from hf_attrib.results.attribution import Attribution

__all__ = ["group", "join", "select", "take"]

#: Of T rows each.
_OF_ROWS = ("value", "reference_value", "sum_standard_error", "error_bound")
#: Generated tokens that an error names at most.
_NAMED = 40


def select(result: Attribution, key: int | slice | str) -> Attribution:
    """Return some of the rows, as :meth:`Attribution.__getitem__` says."""
    count = len(result.rows)
    if isinstance(key, str):
        return take(result, _spelling(result, key))
    if isinstance(key, slice):
        rows = _sliced(range(count), key)
        if not rows:
            raise InputError(f"rows {_written(key)} are none of the {count} generated tokens.")
        return take(result, rows)
    index = None if isinstance(key, bool) else _index(key)
    if index is None:
        raise InputError(f"expected a row, a slice of rows or their text; got {key!r:.80}.")
    if not -count <= index < count:
        raise InputError(f"row {index} is none of the {count} generated tokens.")
    return take(result, [index % count])


def _index(key: object) -> int | None:
    """Return what anything that counts, such as a tensor of one number, counts as."""
    try:
        return operator.index(key)  # type: ignore[arg-type]
    except TypeError:
        return None


def _sliced(rows: range, key: slice) -> range:
    try:
        return rows[key]
    except (TypeError, ValueError):
        raise InputError(
            f"rows {_written(key)} cannot be counted; expected whole numbers, and a step other "
            "than 0."
        ) from None


def _written(key: slice) -> str:
    parts = [key.start, key.stop] if key.step is None else [key.start, key.stop, key.step]
    return f"[{':'.join('' if part is None else f'{part!r:.80}' for part in parts)}]"


def take(result: Attribution, rows: Sequence[int]) -> Attribution:
    """Return a result of some rows, in this order."""
    chosen_rows = torch.tensor(rows, dtype=torch.int64)
    taken: dict[str, Any] = {
        name: values[chosen_rows]
        for name in ("scores", "standard_error", "probability", *_OF_ROWS)
        if (values := getattr(result, name)) is not None
    }
    return replace(result, rows=tuple(result.rows[i] for i in rows), **taken)


def _spelling(result: Attribution, text: str) -> range:
    """Return the rows that together spell a text, white space around it aside."""
    wanted = _bare(text)
    found: list[range] = []
    characters = _characters(result)
    for i, first in enumerate(characters):
        if (found and first.start < found[-1].stop) or _is_blank(result, first) > wanted.isspace():
            continue
        rows = first
        for following in (range(0), *characters[i + 1 :]):
            if following and result.rows[following.start].start != result.rows[rows[-1]].stop:
                break
            rows = range(rows.start, max(rows.stop, following.stop))
            spelled = _bare(_text(result, rows))
            if spelled == wanted:
                found.append(rows)
            if len(spelled) >= len(wanted):
                break
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(f"[{rows.start}:{rows.stop}]" for rows in found)
        raise InputError(f"{text!r:.80} was generated {len(found)} times; take one of {places}.")
    pieces = ", ".join(f"{piece!r:.40}" for piece in result.response_pieces[:_NAMED])
    more = ", ..." if len(result.rows) > _NAMED else ""
    raise InputError(f"no generated tokens spell {text!r:.80}; there are {pieces}{more}.")


def _characters(result: Attribution) -> list[range]:
    """Return the rows, those that are bytes of one character together."""
    found: list[range] = []
    extents = [result.response.extent(span) for span in result.rows]
    for i, extent in enumerate(extents):
        if i and extent == extents[i - 1] and extent[0] < extent[1]:
            found[-1] = range(found[-1].start, i + 1)
        else:
            found.append(range(i, i + 1))
    return found


def _is_blank(result: Attribution, rows: range) -> bool:
    return not _text(result, rows).strip()


def _text(result: Attribution, rows: range) -> str:
    spans = result.rows[rows.start : rows.stop]
    whole = spans[0] if len(spans) == 1 else Span(spans[0].start, spans[-1].stop)
    return result.response.piece(whole)


def _bare(text: str) -> str:
    return text.strip() or text


def group(result: Attribution, by: Grouping | None, response: Grouping | None) -> Attribution:
    """Join columns and rows, as :meth:`Attribution.group` says."""
    return join(
        result,
        rows=_joined(result.response, result.rows, response),
        columns=_joined(result.inputs, result.columns, by),
    )


def join(result: Attribution, rows: Sequence[Span], columns: Sequence[Span]) -> Attribution:
    """Add up consecutive rows, and columns.

    Args:
        result: the attribution.
        rows: spans that each are one or more consecutive rows, together all of them in order.
        columns: spans that each are one or more consecutive columns, together all of them.
    """
    row_sizes, column_sizes = _sizes(result.rows, rows), _sizes(result.columns, columns)
    joined: dict[str, Any] = {
        name: _sum(_sum(values, column_sizes, 1), row_sizes, 0)
        for name in ("scores", "standard_error")
        if (values := getattr(result, name)) is not None
    }
    joined |= {
        name: _sum(values, row_sizes, 0)
        for name in _OF_ROWS
        if (values := getattr(result, name)) is not None
    }
    parts = result.probability.split(row_sizes)
    joined["probability"] = result.probability.new_tensor([part.prod() for part in parts])
    return replace(result, rows=tuple(rows), columns=tuple(columns), **joined)


def _sizes(old: Sequence[Span], new: Sequence[Span]) -> list[int]:
    """Return how many old spans each new one is made of."""
    stops = [span.stop for span in old]
    sizes, start = [], 0
    for span in new:
        end = stops.index(span.stop, start) + 1
        sizes.append(end - start)
        start = end
    return sizes


def _joined(tokens: Tokens, old: Sequence[Span], by: Grouping | None) -> Sequence[Span]:
    """Join spans wherever the new grouping has no boundary between them."""
    if by is None:
        return old
    new = partition(tokens, by)
    if not isinstance(by, str):
        _check_uncut(tokens, old, chosen(tokens, by))
    starts = {span.start for span in new}
    names = {(span.start, span.stop): span.name for span in new}
    joined: list[list[Span]] = []
    for span in old:
        if joined and span.start not in starts and span.start == joined[-1][-1].stop:
            joined[-1].append(span)
        else:
            joined.append([span])
    spans = []
    for parts in joined:
        start, stop = parts[0].start, parts[-1].stop
        own = parts[0].name if len(parts) == 1 else None
        spans.append(Span(start, stop, names.get((start, stop)) or own))
    return spans


def _check_uncut(tokens: Tokens, old: Sequence[Span], named: Sequence[Span]) -> None:
    edges = {edge: span for span in named for edge in (span.start, span.stop)}
    for span in old:
        for cut in range(span.start + 1, span.stop):
            if cut in edges:
                raise InputError(
                    f"the group {tokens.piece(edges[cut])!r:.80} takes a part of "
                    f"{tokens.piece(span)!r:.80}, which is one in this result; group the result "
                    "of single tokens instead."
                )


def _sum(values: Tensor, sizes: list[int], dim: int) -> Tensor:
    """Add up so many entries at a time along one axis, in double precision."""
    owners = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes).long())
    shape = [len(sizes) if axis == dim else size for axis, size in enumerate(values.shape)]
    total = torch.zeros(shape, dtype=torch.float64)
    return total.index_add(dim, owners, values.double()).to(values.dtype)

"""A result prepared to be drawn: units, their scores, the scales they are shown on.

Every view of an attribution starts here. The console draws the sheet itself; a page turns it into a
panel, whose running text is made of pieces, one for each unit or row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.text import Text
from torch import Tensor

from hf_attrib.render.palette import Depth, Scale, full_colour, largest, robust
from hf_attrib.render.safe_text import label
from hf_attrib.results import Attribution
from hf_attrib.text import Span

__all__ = [
    "WRITTEN",
    "Sheet",
    "Unit",
    "fold",
    "merge_scores",
    "prepare",
    "scale_line",
    "short",
    "units_of",
]

#: What a legend says of units that are no part of what was said.
WRITTEN = "special and template tokens are written in their colour, all others stand on it"
_WRITTEN_ROLES = ("special", "template")


@dataclass(frozen=True)
class Sheet:
    """One result with all that is computed to show it: what every view of it draws from.

    Args:
        result: the attribution.
        units: the U units that the N columns form.
        labels: text of the T rows, as often generated tokens.
        rows: scores of the T rows over the units, [T][U].
        totals: scores summed over the response, [U].
        total_scale: scale of the totals.
        token_scale: scale of the single scores.
    """

    result: Attribution
    units: Sequence[Unit]
    labels: Sequence[str]
    rows: Sequence[Sequence[float]]
    totals: Sequence[float]
    total_scale: Scale
    token_scale: Scale

    @property
    def column(self) -> str:
        """What to call a column."""
        return _noun(self.result.columns)

    @property
    def has_written(self) -> bool:
        """Whether some unit is written in the colour of its total."""
        pairs = zip(self.units, self.totals, strict=True)
        return any(unit.is_written and self.total_scale.level(total) for unit, total in pairs)

    @property
    def row(self) -> str:
        """What to call a row."""
        return _noun(self.result.rows)


def _noun(spans: Sequence[Span]) -> str:
    single = all(span.stop - span.start == 1 for span in spans)
    return "token" if single else "group"


def prepare(result: Attribution, depth: Depth) -> Sheet:
    """Merge byte tokens and fix the scales.

    Args:
        result: the attribution.
        depth: what the console can show.
    """
    units = units_of(result)
    rows = merge_scores(result.scores, units)
    totals = merge_scores(result.total[None], units)[0]
    signed = result.run.signed
    # Each input counts once, however many tokens it is strong for.
    strongest = [largest(column) for column in zip(*rows, strict=True)]
    return Sheet(
        result=result,
        units=units,
        labels=result.response_pieces,
        rows=rows,
        totals=totals,
        total_scale=robust(totals, signed, depth),
        token_scale=robust(strongest, signed, depth),
    )


def scale_line(name: str, scale: Scale) -> Text:
    """Draw a scale between its lowest and its highest score.

    Args:
        name: of what it is the scale.
        scale: what to draw.
    """
    low = f"{scale.number(-scale.limit)} " if scale.signed else ""
    return Text.assemble((f"{name} ", "dim"), low, scale.ramp(), f" {scale.number(scale.limit)}")


def short(piece: str, cells: int) -> Text:
    """Label a token within so many cells.

    Args:
        piece: the token's text.
        cells: room for it.
    """
    text = Text(label(piece), no_wrap=True)
    text.truncate(max(1, cells), overflow="ellipsis")
    return text


#: Prompts of more units than this are folded around the strongest ones.
LONGEST_PROMPT = 400
#: Units shown of a folded prompt, at most, and around each strong one.
_SHOWN, _AROUND = 240, 12
#: A strong unit has at least this fraction of the magnitude of full colour.
_STRONG = 0.05


@dataclass(frozen=True)
class Unit:
    """One or more consecutive columns that are shown as one, as the bytes of a character are.

    Scores of a sheet are those of units; results know columns only.

    Args:
        text: what they show.
        start: index of the first column.
        stop: index behind the last one.
        role: their role.
    """

    text: str
    start: int
    stop: int
    role: str

    @property
    def is_written(self) -> bool:
        """Whether it is written in its colour and not on it: it is long, and says nothing."""
        return self.role in _WRITTEN_ROLES


def units_of(result: Attribution) -> list[Unit]:
    """Merge byte tokens that share a character's offsets; any other column is its own unit.

    Args:
        result: an attribution with N columns.
    """
    units: list[Unit] = []
    offsets, roles = result.offsets, result.roles
    for i, (extent, piece) in enumerate(zip(offsets, result.pieces, strict=True)):
        if units and extent[0] < extent[1] and extent == offsets[i - 1]:
            character = result.inputs.text[slice(*extent)]
            units[-1] = Unit(character, units[-1].start, i + 1, units[-1].role)
        else:
            beside = i and result.columns[i].name and result.columns[i - 1].name
            # Names, unlike texts, bring no white space along.
            units.append(Unit(f" {piece}" if beside else piece, i, i + 1, roles[i]))
    return units


def merge_scores(scores: Tensor, units: Sequence[Unit]) -> list[list[float]]:
    """Sum scores within units.

    Args:
        scores: [T, N].
        units: U units that partition the N columns.

    Returns:
        T lists of U sums.
    """
    sizes = torch.tensor([unit.stop - unit.start for unit in units], dtype=torch.int64)
    owner = torch.repeat_interleave(torch.arange(len(units)), sizes)
    merged = scores.new_zeros(len(scores), len(units)).double()
    rows: list[list[float]] = merged.index_add(1, owner, scores.double()).tolist()
    return rows


def fold(totals: Sequence[float]) -> list[tuple[int, int, bool]]:
    """Cut a sequence of units into stretches to show and stretches to fold away.

    Args:
        totals: a score for each of the U units.

    Returns:
        Triples (start, stop, shown) that partition ``range(U)``.
    """
    if len(totals) <= LONGEST_PROMPT:
        return [(0, len(totals), True)]
    size = [abs(t) if math.isfinite(t) else math.inf for t in totals]
    bound = _STRONG * full_colour(totals)
    shown: set[int] = set()
    for i in sorted(range(len(size)), key=lambda i: -size[i]):
        window = range(max(0, i - _AROUND), min(len(size), i + _AROUND + 1))
        if shown and (size[i] <= bound or len(shown.union(window)) > _SHOWN):
            break
        shown.update(window)
    return _runs([i in shown for i in range(len(size))])


def _runs(flags: Sequence[bool]) -> list[tuple[int, int, bool]]:
    starts = [i for i in range(len(flags)) if i == 0 or flags[i] != flags[i - 1]]
    stops = [*starts[1:], len(flags)]
    return [(a, b, flags[a]) for a, b in zip(starts, stops, strict=True)]

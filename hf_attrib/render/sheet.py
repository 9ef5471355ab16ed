"""A result prepared for one console: units, their scores, the scales they are shown on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from hf_attrib.attribution import Attribution
from hf_attrib.render.palette import Depth, Scale, largest
from hf_attrib.render.safe_text import label
from hf_attrib.render.units import Unit, merge_scores, units_of
from hf_attrib.tokens import Span

__all__ = ["Sheet", "prepare", "scale_line", "short"]


@dataclass(frozen=True)
class Sheet:
    """What every part of the heatmap draws from.

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
    token_limit = largest(score for row in rows for score in row)
    return Sheet(
        result=result,
        units=units,
        labels=result.response_pieces,
        rows=rows,
        totals=totals,
        total_scale=Scale(largest(totals), signed, depth),
        token_scale=Scale(token_limit, signed, depth),
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

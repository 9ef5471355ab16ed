"""Results as figures of matplotlib, which people put into papers and reports."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from hf_attrib.errors import InputError
from hf_attrib.render import phrases, standings
from hf_attrib.render.safe_text import label, visible
from hf_attrib.render.sheet import Sheet, prepare
from hf_attrib.results import Attribution
from hf_attrib.validation import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves_figure", "heatmap_figure"]

#: What opposes, nothing, and what supports or has no sign; as elsewhere orange and blue, or violet.
_SIGNED = ("#c85000", "#ffffff", "#125ed2")
_UNSIGNED = ("#ffffff", "#6230aa")
#: Of what is stronger than full colour.
_BEYOND, _BEYOND_UNSIGNED = ("#7a2f00", "#06357c"), "#2f0f5e"
#: Tokens on either axis, at most: beyond, no label could be read.
_MOST = 300
_LETTERS = 24
#: Inches that a token takes, and a letter of its label.
_CELL, _LETTER = 0.24, 0.1


def heatmap_figure(result: Attribution) -> Figure:
    """Draw a score for each generated token (down) and input token (across), totals above them.

    Args:
        result: the attribution, T x N.

    Raises:
        InputError: matplotlib is not installed, or there are too many tokens for a picture.
    """
    _check_installed()
    sheet = prepare(result, "full")
    size = len(sheet.units), len(sheet.labels)
    if max(size) > _MOST:
        raise InputError(
            f"the result has {size[1]} rows and {size[0]} columns; a plot holds {_MOST} of each: "
            "plot result.group('sentence'), or result[3:5]."
        )
    across = [_label(unit.text) for unit in sheet.units]
    down = [_label(text) for text in sheet.labels]
    beside, below = (_LETTER * max(map(len, labels)) for labels in (down, across))
    width, height = size[0] * _CELL + beside + 2, size[1] * _CELL + below + 2.2
    figure = _figure(figsize=(max(width, 6), height))
    above, axes = figure.subplots(2, 1, sharex=True, height_ratios=[0.8, size[1] * _CELL])
    _totals(above, sheet)
    _matrix(figure, axes, sheet)
    for axis, labels in ((axes.xaxis, across), (axes.yaxis, down)):
        axis.set_ticks(range(len(labels)), labels, parse_math=False)
    run = result.run
    title = " · ".join([phrases.line(run.model), *phrases.about(run)])
    figure.suptitle(_drawable(title), fontsize="small", parse_math=False, wrap=True)
    return figure


def _totals(axes: Any, sheet: Sheet) -> None:
    low, *_, high = _colours(sheet)
    colours = [low if sheet.result.run.signed and total < 0 else high for total in sheet.totals]
    axes.bar(range(len(sheet.totals)), _finite(sheet.totals), color=colours)
    axes.axhline(0, color="0.6", linewidth=0.6)
    axes.set_ylabel("total")
    axes.tick_params(bottom=False, labelbottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _matrix(figure: Figure, axes: Any, sheet: Sheet) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    signed, limit = sheet.result.run.signed, sheet.token_scale.limit or 1.0
    under, over = _BEYOND if signed else (None, _BEYOND_UNSIGNED)
    colours = LinearSegmentedColormap.from_list("scores", _colours(sheet)).with_extremes(
        bad="0.8", under=under, over=over
    )
    image = axes.imshow(
        [_finite(row) for row in sheet.rows], cmap=colours, vmin=-limit if signed else 0,
        vmax=limit, aspect="auto", interpolation="nearest",
    )  # fmt: skip
    axes.tick_params(axis="x", labelrotation=90)
    axes.set(xlabel=f"input {sheet.column}s", ylabel=f"generated {sheet.row}s")
    stronger = sheet.token_scale.strongest > limit
    extend = "neither" if not stronger else "both" if signed else "max"
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=15, extend=extend)
    lines = f"score, {sheet.result.run.target}", sheet.token_scale.words("darker")
    bar.set_label("\n".join(map(_drawable, lines)), parse_math=False)


def _finite(scores: Sequence[float]) -> list[float]:
    """Return scores with NaN, which is drawn in grey or not at all, for all that are no numbers."""
    return [score if math.isfinite(score) else math.nan for score in scores]


def _colours(sheet: Sheet) -> Sequence[str]:
    return _SIGNED if sheet.result.run.signed else _UNSIGNED


def curves_figure(result: Evaluation) -> Figure:
    """Draw the normalised score as units go (deletion) and come (insertion), for each operator.

    Args:
        result: the evaluation.

    Raises:
        InputError: matplotlib is not installed, or no metric asked for curves.
    """
    _check_installed()
    operators = {name: standings.curve_rows(result, name) for name in result.run.operators}
    operators = {name: rows for name, rows in operators.items() if rows}
    if not operators:
        raise InputError(
            "no metric of this evaluation asked for curves; evaluate(metrics=['deletion', "
            "'insertion']) does."
        )
    figure = _figure(figsize=(9, 3.2 * len(operators) + 0.8))
    grid = figure.subplots(len(operators), 2, sharex=True, sharey=True, squeeze=False)
    for axes, (operator, rows) in zip(grid, operators.items(), strict=True):
        for name, both in rows:
            for axis, values in zip(axes, both, strict=True):
                style = "--" if name == rows[-1][0] else "-"
                axis.plot([10 * i for i in range(len(values))], values, style, label="_")
                axis.lines[-1].set_label(_label(name, 40).lstrip("_"))
        for axis, kind in zip(axes, ("go", "come"), strict=True):
            axis.set_title(_drawable(f"units {kind} by {operator}"), parse_math=False)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("normalised score")
    for axis in grid[-1]:
        axis.set_xlabel("% of the units")
    legend = figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center")
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _check_installed() -> None:
    try:
        import matplotlib  # no other part of the package needs it  # noqa: F401
    except ImportError:
        raise InputError(
            "a plot needs matplotlib: pip install 'hf_attrib[plot]'; to_html() does without."
        ) from None


def _figure(**options: Any) -> Figure:
    """Return a new figure, made without pyplot, which would keep it and open windows.

    Notebooks draw figures once pyplot has been used; this one says itself how.
    """
    from matplotlib.figure import Figure

    figure: Any = Figure(layout="constrained", **options)
    figure._repr_png_ = partial(_png, figure)
    made: Figure = figure
    return made


def _png(figure: Figure) -> bytes:
    figure.savefig(file := io.BytesIO(), format="png")
    return file.getvalue()


def _label(text: str, letters: int = _LETTERS) -> str:
    """Return a text on one line, in so many letters at most."""
    drawn = _drawable(label(text))
    return drawn if len(drawn) <= letters else f"{drawn[: letters - 1]}…"


def _drawable(text: str) -> str:
    """Replace what the fonts of matplotlib's settings cannot draw by its code point."""
    from matplotlib.font_manager import FontProperties

    known = _characters(tuple(FontProperties().get_family()))
    return "".join(c if ord(c) in known else f"<U+{ord(c):04X}>" for c in visible(text))


@cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in families]
    return frozenset().union(*(font.get_charmap() for font in fonts))

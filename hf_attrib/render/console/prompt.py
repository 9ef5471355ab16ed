"""The prompt as running text, each token on the colour of what it contributed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from hf_attrib.render.palette import Scale
from hf_attrib.render.safe_text import framed
from hf_attrib.render.sheet import Sheet, Unit, fold

__all__ = ["prompt"]


def prompt(sheet: Sheet) -> Iterator[RenderableType]:
    """Yield the prompt, then the generated prefix where that is explained, too.

    Args:
        sheet: the prepared result.
    """
    generated = [unit.role == "generated" for unit in sheet.units]
    parts = (
        ("Prompt", f"total attribution of each {sheet.column} to the response", False),
        ("Generated prefix", f"total attribution of each {sheet.column} to those after it", True),
    )
    for title, meaning, wanted in parts:
        chosen = [i for i, flag in enumerate(generated) if flag is wanted]
        if chosen:
            yield Text.assemble((title, "bold"), (f"  {meaning}", "dim"))
            yield from _folded(sheet, chosen)
            yield Text()


def _folded(sheet: Sheet, chosen: Sequence[int]) -> Iterator[RenderableType]:
    units, totals = [sheet.units[i] for i in chosen], [sheet.totals[i] for i in chosen]
    size = [abs(total) if math.isfinite(total) else 0.0 for total in totals]
    for start, stop, shown in fold(totals):
        if shown:
            text = _running(units[start:stop], totals[start:stop], sheet.total_scale)
            # A stretch behind a fold starts with its first word, not with the space before it.
            yield text[len(text.plain) - len(text.plain.lstrip()) :] if start else text
            continue
        columns = sum(unit.stop - unit.start for unit in units[start:stop])
        share = sum(size[start:stop]) / (sum(size) or 1.0)
        noun = sheet.column if columns == 1 else f"{sheet.column}s"
        yield Text(f"… {columns:,} {noun}, {_percent(share)} of the attribution …", "dim")


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")


def _running(units: Sequence[Unit], totals: Sequence[float], scale: Scale) -> Text:
    text = Text(overflow="fold")
    for unit, total in zip(units, totals, strict=True):
        style, mark = scale.style(total), scale.mark(total)
        marked = bool(style or mark)
        before, body, after = framed(unit.text, marked=marked)
        if not marked:
            text.append(before + body + after, "dim" if unit.is_written or body == "⏎" else None)
            continue
        text.append(before)
        style = scale.written(total) if unit.is_written else style
        text.append(f"[{body}{mark}]" if mark else body, style)
        text.append(after)
    text.rstrip()
    return text

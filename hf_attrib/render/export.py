"""Results outside a terminal: as plain text and as a picture."""

from __future__ import annotations

import html
import io
import os
import re

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from hf_attrib.render.console.heatmap import Heatmap
from hf_attrib.render.safe_text import visible
from hf_attrib.results import Attribution, Result, Told, view, write_atomically

__all__ = ["plain", "to_svg", "to_text", "told"]

_WIDTH = 100

_THEME = TerminalTheme(
    (13, 17, 23),
    (216, 222, 230),
    [(0, 0, 0), (255, 123, 114), (63, 185, 80), (210, 153, 34),
     (88, 166, 255), (188, 140, 255), (57, 197, 207), (216, 222, 230)],
)  # fmt: skip
#: Rich's own template loads a font from the network and frames the picture as a window.
_TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>TITLE</title>
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas,
    "DejaVu Sans Mono", monospace;
}}
.{unique_id}-title {{
  font: 600 16px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
<rect x="1" y="1" width="99.8%" height="99.8%" rx="8" fill="#0d1117" stroke="#57606a"/>
<text class="{unique_id}-title" x="22" y="28" fill="#d8dee6">TITLE</text>
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
_CHARACTER_WIDTH = 20 * 0.61  # rich's font size times its aspect ratio


def to_text(result: Attribution, width: int = _WIDTH, matrix: bool = False) -> str:
    """Draw a heatmap without colours or escape sequences.

    Args:
        result: what to show.
        width: cells per line, at most.
        matrix: whether to add the score of every generated token for every input token.
    """
    return plain(Heatmap(result, matrix=matrix), width)


def plain(shown: RenderableType, width: int = _WIDTH) -> str:
    """Draw anything that rich can print without colours or escape sequences.

    Args:
        shown: what to print.
        width: cells per line, at most.
    """
    console = Console(
        file=io.StringIO(), width=width, color_system=None, force_terminal=False,
        force_jupyter=False, no_color=True,
    )  # fmt: skip
    with console.capture() as capture:
        console.print(shown)
    lines = (line.rstrip() for line in capture.get().split("\n"))
    return "\n".join(lines).rstrip("\n")


def told(shown: Told) -> Text:
    """Return what ``str`` says, for a terminal.

    Args:
        shown: anything that has no view of its own.

    Raises:
        NotImplementedError: it is a result, whose ``str`` is what its view says.
    """
    if isinstance(shown, Result):
        raise NotImplementedError(f"no view is registered for {type(shown).__name__}")
    return Text(visible(str(shown)))


def to_svg(
    result: Result,
    path: str | os.PathLike[str] | None = None,
    width: int = _WIDTH,
    title: str = "hf_attrib",
) -> str:
    """Draw a result as a picture that needs no fonts, scripts or network.

    Args:
        result: what to show.
        path: where to write the picture, if anywhere.
        width: cells per line, at most.
        title: what stands above it.

    Returns:
        The SVG document.
    """
    console = Console(
        file=io.StringIO(), width=width + 2, color_system="truecolor", force_terminal=True,
        force_jupyter=False, no_color=False, legacy_windows=False, record=True,
    )  # fmt: skip
    console.print(Padding(view(result), (0, 1)))
    named = html.escape(visible(title)).replace("{", "{{").replace("}", "}}")
    template = _TEMPLATE.replace("TITLE", named)
    svg = console.export_svg(theme=_THEME, code_format=template)
    svg = _WIDE.sub(_true_length, svg)
    if path is not None:
        write_atomically(path, svg)
    return svg


_WIDE = re.compile(r'textLength="[^"]*"([^>]*)>([^<]*)<')


def _true_length(match: re.Match[str]) -> str:
    """Give wide characters their two cells: rich counts characters here, and squeezes them."""
    rest, text = match.groups()
    length = cell_len(html.unescape(text)) * _CHARACTER_WIDTH
    return f'textLength="{length:g}"{rest}>{text}<'

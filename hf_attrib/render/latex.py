r"""A heatmap for papers: LaTeX that ``\input`` takes, in any engine, with ``xcolor`` alone."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

from rich.color import Color
from rich.style import Style

from hf_attrib.render import phrases
from hf_attrib.render.palette import Scale
from hf_attrib.render.safe_text import flowing, framed, visible
from hf_attrib.render.sheet import WRITTEN, Unit, prepare
from hf_attrib.results import Attribution

__all__ = ["escaped", "heatmap_latex"]

#: What LaTeX would read as a command, or join to a ligature; and stand-ins of `safe_text`.
_ESCAPES = {
    **{c: f"\\{c}" for c in "{}$&#%_"},
    **{c: f"{{{c}}}" for c in "-'`,?!"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"{\char34}"},
    **{"␣": r"\textvisiblespace{}", "⏎": r"$\hookleftarrow$", "⇥": r"$\mapsto$"},
    **{"⟨": r"$\langle$", "⟩": r"$\rangle$", "∅": r"$\emptyset$", "…": r"\dots{}"},
    **{"±": r"$\pm$", "·": r"$\cdot$", "−": r"$-$", "×": r"$\times$"},
}
#: Accents that every engine and font encoding has.
_ACCENTS = {
    **{"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u"},
    **{"\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"},
}
#: Other characters are shown by engines that know them, and as code points by pdfLaTeX, which
#: would stop.
_BEGIN = r"""\begingroup
\setlength{\fboxsep}{1pt}\setlength{\parindent}{0pt}\raggedright
\providecommand{\hfattribtext}[2]{\ifdefined\Umathcode #2\else{\scriptsize #1}\fi}
"""


def heatmap_latex(result: Attribution) -> str:
    """Return the prompt, each token on the colour of its total, then the answer and the scale.

    Args:
        result: the attribution.
    """
    sheet = prepare(result, "full")
    prompt = [
        _boxed(unit, total, sheet.total_scale)
        for unit, total in zip(sheet.units, sheet.totals, strict=True)
    ]
    answer = "".join(escaped(flowing(text, marked=False)) for text in sheet.labels)
    about = [
        sheet.total_scale.words(),
        WRITTEN if sheet.has_written else "",
        phrases.meaning(result),
        phrases.completeness(result),
    ]
    legend = escaped(visible("; ".join(part for part in about if part)))
    return (
        f"% A heatmap of hf_attrib; needs \\usepackage{{xcolor}}\n{_BEGIN}"
        + "".join(f"{box}%\n" for box in prompt)
        + f"\\par\\smallskip\\textit{{Answer:}} {answer}%\n"
        + f"\\par\\smallskip{{\\footnotesize {legend}\\par}}\n\\endgroup\n"
    )


def escaped(text: str) -> str:
    r"""Return text as LaTeX that shows it, whatever is in it.

    Args:
        text: without control characters other than newlines.

    >>> print(escaped("50% of {x_1} \\ naïve"))
    50\% of \{x\_1\} \textbackslash{} na\"{i}ve
    """
    parts: list[str] = []
    for known, characters in groupby(unicodedata.normalize("NFC", text), _known):
        run = "".join(characters)
        if known:
            parts += map(_character, run)
        else:
            codes = " ".join(f"U+{ord(c):04X}" for c in run)
            parts.append(f"\\hfattribtext{{{codes}}}{{{run}}}")
    return "".join(parts)


def _known(character: str) -> bool:
    return _character(character) != ""


def _character(character: str) -> str:
    """Return a character as every engine takes it, or nothing."""
    if character == "\n":
        return "\\par\n"
    if character in _ESCAPES or character.isascii():
        return _ESCAPES.get(character, character)
    base, accent = (*unicodedata.normalize("NFD", character), "", "")[:2]
    simple = len(unicodedata.normalize("NFD", character)) == 2 and base.isascii()
    return f"\\{_ACCENTS[accent]}{{{base}}}" if simple and accent in _ACCENTS else ""


def _boxed(unit: Unit, score: float, scale: Scale) -> str:
    """Return a unit on its colour, word by word, so that lines can break between words."""
    style = scale.written(score) if unit.is_written else scale.style(score)
    before, body, after = framed(unit.text, marked=style != Style.null())
    parts = re.findall(r"\s+|\S+", f"{before}{body}{scale.mark(score)}")
    shown = "".join(_gap(part) if part.isspace() else _box(part, style) for part in parts)
    return shown + "".join(map(_gap, re.findall(r"\s+", after)))


def _gap(white: str) -> str:
    return "\\par\n" if "\n" in white else "\\ "


def _box(word: str, style: Style) -> str:
    if style.color is None:
        return escaped(word)
    shown = f"\\underline{{{escaped(word)}}}" if style.underline else escaped(word)
    shown = f"\\textcolor[RGB]{{{_rgb(style.color)}}}{{{shown}}}"
    if style.bgcolor is None:
        return shown
    return f"\\colorbox[RGB]{{{_rgb(style.bgcolor)}}}{{\\strut{shown}}}"


def _rgb(colour: Color) -> str:
    return ",".join(map(str, colour.get_truecolor()))

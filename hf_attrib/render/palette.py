"""Colours and marks for scores, legible on any terminal: many colours, eight, or none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.style import Style
from rich.text import Text

__all__ = ["LEVELS", "Depth", "Scale", "depth_of", "full_colour", "largest", "robust"]

Depth = Literal["full", "256", "eight", "none"]

#: Fractions of full colour at which a token counts as weakly, clearly, strongly involved.
#: Below the first it keeps the terminal's own colours.
LEVELS = (0.1, 1 / 3, 2 / 3)

#: Of the scores one in so many may be stronger than full colour, and at least one; none of fewer
#: than so many, which are read one by one.
_ONE_IN, _FEW = 40, 10
#: Where they would leave the others without colour, full colour is so many times the strongest of
#: these, and at least this fraction of the largest score: what is far weaker may be rounding.
_TIMES, _LEAST = 2.5, 0.01

# Each ramp runs from a muted to a saturated colour of middling lightness: a pale one would glare
# on a dark terminal, a dark one on a light terminal. The further up, the darker and the more vivid,
# so that a stronger score stands out more from either ground. Blue and orange part for colour-blind
# eyes.
_Ramp = tuple[ColorTriplet, ColorTriplet, ColorTriplet]
_SUPPORTS: _Ramp = (
    ColorTriplet(134, 153, 184),
    ColorTriplet(83, 143, 218),
    ColorTriplet(20, 92, 216),
)
_OPPOSES: _Ramp = (
    ColorTriplet(189, 162, 133),
    ColorTriplet(223, 143, 65),
    ColorTriplet(210, 84, 0),
)
_STRENGTH: _Ramp = (
    ColorTriplet(153, 145, 181),
    ColorTriplet(143, 117, 206),
    ColorTriplet(99, 42, 175),
)
# The same ramps in the cube of 256 colours, by number: rounded to it, the colours above lose their
# order.
_CUBE_SUPPORTS = (146, 111, 33, 27)
_CUBE_OPPOSES = (180, 209, 172, 202)
_CUBE_STRENGTH = (146, 140, 135, 93)
_CUBE_BLACK, _CUBE_WHITE = 16, 231
_BLACK, _WHITE = ColorTriplet(0, 0, 0), ColorTriplet(255, 255, 255)
# The three levels in the eight colours that every colour terminal has.
_EIGHT_SUPPORTS = ("black on cyan", "white on blue", "bold white on blue")
_EIGHT_OPPOSES = ("black on yellow", "white on red", "bold white on red")
_EIGHT_STRENGTH = ("black on cyan", "white on magenta", "bold white on magenta")
_SHADES = 4


def depth_of(console: Console) -> Depth:
    """Tell how many colours a console can show.

    Args:
        console: where the heatmap goes.
    """
    if console.no_color or console.color_system is None:
        return "none"
    if console.color_system == "256":
        return "256"
    return "full" if console.color_system == "truecolor" else "eight"


def largest(scores: Iterable[float]) -> float:
    """Return the largest finite magnitude, 0 if there is none.

    Args:
        scores: any numbers.
    """
    return max((abs(s) for s in scores if math.isfinite(s)), default=0.0)


def full_colour(scores: Iterable[float]) -> float:
    r"""Return the magnitude from which on a score has the full colour.

    It is the largest, :math:`s_1`, unless that would leave all others without colour: where
    :math:`s_{k+1} < s_1 / 10` it is

    .. math:: \max(2.5\,s_{k+1}, s_1 / 100), \quad k = \lceil N / 40 \rceil

    of N magnitudes other than 0, 10 or more, in falling order. Heatmaps of other packages saturate
    at a quantile, too; this one only where few scores stand out, and what is left is never full.

    Args:
        scores: any numbers.

    >>> full_colour([3.0, -2.0, 1.0]), full_colour([50.0, 1.0, *[-0.5] * 10])
    (3.0, 2.5)
    """
    sizes = sorted((abs(s) for s in scores if s and math.isfinite(s)), reverse=True)
    if not sizes:
        return 0.0
    rest = sizes[min(math.ceil(len(sizes) / _ONE_IN), len(sizes) - 1)]
    if len(sizes) < _FEW or rest >= LEVELS[0] * sizes[0]:
        return sizes[0]
    return max(_TIMES * rest, _LEAST * sizes[0])


@dataclass(frozen=True)
class Scale:
    """Maps scores to colours, to marks where there are no colours, and to digits.

    Args:
        limit: the magnitude from which on a score is shown at full strength; one above it is
            underlined, too.
        signed: whether scores carry a sign.
        depth: what the console can show.
        strongest: the largest magnitude, where it is above the limit.
    """

    limit: float
    signed: bool
    depth: Depth
    strongest: float = 0.0

    def strength(self, score: float) -> float:
        """Return the score's magnitude as a fraction of the limit; 0 if it is not finite."""
        if not (math.isfinite(score) and self.limit):
            return 0.0
        return min(abs(score) / self.limit, 1.0)

    def level(self, score: float) -> int:
        """Return 0 for next to nothing, up to 3 for the strongest."""
        return sum(self.strength(score) >= bound for bound in LEVELS)

    def beyond(self, score: float) -> bool:
        """Tell whether a score is stronger than full colour says."""
        return math.isfinite(score) and abs(score) > self.limit

    def style(self, score: float) -> Style:
        """Return foreground and background together, or no style at all."""
        level = self.level(score)
        if not level or self.depth == "none":
            return Style.null()
        own = self._colours(score, level)
        return own + Style(bold=True, underline=True) if self.beyond(score) else own

    def written(self, score: float) -> Style:
        """Return the style of what is written in the colour of its score, and not on it."""
        style = self.style(score)
        return Style(color=style.bgcolor, bold=style.bold, underline=style.underline)

    def _colours(self, score: float, level: int) -> Style:
        way = 1 if self.signed and score < 0 else 0 if self.signed else 2
        if self.depth == "eight":
            named = (_EIGHT_SUPPORTS, _EIGHT_OPPOSES, _EIGHT_STRENGTH)[way]
            return Style.parse(named[level - 1])
        fraction = (self.strength(score) - LEVELS[0]) / (1 - LEVELS[0])
        if self.depth == "256":
            return _of_cube((_CUBE_SUPPORTS, _CUBE_OPPOSES, _CUBE_STRENGTH)[way], fraction)
        background = _shade((_SUPPORTS, _OPPOSES, _STRENGTH)[way], fraction)
        ink = _BLACK if _takes_black(background) else _WHITE
        return Style(color=Color.from_triplet(ink), bgcolor=Color.from_triplet(background))

    def bar(self, score: float, cells: int) -> Text:
        """Draw the score's magnitude: solid where it supports, dotted where it opposes.

        Args:
            score: any number.
            cells: of the largest magnitude.
        """
        filled = math.floor(self.strength(score) * cells + 0.5)
        opposes = self.signed and score < 0
        text = Text(("▒" if opposes else "█") * filled, no_wrap=True)
        if self.depth == "eight":
            text.stylize("red" if opposes else "cyan")
        elif self.depth == "256":
            text.stylize(
                Style(color=Color.from_ansi((_CUBE_OPPOSES if opposes else _CUBE_SUPPORTS)[2]))
            )
        elif self.depth == "full":
            # The middle of a ramp stands out from dark grounds and from light ones.
            text.stylize(Style(color=Color.from_triplet((_OPPOSES if opposes else _SUPPORTS)[1])))
        return text

    def mark(self, score: float) -> str:
        """Return what stands in for colour in plain text: sign and strength, or ``"nan"``."""
        if not math.isfinite(score):
            return f" {self.number(score)}"
        return self._signs(score) if self.depth == "none" else ""

    def _signs(self, score: float) -> str:
        return ("⁻" if self.signed and score < 0 else "⁺") * (
            self.level(score) + self.beyond(score)
        )

    def number(self, score: float) -> str:
        """Write a score with three digits at most where the scale is of everyday size."""
        sign = "+" if self.signed else ""
        if not math.isfinite(score) or score == 0:
            return f"{score:{sign}.0f}" if score else "0"
        if not 1e-3 <= self.limit < 1e5:
            return f"{score:{sign}.1e}"
        decimals = max(0, 2 - math.floor(math.log10(self.limit)))
        return f"{score:{sign}.{decimals}f}"

    def words(self, beyond: str = "underlined") -> str:
        """Say what the strongest colour, or the most signs in plain text, stand for.

        Args:
            beyond: how what is stronger than full colour is marked, where there are colours.
        """
        number = replace(self, signed=False).number
        full = f"full colour from {number(self.limit)}"
        if self.depth == "none":
            full, beyond = f"three signs from {number(LEVELS[-1] * self.limit)}", "four signs"
        if self.strongest <= self.limit:
            return full
        return f"{full}; {beyond}: stronger, up to {number(self.strongest)}"

    def ramp(self) -> Text:
        """Draw the scale from its lowest to its highest score."""
        unit = replace(self, limit=1.0, strongest=0.0)
        above = (
            [(i + 1) / _SHADES for i in range(_SHADES)] if self.depth in ("full", "256") else LEVELS
        )
        below = [-fraction for fraction in reversed(above)] if self.signed else []
        cells = [unit._patch(fraction) for fraction in (*below, *above)]
        cells.insert(len(below), Text("0" if self.depth == "none" else " 0 "))
        return Text(" " if self.depth == "none" else "", no_wrap=True).join(cells)

    def _patch(self, score: float) -> Text:
        signs = {"eight": f" {self._signs(score)} ", "none": self._signs(score)}
        return Text(signs.get(self.depth, "  "), self.style(score))


def robust(scores: Iterable[float], signed: bool, depth: Depth) -> Scale:
    """Return a scale that one score far above all others does not take for itself.

    Args:
        scores: any numbers, whose magnitudes decide.
        signed: whether they carry a sign.
        depth: what the console can show.
    """
    sizes = list(scores)
    return Scale(full_colour(sizes), signed, depth, largest(sizes))


def _shade(ramp: _Ramp, fraction: float) -> ColorTriplet:
    """Blend along three stops."""
    half, rest = divmod(max(0.0, fraction) * 2, 1)
    low, high = (ramp[0], ramp[1]) if half < 1 else (ramp[1], ramp[2])
    rest = 1.0 if half >= 2 else rest
    return ColorTriplet(*(round(a + (b - a) * rest) for a, b in zip(low, high, strict=True)))


def _of_cube(ramp: Sequence[int], fraction: float) -> Style:
    """Return one of the 256 colours as ground, and black or white of them on it."""
    ground = Color.from_ansi(ramp[min(int(max(0.0, fraction) * len(ramp)), len(ramp) - 1)])
    black = _takes_black(ground.get_truecolor())
    return Style(color=Color.from_ansi(_CUBE_BLACK if black else _CUBE_WHITE), bgcolor=ground)


def _takes_black(background: ColorTriplet) -> bool:
    """Tell whether black contrasts more than white (WCAG 2.2, relative luminance)."""
    light = _luminance(background)
    return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05)


def _luminance(colour: ColorTriplet) -> float:
    linear = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized
    )
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

"""The ramps: a stronger score looks stronger, at every depth of colours, on any ground."""

import io
import itertools
import math

import pytest
from rich.color import ColorSystem
from rich.console import Console

from hf_attrib.render.palette import Scale, depth_of

SYSTEMS = {"full": ColorSystem.TRUECOLOR, "256": ColorSystem.EIGHT_BIT}
WAYS = {"supports": (True, 1), "opposes": (True, -1), "strength": (False, 1)}
#: What xterm and the console of Linux make of the eight colours.
XTERM = {"yellow": (205, 205, 0), "red": (205, 0, 0), "cyan": (0, 205, 205),
         "blue": (0, 0, 238), "magenta": (205, 0, 205)}  # fmt: skip
LINUX = {"yellow": (170, 85, 0), "red": (170, 0, 0), "cyan": (0, 170, 170),
         "blue": (0, 0, 170), "magenta": (170, 0, 170)}  # fmt: skip


def lab(colour):
    """CIELAB of sRGB under D65, after IEC 61966-2-1 and CIE 15."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in (channel / 255 for channel in colour)]  # fmt: skip
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    x, y, z = (sum(a * b for a, b in zip(row, linear, strict=True)) for row in to_xyz)
    f = [t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116
         for t in (x / 0.9505, y, z / 1.089)]  # fmt: skip
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def shown(depth, way):
    """The ground of scores from weak to strong, as a terminal of that depth has it."""
    signed, sign = WAYS[way]
    scale = Scale(1.0, signed, depth)
    grounds = [scale.style(sign * i / 40).bgcolor for i in range(4, 41)]
    return [ground.downgrade(SYSTEMS[depth]).get_truecolor() for ground in grounds]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("depth", SYSTEMS)
def test_a_stronger_score_stands_out_more_from_a_dark_ground_and_from_a_light_one(depth, way):
    ramp = [lab(colour) for colour in shown(depth, way)]
    for weak, strong in itertools.pairwise(ramp):
        assert strong[0] <= weak[0]
        for ground in ((0, 0, 0), (100, 0, 0)):
            assert math.dist(strong, ground) >= math.dist(weak, ground)
    assert math.dist(ramp[0], ramp[-1]) > 50
    assert len(set(ramp)) >= (30 if depth == "full" else 4)


@pytest.mark.parametrize("theme", [XTERM, LINUX])
@pytest.mark.parametrize("way", WAYS)
def test_with_eight_colours_a_stronger_score_is_darker_and_then_bold(way, theme):
    signed, sign = WAYS[way]
    scale = Scale(1.0, signed, "eight")
    weak, clear, strong = (scale.style(sign * size) for size in (0.2, 0.5, 0.9))
    assert lab(theme[weak.bgcolor.name])[0] > lab(theme[clear.bgcolor.name])[0]
    assert (strong.bgcolor, strong.bold, clear.bold) == (clear.bgcolor, True, None)


def test_the_legend_tells_its_patches_apart():
    for depth in ("full", "256", "eight"):
        ramp = Scale(1.0, True, depth).ramp()
        styles = [str(span.style) for span in ramp.spans]
        assert len(styles) == len(set(styles)) >= 6


@pytest.mark.parametrize(
    ("system", "depth"),
    [("truecolor", "full"), ("256", "256"), ("standard", "eight"), ("windows", "eight"),
     (None, "none")],
)  # fmt: skip
def test_a_console_has_the_depth_of_its_colours(system, depth):
    console = Console(file=io.StringIO(), color_system=system, force_terminal=True, no_color=False)
    assert depth_of(console) == depth

"""A scale that a reader does not misread: one strong score, and what says nothing."""

import io
import random
import re

import pytest
from helpers.made_results import attribution, tokens
from rich.cells import cell_len
from rich.console import Console

from hf_attrib.render import Heatmap, to_text
from hf_attrib.render.html.pieces import shade_class
from hf_attrib.render.palette import full_colour, robust
from hf_attrib.render.safe_text import flowing, framed
from hf_attrib.render.sheet import prepare

DEPTHS = ("full", "256", "eight", "none")
BLANK = ["\n", "\n\n", " ", " " * 40, "\t", "\t\t", " \n", "\n    ", "\u00a0\u3000", "\n\t\n "]


def drawn(score, scale):
    """All that tells scores apart: colours, and signs where there are none."""
    return scale.style(score), scale.mark(score), shade_class(score, scale)


def ansi(result):
    console = Console(file=io.StringIO(), width=100, color_system="truecolor",
                      force_terminal=True, no_color=False, legacy_windows=False)  # fmt: skip
    console.print(Heatmap(result))
    return console.file.getvalue()


def long_prompt(outlier, count=200, seed=0):
    """A prompt of which one token is so many times as strong as all others."""
    draw = random.Random(seed)
    scores = [draw.uniform(-1, 1) for _ in range(count)]
    scores[3], scores[5], scores[7] = 1.0, 0.5, outlier
    return attribution([scores], [f" w{i}" for i in range(count)], ["x"])


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("count", [10, 60, 2000])
def test_what_one_score_dwarfs_still_differs(depth, count):
    scores = [50.0, *[1.0, 0.5] * (count // 2)]
    scale = robust(scores, True, depth)
    shown = [drawn(score, scale) for score in (50.0, 1.0, 0.5)]
    assert shown[0] != drawn(scale.limit, scale)
    for one, other in ((0, 1), (1, 2)):
        assert shown[one][:2] != shown[other][:2]
        assert shown[one][2] != shown[other][2]


@pytest.mark.parametrize("seed", range(4))
def test_a_stronger_score_never_looks_weaker(seed):
    draw = random.Random(seed)
    scores = [draw.paretovariate(0.7) for _ in range(draw.randrange(1, 300))]
    scale = robust(scores, False, "full")
    assert 0 < scale.limit <= scale.strongest == max(scores)
    ranked = sorted(scores)
    looks = [(scale.strength(s), scale.level(s), scale.beyond(s)) for s in ranked]
    assert looks == sorted(looks)
    assert (scale.strongest > scale.limit) == any(map(scale.beyond, scores))
    assert full_colour([-7 * s for s in scores]) == pytest.approx(7 * scale.limit)


def test_colours_are_those_of_the_largest_as_long_as_the_others_have_some():
    for rest in (1.0, 0.5, 0.1):
        assert full_colour([1.0, *[rest] * 50]) == 1.0
    assert full_colour([1.0, *[0.01] * 8]) == 1.0  # few are read one by one
    assert full_colour([1.0, *[1e-9] * 50]) == 0.01  # rounding does not become colourful


def test_every_legend_says_in_words_what_full_colour_is():
    for outlier in (1.0, 50.0):
        result = long_prompt(outlier)
        scale = prepare(result, "full").total_scale
        full = f"full colour from {scale.limit:.2f}"
        assert scale.limit == (1 if outlier == 1 else pytest.approx(2.5, rel=0.05))
        more = ["stronger, up to 50.00"] * (outlier > 1)
        bar = result.plot().axes[-1].get_ylabel()
        for view in (ansi(result), result.to_html(), result.to_latex(), bar):
            flat = " ".join(re.sub(r"\x1b\[[\d;]*m|[{}]", "", view).split())
            assert all(words in flat for words in (full, *more))
        assert "three signs from" in to_text(result)


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("piece", BLANK)
def test_white_space_takes_the_colour_of_one_sign(piece, marked):
    before, body, after = framed(piece, marked=marked)
    assert cell_len(body) == len(body) == 1
    assert not before.strip()
    assert not after.replace("⇥", "").strip()
    assert (before + body + after).count("\n") == flowing(piece, marked=False).count("\n")


def test_no_score_of_white_space_or_the_template_is_hidden():
    pieces = [p for blank in BLANK for p in (blank, "word", "<|im_start|>", "<s>")]
    roles = ["user", "user", "template", "special"] * len(BLANK)
    result = attribution([[1.0] * len(pieces)], tokens(pieces, roles), ["x"])
    shown = to_text(result)
    assert shown.count("⁺⁺⁺]") == len(pieces)
    sheet = prepare(result, "full")
    assert sum(sheet.totals) == pytest.approx(float(result.scores.sum()))
    styles = [sheet.total_scale.written(1.0) if unit.is_written else sheet.total_scale.style(1.0)
              for unit in sheet.units]  # fmt: skip
    assert all(style.color is not None for style in styles)
    assert [style.bgcolor is None for style in styles] == [role != "user" for role in roles]

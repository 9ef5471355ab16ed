"""The heatmap: exact text at fixed widths, and laws that hold for any text and any scores."""

import html
import io
import math
import re
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.made_results import attribution, hostile, paris, tokens
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style

from hf_attrib import compare
from hf_attrib.render import Heatmap, SideBySide, plain, to_svg, to_text
from hf_attrib.render.palette import Scale
from hf_attrib.render.safe_text import visible
from hf_attrib.text import Tokens


def ansi(result, color_system="truecolor", width=80, matrix=False):
    console = Console(
        file=io.StringIO(), width=width, color_system=color_system, force_terminal=True,
        no_color=False, legacy_windows=False,
    )  # fmt: skip
    console.print(Heatmap(result, matrix=matrix))
    return console.file.getvalue()


def style_of(text, piece):
    """The SGR codes in force where ``piece`` is printed."""
    return re.search(r"\x1b\[([\d;]*)m" + re.escape(piece), text).group(1)


def snapshot(name):
    path = Path(__file__).parent / "snapshots" / f"heatmap_{name}.txt"
    return path.read_text(encoding="utf-8").rstrip("\n")


def test_plain_text():
    assert to_text(paris(), width=72) == snapshot("signed")


def test_plain_text_unsigned_without_identity():
    result = attribution(
        [[0.0, 0.25, 1.0]], ["a", " b", "\tc"], ["d\n"], signed=False, identity=None,
        method="saliency", method_fields={}, notes=("scores are norms",),
    )  # fmt: skip
    assert to_text(result, width=60) == snapshot("unsigned")


def test_matrix_in_panels():
    assert to_text(paris(), width=40, matrix=True) == snapshot("matrix")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize("seed", range(6))
def test_every_line_fits(seed, width):
    result = hostile(seed, model="m" * 90, notes=("漢字" * 60,), baseline="\x1b[2J 埃" * 9)
    for line in to_text(result, width=width, matrix=True).split("\n"):
        assert cell_len(line) <= width
    coloured = re.sub(r"\x1b\[[\d;]*m", "", ansi(result, width=width, matrix=True))
    assert max(cell_len(line) for line in coloured.split("\n")) <= width


@pytest.mark.parametrize("width", range(40, 60))
def test_chips_are_left_out_rather_than_cut(width):
    pieces = ["埃菲尔", "铁塔", "在", "巴黎", "👩\u200d💻", "한국어"]
    text = to_text(attribution([[1.0, 0.9, 0.8, 0.7, 0.6, 0.5]], pieces, ["城"]), width=width)
    row = next(line for line in text.split("\n") if line.startswith("城"))
    assert re.fullmatch(r"城 +0\.61(   \S+ \+\d\.\d\d)+ +<0\.1 %", row)


@pytest.mark.parametrize("seed", range(6))
def test_no_text_steers_the_terminal(seed):
    words = "\x1b]0;title\x07 \u202e \x9b [red]"
    run = {"model": words, "notes": (words,), "baseline": words, "target": words, "method": words}
    result = hostile(seed, identity=words, method_fields={"field": words}, **run)
    plain = to_text(result, matrix=True)
    for text in (plain, re.sub(r"\x1b\[[\d;]*m", "", ansi(result, matrix=True))):
        harmful = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert harmful <= {"\n", "\u200d"}
        assert not set("\U000e0101\u3164\ufffe") & set(text)
    assert "[red]" in plain
    assert "\u200d" not in plain.replace("👩\u200d💻", "")


def test_svg_is_whole_and_inert(tmp_path):
    path = tmp_path / "heatmap.svg"
    svg = to_svg(hostile(1), path, width=80, title="<script>{0} \x1b")
    assert path.read_text(encoding="utf-8") == svg
    tags = {element.tag.split("}")[1] for element in ET.fromstring(svg).iter()}
    assert tags <= {"svg", "title", "style", "defs", "clipPath", "rect", "text", "g"}
    assert "@font-face" not in svg
    assert "&lt;script&gt;{0} ␛" in svg


def test_svg_gives_wide_characters_two_cells():
    root = ET.fromstring(to_svg(attribution([[1.0]], ["埃菲尔"], ["a"])))
    lengths = {e.text: float(e.get("textLength")) for e in root.iter() if e.get("textLength")}
    per_cell = {length / cell_len(text) for text, length in lengths.items() if cell_len(text)}
    assert max(per_cell) == pytest.approx(min(per_cell))
    assert any("埃菲尔" in text for text in lengths)


def test_markup_is_literal():
    text = to_text(attribution([[1.0, 0.0]], ["[bold]", "[/bold] :smile:"], ["[/]"]))
    assert "[[bold]⁺⁺⁺][/bold] :smile:" in text
    assert "\n[/]" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[0m", "␛[0m"), ("\x7f", "␡"), ("\x9b", "⟨U+009B⟩"), ("\u202e", "⟨U+202E⟩"),
        ("\ud800", "⟨U+D800⟩"), ("👩🏽\u200d💻", "👩🏽\u200d💻"),
        ("a\u200db", "a⟨U+200D⟩b"), ("\n\t", "\n\t"),
    ],
)  # fmt: skip
def test_stand_ins(text, shown):
    assert visible(text) == shown


def test_signs_have_colours_of_their_own():
    text = ansi(paris())
    styles = [style_of(text, piece) for piece in ("France", "of", "capital")]
    assert len(set(styles)) == 3
    assert all("38;2;" in style and "48;2;" in style for style in styles)
    assert "[France" not in text  # marks are for plain text only


def test_near_zero_keeps_the_terminal_style():
    line = next(line for line in ansi(paris()).split("\n") if "<bos>" in line)
    assert line.startswith("\x1b[2m<bos>\x1b[0mThe \x1b[")


@pytest.mark.parametrize("signed", [True, False])
def test_eight_colours_suffice(signed):
    text = ansi(paris(signed=signed), color_system="standard", matrix=True)
    codes = {int(c) for sgr in re.findall(r"\x1b\[([\d;]+)m", text) for c in sgr.split(";")}
    allowed = {0, 1, 2, *range(30, 38), *range(40, 48)}
    assert codes <= allowed
    assert style_of(text, "France") != style_of(text, "capital")
    assert (style_of(text, "of") in ("37;41", "1;37;41")) is signed


def test_unsigned_uses_one_hue():
    scale = Scale(limit=1.0, signed=False, depth="full")
    assert scale.style(-0.8) == scale.style(0.8)
    signed = replace(scale, signed=True)
    assert len({str(s) for s in (signed.style(0.8), signed.style(-0.8), scale.style(0.8))}) == 3


@pytest.mark.parametrize("signed", [True, False])
def test_ink_contrasts_with_its_ground(signed):
    def luminance(colour):
        parts = [(c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4) for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    scale = Scale(limit=1.0, signed=signed, depth="full")
    for score in torch.linspace(-1, 1, 201).tolist():
        style = scale.style(score)
        assert (style == Style.null()) == (abs(score) < 0.1)
        if style:
            pair = [luminance(c.triplet.normalized) for c in (style.color, style.bgcolor)]
            assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5


def test_long_prompts_fold_around_the_strongest():
    scores = torch.full((1, 2000), 0.001)
    scores[0, [700, 1500]] = torch.tensor([5.0, -3.0])
    text = to_text(attribution(scores, [f" w{i}" for i in range(2000)], ["a"]))
    assert "[w700⁺⁺⁺⁺]" in text
    assert "[w1500⁻⁻⁻⁻]" in text
    assert "\nw688 w689 " in text
    assert "… 688 tokens, 7 % of the attribution …" in text
    assert len(text.split("\n")) < 40
    shown = len(set(re.findall(r"w(\d+)", text)))
    folded = sum(int(n.replace(",", "")) for n in re.findall(r"… ([\d,]+) tokens", text))
    assert shown + folded == 2000


def test_a_long_prompt_of_even_scores_still_fits_a_screen():
    scores = torch.randn(3, 2000, generator=torch.Generator().manual_seed(0))
    text = to_text(attribution(scores, [f" w{i}" for i in range(2000)], ["a", "b", "c"]))
    assert f"w{scores.sum(0).abs().argmax()}" in text
    assert len(text.split("\n")) < 80


def test_long_responses_keep_the_tokens_with_most_to_explain():
    scores = torch.ones(60, 2) * 0.01
    scores[7] = 4.0
    text = to_text(attribution(scores, ["a", "b"], [f"t{i}" for i in range(60)]))
    rows = re.findall(r"^t(\d+) ", text, flags=re.MULTILINE)
    assert "7" in rows
    assert len(rows) == 40
    assert rows == sorted(rows, key=int)
    assert "… 20 more generated tokens, with less to explain …" in text


def test_byte_tokens_of_one_character_become_one():
    inputs = Tokens(
        torch.arange(4), ("a", "<0xF0>", "<0x9F>", "b"), ("user",) * 4,
        ((0, 1), (1, 2), (1, 2), (2, 3)), "a🗼b",
    )  # fmt: skip
    text = to_text(attribution([[0.0, 1.5, 2.5, -1.0]], inputs, ["c"]))
    assert "a[🗼⁺⁺⁺][b⁻]" in text
    assert "🗼 +4.00" in text
    assert "0x" not in text


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("color_system", ["truecolor", "standard", None])
def test_odd_scores_are_shown_as_such(odd, color_system):
    result = attribution([[odd, 2.0], [0.0, 1.0]], ["odd", " two"], ["r", "s"])
    text = ansi(result, color_system=color_system, matrix=True)
    assert f"odd {odd:+.0f}" in text
    assert f"[odd {odd:+.0f}]" in text
    assert not re.search(r"\x1b\[[\d;]*m ?\[?odd", text)


@pytest.mark.parametrize("size", [(2, 0), (2, 3)])
def test_nothing_to_show_does_not_crash(size):
    result = attribution(torch.zeros(size), ["a"] * size[1], ["b"] * size[0])
    assert "tiny/model" in to_text(result, width=40, matrix=True)
    assert ansi(result, matrix=True)


def test_groups_are_called_groups():
    result = paris().group({"the country": (2, 5)}, response={"all": (0, 2)})
    text = to_text(result, width=100, matrix=True)
    assert "total attribution of each group" in text
    assert "\nGenerated groups\ngroup " in text
    assert "rows generated groups" in text
    assert "\nall " in text
    assert "[the country⁺⁺⁺]" in text
    assert "token" not in text.split("\n+ made")[0]
    assert "each token" in to_text(paris()[1])


def test_folded_groups_are_counted_as_such():
    scores = torch.full((1, 2000), 0.001)
    scores[0, 700] = 5.0
    pieces = [piece for i in range(1000) for piece in (f" w{i}", "x")]
    text = to_text(attribution(scores, pieces, ["a"]).group("word"))
    assert "… 338 groups, 10 % of the attribution …" in text
    assert "[w350x⁺⁺⁺⁺]" in text


def test_groups_keep_the_space_before_them():
    result = attribution([[1.0, 1.0, 0.0, 0.0]], [" a", "b", " c", "d"], ["x"]).group("word")
    assert "\n [ab⁺⁺⁺] cd\n" in to_text(result)


def test_generated_prefix_stands_apart():
    inputs = tokens(["Hi", "!", " there"], ["user", "user", "generated"])
    text = to_text(attribution([[1.0, 0.0, 2.0]], inputs, ["."], attribute_to="all"))
    assert "\n[Hi⁺⁺]!\n\nGenerated prefix  " in text
    assert "\n [there⁺⁺⁺]\n" in text
    assert "Generated prefix" not in to_text(paris())


@pytest.mark.parametrize(
    ("target", "meaning"),
    [
        ("log_prob", "+ made the generated token more likely, - less"),
        ("log_odds", "+ made the generated token more likely, - less"),
        ("prob", "+ made the generated token more likely, - less"),
        ("entropy", "+ made the next token more uncertain, - less"),
        ("logit", "+ raised logit, - lowered it"),
        ("margin", "+ raised margin, - lowered it"),
        ("custom: surprisal", "+ raised custom: surprisal, - lowered it"),
    ],
)
def test_what_a_sign_means_depends_on_the_target(target, meaning):
    result = paris(target=target)
    other = replace(result, scores=-result.scores)
    for shown in (to_text(result), str(compare(result, other))):
        assert meaning in shown
    assert meaning in html.unescape(result.to_html())
    assert meaning in html.unescape(compare(result, other).to_html())
    spans = to_text(result.group(response={"all": (0, 2)}))
    plural = meaning.replace("the generated token", "the generated tokens")
    assert plural.replace("the next token", "the next tokens") in spans
    assert "without sign" in to_text(paris(target=target, signed=False))


def test_what_a_sign_means_with_a_contrast():
    contrast = {"contrast_ids": (1, 1), "contrast_pieces": (" Rome", " Rome")}
    assert "+ favours the generated token over ' Rome', - the" in to_text(paris(**contrast))
    own = to_text(paris(target="custom: mine", **contrast))
    assert "+ raised custom: mine less that of ' Rome', - lowered it" in own


def test_counts_read_as_english():
    one = attribution([[1.0]], ["a"], ["b"], missed=0.5)
    assert "1 of 1 target has not converged: its scores" in to_text(one)
    assert "of 1 input\n" in str(compare(one, one))
    odd = to_text(attribution([[math.inf]], ["a"], ["b"]))
    assert "inf %" not in odd
    assert "nan %" not in odd


@pytest.mark.parametrize("width", [20, 30, 40, 60, 100])
def test_narrow_terminals_keep_the_names(width):
    scores = torch.tensor([[1234.5, -800.0, 1.0], [2.0, 700.0, 3.0]])
    result = attribution(scores, ["France", " capital", " of"], ["Paris", " town"], missed=0.5)
    text = to_text(result, width=width)
    for t, name in ((0, "Fran"), (1, "capi")):
        start = text.index("\n" + ("Par", "tow")[t], text.index("Generated tokens"))
        assert name in text[start : start + 60], text
    assert "50.0 %" in text
    flat = " ".join(plain(SideBySide(compare(result, result)), width).split())
    for name in ("Spearman", "Kendall", "cosine", "top 5 in common", "total over the response"):
        assert name in flat or width == 60
    table = flat.split("most first")[1]
    assert "Fra" in table
    assert "cap" in table


def test_scores_of_any_size_keep_three_digits():
    for limit, shown in ((3.1, "+3.10"), (0.052, "+0.0520"), (812.3, "+812"), (1e-7, "+1.0e-07")):
        assert Scale(limit, True, "none").number(limit) == shown


def test_results_print_themselves():
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(paris())
    lines = [line.rstrip() for line in console.file.getvalue().rstrip("\n").split("\n")]
    assert "\n".join(lines) == str(paris()) == to_text(paris())


def test_no_colour_terminals_get_marks(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=80, color_system="truecolor", force_terminal=True)
    console.print(Heatmap(paris()))
    assert "[France⁺⁺⁺]" in console.file.getvalue()
    assert "⁺⁺⁺" not in to_svg(paris())  # a picture is no terminal


@pytest.mark.parametrize(
    ("scores", "missed", "bound", "words"),
    [
        ([[1.0]], 0.5, 0.0, "! 1 of 1 target has not converged: its scores miss"),
        ([[1.0]], 0.0, 0.9, "? 1 of 1 target is uncertain: its scores sum to f(x) - f(x'), but"),
        ([[1e-5]], 0.5, 1e-5, "~ 1 of 1 target has nothing to share out: f(x) - f(x') is below"),
        ([[1.0]], 0.0, None, "single scores have no bound"),
    ],
)
def test_what_is_known_of_sum_and_row_is_told_apart(scores, missed, bound, words):
    result = attribution(scores, ["a"], ["b"], missed=missed)
    bounds = None if bound is None else torch.tensor([bound]).double()
    result = replace(result, error_bound=bounds)
    page = html.unescape(result.to_html())
    for text in (to_text(result, width=200), page):
        assert words in " ".join(text.split())
    assert ("✓ 1 of 1 target converged" in page) == (result.status == ("converged",))


def test_ranks_that_standard_errors_settle_are_counted():
    scores = torch.tensor([[5.0, 1.0, 1.2, -2.0], [4.0, 0.0, 0.0, 0.0]])
    error = torch.tensor([[0.5, 0.1, 0.1, 0.2], [0.5, 0.1, 0.1, 0.2]])
    result = replace(attribution(scores, list("abcd"), ["e", "f"]), standard_error=error)
    assert result.decided.tolist() == [True, False, False, True]
    assert result.top_decided.tolist() == [True, True]
    assert "2 of 4 ranks are decided, and the strongest input of 2 of 2 rows" in " ".join(
        to_text(result, width=200).split()
    )
    unknown = replace(result, standard_error=None)
    assert unknown.decided is None
    assert unknown.top_decided is None
    wide = replace(result, standard_error=error * torch.tensor([20.0, 1, 1, 1]))
    assert wide.decided.tolist() == [False, False, False, False]
    assert wide.top_decided.tolist() == [False, False]
    # What may not move is exactly 0 and has no rank.
    held = replace(result, scores=scores * torch.tensor([1, 0, 0, 1]), standard_error=error * 0)
    assert held.decided.tolist() == [True, False, False, True]
    assert "2 of 2 ranks are decided" in " ".join(to_text(held, width=200).split())


def test_a_row_that_is_right_says_so():
    good = replace(attribution([[1.0]], ["a"], ["b"]), error_bound=torch.zeros(1).double())
    assert "✓ 1 of 1 target converged" in good.to_html()
    assert "no bound" not in to_text(good)

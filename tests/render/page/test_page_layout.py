"""The page is legible in any light, on any screen, for results of any size."""

import itertools
import re

import pytest
import torch
from helpers.made_results import attribution, paris
from helpers.pages import check_facts, selected, shades

from hf_attrib import compare


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def channels(text):
    """Read ``rgb(1, 2, 3)`` or ``color(srgb 0.1 0.2 0.3)``."""
    numbers = [float(n) for n in re.findall(r"[\d.]+(?:e-\d+)?", text)]
    return [n / 255 for n in numbers[:3]] if text.startswith("rgb") else numbers[:3]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("signed", [True, False])
def test_text_is_legible_on_every_shade(show, scheme, signed):
    page = show(paris(signed=signed), color_scheme=scheme)
    pairs = page.eval_on_selector_all(
        ".panel .shades i, .hint, .warning, .row, .facts, dt, .before",
        """all => all.map(e => {
            const own = getComputedStyle(e).backgroundColor;
            const ground = own === "rgba(0, 0, 0, 0)" ? document.body : e;
            return [getComputedStyle(e).color, getComputedStyle(ground).backgroundColor];
        })""",
    )
    assert len(pairs) > 20
    assert min(contrast(channels(a), channels(b)) for a, b in pairs) >= 4.5
    grounds = {ground for _, ground in pairs}
    assert len(grounds) == (21 if signed else 11)


@pytest.mark.parametrize("signed", [True, False])
def test_the_scale_is_drawn_in_full_where_there_is_room(show, signed):
    page = show(paris(signed=signed))
    widths = page.eval_on_selector_all(
        ".panel .shades", "all => all.map(e => e.getBoundingClientRect().width / e.children.length)"
    )
    assert widths
    assert min(widths) >= 9


def test_dark_and_light_follow_the_system_and_the_button(show):
    page = show(paris(), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("details.matrix summary").click()
    page.locator("canvas").wait_for()
    read = "document.querySelector('canvas').toDataURL()"
    dark_matrix = page.evaluate(read)
    page.get_by_role("button", name="Light").click()
    light = page.evaluate(ground)
    assert luminance(channels(dark)) < 0.05 < 0.9 < luminance(channels(light))
    assert page.evaluate(read) != dark_matrix
    page.emulate_media(color_scheme="light")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"dark => {ground} === dark", arg=dark)


def test_a_thousand_inputs_and_two_hundred_tokens(show, tmp_path):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 1000, generator=generator, dtype=torch.float64)
    result = attribution(scores, [f" w{i}" for i in range(1000)], [f" t{t}" for t in range(200)])
    page = show(result)
    assert (tmp_path / "page0.html").stat().st_size < 3_000_000
    assert page.locator(".unit").count() == 1000
    page.locator("#rows .row").nth(150).click()
    check_facts(page, result, 150, 151)
    page.keyboard.press("Shift+Home")
    check_facts(page, result, 0, 151)
    page.locator("details.matrix summary").click()
    box = page.locator("canvas").bounding_box()
    assert box["width"] <= 1280
    assert box["height"] <= 700


@pytest.mark.parametrize("width", [320, 420, 800, 1280])
def test_nothing_runs_off_the_side(show, width):
    result = attribution(
        torch.ones(2, 3), ["x" * 300, "漢" * 200, " word"], ["y" * 200, " z"], model="m" * 200,
        notes=("n" * 300,),
    )  # fmt: skip
    page = show(result, viewport={"width": width, "height": 700})
    page.keyboard.press("ArrowRight")
    page.locator("details.numbers summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 390, 600, 800, 840, 1000, 1280])
def test_no_legend_runs_into_another_or_out_of_its_panel(show, width):
    a = attribution([[1.0, -123456.0]], ["in ", "put"], ["x"])
    b = attribution([[1.0, -1e-7]], ["in ", "put"], ["x"], method="m" * 60)
    page = show(compare(a, b), viewport={"width": width, "height": 700})
    boxes = page.eval_on_selector_all(
        ".panel .scale > *, .panel h2, .panel .hint, .panel .units",
        """all => all.map(e => [e.closest(".panel"), e].flatMap(e => {
            const box = e.getBoundingClientRect();
            return [box.left, box.top, box.right, box.bottom];
        }))""",
    )
    assert len(boxes) == 12
    for left, _, right, _, *own in boxes:
        assert left - 0.5 <= own[0] < own[2] <= right + 0.5
    for one, other in itertools.combinations([box[4:] for box in boxes], 2):
        aside = one[2] <= other[0] + 0.5 or other[2] <= one[0] + 0.5
        assert aside or one[3] <= other[1] + 0.5 or other[3] <= one[1] + 0.5


@pytest.mark.parametrize("size", [(2, 0), (2, 3)])
def test_nothing_to_show_does_not_fail(show, size):
    page = show(attribution(torch.zeros(size), ["a"] * size[1], ["b"] * size[0]))
    page.keyboard.press("ArrowRight")
    page.locator("details.matrix summary").click()
    assert len(selected(page)) == min(1, size[0])


def test_every_bar_has_a_colour(show):
    page = show(attribution([[100.0, 1.0, -0.001]], ["a", " b", " c"], ["x"]))
    bars = page.eval_on_selector_all(".track i", "all => all.map(e => e.className)")
    assert bars == ["supports l10", "supports l1", "opposes l1"]
    assert shades(page) == ["supports l10", "", ""]


def test_an_input_is_never_shortened_for_its_context(show):
    name = "w" * 22
    page = show(attribution([[0.0, 1.0]], ["before and around", f" {name}"], ["x"]),
                viewport={"width": 320, "height": 700})  # fmt: skip
    widths = page.locator(".strongest .input bdi").evaluate_all(
        "all => all.map(e => [e.clientWidth, e.scrollWidth])"
    )
    assert widths[1][0] > 60
    assert widths[0][0] < widths[1][0]


def test_keys_are_not_explained_where_there_are_none(show):
    assert show(paris()).locator(".keys").is_visible()
    touch = show(paris(), has_touch=True, is_mobile=True)
    assert touch.evaluate("matchMedia('(hover: none)').matches")
    assert touch.locator(".keys").is_hidden()

"""The matrix of the page, its table of numbers, and the shades of both."""

import math

import pytest
import torch
from helpers.made_results import attribution, paris
from helpers.pages import check_facts, expected_shades, selected, shades

from hf_attrib.render.palette import full_colour


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_matrix_is_drawn_read_and_clicked(show, keys, scheme):
    page = show(keys, color_scheme=scheme)
    assert page.locator("canvas").count() == 0
    page.locator("details.matrix summary").click()
    canvas = page.locator("canvas")
    size = canvas.evaluate("c => [c.height, c.width]")
    assert size == list(keys.scores.shape)
    t, i = divmod(int(keys.scores.abs().argmax()), keys.scores.shape[1])
    pixel, end = page.evaluate(
        """([t, i]) => {
            const bytes = (pen, x, y) => [...pen.getImageData(x, y, 1, 1).data];
            const pen = new OffscreenCanvas(1, 1).getContext("2d");
            const end = document.querySelector(".shades i:last-child");
            pen.fillStyle = getComputedStyle(end).backgroundColor;
            pen.fillRect(0, 0, 1, 1);
            const canvas = document.querySelector("canvas").getContext("2d");
            return [bytes(canvas, i, t), bytes(pen, 0, 0)];
        }""",
        [t, i],
    )
    assert pixel == end
    box = canvas.bounding_box()
    height, width = (box[side] / n for side, n in zip(("height", "width"), size, strict=True))
    place = {"x": (i + 0.5) * width, "y": (t + 0.5) * height}
    canvas.hover(position=place)
    assert float(page.locator("#tip div").first.inner_text().split()[-1]) == pytest.approx(
        float(keys.scores[t, i]), abs=6e-3
    )
    canvas.click(position=place)
    assert selected(page) == [t]
    check_facts(page, keys, t, t + 1)


def test_all_numbers_stand_in_a_table_without_scripts(show, keys):
    page = show(keys, java_script_enabled=False)
    assert shades(page) == expected_shades(keys.total.tolist())
    page.locator("details.numbers summary").click()
    assert page.locator("tbody tr").count() == len(keys.rows)
    sums = page.locator("tbody td:nth-child(5)").all_inner_texts()
    assert [float(s) for s in sums] == pytest.approx(keys.scores.sum(-1).tolist(), rel=6e-4)
    assert page.locator("#theme").is_hidden()


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_odd_scores_are_shown_as_such(show, odd):
    page = show(attribution([[odd, 2.0]], ["odd", " two"], ["r"]))
    assert shades(page) == ["odd", "supports l10"]
    assert page.locator(".strongest .number").first.inner_text() == f"{odd:+.0f}".replace(
        "+nan", "nan"
    )


def levels(page):
    """The colour of each pixel of the matrix, as its place in the matrix's scale; -1 is odd."""
    page.locator("canvas").wait_for()  # drawn once the panel has opened
    return page.evaluate(
        """() => {
            const shades = [...document.querySelectorAll(".matrix .shades i")];
            const pen = new OffscreenCanvas(1, 1).getContext("2d");
            const byte = (colour) => {
                pen.fillStyle = getComputedStyle(document.body).backgroundColor;
                pen.fillRect(0, 0, 1, 1);
                pen.fillStyle = colour;
                pen.fillRect(0, 0, 1, 1);
                return String(pen.getImageData(0, 0, 1, 1).data);
            };
            const known = shades.map((e) => byte(getComputedStyle(e).backgroundColor));
            const canvas = document.querySelector("canvas");
            const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [...Array(canvas.width * canvas.height).keys()].map(
                (k) => known.indexOf(String(bytes.data.slice(4 * k, 4 * k + 4))));
        }"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_odd_scores_are_alarming_in_the_matrix(show, scheme):
    result = attribution(
        [[math.nan, 2.0, 0.0], [math.inf, -2.0, -math.inf]], list("abc"), ["r", "s"]
    )
    page = show(result, color_scheme=scheme)
    page.locator("details.matrix summary").click()
    assert levels(page) == [-1, 21, 11, -1, 1, -1]
    assert page.locator(".matrix .scale").inner_text().endswith("not finite")
    plain = show(paris())
    plain.locator("details.matrix summary").click()
    assert "finite" not in plain.locator(".matrix .scale").inner_text()
    assert plain.locator(".alarm").is_hidden()


@pytest.mark.parametrize(("signed", "outlier"), [(True, 1.0), (False, 1.0), (True, 50.0)])
def test_the_script_shades_as_the_page_does(show, signed, outlier):
    """Without scripts, with them, and in the matrix: one number has one shade."""
    scores = [k / 128 * (-1) ** k for k in range(129)] + [1.0, 0.0, 1e-30, 0.0625, 0.9375, outlier]
    scores = scores if signed else [abs(s) for s in scores]
    result = attribution([scores], [f" w{i}" for i in range(len(scores))], ["x"], signed=signed)
    expected = expected_shades(scores, signed)
    assert shades(show(result, java_script_enabled=False)) == expected
    page = show(result)
    assert shades(page) == expected
    page.keyboard.press("ArrowRight")
    assert shades(page) == expected
    page.locator("details.matrix summary").click()
    strength = [abs(s) / full_colour(scores) for s in scores]
    sizes = [11 if part > 1 else math.floor(10 * part + 0.5) for part in strength]
    steps = [size * (-1 if s < 0 else 1) for size, s in zip(sizes, scores, strict=True)]
    assert levels(page) == [step + 11 * signed for step in steps]


def test_the_matrix_has_its_own_scale(show, keys):
    page = show(keys)
    page.locator("details.matrix summary").click()
    limit = float(keys.scores.abs().max())
    ends = page.locator(".matrix .scale > span:not(.shades, .words)").all_inner_texts()
    assert [float(end) for end in ends] == pytest.approx([-limit, limit], abs=6e-3)


def test_the_matrix_follows_the_window(show, keys):
    many = attribution(torch.ones(2, 200), [f" w{i}" for i in range(200)], ["a", "b"])
    page = show(many)
    page.locator("details.matrix summary").click()
    wide = page.locator("canvas").bounding_box()["width"]
    page.set_viewport_size({"width": 700, "height": 800})
    page.wait_for_function(
        "wide => document.querySelector('canvas').getBoundingClientRect().width < wide", arg=wide
    )
    assert page.locator("canvas").count() == 1
    narrow = show(keys, viewport={"width": 420, "height": 800})
    narrow.locator("details.matrix summary").click()
    assert narrow.locator(".heads bdi").all_inner_texts() == [p.strip() for p in keys.pieces]
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 420

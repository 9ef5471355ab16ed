"""Frames of notebooks: as high as what they hold, and as dark as the notebook around them."""

import pytest
import torch
from helpers.made_results import attribution, paris, passages

from hf_attrib import RobustAccuracy, compare

#: Notebooks are themed by themselves, whatever the system is.
NOTEBOOK = "<!doctype html><body style='color: {}; background: {}'><div>{}</div>"
LIGHT, DARK = ("#24292f", "#ffffff"), ("rgb(220, 220, 220)", "#1e1e1e")
KINDS = {
    "attribution": paris,
    "comparison": lambda: compare(paris(), paris()),
    "passages": passages,
    "text": lambda: RobustAccuracy((0.0, 1.0), (1.0, 0.5), (1.0, 0.0)),
}


def long():
    """A result whose list of inputs and whose prompt are long."""
    scores = torch.linspace(-1, 1, 600)[None].repeat(30, 1)
    return attribution(scores, [f" w{i}" for i in range(600)], [f" t{t}" for t in range(30)])


def lightness(frame):
    """The mean channel of the page's ground, from 0 to 255."""
    ground = frame.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    return sum(map(int, ground[4:-1].split(", "))) / 3


def until(frame, holds):
    """Wait for what an expression says; the page's own policy lets nobody poll within it."""
    for _ in range(100):
        if frame.evaluate(holds):
            return
        frame.page.wait_for_timeout(20)
    pytest.fail(f"never so: {holds}")


def grown(page, number=0):
    """A frame of a page, once it is as high as what it holds."""
    frame = page.frames[1 + number]
    until(frame, "Math.abs(document.body.getBoundingClientRect().height - innerHeight) < 2")
    return frame


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_as_dark_as_the_notebook_whatever_the_system_is(show, kind):
    shown = KINDS[kind]()._repr_html_()
    for theme, system, low, high in ((DARK, "light", 0, 40), (LIGHT, "dark", 240, 255)):
        page = show(NOTEBOOK.format(*theme, shown), color_scheme=system)
        frame = grown(page)
        until(frame, f"document.documentElement.style.colorScheme !== '{system}'")
        assert low <= lightness(frame) <= high
        for changed in ("light", "dark"):
            page.emulate_media(color_scheme=changed)
            until(frame, f"matchMedia('(prefers-color-scheme: {changed})').matches")
            assert low <= lightness(frame) <= high


def test_a_frame_follows_when_the_notebook_changes(show):
    page = show(NOTEBOOK.format(*LIGHT, paris()._repr_html_()))
    frame = grown(page)
    frame.locator("details.matrix summary").click()
    frame.locator("canvas").wait_for()
    read = "document.querySelector('canvas').toDataURL()"
    before = frame.evaluate(read)
    page.evaluate("document.body.style.color = 'white'")
    until(frame, "document.documentElement.style.colorScheme === 'dark'")
    assert lightness(frame) < 40
    assert frame.evaluate(read) != before


@pytest.mark.parametrize(("made", "width"), [(long, 1200), (passages, 500), (paris, 500)])
def test_a_frame_is_as_high_as_its_page_and_nothing_scrolls_within(show, made, width):
    page = show(
        NOTEBOOK.format(*LIGHT, made()._repr_html_()), viewport={"width": width, "height": 600}
    )
    frame = grown(page)
    for details in frame.locator("details").all():
        before = page.locator("iframe").bounding_box()["height"]
        details.locator("summary").click()
        page.wait_for_function(f"document.querySelector('iframe').clientHeight > {before}")
    grown(page)
    hidden = frame.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.scrollHeight > e.clientHeight + 2 && "
        "getComputedStyle(e).overflowY !== 'visible' && e.clientHeight > 2).map(e => e.className)"
    )
    assert hidden == []


def test_two_frames_keep_their_heights_apart(show):
    both = paris()._repr_html_() + long()._repr_html_()
    page = show(NOTEBOOK.format(*LIGHT, both))
    low, high = (grown(page, i).evaluate("innerHeight") for i in range(2))
    assert low < high


def test_a_page_tells_others_no_more_than_its_height(show):
    shown = paris()._repr_html_()
    listening = "<script>said = []; addEventListener('message', e => said.push(e.data))</script>"
    page = show(NOTEBOOK.format(*LIGHT, listening + shown))
    frame = grown(page)
    frame.locator("#rows .row").first.click()
    said = page.evaluate("said")
    assert said
    assert all(list(one) == ["height"] and isinstance(one["height"], int) for one in said)


def test_a_page_on_its_own_neither_says_nor_hears_anything(show):
    for made in (paris, passages):
        assert "postMessage" not in made().to_html()

"""The page of passages: what belongs together is lit both ways, by mouse and by keyboard."""

from dataclasses import replace

import pytest
from helpers.made_results import HOSTILE, attribution, passages
from helpers.pages import ATTACKS

LONG = " ".join(["Ada is Eve."] * 100)
#: By construction: which passages each sentence rests on.
CITED = {1: {2}, 2: {1, 3}, 3: set()}
CITING = {1: {2}, 2: {1}, 3: {2}, 4: set()}


def lit(page, kind):
    """The numbers of what says in words that it belongs to what is pointed at."""
    said = page.eval_on_selector_all(
        f"[id^={kind}-]",
        "all => all.map(e => [e.id, getComputedStyle(e, '::after').content, "
        "getComputedStyle(e).backgroundColor])",
    )
    grounds = {ground for _, word, ground in said if word != "none"}
    plain = {ground for _, word, ground in said if word == "none"}
    assert not grounds & (plain - {page.evaluate(FOCUSED)})
    return {int(name.rpartition("-")[2]) for name, word, _ in said if word != "none"}


FOCUSED = (
    "getComputedStyle(document.activeElement.closest('.lights') || document.body).backgroundColor"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_click_lights_what_belongs_to_it_both_ways(show, scheme):
    page = show(passages(), color_scheme=scheme)
    assert lit(page, "passage") == lit(page, "sentence") == set()
    for sentence, cited in CITED.items():
        page.locator(f"#sentence-{sentence}").click(position={"x": 5, "y": 5})
        assert lit(page, "passage") == cited
    for passage, citing in CITING.items():
        page.locator(f"#passage-{passage}").click(position={"x": 5, "y": 5})
        assert lit(page, "sentence") == citing
        assert lit(page, "passage") == set()
    page.locator("h1").click()
    assert lit(page, "passage") == lit(page, "sentence") == set()


def test_rows_of_the_table_are_lit_as_well(show):
    page = show(passages())
    page.locator("#sentence-2").click(position={"x": 5, "y": 5})
    edges = page.eval_on_selector_all(
        "tbody tr", "all => all.map(e => getComputedStyle(e).boxShadow)"
    )
    transparent = "rgba(0, 0, 0, 0)"
    assert [not edge.startswith(transparent) for edge in edges] == [True, False, True, False]
    page.locator("#row-2 a").focus()
    assert lit(page, "sentence") == {1}


def test_the_keyboard_does_the_same(show):
    page = show(passages())
    page.keyboard.press("Tab")
    assert lit(page, "passage") == {2}
    page.keyboard.press("Tab")  # the link to [2], within the sentence
    assert lit(page, "passage") == {2}
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "passage-2"
    assert lit(page, "sentence") == {1}


def test_the_table_has_both_ranks_and_says_who_moved(show):
    page = show(passages())
    heads = page.locator("thead th").all_inner_texts()
    for row, found in zip(
        page.locator("tbody tr").all(),
        (("1", "2", "down 1"), ("4", "1", "up 3"), ("3", "3", "same"), ("2", "4", "down 2")),
        strict=True,
    ):
        cells = dict(zip(heads, row.locator("th, td").all_inner_texts(), strict=True))
        assert (cells["retrieved"], cells["used"], cells["moved"]) == found
        assert cells["status"] in ("joint", "against")


def test_long_passages_are_folded(show):
    page = show(passages((LONG, "Bob is out.", "c", "d")))
    folded = page.locator("#passage-1 .text")
    assert not folded.is_visible()
    assert page.locator("#passage-2 .text").is_visible()
    page.locator("#passage-1 summary").click()
    assert folded.inner_text() == LONG.strip()
    page.locator("#passage-1 summary").press("Enter")
    assert not folded.is_visible()


@pytest.mark.parametrize("width", [320, 700, 1280])
def test_nothing_stands_out_of_the_page(show, width):
    page = show(passages((LONG, "b" * 300, "c", "d")), viewport={"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_notebook_shows_the_page_without_links_which_would_lead_out_of_it(show):
    page = show(f"<!doctype html><body>{passages()._repr_html_()}")
    frame = page.frames[1]
    assert frame.locator("a").count() == 0
    frame.locator("#sentence-2").click(position={"x": 5, "y": 5})
    assert lit(frame, "passage") == {1, 3}
    assert "[1][3]" in frame.locator("#sentence-2").inner_text().replace(" ", "")


def test_hostile_text_stays_text(show):
    texts = ("".join(ATTACKS), "".join(HOSTILE), "<b>", "</style>*{display:none}")
    page = show(passages(texts, model=ATTACKS[0], notes=tuple(ATTACKS)))
    assert page.evaluate("window.owned") is None
    assert page.locator("script, img, svg, iframe, base, link, b").count() == 0
    assert page.locator("style").count() == 2
    assert page.locator("#passage-4 .text").inner_text() == texts[3]
    page.locator("#sentence-1").click(position={"x": 5, "y": 5})
    assert lit(page, "passage") == {2}


def explained_from_documents():
    """An attribution whose documents came with the table that they have by themselves."""
    made = passages()
    pieces = [d.text for d in made.run.documents]
    result = attribution([[2.0, 6.0, 2.0, -3.0]] * 2, pieces, [" Bob", "."])
    return replace(result, passages=made)


def read(page):
    """All that a page says of passages and of sentences, and the table."""
    return page.locator(".lights, .lights td").all_inner_texts()


def test_an_attribution_shows_the_passages_that_came_with_it(show):
    result = explained_from_documents()
    page, alone = show(result), show(result.passages)
    assert read(page) == read(alone)
    assert len(read(page)) > 40
    page.locator("#sentence-2").click(position={"x": 5, "y": 5})
    assert lit(page, "passage") == {1, 3}
    page.locator("#row-2 a").focus()
    assert lit(page, "sentence") == {1}
    page.locator("#rows .row").first.click()  # what the page does besides, it still does
    assert page.locator("#chosen-title").inner_text() == "“Bob”"
    assert "the passage was used, not that it is true" in page.locator(".passages").inner_text()
    assert show(replace(result, passages=None)).locator(".lights").count() == 0


def test_an_attribution_with_passages_has_no_links_in_a_notebook(show):
    page = show(f"<!doctype html><body>{explained_from_documents()._repr_html_()}")
    frame = page.frames[1]
    assert frame.locator("a").count() == 0
    frame.locator("#sentence-2").click(position={"x": 5, "y": 5})
    assert lit(frame, "passage") == {1, 3}

"""Where pages go: into notebooks, into files, and there from the command line."""

import html
import re
from dataclasses import replace

import pytest
import torch
from helpers.made_results import attribution, paris
from helpers.pages import ATTACKS, HOST, PROMPT

import hf_attrib
from hf_attrib.cli import main


def test_in_a_notebook_the_page_keeps_to_its_frame(show):
    result = replace(paris(), run=replace(paris().run, notes=ATTACKS))
    page = show(HOST.format(result._repr_html_()))
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").evaluate("e => getComputedStyle(e).fontSize") == "19px"
    frame.locator("#rows .row").first.click()
    assert frame.locator("#chosen-title").inner_text() == "“Paris”"
    page.keyboard.press("ArrowRight")
    assert frame.locator("#chosen-title").inner_text() == "“.”"
    assert page.evaluate("[window.pressed, window.owned]") == [None, None]
    with pytest.raises(Exception, match="sandboxed"):
        frame.locator("body").evaluate("() => localStorage.length")
    assert page.locator("pre").text_content() == str(result)
    assert page.locator("iframe").get_attribute("sandbox") == "allow-scripts"


def test_a_notebook_is_spared_the_numbers_of_a_large_result(show):
    scores = torch.randn(60, 900, generator=torch.Generator().manual_seed(0))
    result = attribution(scores, [f" w{i}" for i in range(900)], [f" t{t}" for t in range(60)])
    for shown, count in (
        (result, "54,000"),
        (hf_attrib.compare(result, result), "108,000"),
    ):
        frame = shown._repr_html_()
        assert len(frame) < 0.6 * len(shown.to_html())
        page = show(HOST.format(frame)).frame_locator("iframe")
        assert f"the {count} single scores are left out here" in page.locator("header").inner_text()
        assert page.locator("details, #data").count() == 0
        assert page.locator("script").count() == 1  # how high the page is
        assert page.locator(".unit.l10").count() > 0
    assert "left out" not in result.to_html()


def test_the_page_is_written_whole(tmp_path):
    path = tmp_path / "page.html"
    document = paris().to_html(path)
    assert path.read_text(encoding="utf-8") == document == paris().to_html()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", document)
    assert html.escape(document, quote=False)[:9] in paris()._repr_html_()


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


def test_the_command_line_writes_pages(tmp_path, capsys):
    page, saved, shown = (tmp_path / name for name in ("a.html", "a.json", "b.html"))
    quick = ("--method", "integrated_gradients", "--steps", "2", "--max-new-tokens", "2")
    assert run("explain", PROMPT, *quick, "--html", page, "--json", saved) == 0
    assert run("show", saved, "--html", shown) == 0
    assert shown.read_text() == page.read_text() == hf_attrib.load(saved).to_html()
    assert run("compare", saved, saved, "--html", shown) == 0
    result = hf_attrib.load(saved)
    assert shown.read_text() == hf_attrib.compare(result, result).to_html()
    assert run("compare", saved, saved, "--html", tmp_path) == 2
    capsys.readouterr()
    assert run("explain", PROMPT, "--html", tmp_path / "none" / "a.html") == 2
    assert "cannot write" in capsys.readouterr().err
    assert run("show", saved, "--html", "-") == 2

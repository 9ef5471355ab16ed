"""Text stays text on the page, and nothing that gets into it gets out."""

import socket
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from helpers.made_results import HOSTILE, attribution, hostile, paris, tokens
from helpers.pages import ATTACKS, selected

from hf_attrib.text import Span

#: What a page is made of, besides what its script makes.
TAGS = {
    "ASIDE", "B", "BDI", "BUTTON", "CANVAS", "DD", "DETAILS", "DIV", "DL", "DT", "FOOTER", "H1",
    "H2", "H3", "HEADER", "I", "LI", "MAIN", "NOSCRIPT", "OL", "P", "SCRIPT", "SECTION", "SPAN",
    "STRONG", "SUMMARY", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR",
}  # fmt: skip


def assert_inert(page):
    assert page.title() == page.evaluate("document.querySelector('title').textContent")
    assert page.evaluate("window.owned") is None
    found = set(page.evaluate("[...document.body.querySelectorAll('*')].map(e => e.tagName)"))
    assert found <= TAGS
    assert page.locator("script").count() == 2
    assert page.locator("body").evaluate("e => getComputedStyle(e).display") == "block"
    attributes = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    )
    assert not [name for name in attributes if name.startswith("on")]


def test_hostile_text_stays_text(show):
    words = " ".join(ATTACKS)
    run = {"model": words, "notes": ATTACKS, "baseline": words, "target": words, "method": words}
    inputs = tokens([*ATTACKS, *HOSTILE])
    columns = (Span(0, 1, words), *(Span(i, i + 1) for i in range(1, len(inputs))))
    scores = torch.randn(len(ATTACKS), len(inputs), generator=torch.Generator().manual_seed(0))
    result = attribution(scores, inputs, list(ATTACKS), missed=0.5, identity=words, **run)
    page = show(replace(result, columns=columns))
    page.locator("details.matrix summary").click()
    page.locator("details.numbers summary").click()
    for t, attack in enumerate(ATTACKS):
        row = page.locator("#rows .row").nth(t)
        assert row.text_content() == attack.replace("\x1b", "␛").replace(
            "\u202e", "⟨U+202E⟩"
        ).replace("\u2069", "⟨U+2069⟩")
        row.click()
    for i in range(0, len(inputs), 7):
        page.locator(".unit").nth(i).hover()
    assert_inert(page)
    assert ATTACKS[0] in page.locator("h1").inner_text()
    assert "49" not in page.locator("h1").inner_text()
    assert not set("\x1b\u202e\u2066\u2069\x07\x9b") & set(page.content())


@pytest.mark.parametrize("seed", range(3))
def test_any_text_can_be_selected(show, seed):
    result = hostile(seed)
    page = show(result)
    for _ in result.rows:
        page.keyboard.press("ArrowRight")
    assert selected(page) == [len(result.rows) - 1]
    assert_inert(page)


def heard(server):
    """What clients said to a server that does not answer; a mere connection says nothing."""
    said = b""
    with suppress(BlockingIOError):
        while True:
            with server.accept()[0] as client, suppress(BlockingIOError):
                client.setblocking(False)
                said += client.recv(1000)
    return said


def test_what_gets_in_gets_nowhere(show):
    page = show(paris())
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        page.evaluate(
            """port => {
                const there = `http://127.0.0.1:${port}/`;
                window.blocked = [];
                const note = event => blocked.push(event.effectiveDirective);
                addEventListener("securitypolicyviolation", note);
                document.body.insertAdjacentHTML("beforeend",
                    `<img src=${there}><iframe src=${there}></iframe><b style='color:red'></b>` +
                    `<link rel=stylesheet href=${there}><img src=data:x onerror='owned = 1'>`);
                const script = document.createElement("script");
                script.textContent = "window.owned = 1";
                document.body.append(script);
                fetch(there).catch(() => 0);
                navigator.sendBeacon(there);
            }""",
            server.getsockname()[1],
        )
        expected = ["connect-src", "frame-src", "img-src", "script-src-elem"]
        expected += ["style-src-attr", "style-src-elem"]
        page.wait_for_function("all => all.every(one => blocked.includes(one))", arg=expected)
        page.wait_for_timeout(200)
        assert heard(server) == b""
    assert page.evaluate("window.owned") is None

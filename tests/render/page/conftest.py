"""Pages in a real browser, which is watched meanwhile."""

import os
import shutil

import pytest
from helpers.pages import PROMPT, explained

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-sync", "--disable-component-update",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = f"needs a browser: none of {', '.join(NAMES)} was found"
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(missing)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield opened
        opened.close()


def forgive(request, events):
    """Forget a request that the page's own policy stopped."""
    if request.failure == "csp":
        events.remove(request.url)


@pytest.fixture
def show(browser, tmp_path):
    """Open a document or a result, watching what it does besides being shown."""
    contexts, events = [], []

    def opened(document, **options):
        path = tmp_path / f"page{len(contexts)}.html"
        if isinstance(document, str):
            path.write_text(document, encoding="utf-8")
        else:
            document.to_html(path)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5_000)
        page.on("pageerror", lambda error: events.append(f"error {error}"))
        page.on("dialog", lambda dialog: events.append("dialog") or dialog.dismiss())
        context.on("request", lambda request: events.append(request.url))
        context.on("requestfailed", lambda request: forgive(request, events))
        page.goto(path.as_uri())
        assert events[-1:] == [path.as_uri()]
        events.pop()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert events == []


@pytest.fixture(scope="module")
def keys():
    return explained("keys-llama", PROMPT, max_new_tokens=5)


@pytest.fixture(scope="module")
def phonemes():
    return explained("g2p-t5", "page", attribute_to="all")

"""The demo for a Space, in a real browser: what it shows is the page of the result."""

import sys
from pathlib import Path

import pytest

SPACE = Path(__file__).parents[3] / "examples" / "space"


@pytest.fixture
def served(monkeypatch):
    pytest.importorskip("gradio", reason="needs pip install gradio")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.syspath_prepend(str(SPACE))
    import app

    page = app.demo()
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    yield address
    page.close()
    sys.modules.pop("app")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of gradio and what it imports
def test_the_demo_explains_what_is_typed_and_says_what_is_wrong(served, browser):
    context = browser.new_context()
    local = lambda url: url.startswith((served, "data:", "blob:", "about:"))  # noqa: E731
    context.route(lambda url: not local(url), lambda route: route.abort())  # nothing is downloaded
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(served)
    page.get_by_label("Prompt").fill("Ada's key is red. Q: What color is Ada's key? A:")
    page.get_by_role("button", name="Explain").click()
    shown = page.frame_locator("iframe")
    rows = shown.locator("#rows .row")
    rows.first.wait_for()
    assert "red" in " ".join(rows.all_inner_texts())
    assert shown.locator(".unit").count() > 10
    page.get_by_label("Prompt").fill("")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("the prompt is empty; give at least one token to explain").wait_for()
    context.close()

"""The page, in a real browser: what it shows, how it is steered, and that it stays closed."""

import html
import math
import os
import re
import shutil
import socket
import warnings
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from helpers.made_results import HOSTILE, attribution, hostile, paris, sampled, tokens

import hf_attrib
from hf_attrib import embedded
from hf_attrib.cli import main
from hf_attrib.errors import AttributionWarning
from hf_attrib.methods import IntegratedGradients
from hf_attrib.text import Span, Tokens

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-sync", "--disable-component-update",
)  # fmt: skip
#: What a page is made of, besides what its script makes.
TAGS = {
    "ASIDE", "B", "BDI", "BUTTON", "CANVAS", "DD", "DETAILS", "DIV", "DL", "DT", "FOOTER", "H1",
    "H2", "H3", "HEADER", "I", "LI", "MAIN", "NOSCRIPT", "OL", "P", "SCRIPT", "SECTION", "SPAN",
    "STRONG", "SUMMARY", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR",
}  # fmt: skip
ATTACKS = (
    "<script>window.owned = 1; document.title = 'owned'</script>",
    "</script><script>window.owned = 2</script>",
    "<img src=https://evil.example/x onerror='window.owned = 3'>",
    "</style><style>* { display: none }</style>",
    '"><svg onload=alert(1)>',
    "' onmouseover='window.owned = 4' x='",
    "</textarea></title><base href=https://evil.example>",
    "<!--", "-->", "]]>", "&lt;b&gt;", "{{ 7 * 7 }}", "{% for x in 1 %}", "{# gone #}", "${7*7}",
    "<link rel=stylesheet href=//evil.example/x>", "javascript:alert(1)", "\\u003cscript\\u003e",
    "<iframe srcdoc='<script>alert(1)</script>'>", "[bold]", "\x1b[31m", "\u202egnp.exe\u2069",
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


def explained(model, prompt, **options):
    """Explain an answer of an embedded model; not all of its tokens have to converge."""
    explainer = hf_attrib.Explainer(*embedded.load(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttributionWarning)
        return explainer.explain(prompt, **options)


@pytest.fixture(scope="module")
def keys():
    return explained("keys-llama", PROMPT, max_new_tokens=5)


@pytest.fixture(scope="module")
def phonemes():
    return explained("g2p-t5", "page", attribute_to="all")


def facts(page):
    """The numbers of the selection, by name."""
    names, values = (page.locator(f".chosen {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def shades(page):
    """The class that colours each unit of the prompt."""
    classes = page.eval_on_selector_all(".unit", "all => all.map(e => e.className)")
    return [
        " ".join(c for c in one.split() if c not in ("unit", "quiet", "unpaired"))
        for one in classes
    ]


def expected_shades(scores, signed=True, floor=0.0):
    """Ten steps of the largest score, rounded half up."""
    limit = max(floor, max(map(abs, scores)))
    levels = [math.floor(10 * abs(score) / limit + 0.5) for score in scores]
    signs = ["size" if not signed else "opposes" if s < 0 else "supports" for s in scores]
    return [f"{sign} l{level}" if level else "" for sign, level in zip(signs, levels, strict=True)]


def selected(page):
    chosen = page.locator("#rows .row[aria-selected=true]")
    return [int(i) for i in chosen.evaluate_all("all => all.map(e => e.dataset.i)")]


def check_facts(page, result, first, stop):
    rows = slice(first, stop)
    shown = facts(page)
    sums = result.scores[rows].double().sum()
    difference = (result.value[rows].double() - result.reference_value[rows].double()).sum()
    gap = float((sums - difference).abs() / difference.abs().clamp_min(result.run.resolution))
    assert float(shown["sum of scores"]) == pytest.approx(float(sums), rel=6e-4)
    assert float(shown["f(x) - f(x')"]) == pytest.approx(float(difference), rel=6e-4)
    percent = 100 * gap
    assert shown["gap"] == ("<0.1 %" if percent < 0.05 else f"{percent:.1f} %")
    converged = result.converged[rows].tolist()
    if stop - first == 1:
        assert shown["converged"] == ("✓ yes" if converged[0] else "! no")
    else:
        mark = "✓" if all(converged) else "!"
        assert shown["converged"] == f"{mark} {sum(converged)} of {len(converged)}"


def test_totals_come_first(show, keys):
    page = show(keys)
    assert page.title() == f"{keys.run.model} · hf_attrib"
    assert page.locator("#chosen-title").inner_text() == "Whole response"
    assert page.locator("#whole").get_attribute("aria-pressed") == "true"
    assert selected(page) == []
    assert shades(page) == expected_shades(keys.total.tolist())
    assert "".join(page.locator(".units").all_text_contents()) == "".join(keys.pieces)
    assert page.locator("#rows").text_content() == "".join(keys.response_pieces)
    check_facts(page, keys, 0, len(keys.rows))


def test_a_click_shows_where_a_token_came_from(show, keys):
    page = show(keys)
    floor = 0.1 * keys.scores.abs().max()
    for t in range(len(keys.rows)):
        page.locator("#rows .row").nth(t).click()
        assert selected(page) == [t]
        check_facts(page, keys, t, t + 1)
        assert shades(page) == expected_shades(keys.scores[t].tolist(), floor=floor)
    page.locator("#rows .row").nth(t).click()
    assert selected(page) == []
    assert page.locator("#chosen-title").inner_text() == "Whole response"


def test_strongest_inputs_are_listed_with_their_numbers(show, keys):
    page = show(keys)
    page.locator("#rows .row").nth(3).click()
    row = keys.scores[3].tolist()
    order = sorted(range(len(row)), key=lambda i: -abs(row[i]))[:10]
    numbers = page.locator(".strongest .number").all_inner_texts()
    assert [float(n) for n in numbers] == pytest.approx([row[i] for i in order], abs=6e-3)
    names = page.locator(".strongest .input").all_inner_texts()
    assert all(n.endswith(keys.pieces[i].strip()) for n, i in zip(names, order, strict=True))
    page.locator(".strongest button").first.hover()
    assert page.locator(".unit.pointed").get_attribute("data-i") == str(order[0])


def test_the_keyboard_does_it_all(show, keys):
    page = show(keys)
    last = len(keys.rows) - 1
    steps = {
        "ArrowRight": [0], "ArrowLeft": [0], "End": [last], "Home": [0], "Shift+ArrowRight": [0, 1],
        "Shift+End": list(range(last + 1)), "Escape": [],
    }  # fmt: skip
    for key, rows in steps.items():
        page.keyboard.press(key)
        assert selected(page) == rows, key
        if rows:
            check_facts(page, keys, rows[0], rows[-1] + 1)
    page.locator("#theme").focus()
    page.keyboard.press("ArrowLeft")
    assert selected(page) == [last]
    assert page.evaluate("document.activeElement.id") == "rows"
    assert page.locator("#rows").get_attribute("aria-activedescendant") == f"row{last}"
    piece = keys.response_pieces[last].strip()
    assert page.locator("#status").text_content().startswith(f"“{piece}”: probability")
    outline = page.locator("#rows").evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"
    page.locator("#whole").focus()
    page.keyboard.press("Enter")
    assert selected(page) == []


def test_shift_click_selects_a_span(show, keys):
    page = show(keys)
    page.locator("#rows .row").nth(3).click()
    page.locator("#rows .row").nth(1).click(modifiers=["Shift"])
    assert selected(page) == [1, 2, 3]
    check_facts(page, keys, 1, 4)
    sums = keys.scores[1:4].sum(0).tolist()
    assert shades(page) == expected_shades(sums)
    probability = float(keys.probability[1:4].double().prod())
    assert float(facts(page)["product of probabilities"]) == pytest.approx(probability, abs=6e-3)


def test_hovering_previews_and_leaving_restores(show, keys):
    page = show(keys)
    page.locator("#rows .row").nth(1).click()
    pinned = shades(page)
    page.locator("#rows .row").nth(3).hover()
    assert selected(page) == [1]
    check_facts(page, keys, 3, 4)
    assert shades(page) != pinned
    page.locator("h1").hover()
    assert shades(page) == pinned
    check_facts(page, keys, 1, 2)


def test_an_input_tells_its_score(show, keys):
    page = show(keys)
    page.locator("#rows .row").nth(0).click()
    i = int(keys.scores[0].abs().argmax())
    page.locator(f".unit[data-i='{i}']").hover()
    first, second = page.locator("#tip div").all_inner_texts()
    assert first.startswith(keys.pieces[i].strip())
    assert float(first.split()[-1]) == pytest.approx(float(keys.scores[0, i]), abs=6e-3)
    assert second == f"input {i + 1}, for “{keys.response_pieces[0].strip()}”"
    page.locator("h1").hover()
    assert page.locator("#tip").is_hidden()


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


def test_an_encoder_decoder_shows_its_generated_prefix(show, phonemes):
    page = show(phonemes)
    prompt, prefix = page.locator(".units").all()
    generated = [role == "generated" for role in phonemes.roles]
    assert prompt.locator(".unit").count() == generated.count(False)
    assert prefix.locator(".unit").count() == generated.count(True) > 0
    page.keyboard.press("ArrowLeft")
    check_facts(page, phonemes, len(phonemes.rows) - 1, len(phonemes.rows))


def test_what_has_not_converged_is_marked(show):
    page = show(paris())
    marked = page.locator("#rows .missed")
    assert marked.all_inner_texts() == ["."]
    assert marked.get_attribute("aria-label") == "., not converged"
    assert "wavy" in marked.evaluate("e => getComputedStyle(e).textDecoration")
    assert "1 of 2 targets has not converged" in page.locator(".warning").inner_text()
    marked.click()
    assert facts(page)["converged"] == "! no"
    good = show(attribution([[1.0]], ["a"], ["b"]))
    assert "✓ 1 of 1 target converged" in good.locator("header").inner_text()
    assert good.locator(".missed, .warning").count() == 0


def test_scores_without_sign_have_one_hue_and_no_identity(show):
    result = attribution(
        [[0.0, 0.25, 1.0]], ["a", " b", " c"], ["d"], signed=False, identity=None,
    )  # fmt: skip
    page = show(result)
    assert shades(page) == ["", "size l3", "size l10"]
    assert list(facts(page)) == ["probability", "sum of scores"]
    assert page.locator(".missed, .warning").count() == 0
    assert page.locator(".strongest .number").all_inner_texts() == ["1.00", "0.25"]


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
        ".shades i, .hint, .warning, .row, .facts, dt, .before",
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


@pytest.mark.parametrize("size", [(2, 0), (2, 3)])
def test_nothing_to_show_does_not_fail(show, size):
    page = show(attribution(torch.zeros(size), ["a"] * size[1], ["b"] * size[0]))
    page.keyboard.press("ArrowRight")
    page.locator("details.matrix summary").click()
    assert len(selected(page)) == min(1, size[0])


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
    assert levels(page) == [-1, 20, 10, -1, 0, -1]
    assert page.locator(".matrix .scale").inner_text().endswith("not finite")
    plain = show(paris())
    plain.locator("details.matrix summary").click()
    assert "finite" not in plain.locator(".matrix .scale").inner_text()
    assert plain.locator(".alarm").is_hidden()


@pytest.mark.parametrize("signed", [True, False])
def test_the_script_shades_as_the_page_does(show, signed):
    """Without scripts, with them, and in the matrix: one number has one shade."""
    scores = [k / 128 * (-1) ** k for k in range(129)] + [1.0, 0.0, 1e-30, 0.0625, 0.9375]
    scores = scores if signed else [abs(s) for s in scores]
    result = attribution([scores], [f" w{i}" for i in range(len(scores))], ["x"], signed=signed)
    expected = expected_shades(scores, signed)
    assert shades(show(result, java_script_enabled=False)) == expected
    page = show(result)
    assert shades(page) == expected
    page.keyboard.press("ArrowRight")
    assert shades(page) == expected
    page.locator("details.matrix summary").click()
    steps = [math.floor(10 * abs(s) + 0.5) * (-1 if s < 0 else 1) for s in scores]
    assert levels(page) == [step + 10 * signed for step in steps]


def test_the_matrix_has_its_own_scale(show, keys):
    page = show(keys)
    page.locator("details.matrix summary").click()
    limit = float(keys.scores.abs().max())
    ends = page.locator(".matrix .scale > span:not(.shades)").all_inner_texts()
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


def test_rows_that_are_not_the_whole_response(show, keys):
    page = show(keys[1:4])
    assert page.locator("#chosen-title").inner_text() == "All 3 scored tokens"
    assert page.locator("#whole").inner_text() == "All 3 scored tokens"
    assert "hole response" not in page.locator("body").inner_text()
    one = show(keys[1].group(response={"it": (1, 2)}))
    assert one.locator("#chosen-title").inner_text() == "All 1 scored token"


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


def test_standard_errors_stand_behind_their_numbers(show):
    page = show(sampled())
    assert page.locator(".strongest .number").all_inner_texts() == ["+4.00 ± 0.63", "-0.50 ± 1.3"]
    assert facts(page)["sum of scores"] == "3.5 ± 1.9"
    page.locator("#rows .row").nth(1).click()
    assert page.locator(".strongest .number").all_inner_texts() == ["+1.00 ± 0.13", "+0.50 ± 1"]
    page.locator(".unit").nth(0).hover()
    assert page.locator("#tip div").first.inner_text() == "in  +1.00 ± 0.13"
    page.locator("details.matrix summary").click()
    page.locator("canvas").hover(position={"x": 4, "y": 4})
    assert page.locator("#tip div").first.inner_text().endswith("+3.00 ± 0.5")
    assert "± the standard error" in page.locator(".panel .hint").inner_text()
    page.locator("details.numbers summary").click()
    assert page.locator("tbody td:nth-child(5)").first.inner_text() == "2 ± 0.75"
    assert "±" not in show(paris()).locator("body").inner_text()


def test_groups_keep_their_text_and_their_names(show):
    result = attribution([[1.0, 2.0, -4.0]], ["One.", " Two", " three."], ["x"])
    page = show(replace(result, scores=result.scores[:, :2], columns=(
        Span(0, 1), Span(1, 3, "second <b>"),
    )))  # fmt: skip
    assert page.locator(".unit").all_text_contents() == ["One.", "second <b>Two three."]
    assert page.locator(".name").inner_text() == "second <b>"
    assert page.locator(".strongest .input").first.inner_text() == "second <b>"


def test_rows_need_not_cover_the_response(show):
    result = attribution([[1.0], [2.0]], ["in"], ["a", " b", " c", " d"][:2])
    response = tokens(["a", " b", " c", " d"], "generated")
    page = show(replace(result, response=response, rows=(Span(2, 3), Span(0, 2))))
    assert page.locator("#rows").text_content() == "a b c … a b c d"
    page.locator("#rows .row").nth(1).click()
    assert page.locator("#chosen-title").inner_text() == "“a b”"


def test_byte_tokens_of_one_character_become_one(show):
    inputs = Tokens(
        torch.arange(4), ("a", "<0xF0>", "<0x9F>", "b"), ("user",) * 4,
        ((0, 1), (1, 2), (1, 2), (2, 3)), "a🗼b",
    )  # fmt: skip
    page = show(attribution([[0.0, 1.5, 2.5, -1.0]], inputs, ["c"]))
    assert page.locator(".unit").all_text_contents() == ["a", "🗼", "b"]
    page.locator(".unit").nth(1).hover()
    assert page.locator("#tip div").all_inner_texts()[0].split() == ["🗼", "+4.00"]


HOST = """<!doctype html><style>* {{ display: block !important; font: 40px serif !important;
    color: red !important; width: 7px }}  iframe {{ width: 900px !important }}</style>
<body onkeydown="window.pressed = event.key">{}</body>"""


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


@pytest.fixture(scope="module")
def pair(keys):
    ids = keys.response_ids
    return hf_attrib.compare(
        keys, explained("keys-llama", PROMPT, method="saliency", response_ids=ids)
    )


def test_a_comparison_shows_both_results_of_a_selection(show, pair):
    page = show(pair)
    assert page.title() == "Comparison · hf_attrib"
    assert "target log_prob" in page.locator("header .facts").inner_text()
    own = [p.locator("span").all_inner_texts() for p in page.locator(".panel .facts").all()]
    assert own == [[str(IntegratedGradients()), "baseline mean embedding"], ["saliency"]]
    page.locator("#rows .row").nth(3).click()
    a, b = pair.a.scores[pair.rows[3][0]].tolist(), pair.b.scores[pair.rows[3][1]].tolist()
    floors = [0.1 * float(result.scores.abs().max()) for result in (pair.a, pair.b)]
    assert shades(page) == expected_shades(a, floor=floors[0]) + expected_shades(
        b, signed=False, floor=floors[1]
    )
    numbers, agreement = page.locator(".chosen dl").all()
    values = numbers.locator("dd").all_inner_texts()
    assert values[:2] == ["a", "b"]
    assert float(values[6]) == pytest.approx(sum(a), rel=6e-4)
    assert float(values[7]) == pytest.approx(sum(b), rel=6e-4)
    shown = agreement.locator("dd").all_inner_texts()
    row = pair.by_row[3]
    assert shown[:3] == [f"{x:+.2f}" for x in (row.spearman, row.kendall, row.cosine)]
    assert shown[3] == f"{100 * row.overlap:.0f} %"
    page.locator(".panel").nth(1).locator(".unit").nth(7).hover()
    assert page.locator(".unit.pointed").all_inner_texts() == [pair.a.pieces[7].strip()] * 2
    scores = [float(line.split()[-1]) for line in page.locator("#tip div").all_inner_texts()[:2]]
    assert scores == pytest.approx([a[7], b[7]], abs=6e-3)
    page.keyboard.press("Escape")
    spearman = page.locator(".chosen dl").nth(1).locator("dd").first.inner_text()
    assert spearman == f"{pair.total.spearman:+.2f}"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator(".chosen dl").count() == 1  # nothing is known of a span's agreement


def test_what_two_methods_sum_to_stands_together(show):
    either = [paris(identity=identity) for identity in ("f(x) - f(x')", "f(x) - E f(x')")]
    page = show(hf_attrib.compare(*either))
    names = page.locator(".chosen dl").first.locator("dt").all_inner_texts()
    assert names[2:5] == ["f(x) - f(x')", "f(x) - E f(x')", "sum of scores"]


def test_a_comparison_has_two_matrices_and_a_frame(show, pair):
    page = show(HOST.format(pair._repr_html_()))
    frame = page.frame_locator("iframe")
    for summary in frame.locator("details.matrix summary").all():
        summary.click()
    frame.locator("canvas").nth(1).click(position={"x": 4, "y": 4})
    assert frame.locator("#chosen-title").inner_text() == "“Bob”"
    assert frame.locator(".band:visible").count() == 2


def test_a_comparison_marks_what_either_result_misses(show):
    either = [
        attribution([[1.0], [2.0]], ["a"], ["b", " c"], missed=missed)
        for missed in ([0.0, 0.0], [0.0, 0.5])
    ]
    page = show(hf_attrib.compare(*either))
    assert page.locator("#rows .missed").all_inner_texts() == ["c"]


def test_different_prompts_keep_their_own_text(show, keys):
    other = explained("keys-llama", PROMPT.replace("red", "pink"), response_ids=keys.response_ids)
    comparison = hf_attrib.compare(keys, other)
    page = show(comparison)
    first, second = page.locator(".units").all_text_contents()
    assert "red" in first
    assert "pink" in second
    assert "the inputs differ" in page.locator("header").inner_text()
    page.keyboard.press("ArrowLeft")
    assert len(selected(page)) == 1


def test_inputs_without_counterpart_are_marked(show, keys):
    both = explained("keys-llama", PROMPT, response_ids=keys.response_ids, attribute_to="all")
    page = show(hf_attrib.compare(keys, both))
    alone = page.locator(".unit.unpaired")
    assert alone.count() == len(both.inputs) - len(keys.inputs)
    assert "dotted" in alone.first.evaluate("e => getComputedStyle(e).textDecoration")
    alone.first.hover()
    assert "no counterpart" in page.locator("#tip").inner_text()
    assert "Dotted: no counterpart" in page.locator("#hint").inner_text()
    page.locator(".unit").first.hover()
    assert "no counterpart" not in page.locator("#tip").inner_text()
    assert "Dotted" not in show(hf_attrib.compare(keys, keys)).locator("#hint").inner_text()


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
        assert page.locator("details, script").count() == 0
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
    quick = ("--steps", "2", "--max-new-tokens", "2")
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

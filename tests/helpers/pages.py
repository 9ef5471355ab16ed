"""What a page shows, read off the page; and what is put into it."""

import math
import warnings

import pytest

import hf_attrib
from hf_attrib import embedded
from hf_attrib.errors import AttributionWarning
from hf_attrib.render.palette import full_colour
from hf_attrib.render.phrases import state

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
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


def explained(model, prompt, method="integrated_gradients", **options):
    """Explain an answer of an embedded model; not all of its tokens have to converge."""
    explainer = hf_attrib.Explainer(*embedded.load(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttributionWarning)
        return explainer.explain(prompt, method=method, **options)


def facts(page):
    """The numbers of the selection, by name."""
    names, values = (page.locator(f".chosen {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def shades(page):
    """The class that colours each unit of the prompt."""
    classes = page.eval_on_selector_all(".unit", "all => all.map(e => e.className)")
    return [
        " ".join(c for c in one.split() if c not in ("unit", "quiet", "written", "unpaired"))
        for one in classes
    ]


def expected_shades(scores, signed=True, floor=0.0):
    """Ten steps of what has the full colour, rounded half up."""
    limit = max(floor, full_colour(scores))
    levels = [math.floor(10 * min(1, abs(score) / limit) + 0.5) for score in scores]
    signs = ["size" if not signed else "opposes" if s < 0 else "supports" for s in scores]
    marks = [" beyond" if abs(score) > limit else "" for score in scores]
    parts = zip(signs, levels, marks, strict=True)
    return [f"{sign} l{level}{mark}" if level else "" for sign, level, mark in parts]


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
        assert shown["converged"] == state(result.status[first])
    else:
        mark = "✓" if all(converged) else "!"
        assert shown["converged"] == f"{mark} {sum(converged)} of {len(converged)}"


HOST = """<!doctype html><style>* {{ display: block !important; font: 40px serif !important;
    color: red !important; width: 7px }}  iframe {{ width: 900px !important }}</style>
<body onkeydown="window.pressed = event.key">{}</body>"""

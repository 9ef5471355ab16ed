"""The page of two results shows both, and where they agree."""

import pytest
from helpers.made_results import attribution, paris
from helpers.pages import HOST, PROMPT, expected_shades, explained, selected, shades

import hf_attrib
from hf_attrib.methods import IntegratedGradients


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

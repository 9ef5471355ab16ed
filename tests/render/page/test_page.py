"""The page in a real browser: what it shows of a result, and how it is steered."""

from dataclasses import replace

import pytest
import torch
from helpers.made_results import attribution, paris, sampled, tokens
from helpers.pages import check_facts, expected_shades, facts, selected, shades

from hf_attrib.text import Span, Tokens


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
    assert "✓ the sums of 1 of 1 target converged" in good.locator("header").inner_text()
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


def test_rows_that_are_not_the_whole_response(show, keys):
    page = show(keys[1:4])
    assert page.locator("#chosen-title").inner_text() == "All 3 scored tokens"
    assert page.locator("#whole").inner_text() == "All 3 scored tokens"
    assert "hole response" not in page.locator("body").inner_text()
    one = show(keys[1].group(response={"it": (1, 2)}))
    assert one.locator("#chosen-title").inner_text() == "The scored token"


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

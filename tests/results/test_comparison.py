"""Two results side by side: what is paired is the same, and the numbers are those of scipy."""

import io
import math
import random
import re
import unicodedata
from dataclasses import replace

import pytest
import torch
from helpers import tiny
from helpers.made_results import attribution, hostile, paris, tokens
from helpers.tokenizers_of_all_kinds import unigram
from rich.cells import cell_len
from rich.console import Console
from scipy import stats

import hf_attrib
from hf_attrib import Explainer, InputError, compare
from hf_attrib.render import SideBySide, plain
from hf_attrib.results import agreement
from hf_attrib.text import Span

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
ANSWER = " Bob's key is blue."


@pytest.fixture(scope="module")
def explain():
    explainer = Explainer(*hf_attrib.embedded.load("keys-llama"))
    return lambda prompt=PROMPT, **options: explainer.explain(
        prompt,
        response=ANSWER,
        **({} if "method" in options else {"method": "integrated_gradients", "steps": 4}),
        **options,
    )


def test_a_result_agrees_with_itself(explain):
    found = explain()
    for other in (found, replace(found, scores=found.scores * 3)):
        same = compare(found, other)
        for one in (same.total, *same.by_row):
            numbers = (one.spearman, one.kendall, one.cosine, one.overlap)
            assert numbers == pytest.approx((1, 1, 1, 1))
        assert same.left_out == (0, 0)
        assert same.notes == ()
        assert same.rows == tuple((t, t) for t in range(len(found)))
    assert not compare(found, found).difference.any()
    opposite = compare(found, replace(found, scores=-found.scores))
    assert opposite.total.spearman == opposite.total.kendall == pytest.approx(-1)
    assert opposite.total.cosine == pytest.approx(-1)
    assert opposite.total.overlap == 1


def test_numbers_are_those_of_scipy():
    scores = torch.randn(2, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores[:, 5:9] = scores[:, 5:6]  # ties
    found = agreement(*scores, k=7)
    a, b = scores.tolist()
    assert found.spearman == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(a, b).statistic)
    assert found.cosine == pytest.approx(torch.cosine_similarity(*scores, 0).item())
    top = [set(sorted(range(30), key=lambda i: -abs(row[i]))[:7]) for row in (a, b)]
    assert found.overlap == pytest.approx(len(top[0] & top[1]) / 7)


def test_agreement_does_not_depend_on_the_side_nor_on_what_is_zero_in_both(explain):
    a, b = explain(), explain(method="input_x_gradient")
    one, other = compare(a, b), compare(b, a)
    assert one.total == other.total
    assert one.by_row == other.by_row
    assert torch.equal(one.difference, -other.difference)
    totals = [r.scores.double().sum(0) for r in (a, b)]
    padded = [torch.cat([total, torch.zeros(50).double()]) for total in totals]
    assert agreement(*padded, k=5) == one.total


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([], [], (math.nan,) * 4),
        ([0.0, 0.0], [0.0, 0.0], (math.nan,) * 4),
        ([1.0], [2.0], (math.nan, math.nan, 1, 1)),
        ([1.0, 1.0], [2.0, 3.0], (math.nan, math.nan, 5 / 26**0.5, 1)),
        ([1.0, 0.0], [0.0, 1.0], (-1, -1, 0, 0)),
        ([1.0, 2.0], [0.0, 0.0], (math.nan, math.nan, math.nan, 0)),
        ([1.0, math.nan], [2.0, 1.0], (math.nan,) * 4),
        ([1.0, math.inf], [2.0, 1.0], (math.nan,) * 4),
        ([1.0, 2.0, 3.0], [1e30, 2e30, 3e30], (1, 1, 1, 1)),
    ],
)
def test_odd_scores(a, b, expected):
    found = agreement(torch.tensor(a).double(), torch.tensor(b).double(), k=3)
    numbers = (found.spearman, found.kendall, found.cosine, found.overlap)
    assert numbers == pytest.approx(expected, nan_ok=True)


def test_no_cosine_is_beyond_one():
    generator = torch.Generator().manual_seed(0)
    for row in torch.randn(200, 9, generator=generator, dtype=torch.float64):
        assert abs(agreement(row, row * 3, k=3).cosine) <= 1
        assert abs(agreement(row, row * -3, k=3).cosine) <= 1


def test_methods_with_and_without_sign(explain):
    a, b = explain(), explain(method="saliency")
    found = compare(a, b)
    assert found.magnitudes
    assert any("have no sign" in note for note in found.notes)
    assert bool((found.scores[0] >= 0).all())
    totals = [r.scores.double().sum(0).abs() for r in (a, b)]
    assert found.total == agreement(*totals, 5)
    assert not compare(b, b).magnitudes
    assert compare(b, b).notes == ()


def test_columns_that_one_of_them_has_joined(explain):
    a, b = explain(), explain(method="input_x_gradient")
    words = compare(a.group("word"), b.group("word"))
    for mixed in (compare(a, b.group("word")), compare(a.group("word"), b)):
        assert mixed.a.columns == mixed.b.columns == words.a.columns
        torch.testing.assert_close(mixed.difference, words.difference)
    crossed = compare(a.group({"x": (1, 6)}), b.group({"y": (4, 9)}))
    assert {(s.start, s.stop) for s in crossed.a.columns} >= {(0, 1)}
    assert crossed.a.columns == crossed.b.columns


def test_some_rows(explain):
    a, b = explain(), explain(method="input_x_gradient")
    found = compare(a["key is"], b)
    assert found.rows == ((0, 2), (1, 3))
    assert found.by_row == compare(a, b).by_row[2:4]
    assert "4 of 6 generated parts of b are left out" in found.notes[-1]
    with pytest.raises(InputError, match="no generated tokens in common"):
        compare(a[0], b[1])


def test_prompts_a_and_b(explain):
    a, b = explain(), explain("Yes. " + PROMPT.replace("red", "green"))
    found = compare(a, b)
    paired = [(found.a.pieces[i].strip(), found.b.pieces[j].strip()) for i, j in found.columns]
    assert all(x == y for x, y in paired)
    assert [x for x, _ in paired] == [p.strip() for p in a.group("word").pieces if p != " red"]
    for side, result, own in ((0, found.a, {"red"}), (1, found.b, {"<unk>", ".", "green"})):
        missing = set(range(len(result.columns))) - {pair[side] for pair in found.columns}
        assert {result.pieces[i].strip() for i in missing} <= own
        lost = result.scores.double()[:, sorted(missing)].abs().sum()
        expected = lost / result.scores.double().abs().sum()
        assert found.left_out[side] == pytest.approx(float(expected))
    assert any("the inputs differ" in note for note in found.notes)


def test_rows_that_one_of_them_has_joined(explain):
    a, b = explain(), explain(method="input_x_gradient")
    words = compare(*(r.group(response="word") for r in (a, b)))
    for mixed in (compare(a, b.group(response="word")), compare(a.group(response="word"), b)):
        assert mixed.a.rows == mixed.b.rows == words.a.rows
        assert mixed.rows == words.rows
        assert mixed.left_out == (0, 0)
        torch.testing.assert_close(mixed.difference, words.difference)
    both = compare(a, b.group("word", response="word"))
    assert len(both.rows) == len(b.group(response="word").rows)
    named = compare(a, b.group(response={"who": (0, 2)}))
    assert named.results[0].response_pieces[0] == "who"


def test_rows_of_explained_words(explain):
    tokens_, words = explain(), explain(spans="word")
    found = compare(tokens_, words)
    assert found.results[0].rows == found.results[1].rows == words.rows
    assert found.left_out == (0, 0)


def test_rows_that_overlap_in_part_are_left_out():
    a = attribution(torch.ones(4, 1), ["in"], ["a", " b", " c", " d"])
    left = a.group(response=[(0, 2), (2, 4)])
    crossed = a.group(response=[(0, 1), (1, 3), (3, 4)])
    assert compare(left, crossed).rows == ((0, 0),)
    assert compare(left, crossed).results[0].rows == (Span(0, 4),)
    shifted = a[1:].group(response=[(1, 3)])
    with pytest.raises(InputError, match="no generated tokens in common"):
        compare(left[0], shifted)
    assert compare(a[::-1], crossed).rows == ((0, 2), (3, 0))


def test_the_prompt_alone_and_the_prefix_too(explain):
    a, b = explain(), explain(attribute_to="all")
    found = compare(a, b)
    n = len(a.inputs)
    assert found.columns == tuple((i, i) for i in range(n))
    torch.testing.assert_close(
        found.difference, a.scores.double() - b.scores[:, :n].double(), rtol=0, atol=0
    )
    assert found.left_out[0] == 0 < found.left_out[1]
    (note,) = found.notes
    assert note.startswith(f"{len(b.inputs) - n} of {len(b.inputs)} inputs of b are left out")
    words = compare(b.group("word"), a)
    assert words.left_out[1] == 0
    assert words.a.columns[: len(words.columns)] == words.b.columns == a.group("word").columns


def test_a_column_across_the_end_of_the_shorter_prompt_is_left_out():
    long = attribution(torch.ones(1, 4), ["a", " b", " c", " d"], ["x"])
    short = attribution(torch.ones(1, 2), ["a", " b"], ["x"])
    found = compare(long.group([(1, 3)]), short)
    assert found.columns == ((0, 0),)
    assert found.left_out == (0.75, 0.5)


def test_two_tokenizers():
    """A byte-level and a SentencePiece model: the same words, of other tokens."""
    prompt, response = "the key's red, 日本 is blue", " the key is red"
    pieces = ["▁the", "▁key", "▁is", "▁red", "▁blue"]
    a = Explainer(tiny.model("llama"), tiny.tokenizer()).explain(
        prompt, response=response, method="integrated_gradients", steps=1
    )
    b = Explainer(tiny.model("gpt2", vocab_size=400), unigram(pieces)).explain(
        prompt, response=response, method="integrated_gradients", steps=1
    )
    found = compare(a, b)
    shared = [found.a.pieces[i].strip() for i, _ in found.columns]
    assert shared == ["the", "key's", "red", ",", "日", "本", "is", "blue"]
    assert [found.a.response_pieces[i].strip() for i, _ in found.rows] == response.split()
    assert "1 of 9 inputs of a is left out, 0 % of its attribution" in found.notes  # <bos>


def test_a_chat_and_its_plain_text_share_their_words(keys):
    explainer = Explainer(*keys)
    text = "Ada's key is red. Q: What color is Ada's key?"
    a = explainer.explain(text, response=ANSWER, method="integrated_gradients", steps=2)
    b = explainer.explain(
        [{"role": "user", "content": text}], response=ANSWER, method="integrated_gradients", steps=2
    )
    found = compare(a, b)
    shared = [found.a.pieces[i].strip() for i, _ in found.columns]
    assert "".join(shared).endswith("Ada'skeyisred.Q:WhatcolorisAda'skey?")


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (
            paris(),
            attribution([[1.0]], ["a"], ["b"]),
            {},
            "the responses differ, ' Paris.' and 'b'",
        ),
        (paris(), paris(), {"k": 0}, "k is 0"),
        (paris(), paris(), {"k": 1.5}, "k is 1.5"),
        (paris(), "r.json", {}, "two results can be compared; got str"),
        (
            attribution([[1.0]], tokens(["a"]), ["x"]),
            attribution([[1.0, 2.0]], tokens(["", "b", "c"])[1:], ["x"]),
            {},
            "no inputs in common",
        ),
    ],
)
def test_what_cannot_be_compared(a, b, options, message):
    with pytest.raises(InputError, match=message):
        compare(a, b, **options)


# On screen


def printed(comparison, width=100, **console):
    options = {"width": width, "force_terminal": True, "legacy_windows": False} | console
    target = Console(file=io.StringIO(), **options)
    target.print(comparison)
    return target.file.getvalue()


def test_side_by_side_if_there_is_room(explain):
    found = compare(explain(), explain(method="saliency"))
    wide, narrow = str(found).split("\n"), plain(SideBySide(found), 60).split("\n")
    (line,) = [line for line in wide if "integrated_gradients" in line]
    assert "saliency" in line
    assert sum("saliency" in line for line in narrow) == 1
    assert not any("saliency" in line and "integrated" in line for line in narrow)
    for lines in (wide, narrow):
        text = "\n".join(lines)
        assert lines[0].startswith("Comparison · keys-llama")
        assert f"{found.total.spearman:+.2f}" in text
        assert f"{found.total.kendall:+.2f}" in text
        assert "note: the scores of b have no sign" in text
        assert all(line == line.rstrip() for line in lines)


def test_screen_and_page_show_the_same_rows(explain):
    """Both of the paired rows only, and of all of these."""
    a = explain()
    found = compare(a["blue"], replace(a, scores=10 * a.scores))
    text, page = plain(SideBySide(found), 160), found.to_html()
    part, whole = (float(r.scores.sum(0).abs().max()) for r in (found.results[1], found.b))
    assert f"{part:+.2f}"[:4] != f"{whole:+.2f}"[:4]
    for shown in (text, page):
        assert f"{part:+.3g}" in shown
        assert f"{whole:+.3g}" not in shown
    missed = [int((~r.converged).sum()) for r in found.results]
    for name, result, number in zip("ab", found.results, missed, strict=True):
        for shown in (text, page):
            assert (f"! {number} of {len(result)}" in shown) is bool(number), name


def test_each_side_has_its_own_scale():
    a, b = paris(), paris()
    b = replace(b, scores=1000 * b.scores, reference_value=b.value - 1000 * b.scores.sum(-1))
    text = plain(SideBySide(compare(a, b)), 120)
    assert "+3.40" in text
    assert "+3400" in text
    (line,) = [line for line in text.split("\n") if line.startswith("<bos>")]
    assert line.count("[France⁺⁺⁺]") == 2


def test_rows_that_differ_most_come_first():
    a = attribution([[5.0, 1.0], [0.01, 0.02], [4.0, 1.0]], ["in", "put"], ["x", "tiny", "y"])
    b = replace(a, scores=torch.tensor([[5.0, 1.0], [0.02, 0.01], [1.0, 4.0]]).double())
    text = plain(SideBySide(compare(a, b)))
    labels = [line.split()[0] for line in text.split("Spearman")[-1].split("\n")[1:4]]
    assert labels == ["y", "tiny", "x"]


def test_long_responses_are_cut():
    scores = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    a = attribution(scores, ["a", "b", "c"], [f"t{i}" for i in range(30)])
    text = str(compare(a, replace(a, scores=-a.scores)))
    assert "… 18 more that differ less …" in text
    assert len(re.findall(r"^t\d+ ", text, flags=re.MULTILINE)) == 12


@pytest.mark.parametrize("width", [20, 40, 79, 80, 120])
@pytest.mark.parametrize("seed", range(4))
def test_no_text_steers_the_terminal(seed, width):
    words = "\x1b]0;title\x07 \u202e \x9b [red] {0}"
    a = hostile(seed, model=words, notes=(words,), baseline=words, method=words)
    shuffled = random.Random(seed).sample(range(60), 60)
    b = replace(a, scores=a.scores[:, shuffled], run=replace(a.run, model="other", signed=False))
    coloured = printed(compare(a, b), width, color_system="truecolor")
    for text in (plain(SideBySide(compare(a, b)), width), re.sub(r"\x1b\[[\d;]*m", "", coloured)):
        harmful = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert harmful <= {"\n", "\u200d"}
        assert max(cell_len(line) for line in text.split("\n")) <= width


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_odd_scores_do_not_crash(odd):
    a = attribution([[odd, 1.0], [1.0, 2.0]], ["a", "b"], ["x", "y"])
    text = str(compare(a, a))
    assert "nan" in text
    assert compare(a, a).by_row[1].spearman == pytest.approx(1)
    nothing = attribution(torch.zeros(2, 2), ["a", "b"], ["x", "y"])
    assert "nan" in str(compare(nothing, nothing))
    assert compare(nothing, nothing).left_out == (0, 0)


def test_terminals_get_colours():
    text = printed(compare(paris(), paris()), color_system="truecolor", no_color=False)
    assert text.count("France") >= 2
    assert "38;2;" in text
    assert "⁺" not in text

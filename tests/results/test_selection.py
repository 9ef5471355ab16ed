"""Parts, groups and tables of a result: sums stay what they were, and no model runs again."""

import builtins
import copy
import math
from dataclasses import replace

import pytest
import torch
from helpers import tiny
from helpers.made_results import attribution, sampled, tokens

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.text import Span

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


TEXT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"


FIELDS = ("scores", "standard_error", "value", "reference_value", "probability",
          "sum_standard_error")  # fmt: skip


@pytest.fixture(scope="module")
def bob():
    """What the embedded model says of Bob's key, with standard errors as samples would have."""
    model, tokenizer = hf_attrib.embedded.load("keys-llama")
    found = Explainer(model, tokenizer).explain(TEXT, method="integrated_gradients", steps=4)
    noise = torch.rand(found.scores.shape, generator=torch.Generator().manual_seed(0))
    return replace(
        found,
        standard_error=noise.to(found.scores.dtype),
        sum_standard_error=noise.sum(-1).to(found.scores.dtype),
    )


def assert_equal(a, b, tolerance=0.0):
    assert a.rows == b.rows
    assert a.columns == b.columns
    assert a.run == b.run
    for name in FIELDS:
        torch.testing.assert_close(
            getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance, equal_nan=True
        )


def parts(result):
    """Ways to group, and the result grouped."""
    for by in ("word", "sentence", {"fact": (7, 13)}, ["What color"], []):
        for response in (None, "word", "sentence", {"start": (0, 2)}):
            yield result.group(by, response)


def test_sums_stay_what_they_were(bob):
    for grouped in parts(bob):
        for name in ("scores", "value", "reference_value"):
            torch.testing.assert_close(getattr(grouped, name).sum(), getattr(bob, name).sum())
        assert math.isclose(grouped.probability.prod(), bob.probability.prod(), rel_tol=1e-6)
        assert grouped.scores.dtype == bob.scores.dtype
        same_rows = replace(grouped, rows=bob.rows) if len(grouped) == len(bob) else None
        if same_rows is not None:
            torch.testing.assert_close(same_rows.gap, bob.gap, rtol=1e-5, atol=1e-6)
    residual = (bob.scores.double().sum(-1) - (bob.value - bob.reference_value).double()).sum()
    whole = bob.group("sentence", {"all": (0, len(bob))})
    expected = residual.abs() / (bob.value - bob.reference_value).double().sum().abs()
    torch.testing.assert_close(whole.gap[0], expected, rtol=1e-4, atol=1e-6)


def test_scores_are_added_within_groups(bob):
    grouped = bob.group("word", "word")
    for t, row in enumerate(grouped.rows):
        for n, column in enumerate(grouped.columns):
            block = (slice(row.start, row.stop), slice(column.start, column.stop))
            torch.testing.assert_close(grouped.scores[t, n], bob.scores[block].sum())
            torch.testing.assert_close(
                grouped.standard_error[t, n], bob.standard_error[block].sum()
            )
    assert grouped.response_pieces == (" Bob's", " key", " is", " blue", ".", "</s>")


def test_strengths_stay_strengths(keys):
    found = Explainer(*keys).explain(TEXT, method="saliency")
    assert bool((found.group("sentence", "sentence").scores >= 0).all())


def test_groups_of_groups(bob):
    words, whole = bob.group("word"), bob.group("sentence")
    assert_equal(words.group("word"), words)
    assert_equal(words.group("sentence"), whole, 1e-6)
    assert_equal(whole.group("word"), whole)  # what is joined stays so
    assert_equal(words.group(response="word"), bob.group("word", "word"), 1e-6)
    assert_equal(bob.group(), bob)
    fact = whole.group({"fact": (7, 13)})
    assert [s.name for s in fact.columns if s.name] == ["fact"]
    assert_equal(fact.group("word"), fact)
    with pytest.raises(InputError, match=r"'half' takes a part of .*Bob's key is blue"):
        whole.group({"half": (7, 9)})


def test_parts_of_the_prompt(bob):
    found = bob.group({"fact": "Bob's key is blue.", "question": "What color is Bob's key?"})
    assert found.pieces == (
        "<s>", "Ada's key is red.", "fact", " Q:", "question", " A:",
    )  # fmt: skip
    assert found.roles == ("special", *["prompt"] * 5)
    assert "fact" in str(found)
    again = bob.group(found.columns)
    assert_equal(again, found)


def test_a_chat_keeps_its_template_apart(keys):
    found = Explainer(*keys).explain(
        [{"role": "user", "content": "Ada's key is red. Q: What color is Ada's key?"}],
        method="integrated_gradients",
        steps=2,
    )
    for by in ("word", "sentence", []):
        grouped = found.group(by)
        for span in grouped.columns:
            assert len(set(found.roles[span.start : span.stop])) == 1
        alone = [s.stop - s.start for s, r in zip(grouped.columns, grouped.roles, strict=True)
                 if r == "special"]  # fmt: skip
        assert set(alone) == {1}


# Rows


def test_rows_are_rows(bob):
    assert len(bob) == len(bob.response) == 7
    for t, row in enumerate(bob):
        assert_equal(row, bob[t])
        assert_equal(row, bob[t - 7])
        assert_equal(row, bob[t : t + 1])
        assert torch.equal(row.scores, bob.scores[t : t + 1])
        assert torch.equal(row.gap, bob.gap[t : t + 1])
        assert row.response_pieces == bob.response_pieces[t : t + 1]
    assert_equal(bob[:], bob)
    assert_equal(bob[2:5][1], bob[3])
    assert bob[::3].response_pieces == (" Bob", " is", "</s>")
    assert bob[[*range(7)][-1]].response_pieces == ("</s>",)
    assert_equal(bob[torch.tensor(1)], bob[1])
    assert_equal(bob[1:3].group("word"), bob.group("word")[1:3], 1e-6)


def test_rows_by_their_text(bob):
    assert bob["blue"].response_pieces == (" blue",)
    assert bob[" blue "].response_pieces == (" blue",)
    assert bob["Bob's"].response_pieces == (" Bob", "'s")
    assert bob["key is blue"].rows == bob.rows[2:5]
    assert bob["Bob's key is blue.</s>"].rows == bob.rows
    assert bob.group(response="word")["Bob's"].rows == (Span(0, 2),)
    assert bob.group(response={"colour": (4, 5)})["colour"].rows == (Span(4, 5, "colour"),)
    assert bob[3:]["blue"].rows == bob["blue"].rows


@pytest.mark.parametrize("text", ["埃菲尔 🙂!", "🙂", "日 本"])
def test_rows_that_are_bytes(text):
    explainer = Explainer(tiny.model("llama"), tiny.tokenizer())
    found = explainer.explain(
        "the key", response=f"a{text} b", method="integrated_gradients", steps=1
    )
    part = found[text]
    assert found.response.text[slice(*found.response.extent(Span(
        part.rows[0].start, part.rows[-1].stop)))].strip() == text  # fmt: skip
    if text == "🙂":
        assert len(part) == len(tiny.tokenizer()("a🙂", add_special_tokens=False).input_ids) - 1


REPEATED = attribution(torch.ones(7, 1), ["a"], ["the", " key", " ", "the", " ", "key", "s"])


def test_a_text_that_was_generated_twice_is_refused():
    with pytest.raises(InputError, match=r"'the' was generated 2 times; take one of \[0:1\], \["):
        REPEATED["the"]
    assert REPEATED["keys"].rows == REPEATED.rows[5:]
    assert REPEATED["the keys"].rows == REPEATED.rows[3:]
    with pytest.raises(InputError, match="2 times"):
        REPEATED[" "]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("Pari", "no generated tokens spell 'Pari'; there are 'the', ' key'"),
        ("he", "no generated tokens spell 'he'"),
        ("", "no generated tokens spell ''"),
        ("the key  the", "no generated tokens"),
        (7, "row 7 is none of the 7"),
        (-8, "row -8 is none"),
        (slice(3, 3), r"rows \[3:3\] are none of the 7"),
        (slice(9, None), r"rows \[9:\]"),
        (slice(None, None, -1), None),
        (1.0, "expected a row"),
        ([0, 1], "expected a row"),
        (None, "expected a row"),
    ],
)
def test_rows_that_are_not_there(key, message):
    if message is None:
        assert REPEATED[key].rows == REPEATED.rows[::-1]
        return
    with pytest.raises(InputError, match=message):
        REPEATED[key]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (slice(0, 2, 0), r"rows \[0:2:0\] cannot be counted"),
        (slice("a", "b"), r"rows \['a':'b'\] cannot be counted"),
        (slice(0.5, None), "expected whole numbers"),
        (True, "expected a row, a slice of rows or their text; got True"),
    ],
)
def test_keys_that_python_would_take_or_refuse_in_its_own_way(key, message):
    with pytest.raises(InputError, match=message):
        REPEATED[key]


# Files


def test_parts_travel_losslessly(bob, tmp_path):
    for part in (*parts(bob), bob[2:4], bob["Bob's"], bob[::-2], bob[1:].group("word", "word")):
        part.save(tmp_path / "r.json")
        back = hf_attrib.load(tmp_path / "r.json")
        assert_equal(back, part)
        assert back.pieces == part.pieces
        assert str(back) == str(part)


# Tables


def test_top_is_strongest_first(bob):
    ranking = bob.top(5)
    totals = bob.scores.double().sum(0)
    order = totals.abs().argsort(descending=True)[:5].tolist()
    assert [c.position for c in ranking] == order
    assert [c.score for c in ranking] == totals[order].tolist()
    assert [c.piece for c in ranking] == [bob.pieces[i] for i in order]
    everything = bob.top(1000)
    assert sum(c.share for c in everything) == pytest.approx(1)
    assert all(c.score for c in everything)  # <s> cannot move
    assert len(everything) == len(bob.columns) - 1
    lines = str(ranking).split("\n")
    assert len(lines) == 5
    assert repr(bob.pieces[order[0]]) in lines[0]


def test_top_of_odd_scores():
    result = attribution([[math.nan, 2.0, -3.0, 0.0, -math.inf]], list("abcde"), ["x"])
    assert [c.piece for c in result.top()] == ["a", "e", "c", "b"]
    assert [c.share for c in result.top()][2:] == [0.6, 0.4]
    assert math.isnan(result.top()[0].share)
    assert "nan" in str(result.top())


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", True, None])
def test_top_of_how_many(bob, k):
    with pytest.raises(InputError, match="k is"):
        bob.top(k)


def test_tables_steer_no_terminal():
    result = attribution([[1.0, 2.0]], ["\x1b[2J\u202e", "[red]\n"], ["x"])
    assert "\x1b" not in str(result.top())
    assert "\u202e" not in str(result.top())
    assert len(str(result.top()).split("\n")) == 2
    assert result.to_rows()[0]["input_piece"] == "\x1b[2J\u202e"  # data stays data


def test_a_row_for_each_score(bob):
    for result in (bob, bob.group("word", "word"), bob[2:4]):
        rows = result.to_rows()
        columns = len(result.columns)
        assert len(rows) == len(result) * columns
        for i, row in enumerate(rows):
            t, n = divmod(i, columns)
            assert (row["generated"], row["input"]) == (t, n)
            assert row["score"] == float(result.scores[t, n])
            assert row["gap"] == float(result.gap[t])
            assert row["converged"] is bool(result.converged[t])
            assert row["probability"] == float(result.probability[t])
            assert row["generated_piece"] == result.response_pieces[t]
            assert row["input_piece"] == result.pieces[n]
            assert row["role"] == result.roles[n]
            assert (row["start"], row["end"]) == result.offsets[n]


def test_data_frames(bob):
    frame = bob.to_dataframe()
    assert len(frame) == bob.scores.numel()
    totals = frame.groupby("input")["score"].sum()
    torch.testing.assert_close(
        torch.tensor(totals.to_numpy()), bob.scores.double().sum(0), rtol=1e-6, atol=1e-9
    )
    wide = frame.pivot(index="generated", columns="input", values="score")
    assert wide.shape == tuple(bob.scores.shape)
    assert bool(frame["converged"].dtype == bool)


def test_data_frames_without_pandas(bob, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "pandas":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'hf_attrib\[table\]'"):
        bob.to_dataframe()


def test_nothing_to_group():
    result = attribution(torch.zeros(1, 0), tokens([]), ["x"])
    grouped = result.group("word", "sentence")
    assert tuple(grouped.scores.shape) == (1, 0)
    assert result.top() == ()
    assert str(result.top()) == ""
    assert result.to_rows() == []
    assert len(list(result)) == 1


def test_nothing_explained():
    with pytest.raises(ValueError, match="there are no rows: no generated token was explained"):
        attribution(torch.zeros(0, 1), ["a"], [])


def test_standard_errors_are_in_every_table():
    result = sampled()
    assert [row["standard_error"] for row in result.to_rows()] == [0.5, 0.25, 0.125, 1.0]
    assert list(result.to_dataframe()["standard_error"]) == [0.5, 0.25, 0.125, 1.0]
    assert [c.standard_error for c in result.top()] == [0.625, 1.25]
    assert "+4 ± 0.62 " in str(result.top())
    exact = replace(result, standard_error=None)
    assert {row["standard_error"] for row in exact.to_rows()} == {None}
    assert {c.standard_error for c in exact.top()} == {None}
    assert "±" not in str(exact.top())


def test_strengths_are_ranked_without_sign():
    result = attribution([[3.0, 1.0]], ["in", "put"], ["a"], signed=False)
    assert "+" not in str(result.top())
    assert copy.copy(result.top()).signed is False

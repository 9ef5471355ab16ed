"""What is computed of passages once their subsets have run: closed forms, sets, shapes, files."""

import io
import itertools
import json
import math
import pickle
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.made_results import HOSTILE, tokens
from helpers.text_checks import harmless
from rich.console import Console

import hf_attrib
from hf_attrib import InputError, ResultFileError
from hf_attrib.results import Coalitions, Passages, Run
from hf_attrib.results.passages import THRESHOLDS, SubsetMissing, confirm
from hf_attrib.text import Span
from hf_attrib.text.documents import Document

DOCUMENTS = (
    Document("Ada has one.", "a", "On Ada", "a.txt", "https://a.example", 0.25),
    Document(" Bob has two.\n", id="b", score=0.5, index=1),
)
RUN = Run(
    method="shapley", method_fields={"mode": "embed"}, target="log_prob", contrast_ids=None,
    contrast_pieces=None, attribute_to="prompt", movable="content", baseline="mean", signed=True,
    identity="f(x) - f(x')", resolution=1e-3, tolerance=0.02, model="m", model_revision=None,
    dtype="float32", versions={"torch": "2"}, seconds=0.5, forward_rows=8, backward_rows=0,
    notes=("note",),
)  # fmt: skip


def every(count):
    return [set(s) for k in range(count + 1) for s in itertools.combinations(range(count), k)]


def table(count, value, only=None):
    """A table of one token whose log-probability is a function of the set that is kept."""
    kept = [s for s in every(count) if only is None or only(s)]
    flags = torch.tensor([[i in s for i in range(count)] for s in kept])
    return Coalitions(flags, torch.tensor([[value(s)] for s in kept], dtype=torch.float64))


def confirmed(made, threshold=1.0, **more):
    scores = made.shapley() if made.complete else made.leave_one_out()
    return confirm(made, scores, threshold, **more)


GAIN = 6.0
ADDITIVE = table(3, lambda s: -9 + sum((4.0, 2.0, -3.0)[i] for i in s))
OR = table(3, lambda s: -GAIN * (not s & {0, 1}))
AND = table(3, lambda s: -GAIN * (not s >= {0, 1}))


def test_of_an_additive_game_every_value_is_the_addend():
    expected = torch.tensor([4.0, 2, -3], dtype=torch.float64)
    for found in (ADDITIVE.shapley(), ADDITIVE.banzhaf(), ADDITIVE.leave_one_out()):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert float(ADDITIVE.interactions().abs().max()) < 1e-12
    assert ADDITIVE.gain() == 3
    assert confirmed(ADDITIVE).cited == (0, 1)
    assert confirmed(ADDITIVE).passages == ("confirmed", "confirmed", "against")


def test_of_two_that_each_suffice_both_are_found():
    assert OR.leave_one_out().tolist() == [0, 0, 0]
    torch.testing.assert_close(OR.shapley(), OR.banzhaf(), rtol=0, atol=1e-12)
    assert OR.shapley().tolist() == [GAIN / 2, GAIN / 2, 0]
    assert OR.drop([0, 1]) == GAIN
    assert OR.hold([0]) == OR.hold([1]) == 0
    assert float(OR.interactions()[0, 1]) == -GAIN
    assert OR.necessary(1.0) == ((0, 1),)
    assert OR.sufficient(1.0) == ((0,), (1,))
    found = confirmed(OR)
    assert (found.cited, found.status, found.drop, found.hold) == ((0, 1), "redundant", GAIN, 0)
    assert found.passages == ("redundant", "redundant", "unused")


def test_of_two_that_need_each_other_both_are_found():
    assert AND.leave_one_out().tolist() == [GAIN, GAIN, 0]
    assert AND.shapley().tolist() == [GAIN / 2, GAIN / 2, 0]
    assert float(AND.interactions()[0, 1]) == GAIN
    assert AND.necessary(1.0) == ((0,), (1,))
    assert AND.sufficient(1.0) == ((0, 1),)
    found = confirmed(AND)
    assert (found.cited, found.status, found.drop, found.hold) == ((0, 1), "joint", GAIN, 0)
    assert found.passages == ("joint", "joint", "unused")


def test_statuses_of_what_no_passage_tells():
    own = confirmed(table(3, lambda s: -1.0 + 0.1 * len(s)))
    assert (own.cited, own.status, set(own.passages)) == ((), "own knowledge", {"unused"})
    assert math.isnan(own.drop)
    # Each passage adds a little, and none is worth half of the threshold.
    little = confirmed(table(5, lambda s: 0.4 * len(s)))
    assert (little.cited, little.status) == ((), "not decided")
    # What adds half of it and more is cited, with others that do.
    some = confirmed(table(4, lambda s: 0.6 * len(s)))
    assert (some.cited, some.status) == ((0, 1, 2, 3), "redundant")
    # A passage that matters little goes along with none that does.
    near = table(3, lambda s: 0.9 * (0 in s) + 0.2 * (1 in s) + 0.2 * (2 in s))
    assert confirmed(near).cited == ()
    # Where one argues for and one against, all together may gain nothing.
    torn = confirmed(table(2, lambda s: 5.0 * (0 in s) - 5.0 * (1 in s)))
    assert (torn.cited, torn.status, torn.passages) == ((0,), "confirmed", ("confirmed", "against"))


def test_what_only_takes_away_is_not_cited():
    # Without [1] passage [2] leads elsewhere; by itself [1] tells nothing of the answer.
    shield = table(2, lambda s: -4.0 * (s == {1}))
    assert shield.drop([0]) == 4
    assert (confirmed(shield).cited, confirmed(shield).status) == ((), "own knowledge")


def test_odds_are_counted_up_to_19_to_1():
    chances = [1e-9, 0.01, 0.3, 0.5, 0.9, 0.95, 0.99, 0.999999, 1.0]
    kept = torch.tensor([[number >> i & 1 for i in range(4)] for number in (0, *range(8, 16))]) == 1
    logs = torch.tensor(chances, dtype=torch.float64).log()[:, None]
    # Of two tokens it is the odds of both together.
    made = Coalitions(kept, torch.cat([logs / 4, logs / 4, logs / 2], 1)).odds()
    expected = [math.log(p / max(1 - p, 0.05)) for p in chances]
    assert made.values[:, 0].tolist() == pytest.approx(expected, abs=1e-9)
    assert expected == sorted(set(expected))


@pytest.mark.parametrize(
    ("without", "alone", "cited"),
    [
        (0.1, 0.9, (0,)),  # the odds fall by log(81), 4.4
        (math.exp(-14.2), math.exp(-12), ()),  # as far in log-probability, and in odds no further
        (0.99, 0.9999, ()),  # the odds fall by 4.6, but it is said as well without
    ],
)
def test_odds_decide_what_is_cited(without, alone, cited):
    made = table(2, lambda s: math.log(alone if 0 in s else without))
    found = confirmed(made, 4.0)
    assert found.cited == cited
    assert found.status == ("confirmed" if cited else "own knowledge")
    # What is told is of the log-probability, whoever is cited.
    assert found.gain == found.drops[0] == pytest.approx(math.log(alone / without))
    assert found.holds == (0, pytest.approx(math.log(alone / without)))


def test_errors_leave_open_what_argues_against():
    made = table(2, lambda s: 5.0 * (0 in s) - 0.6 * (1 in s))
    assert confirmed(made).passages[1] == "against"
    errors = torch.tensor([0.1, 0.1])
    assert confirmed(made, errors=errors).passages[1] == "not decided"


@pytest.mark.parametrize("count", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_their_definitions(count, seed):
    """Against sums over all orders and all subsets, which know no dividends."""
    draw = random.Random(seed)
    values = {frozenset(s): draw.uniform(-9, 0) for s in every(count)}
    made = table(count, lambda s: values[frozenset(s)])
    players = range(count)
    shapley, banzhaf = [], []
    for i in players:
        weigh = [0.0, 0.0]
        for s in every(count):
            if i in s:
                continue
            more = values[frozenset(s | {i})] - values[frozenset(s)]
            of_size = count * math.comb(count - 1, len(s))
            weigh[0] += more / of_size
            weigh[1] += more / 2 ** (count - 1)
        shapley.append(weigh[0])
        banzhaf.append(weigh[1])
    for found, expected in ((made.shapley(), shapley), (made.banzhaf(), banzhaf)):
        assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert abs(float(made.shapley().sum()) - made.gain()) < 1e-9
    pairs = made.interactions()
    for i, j in itertools.combinations(players, 2):
        total = 0.0
        for s in every(count):
            if not s & {i, j}:
                both = values[frozenset(s | {i, j})] + values[frozenset(s)]
                one = values[frozenset(s | {i})] + values[frozenset(s | {j})]
                total += (both - one) / ((count - 1) * math.comb(count - 2, len(s)))
        assert float(pairs[i, j]) == float(pairs[j, i]) == pytest.approx(total, abs=1e-12)
    whole = set(players)
    for s in every(count):
        assert made.drop(s) == values[frozenset(whole)] - values[frozenset(whole - s)]
        assert made.hold(s) == values[frozenset(whole)] - values[frozenset(s)]
    for tau in (0.5, 2.0, 5.0):
        expected = [s for s in every(count) if made.hold(s) < tau]
        least = min(map(len, expected))
        assert {frozenset(s) for s in made.sufficient(tau)} == {
            frozenset(s) for s in expected if len(s) == least
        }
        fit = [
            s
            for s in every(count)
            if s and made.drop(s) >= tau
            and all(made.drop(s) - made.drop(s - {i}) >= tau / 2 for i in s)
        ]  # fmt: skip
        least = min(map(len, fit), default=0)
        assert {frozenset(s) for s in made.necessary(tau)} == {
            frozenset(s) for s in fit if len(s) == least
        }


def test_thresholds_are_those_under_which_false_citations_are_surely_few():
    """The chance to see so few false ones is at most 5 %, were the rate 5 % (Clopper, Pearson)."""
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "citations-keys-llama.json"
    modes = json.loads(path.read_text(encoding="utf-8"))["modes"]
    assert {mode: of["threshold"] for mode, of in modes.items()} == dict(THRESHOLDS)
    for of in modes.values():
        cases, false = of["calibrated on"], of["false there"]
        few = sum(math.comb(cases, k) * 0.05**k * 0.95 ** (cases - k) for k in range(false + 1))
        assert few <= 0.05
        assert of["all"]["false"] <= 0.05  # on cases that did not find it


def test_duplicates_have_equal_values():
    made = table(4, lambda s: -5.0 * (not s & {1, 3}) - len(s) * 0.01)
    assert made.shapley()[1] == pytest.approx(float(made.shapley()[3]), abs=1e-12)
    assert confirmed(made).cited == (1, 3)


def test_what_was_not_run_is_named():
    made = table(8, lambda s: -6.0 * (0 not in s), lambda s: len(s) in (0, 7, 8))
    assert not made.complete
    assert made.leave_one_out().tolist() == [6.0] + [0] * 7
    with pytest.raises(SubsetMissing, match=r"with \[1\], \[3\] alone of the 8 passages"):
        made.hold([2, 0])
    with pytest.raises(SubsetMissing, match=r"\[1\] alone"):
        made.shapley()
    found = confirmed(made)
    assert (found.cited, found.status) == ((), "not decided")
    assert found.missing == ((0,),)
    assert math.isnan(found.hold)
    for wrong in ([8], [-1], ["a"], [True]):
        with pytest.raises(InputError, match="no numbers of the 8 passages"):
            made.drop(wrong)
    for wrong in (None, 0, "0", b"0"):
        with pytest.raises(InputError, match="expected a list of their numbers"):
            made.drop(wrong)
    with pytest.raises(InputError, match="none of 1 tokens"):
        made.gain((0, 2))
    assert made.drop(np.array([0])) == made.drop([0])


def asked_until_known(count, value, threshold=1.0):
    """Confirm from the ends alone, and run what is asked for, as the engine does."""
    known = {frozenset(s) for s in every(count) if len(s) in (0, count - 1, count)}
    while True:
        made = table(count, value, lambda s, known=known: frozenset(s) in known)
        scores = table(count, value).shapley()
        found = confirm(made, scores, threshold)
        if not found.missing:
            return found, len(known)
        known |= set(map(frozenset, found.missing))


@pytest.mark.parametrize(
    ("value", "cited", "status"),
    [
        (lambda s: -6.0 * (2 not in s), (2,), "confirmed"),
        (lambda s: -6.0 * (not s & {2, 5}), (2, 5), "redundant"),
        (lambda s: -6.0 * (not s & {0, 2, 5}), (0, 2, 5), "redundant"),
        (lambda s: -6.0 * (not s >= {2, 5}), (2, 5), "joint"),
        (lambda s: -1.0, (), "own knowledge"),
        (lambda s: 0.3 * len(s), (), "not decided"),
    ],
)
def test_few_subsets_come_to_what_all_do(value, cited, status):
    found, rows = asked_until_known(7, value)
    assert (found.cited, found.status) == (cited, status)
    assert rows <= 9 + 12
    whole = confirmed(table(7, value))
    assert (whole.cited, whole.status) == (cited, status)


@pytest.mark.parametrize(
    ("flags", "values", "message"),
    [
        ([[1, 1], [0, 0], [1, 1]], [[0.0]] * 3, "twice"),
        ([[1, 1], [1, 0]], [[0.0]] * 2, "of all and of no"),
        ([[1, 1], [0, 0]], [[0.0]] * 3, "one row of them"),
        ([[], []], [[0.0]] * 2, "n at least 1"),
    ],
)
def test_what_is_no_table_is_refused(flags, values, message):
    with pytest.raises(ValueError, match=message):
        Coalitions(torch.tensor(flags) == 1, torch.tensor(values))


PROMPT = ["Ada", " has", " one", ".", " Bob", " has", " two", ".", " Q"]
ANSWER = [" Bob", " has", " two", ".", " Yes", " indeed", ".", " Ada", " has", " one", "."]


def result(answer=None, prompt=None, **changes):
    """Bob's sentence rests on the second passage, the next on none, Ada's on the first."""
    answer, prompt = answer or ANSWER, prompt or PROMPT
    subsets = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]]) == 1
    values = torch.full((4, len(answer)), -0.1, dtype=torch.float64)
    values[[0, 1], 2] = -8.0
    values[[0, 2], 9] = -7.0
    made = Coalitions(subsets, values)
    shares = torch.stack([made.shapley((t, t + 1)) for t in range(len(answer))], 1)
    given = {
        "table": made,
        "scores": shares,
        "spans": (Span(0, 4, "first"), Span(4, 8)),
        "extents": ((0, len("Ada has one.")), (13, 13 + len("Bob has two."))),
        "inputs": tokens(prompt),
        "response": tokens(answer, "generated"),
        "probability": values[3].exp(),
        "run": replace(RUN, documents=DOCUMENTS),
        "threshold": 1.5,
    }
    return Passages(**given | changes)


def test_each_sentence_has_its_own_passages():
    made = result()
    cited = made.citations()
    assert [c.text for c in cited] == ["Bob has two.", "Yes indeed.", "Ada has one."]
    assert [[p.index for p in c.passages] for c in cited] == [[1], [], [0]]
    assert [c.status for c in cited] == ["confirmed", "own knowledge", "confirmed"]
    answer = made.response.text
    for citation in cited:
        assert answer[citation.start : citation.end] == citation.text
        assert "".join(made.response.pieces[slice(*citation.rows)]).strip() == citation.text
        for passage in citation.passages:
            own = DOCUMENTS[passage.index].text
            assert own[passage.start : passage.end] == passage.text == own.strip()
            assert citation.drop == passage.drop == pytest.approx(made.table.drop(
                [passage.index], citation.rows
            ))  # fmt: skip
        assert citation.per_token["gain"] == citation.gain / (citation.rows[1] - citation.rows[0])
    assert made.citations(threshold=100)[0].status == "own knowledge"
    for wrong in (0, -1, math.inf, math.nan, "1", True):
        with pytest.raises(InputError, match="threshold is"):
            made.citations(threshold=wrong)
    with pytest.raises(InputError, match=r"style is 'apa'; expected None, 'markers'"):
        made.citations("apa")


def test_rows_tell_what_was_retrieved_and_what_was_used():
    made = result()
    rows = made.documents
    assert [row["name"] for row in rows] == ["On Ada", "b"]
    assert [row["retrieved_rank"] for row in rows] == [2, 1]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(row["score"] for row in rows) == pytest.approx(made.table.gain(), abs=1e-9)
    assert [row["status"] for row in made.to_rows("Bob has two.")] == ["unused", "confirmed"]
    assert [row["used_rank"] for row in made.to_rows((0, 4))] == [2, 1]
    assert list(made.to_dataframe().columns) == list(rows[0])
    assert "None" not in str(made.confirm("Bob"))
    with pytest.raises(InputError, match="occurs 2 times"):
        made.confirm(" has")


def test_marks_come_out_again():
    for answer in (ANSWER, [" In", " [1", "]", " see", " [9]", ".", " Yes", " x", " [2", "]", "."]):
        made = result(answer)
        text, end = made.citations("markers"), 0
        for citation in made.citations():
            marks = "".join(f"[{p.index + 1}]" for p in citation.passages)
            marks = f" {marks}" if marks else ""
            place = citation.end + end
            assert text[place : place + len(marks)] == marks
            text, end = text[:place] + text[place + len(marks) :], end
        assert text == made.response.text
    assert result().citations("markers") == " Bob has two. [2] Yes indeed. Ada has one. [1]"


def test_shapes_of_others_index_the_right_characters():
    made = result()
    answer, texts = made.response.text, [document.text for document in DOCUMENTS]
    found = made.citations("langchain")
    assert [answer[c["start_index"] : c["end_index"]] for c in found] == [
        "Bob has two.", "Ada has one.",
    ]  # fmt: skip
    for c in found:
        extras = c["extras"]
        text = texts[extras["document_index"]]
        assert text[extras["start_char_index"] : extras["end_char_index"]] == c["cited_text"]
        assert extras["set_drop"] > 6
        assert extras["status"] == "confirmed"
    assert (found[1]["url"], found[1]["title"]) == ("https://a.example", "On Ada")
    blocks = made.citations("anthropic")
    assert "".join(block["text"] for block in blocks) == answer
    for c in (c for block in blocks for c in block.get("citations", [])):
        text = texts[c["document_index"]]
        assert c["type"] == "char_location"
        assert text[c["start_char_index"] : c["end_char_index"]] == c["cited_text"]
    cohere = made.citations("cohere")
    assert [answer[c["start"] : c["end"]] for c in cohere] == [c["text"] for c in cohere]
    assert [source["id"] for c in cohere for source in c["sources"]] == ["b", "a"]
    assert cohere[0]["sources"][0]["document"]["snippet"] == texts[1].strip()
    notes = made.citations("openai")
    assert [answer[c["start_index"] : c["end_index"]] for c in notes] == [
        "Bob has two.", "Ada has one.",
    ]  # fmt: skip
    assert [c["type"] for c in notes] == ["file_citation", "url_citation"]
    assert notes[0]["file_id"] == "b"
    for style in ("langchain", "anthropic", "cohere", "openai"):
        json.dumps(made.citations(style), allow_nan=False)


def same(one, other):
    for name, value in vars(one).items():
        again = getattr(other, name)
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(again, value, rtol=0, atol=0, equal_nan=True)
        elif name in ("spans", "extents", "run", "threshold"):
            assert again == value, name
    assert repr(one.citations()) == repr(other.citations())  # which NaN would not equal
    assert one.documents == other.documents
    assert one.table.interactions().tolist() == other.table.interactions().tolist()


def test_a_saved_result_answers_the_same(tmp_path):
    made = result(standard_error=torch.full((2, len(ANSWER)), 0.01).double(), threshold=2.5)
    made.save(tmp_path / "r.json")
    read = hf_attrib.load(tmp_path / "r.json")
    assert type(read) is Passages
    same(made, read)
    assert str(read) == str(made)
    same(made, pickle.loads(pickle.dumps(made)))


def test_files_of_version_1_are_read(tmp_path):
    made = result()
    made.save(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    numbers = [sum(1 << i for i in some) for some in content["subsets"]]
    (tmp_path / "r.json").write_text(
        json.dumps(content | {"format_version": 1, "subsets": numbers})
    )
    assert hf_attrib.load(tmp_path / "r.json").documents == made.documents


@pytest.mark.parametrize(
    ("name", "junk", "message"),
    [
        ("subsets", [[], [0], [1], [0, 2]], "not of 2 passages"),
        ("subsets", [[], [0], [1], [1]], "twice"),
        ("values", [[1.0]], "entries, expected 4"),
        ("spans", [[0, 4, None]], "not of 1 passages"),
        ("extents", [[0, 4], [0, 400]], "beyond the text"),
        ("threshold", 0, "threshold is"),
        ("format_version", 3, "format version 3"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, junk, message):
    result().save(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps(content | {name: junk}))
    with pytest.raises(ResultFileError, match=message):
        Passages.load(tmp_path / "r.json")


@pytest.mark.parametrize("width", [20, 40, 80, 160])
@pytest.mark.parametrize("colors", [None, "standard", "truecolor"])
def test_it_prints_within_any_width(width, colors):
    screen = io.StringIO()
    console = Console(
        width=width, color_system=colors, force_terminal=True, record=True, file=screen
    )
    console.print(result())
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    if width >= 80:
        assert "Bob has two. [2]" in text
        assert "own knowledge" in text
        assert re.search(r"\[1\] On Ada .* joint", text)
        assert "used, not that it is true" in " ".join(text.split())


def test_text_is_data(tmp_path):
    for hostile in HOSTILE:
        answer = [f" {hostile}", " has", " two", ".", *ANSWER[4:]]
        made = result(
            answer, run=replace(RUN, documents=(Document(*[hostile] * 5), Document("Bob", index=1)))
        )
        assert harmless(str(made))
        page = made.to_html()
        assert harmless(page)
        assert "<b>&amp;</b>" not in page
        assert 'href="https' not in page
        assert "<script" not in page
    page = result().to_html()
    assert "Bob has two." in page
    assert 'href="#passage-2"' in page

"""Masses of groups are sums of scores; records of data sets hold nothing but lists and numbers."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from helpers.made_results import attribution, paris, sampled, tokens

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.text import Span

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def test_masses_by_hand():
    """Scores of ``paris``: [0, .1, 1.2, -.8, 3.1, 0] and [0, 0, .5, -1.4, .3, 0]."""
    found = paris().mass(country=[" France", (2, 3)], small="The")
    country, small, rest = found.values()
    assert list(found) == ["country", "small", "rest"]
    assert found.rest is rest
    assert country.tokens == (2, 4)
    assert country.each == pytest.approx((4.3, 0.8))
    assert country.shares == pytest.approx((4.3 / 5.2, 0.8 / 2.2))
    assert country.total == pytest.approx(5.1)
    # Of totals 0, .1, 1.7, -2.2, 3.4, 0.
    assert country.share == pytest.approx(5.1 / 7.4)
    assert [part.name for part in country.parts] == [" capital", " France"]
    assert [part.total for part in country.parts] == pytest.approx([1.7, 3.4])
    assert (small.total, small.parts) == (pytest.approx(0.1), ())
    assert rest.tokens == (0, 3, 5)
    assert rest.each == pytest.approx((-0.8, -1.4))
    # Sums 3.6 and -.6, of which the second is 1.081 times f(x) - f(x').
    assert found.completeness_errors == pytest.approx((0, -0.6 + 0.6 / 1.081), abs=1e-12)
    assert country.standard_errors is country.standard_error is None


def test_masses_add_up_to_the_change_of_f(keys):
    text = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
    result = Explainer(*keys).explain(text, method="integrated_gradients", steps=2)
    found = result.mass(facts=["Ada's key is red.", re.compile(r"Bob's key is \w+\.")], q=(15, 22))
    for t in range(len(result)):
        change = float(result.value[t].double() - result.reference_value[t].double())
        together = math.fsum(mass.each[t] for mass in found.values())
        assert together == pytest.approx(change + found.completeness_errors[t], abs=1e-6)
        assert math.fsum(mass.shares[t] for mass in found.values()) == pytest.approx(1)
    assert abs(found.completeness_error) > 1e-4  # two steps miss it
    assert found.completeness_error == math.fsum(found.completeness_errors)
    expected = float(result.scores.double()[:, 1:13].sum())
    assert found["facts"].total == pytest.approx(expected, rel=1e-9)


def test_errors_are_added_as_groups_add_them():
    found = sampled().mass(two="put")
    assert found["two"].standard_errors == (0.25, 1.0)
    assert found["two"].standard_error == 1.25
    whole = sampled().mass(both=["in", "put"])["both"]
    assert whole.standard_errors == (0.75, 1.125)
    assert (whole.total, whole.share) == (3.5, 1.0)


PLACES = {
    "text": ("put two", (1, 3)),
    "range": ((1, 3), (1, 3)),
    "range of JSON": ([1, 3], (1, 3)),
    "span": (Span(1, 3, "x"), (1, 3)),
    "pattern": (re.compile("t t"), (1, 3)),
    "part of a token": (re.compile("tw"), (2, 3)),
    "tuple of texts": (("put", " two"), (1, 3)),
    "ranges of JSON": ([[1, 2], [2, 3]], (1, 3)),
    "rule": ("word", (1, 4)),
    "word that is a rule": ([" word"], (3, 4)),
}


@pytest.mark.parametrize("case", PLACES)
def test_what_a_group_is_made_of(case):
    given, (start, stop) = PLACES[case]
    made = tokens(["<s>", "put", " two", " word"], ["special", "user", "user", "user"])
    result = attribution([[1.0, 2.0, 4.0, 8.0]], made, ["a"])
    found = result.mass(group=given)
    assert found["group"].tokens == tuple(range(start, stop))
    assert found["group"].total == sum(2.0**i for i in range(start, stop))


def test_matches_of_a_pattern_are_parts():
    result = attribution([[1.0, 2.0, 4.0]], ["a b", " c", " aa"], ["x"])
    found = result.mass(letters=re.compile("[ab]"))["letters"]
    assert found.tokens == (0, 2)  # two matches share the first token, and two the last
    assert [part.name for part in found.parts] == ["a b", " aa"]
    assert found.total == 5.0


def test_documents_are_a_group_of_parts(keys):
    result = Explainer(*keys).explain(
        "What color is Bob's key?",
        documents=["Ada's key is red.", "Bob's key is blue."],
        template="{documents} Q: {question} A:",
        method="occlusion",
    )
    found = result.mass(documents="document", question="What color is Bob's key?")
    names = dict(zip(result.pieces, result.total.tolist(), strict=True))
    assert [p.name for p in found["documents"].parts] == ["document 1", "document 2"]
    for part in found["documents"].parts:
        assert part.total == pytest.approx(names[part.name], rel=1e-6)
    assert found["question"].total == pytest.approx(names["question"], rel=1e-6)
    with pytest.raises(InputError, match=r"group 'word': .* blue' is a part of a column"):
        result.mass(word="blue")


BAD = {
    "twice there": ({"a": " of"}, r"group 'a': the text ' of' occurs 2 times"),
    "not there": ({"a": "🙂\x1b[2J"}, r"group 'a': .* occurs 0 times"),
    "empty text": ({"a": ""}, r"group 'a': the text '' occurs 0 times"),
    "beyond": ({"a": (2, 9)}, r"group 'a': .* range \(start, stop\) of the 4 tokens"),
    "a number": ({"a": 3}, r"group 'a': .* got 3"),
    "no place": ({"a": []}, r"group 'a': it is an empty list"),
    "no match": ({"a": re.compile("z")}, r"group 'a': the pattern 'z' matches nothing"),
    "empty matches": ({"a": re.compile("z*")}, r"matches no character"),
    "bytes": ({"a": re.compile(b"a")}, r"is of bytes; compile one of text"),
    "twice in one": ({"a": ["map", (0, 2)]}, r"group 'a': .* share tokens"),
    "in two": ({"a": "map", "b": (0, 2)}, r"'a' and 'b' share token 0, 'map'"),
    "the rest": ({"rest": "map"}, r"'rest' is what no group holds"),
    "no document": ({"a": "document"}, r"group 'a': the inputs hold no document .*\['document'\]"),
    "no turn": ({"a": "turn"}, r"group 'a': the inputs hold no message of a chat"),
    "half a surrogate": ({"a\ud800": "map"}, r"half of a surrogate"),
    "none": ({}, r"there is no group; name at least one"),
}


@pytest.mark.parametrize("case", BAD)
def test_groups_that_are_none(case):
    groups, message = BAD[case]
    result = attribution([[1.0, 2.0, 4.0, 8.0]], ["map", " of", " France", " of"], ["x"])
    with pytest.raises(InputError, match=message):
        result.mass(**groups)


def test_masses_print_and_become_rows():
    found = replace(paris(), scores=paris().scores * torch.tensor([[1.0], [0.0]])).mass(
        **{"a\x1b[31m": "The"}
    )
    assert "\x1b" not in str(found)
    assert "more than f(x) - f(x_ref)" in str(found)
    rows = found.to_rows()
    assert len(rows) == 4
    assert rows[0] == {
        "group": "a\x1b[31m", "generated": 0, "generated_piece": " Paris", "mass": 0.1,
        "share": pytest.approx(0.1 / 5.2), "standard_error": None,
        "completeness_error": pytest.approx(0.0, abs=1e-12),
    }  # fmt: skip
    assert rows[2]["share"] is None  # all scores are 0
    json.dumps(rows, allow_nan=False)
    with pytest.raises(KeyError, match=r"'b'; there are .*'rest'"):
        found["b"]


def test_a_record_is_plain_and_holds_the_masses():
    record = paris().to_record(country=" France")
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["prompt"] == "<bos>The capital of France\n"
    assert record["response"] == " Paris."
    assert record["attribution"] == pytest.approx([0, 0.1, 1.7, -2.2, 3.4, 0])
    assert record["ranges"][4] == [4, 5]
    assert record["country_tokens"] == [4]
    assert record["country_mass"] == pytest.approx(3.4)
    assert record["country_share"] == pytest.approx(3.4 / 7.4)
    assert record["rest_tokens"] == [0, 1, 2, 3, 5]
    assert record["rest_mass"] == pytest.approx(-0.4)
    assert record["completeness_error"] == pytest.approx(-0.6 + 0.6 / 1.081)
    assert not record["converged"]
    each = [one.to_record(country=" France") for one in paris()]
    assert [one["generated"] for one in each] == [[" Paris"], ["."]]
    assert [one["country_mass"] for one in each] == pytest.approx([3.1, 0.3])
    assert set(each[0]) == set(record)


def test_what_is_not_there_is_none(keys):
    result = Explainer(*keys).explain(
        "Ada's key is red. Q: What color is Ada's key? A:", method="saliency", attribute_to="all"
    )
    record = result.to_record()
    json.dumps(record, allow_nan=False)
    assert record["prompt"] == "Ada's key is red. Q: What color is Ada's key? A:"
    assert record["reference_value"] is record["completeness_error"] is None
    assert record["attribution_error"] is record["rest_standard_error"] is None
    assert record["rest_share"] == 1
    assert "f(x_ref)" not in str(result.mass(name=(1, 2)))
    older = replace(result, sequence=None).to_record()
    assert older["prompt"] == record["prompt"]


def test_a_saved_result_has_the_same_masses(keys, tmp_path):
    result = Explainer(*keys).explain(
        [{"role": "user", "content": "Ada's key is red. Q: What color is Ada's key?"}],
        method="occlusion",
    )
    result.save(tmp_path / "result.json")
    again = hf_attrib.load(tmp_path / "result.json")
    assert again.mass(said="turn").groups == result.mass(said="turn").groups

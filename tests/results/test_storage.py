"""Result files: what is wrong with one is said in words, and nothing is read as something else."""

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from helpers.made_results import RUN, attribution, paris, sampled, tokens
from helpers.text_checks import assert_lossless, harmless

import hf_attrib
from hf_attrib.errors import ResultFileError
from hf_attrib.results import to_json
from hf_attrib.text import Tokens


def edited(content, path, junk):
    """Put junk in one place of a document."""
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    return content


def load(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    return hf_attrib.load(path)


@pytest.mark.parametrize(
    ("path", "junk", "message"),
    [
        (["rows"], None, "its rows is null, expected a list"),
        (["rows"], [], "its rows are empty"),
        (["columns"], [], "its columns are empty"),
        (["rows", 0], [0.5, 1.7, None], r"its rows\[0\]\[0\] is 0.5, expected a whole number"),
        (["rows", 0], ["0", "1", None], "expected a whole number"),
        (["rows", 0], [True, 1, None], r"rows\[0\]\[0\] is true"),
        (["rows", 0], [0, 1], "has 2 entries, expected 3"),
        (["rows", 0], [0, 1, ["a", "b"]], "is a list, expected a text"),
        (["columns", 0, 1], 2, "spans do not partition"),
        (["scores", 0, 0], True, r"its scores\[0\]\[0\] is true, expected a number"),
        (["scores", 0, 0], "1e5", "expected a number"),
        (["scores", 0, 0], "nan", "expected a number"),
        (["scores", 0, 0], 10**400, "is a huge number, expected a number"),
        (["scores", 0], [], "has 0 entries, expected 6"),
        (["scores_dtype"], "int8", "expected float32 or float64"),
        (["probability", 0], 1.5, "probability reaches beyond 0 to 1"),
        (["probability", 0], -0.5, "probability reaches beyond 0 to 1"),
        (["inputs", "ids", 0], 1.5, "expected a whole number"),
        (["inputs", "ids"], [[1]] * 6, "expected a whole number"),
        (["inputs", "pieces", 0], ["a", "b"], "expected a text"),
        (["inputs", "pieces"], "sixsix", "expected a list"),
        (["inputs", "roles", 0], [], "expected a text"),
        (["inputs", "roles", 0], "x", "unknown roles"),
        (["inputs", "offsets", 0], [1, 0], "offsets reach beyond the 27 characters"),
        (["inputs", "offsets", 0], [0, 99], "offsets reach beyond"),
        (["inputs", "offsets", 0], [-2, -1], "is -2, expected a whole number"),
        (["inputs", "text"], ["a"], "its inputs.text is a list, expected a text"),
        (["run", "signed"], 1, "its run.signed is 1, expected true or false"),
        (["run", "tolerance"], "inf", "tolerance is inf"),
        (["run", "tolerance"], True, "expected a number"),
        (["run", "resolution"], 0, "resolution is 0.0"),
        (["run", "forward_rows"], 1.5, "expected a whole number"),
        (["run", "notes"], "abc", "expected a list"),
        (["run", "method_fields"], [], "expected an object"),
        (["run", "versions"], {"torch": 2}, "its run.versions.torch is 2, expected a text"),
        (["run", "contrast_ids"], [1], "contrast_ids and contrast_pieces differ in length"),
        (["sum_standard_error"], 5, "expected a list"),
        (["format_version"], True, "has format version True"),
        (["format_version"], 1.0, "has format version 1.0"),
    ],
)
def test_damage_is_named(tmp_path, path, junk, message):
    content = edited(json.loads(to_json(paris())), path, junk)
    with pytest.raises(ResultFileError, match=message):
        load(tmp_path, json.dumps(content))


@pytest.mark.parametrize("path", [["rows"], ["run"], ["run", "notes"], ["inputs", "text"]])
def test_what_is_missing_is_named(tmp_path, path):
    content = json.loads(to_json(paris()))
    inner = content if len(path) == 1 else content[path[0]]
    del inner[path[-1]]
    with pytest.raises(ResultFileError, match=rf"is damaged: it has no '{'.'.join(path)}'\.$"):
        load(tmp_path, json.dumps(content))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have(tmp_path, number):
    text = to_json(paris()).replace('"tolerance": 0.02', f'"tolerance": {number}')
    with pytest.raises(ResultFileError, match=f"is not JSON \\({number} is no finite number"):
        load(tmp_path, text)


def test_whole_numbers_stand_for_floats_and_words_for_infinities(tmp_path):
    content = json.loads(to_json(paris()))
    for place, number in ((0, 3), (1, "inf"), (2, "-inf"), (3, None)):
        content["scores"][0][place] = number
    row = load(tmp_path, json.dumps(content)).scores[0].tolist()
    assert row[:3] == [3.0, math.inf, -math.inf]
    assert math.isnan(row[3])


def test_numbers_beyond_their_type_are_refused(tmp_path):
    narrow = replace(paris(), scores=paris().scores.float())
    content = edited(json.loads(to_json(narrow)), ["scores", 0, 0], 1e300)
    with pytest.raises(ResultFileError, match=r"its scores\[0\] has numbers too large"):
        load(tmp_path, json.dumps(content))


def test_standard_errors_travel(tmp_path):
    result = sampled()
    assert_lossless(result, tmp_path)
    back = hf_attrib.load(tmp_path / "r.json")
    assert torch.equal(back.standard_error, result.standard_error)
    assert torch.equal(back.sum_standard_error, result.sum_standard_error)


def test_parts_check_themselves():
    with pytest.raises(ValueError, match="offsets reach beyond the 1 characters"):
        Tokens(torch.arange(1), ("a",), ("user",), ((0, 2),), "a")
    with pytest.raises(ValueError, match="tolerance is inf"):
        replace(RUN, tolerance=math.inf)
    with pytest.raises(ValueError, match="resolution is 0"):
        replace(RUN, resolution=0.0)
    with pytest.raises(ValueError, match="differ in length"):
        replace(RUN, contrast_ids=(1,), contrast_pieces=())
    with pytest.raises(ValueError, match="there are 2 contrasts for 1 tokens"):
        attribution([[1.0]], tokens(["a"]), ["b"], contrast_ids=(1, 2), contrast_pieces=("x", "y"))


def places(content, path=()):
    """Every place in a JSON document."""
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


JUNK = (
    None, True, 0, 1, -1, 0.5, 2**63, 10**400, "", "x", "inf", "\x1b[31m", "user", [], {}, [[]],
    [0, 1, None], {"a": 1},
)  # fmt: skip


@pytest.mark.parametrize("seed", range(150))
def test_files_edited_by_hand_load_or_say_so(tmp_path, seed):
    """Some values replaced or deleted: a result that works, or one clear error."""
    draw = random.Random(seed)
    content = json.loads(to_json(draw.choice((sampled(), paris(), paris().group("word")))))
    for _ in range(draw.choice((1, 1, 2, 3))):
        *path, last = draw.choice(list(places(content)))
        inner = content
        for key in path:
            inner = inner[key]
        if draw.random() < 0.5:
            del inner[last]
        else:
            inner[last] = (
                draw.choice((*JUNK, *(inner.values() if path else ())))
                if isinstance(inner, dict)
                else draw.choice((*JUNK, *inner))
            )
    try:
        result = load(tmp_path, json.dumps(content))
    except ResultFileError:
        return
    assert harmless(str(result))
    assert harmless(result.to_html().replace("\t", " "))  # white space in a page
    assert_lossless(result, tmp_path)
    assert_lossless(result.group("word", response="word"), tmp_path)
    assert harmless(str(hf_attrib.compare(result, result)))

"""``Explain``: batches of rows in, batches of numbers out, in the engines that people have."""

import json
import math
import os
import pickle

import numpy as np
import pandas
import pytest
import torch

import hf_attrib
from hf_attrib import Explain, InputError, embedded
from hf_attrib.runs import COLUMNS

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
SHORT = "Bob's key is green. Q: What color is Bob's key? A:"
FAST = {"method": "occlusion", "max_new_tokens": 2}
#: What takes another time in each run.
TIMED = "seconds"


@pytest.fixture(scope="module")
def explain():
    return Explain("keys-llama", **FAST)


@pytest.fixture(scope="module")
def explainer():
    return hf_attrib.Explainer(*embedded.load("keys-llama"))


def rows(found):
    return [
        {name: column[place] for name, column in found.items() if name != TIMED}
        for place in range(len(found["id"]))
    ]


def same(a, b):
    """Bit by bit; repr writes NaN alike and every float exactly."""
    return repr(a) == repr(b)


def test_a_row_says_what_the_result_says(explain, explainer):
    (row,) = rows(explain({"prompt": [PROMPT]}))
    result = explainer.explain(PROMPT, groups="sentence", spans="response", **FAST)
    assert row["scores"] == result.scores.tolist()
    assert row["groups"] == list(result.pieces)
    assert row["answer"] == result.response.text == " Bob's"
    assert row["tokens"] == embedded.load("keys-llama")[1](PROMPT).input_ids
    assert row["logprob"] == pytest.approx([math.log(float(result.probability[0]))], abs=1e-6)
    assert row["converged"] == result.converged.tolist()
    assert (row["method"], row["model"], row["error"]) == ("occlusion", "keys-llama", "")
    sizes = np.abs(np.array(row["scores"])).sum(0)
    shares = {role: row[f"mass_{role}"] for role in ("prompt", "special")}
    for role, share in shares.items():
        own = sum(s for s, r in zip(sizes, row["roles"], strict=True) if r == role)
        assert share == pytest.approx(own / sizes.sum())
    assert math.isnan(row["mass_user"])


def test_a_row_is_the_same_in_any_batch_and_order(explain):
    both = rows(explain({"prompt": [PROMPT, SHORT]}))
    turned = rows(Explain("keys-llama", **FAST)({"prompt": [SHORT, PROMPT]}))
    assert same(both, turned[::-1])
    assert same(both[1:], rows(explain({"prompt": [SHORT]})))


def test_maps_of_scores_are_kept_where_they_are_asked_for(explainer):
    (row,) = rows(Explain("keys-llama", scores="tokens", results=True, **FAST)({"prompt": [SHORT]}))
    result = explainer.explain(SHORT, groups="token", **FAST)
    assert row["scores"] == result.scores.tolist()
    assert len(row["scores"]) == 2
    assert len(row["scores"][0]) == len(row["tokens"])
    kept = hf_attrib.results.from_json(row["result"].encode(), "row", hf_attrib.Attribution)
    assert torch.equal(kept.scores, result.scores)
    assert kept.pieces == result.pieces


BAD = {
    "": "empty",
    "\ud83d": "surrogate",
    None: "a row needs one of",
    7: "expected a text",
    float("nan"): "a row needs one of",
}


def test_rows_that_cannot_be_explained_say_why_and_the_others_go_on(explain):
    found = explain({"prompt": [*BAD, SHORT, "\x1b[31mred 😀"]})
    for error, words in zip(found["error"], BAD.values(), strict=False):
        assert words in error
    assert [bool(error) for error in found["error"]] == [True] * len(BAD) + [False] * 2
    assert found["scores"][0] == []
    assert math.isnan(found["seconds"][0])
    assert len(set(found["id"])) == len(BAD) + 1  # nothing came in two of them
    for name in COLUMNS:
        assert len(found[name]) == len(BAD) + 2


def test_what_the_model_raises_is_an_error_of_the_row():
    explain = Explain("keys-llama", **FAST)
    engine = explain.explainer()

    def broken(prompt, **options):
        raise RuntimeError("the device \ud83d is gone")

    engine.explain = broken
    found = explain({"prompt": [SHORT]})
    assert found["error"] == ["RuntimeError: the device \\ud83d is gone"]


def test_answers_documents_and_contrasts_come_in_columns(explainer):
    columns = {"response": "gold", "prompt": "question"}
    batch = {"question": ["What color is Bob's key?"] * 2, "gold": [" Bob's key is blue.", None]}
    batch["documents"] = [["Ada's key is red.", "Bob's key is blue."], None]
    batch["contrast"] = [None, " Ada"]
    found = Explain("keys-llama", columns=columns, method="occlusion", max_new_tokens=1)(batch)
    assert "remove max_new_tokens" in found["error"][0]
    explain = Explain("keys-llama", columns=columns, method="occlusion")
    first, second = rows(explain(batch))
    given = {"documents": batch["documents"][0], "response": batch["gold"][0]}
    result = explainer.explain(
        batch["question"][0], method="occlusion", spans="response", groups="document", **given
    )
    assert first["scores"] == result.scores.tolist()
    assert first["groups"] == list(result.pieces)
    assert first["mass_document"] > 0
    contrasted = explainer.explain(
        batch["question"][1],
        method="occlusion",
        contrast=" Ada",
        spans="response",
        groups="sentence",
    )
    assert second["scores"] == contrasted.scores.tolist()
    # One for all rows is no column.
    (all_alike,) = rows(
        Explain("keys-llama", method="occlusion", contrast=" Ada")(
            {"prompt": batch["question"][1:]}
        )
    )
    assert all_alike["scores"] == second["scores"]


def test_columns_may_be_arrays_json_and_what_arrow_makes_of_mappings(explain):
    """Ray hands arrays of objects over, files without lists texts, Arrow the same keys to all."""
    ids = {"input_ids": [[1, 5, 6, 7]]}
    ways = [
        {"input_ids": np.array([np.array([1, 5, 6, 7]), None], dtype=object)[:1]},
        {"input_ids": pandas.Series([[1, 5, 6, 7]])},
        {"input_ids": torch.tensor([[1, 5, 6, 7]]), "prompt": [float("nan")]},
    ]
    expected = rows(explain(ids))
    assert expected[0]["error"] == ""
    for way in ways:
        assert same(rows(explain(way)), expected)
    from_json = rows(explain({"input_ids": ["[1, 5, 6, 7]"]}))
    assert from_json[0]["scores"] == expected[0]["scores"]
    documents = [[{"text": "Bob's key is blue.", "title": None}]]
    plain = [[{"text": "Bob's key is blue."}]]
    asked = {"prompt": ["What color is Bob's key?"]}
    assert same(
        rows(explain({**asked, "documents": documents})),
        rows(explain({**asked, "documents": plain})),
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": torch.nn.Linear(1, 1)}, "expected the name or the folder"),
        ({"scores": "all"}, "expected 'groups' or 'tokens'"),
        ({"method": hf_attrib.methods.methods()["saliency"]()}, "method='smooth_grad"),
        ({"target": lambda logits, ids: logits.sum(-1)}, "target is"),
        ({"response": "no"}, "belongs to a row"),
        ({"on_error": "return"}, "belongs to a row"),
        ({"metod": "saliency"}, "did you mean 'method'"),
        ({"steps": 5, "method": "saliency"}, "steps"),
        ({"columns": {"question": "prompt"}}, "which no row has"),
        ({"columns": {1: "prompt", "a": "prompt"}}, "columns name 1, which no row has"),
        ({"columns": "prompt"}, "columns is 'prompt'; expected a mapping"),
        ({"columns": ["prompt"]}, "expected a mapping"),
        ({"prefix": None}, "prefix is None; expected a text"),
        ({"groups": "verse"}, "groups is 'verse'; expected"),
        ({"spans": "verse"}, "spans is 'verse'; expected response, "),
        ({"contrast": " Ada", "spans": "word"}, "spans='word' came with another answer"),
        ({"contrast": " Ada", "target": "entropy"}, "it has no contrast"),
        ({"dtype": "int8"}, "dtype"),
        ({"max_memory": "lots"}, "lots"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(arguments, words):
    with pytest.raises(InputError, match=words):
        Explain(**{"model": "keys-llama", **arguments})


def test_a_batch_that_no_row_could_mend_is_refused(explain):
    with pytest.raises(InputError, match="no column holds prompts; the columns are 'text'"):
        explain({"text": [PROMPT]})
    with pytest.raises(InputError, match="different lengths"):
        explain({"prompt": [PROMPT], "response": []})
    with pytest.raises(InputError, match="'id', which would be overwritten"):
        explain({"prompt": [PROMPT], "id": [1]})
    with pytest.raises(InputError, match="no column 'q' for prompt"):
        Explain("keys-llama", columns={"prompt": "q"})({"prompt": [PROMPT]})
    with pytest.raises(InputError, match="there is no model folder"):
        Explain("./nowhere")({"prompt": [PROMPT]})
    with pytest.raises(InputError, match="contrast id 1000000 is outside"):
        Explain("keys-llama", contrast=10**6)({"prompt": [PROMPT]})
    assert explain({"prompt": []}) == {name: [] for name in COLUMNS}


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        # One row, as a map that is not batched hands it over; its letters are no rows.
        ({"prompt": PROMPT}, "column 'prompt' of the batch is .* batched=True"),
        ({"prompt": PROMPT.encode()}, "expected a list with an entry for each row"),
        ({"prompt": None}, "column 'prompt' of the batch is None"),
        ({"documents": {"text": "x"}, "prompt": [PROMPT]}, "column 'documents' of the batch"),
        ({5: ["x"], "text": ["x"]}, "no column holds prompts; the columns are 'text', 5"),
        ([{"prompt": PROMPT}], "expected columns by name"),
        (None, "a batch is None; expected columns by name"),
    ],
)
def test_what_holds_no_columns_of_rows_is_refused(explain, batch, words):
    for read in (explain, explain.ids):
        with pytest.raises(InputError, match=words):
            read(batch)


def test_a_chat_in_the_column_of_prompts_is_told_where_it_goes(explain):
    batch = {"prompt": [[{"role": "user", "content": SHORT}]]}
    (error,) = explain(batch)["error"]
    assert error.endswith("columns={'messages': 'prompt'} (--column messages=prompt).")
    told = Explain("keys-llama", columns={"messages": "prompt"}, **FAST)
    assert told(batch)["error"] == [""]


def test_a_column_is_read_as_what_it_was_said_to_hold_alone():
    own = Explain("keys-llama", **FAST)
    chat = [{"role": "user", "content": SHORT}]
    for columns, batch, plain in (
        ({"messages": "prompt"}, {"prompt": [chat]}, {"messages": [chat]}),
        ({"prompt": "response"}, {"response": [SHORT]}, {"prompt": [SHORT]}),
        (
            {"prompt": "response", "response": "prompt"},
            {"response": [SHORT], "prompt": [" green."]},
            {"prompt": [SHORT], "response": [" green."]},
        ),
        (
            {"response": "prompt"},
            {"messages": [chat], "prompt": [" green."]},
            {"messages": [chat], "response": [" green."]},
        ),
    ):
        assert Explain("keys-llama", columns=columns, **FAST).ids(batch) == own.ids(plain)


def test_columns_of_a_frame_may_have_numbers_for_names():
    explain = Explain("keys-llama", columns={"prompt": 0}, **FAST)
    numbered = explain.ids(pandas.DataFrame([[PROMPT, 1]]))
    assert numbered == Explain("keys-llama", **FAST).ids({"prompt": [PROMPT]})


def test_the_id_is_that_of_content_and_question(explain):
    (own,) = explain({"prompt": [SHORT]})["id"]
    assert explain({"other": [3], "prompt": [SHORT]})["id"] == [own]
    values = {"prompt": SHORT}
    assert explain.id_of({**values, "response": None}) == own
    ids = {own, explain.id_of({**values, "response": "no"})}
    for change in ({"method": "saliency"}, {"scores": "tokens"}, {"revision": "main"}):
        ids.add(Explain("keys-llama", **{**FAST, **change}).id_of(values))
    assert len(ids) == 5
    same_question = {"device": "auto", "batch_size": 3, "window": 1, "target": "log_prob"}
    assert Explain("keys-llama", **same_question, **FAST).id_of(values) == own


def test_sampled_answers_depend_on_the_row_alone():
    sampled = {"do_sample": True, "temperature": 3.0, "method": "occlusion", "max_new_tokens": 4}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = rows(Explain("keys-llama", **sampled)({"prompt": [PROMPT, SHORT]}))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again = rows(Explain("keys-llama", **sampled)({"prompt": [SHORT, PROMPT]}))
    assert same(first, again[::-1])


def test_it_travels_without_its_model(explain):
    explain({"prompt": [SHORT]})
    data = pickle.dumps(explain)
    assert len(data) < 2000
    assert same(rows(pickle.loads(data)({"prompt": [SHORT]})), rows(explain({"prompt": [SHORT]})))
    json.dumps(explain.question)


def test_it_maps_data_sets_in_several_processes(monkeypatch):
    import datasets
    from datasets.fingerprint import Hasher

    # The map puts a copy in its place, which other modules that hold the first never see.
    monkeypatch.setattr(os, "environ", os.environ)
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_dict({"id": [1, 2, 3], "prompt": ["", PROMPT, SHORT]})
    explain = Explain("keys-llama", prefix="a_", **FAST)
    unused = Hasher.hash(explain)
    single = rows(Explain("keys-llama", **FAST)({"prompt": data["prompt"]}))
    features = datasets.Features({**data.features, **explain.features})
    found = data.map(explain, batched=True, batch_size=1, num_proc=2, features=features)
    assert found["id"] == [1, 2, 3]
    for place, row in enumerate(single):
        assert same({name: found[place][f"a_{name}"] for name in row}, row)
    explain({"prompt": [SHORT]})
    assert Hasher.hash(explain) == unused
    assert Hasher.hash(Explain("keys-llama", prefix="a_", **FAST)) == unused
    assert Hasher.hash(Explain("keys-llama", prefix="a_")) != unused

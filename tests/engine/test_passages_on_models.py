"""Passages in models: citations against plain calls, in all modes; many passages; refusals."""

import itertools
import json
import re

import numpy as np
import pytest
import torch
from helpers import chat_templates, tiny

import hf_attrib
from hf_attrib import Explainer, InputError, Passages
from hf_attrib.embedded import retrieval

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

FACTS = ["Ada's key is red.", "Bob's key is blue.", "Dean lives in Rome.", "Zoe likes rice."]
ASKED = "Q: What color is Bob's key? A:"
PROMPT = f"{' '.join(FACTS)} {ASKED}"


@pytest.fixture(scope="module")
def keys():
    return hf_attrib.embedded.load("keys-llama")


@pytest.fixture(scope="module")
def explainer(keys):
    return Explainer(*keys)


def plainly(model, ids, mask, embeddings, response, decoder=None):
    """Log-probability of each token of a response by one call of the model, [T]."""
    reply = torch.tensor(response)
    with torch.no_grad():
        if decoder is not None:
            start = torch.cat([decoder, reply[:-1]])[None]
            given = {"inputs_embeds": embeddings[None]} if embeddings is not None else {
                "input_ids": ids[None]
            }  # fmt: skip
            logits = model(**given, attention_mask=mask[None], decoder_input_ids=start).logits[0]
            logits = logits[len(decoder) - 1 :]
        else:
            every = torch.cat([ids, reply[:-1]])[None]
            mask = torch.cat([mask, torch.ones(len(reply) - 1, dtype=mask.dtype)])
            where = torch.arange(every.shape[1])[None]
            if embeddings is None:
                given = {"input_ids": every}
            else:
                table = model.get_input_embeddings()
                given = {"inputs_embeds": torch.cat([embeddings, table(reply[:-1])])[None]}
            out = model(**given, attention_mask=mask[None], position_ids=where)
            logits = out.logits[0, len(ids) - 1 :]
    return logits.log_softmax(-1).gather(1, reply[:, None])[:, 0].double()


def without(model, found, kept, mode):
    """The same, by hand, for the passages that are kept."""
    ids = found.inputs.ids
    stays = torch.ones(len(ids), dtype=torch.bool)
    for i, span in enumerate(found.spans):
        stays[span.start : span.stop] = i in kept
    response = found.response.ids.tolist()
    decoder = found.sequence.start.ids if model.config.is_encoder_decoder else None
    mask, embeddings = torch.ones(len(ids), dtype=torch.int64), None
    if mode == "attention":
        mask = stays.long()
    elif mode == "drop":
        ids, mask = ids[stays], mask[stays]
    elif mode == "token":
        ids = torch.where(stays, ids, model.config.unk_token_id or 3)
    else:
        table = model.get_input_embeddings()
        embeddings = torch.where(stays[:, None], table(ids), table.weight.mean(0)).detach()
    return plainly(model, ids, mask, embeddings, response, decoder)


@pytest.mark.parametrize("mode", ["embed", "attention", "drop"])
def test_each_drop_and_hold_is_that_of_plain_calls(keys, explainer, mode):
    found = explainer.passages(PROMPT, groups=FACTS, mode=mode, threshold=1)
    (cited,) = found.citations()
    assert [p.index for p in cited.passages] == [1]
    assert cited.status == "confirmed"
    assert [row["status"] for row in found.documents][1] == "confirmed"
    players = set(range(len(FACTS)))
    value = {
        frozenset(kept): without(keys[0], found, kept, mode)[slice(*cited.rows)].sum()
        for k in range(5)
        for kept in map(set, itertools.combinations(players, k))
    }
    whole, none = value[frozenset(players)], value[frozenset()]
    cites = {p.index for p in cited.passages}
    assert cited.gain == pytest.approx(float(whole - none), abs=1e-4)
    assert cited.drop == pytest.approx(float(whole - value[frozenset(players - cites)]), abs=1e-4)
    assert cited.hold == pytest.approx(float(whole - value[frozenset(cites)]), abs=1e-4)
    for kept, expected in value.items():
        assert found.table.value(kept, cited.rows) == pytest.approx(float(expected), abs=1e-4)
    assert abs(float(found.score().sum()) - found.table.gain()) < 1e-9
    assert abs(float(found.table.shapley().sum()) - found.table.gain()) < 1e-9
    assert found.scores.sum(1).tolist() == pytest.approx(found.table.shapley().tolist(), abs=1e-9)
    assert len(found.table.subsets) == 16
    assert found.standard_error is None


def test_both_copies_are_cited(explainer):
    prompt = f"{' '.join(FACTS)} {FACTS[1]} {ASKED}"
    copies = [(1, 7), (7, 13), (13, 18), (18, 22), (22, 28)]
    found = explainer.passages(prompt, groups=copies)
    (cited,) = found.citations()
    assert [p.index for p in cited.passages] == [1, 4]
    assert cited.status == "redundant"
    assert max(p.drop for p in cited.passages) < found.threshold < cited.drop
    assert float(found.table.interactions()[1, 4]) < -1
    assert found.citations("markers") == " Bob's key is blue. [2][5]"


def test_what_no_passage_says_is_not_cited(explainer):
    found = explainer.passages(PROMPT.replace("Bob's key?", "Emma's key?"), groups=FACTS,
                               response=" Emma's key is gold.")  # fmt: skip
    (cited,) = found.citations()
    assert cited.passages == ()
    assert cited.status in ("own knowledge", "not decided")


@pytest.mark.parametrize(("family", "mode"), [("t5", "embed"), ("t5", "drop"), ("bart", "embed")])
def test_models_that_read_by_an_encoder_are_asked_the_same(family, mode):
    model = tiny.model(family)
    explainer = Explainer(model, tiny.tokenizer())
    found = explainer.passages(
        "the key is red in 19", groups={"key": "the key", "red": "is red", "in": "in 19"},
        response="Ada. was.", mode=mode, threshold=0.01,
    )  # fmt: skip
    assert found.names == ("key", "red", "in")
    model.eval()
    for kept in ({0, 1, 2}, {0, 2}, {1}, set()):
        expected = without(model, found, kept, mode).sum()
        assert found.table.value(kept) == pytest.approx(float(expected), abs=1e-4)
    for cited in found.citations():
        left = set(range(3)) - {p.index for p in cited.passages}
        whole = without(model, found, {0, 1, 2}, mode)[slice(*cited.rows)].sum()
        less = without(model, found, left, mode)[slice(*cited.rows)].sum()
        if cited.passages:
            assert cited.drop == pytest.approx(float(whole - less), abs=1e-4)
    assert abs(float(found.score().sum()) - found.table.gain()) < 1e-9


@pytest.mark.parametrize("count", [8, 10])
def test_many_passages_are_ranked_and_those_cited_are_confirmed(explainer, count):
    for case in retrieval.examples(3, count, seed=23):
        groups = [case.prompt[a:b] for a, b in case.facts]
        response = f" {case.answer}"
        found = explainer.passages(case.prompt, groups=groups, response=response)
        rows = len(found.table.subsets)
        assert rows <= 10 * count
        assert not found.table.complete
        assert f"{rows} of {2**count:,} subsets" in found.run.notes[-1]
        (cited,) = found.citations()
        whole = explainer.passages(case.prompt, groups=groups, response=response, budget=2**count)
        assert whole.table.complete
        (expected,) = whole.citations()
        assert [p.index for p in cited.passages] == [p.index for p in expected.passages]
        assert (cited.status, cited.drop) == (
            expected.status,
            pytest.approx(expected.drop, nan_ok=True),
        )
        assert abs(float(found.score().sum()) - found.table.gain()) < 1e-6
        assert bool((found.standard_error >= 0).all())


def refused(explainer, prompt, asked):
    with pytest.raises(InputError) as caught:
        explainer.passages(prompt, **asked, samples=4, budget=20)
    return str(caught.value)


def test_a_budget_that_is_spent_leaves_things_open_and_says_so(explainer):
    prompt = " ".join([FACTS[1], *FACTS, "Uma's hat is gold.", "Sam is a chef.", ASKED])
    spans = [(1, 7), (7, 13), (13, 19), (19, 24), (24, 28), (28, 34), (34, 39)]
    asked = {"groups": spans, "response": " Bob's key is blue.", "seed": 4}
    whole = explainer.passages(prompt, **asked, samples=4)
    least = int(re.search(r"takes (\d+) rows", refused(explainer, prompt, asked))[1])
    assert least < len(whole.table.subsets) <= least + 16
    found = explainer.passages(prompt, **asked, samples=4, budget=least)
    assert f"budget={least} reaches for no more" in found.run.notes[-1]
    (cited,) = found.citations()
    assert cited.status == "not decided"
    assert "not decided" in str(found)
    (cited,) = explainer.passages(prompt, **asked).citations()
    assert ([p.index for p in cited.passages], cited.status) == ([0, 2], "redundant")


@pytest.mark.parametrize("budget", [20, 40, 64])
def test_a_tight_budget_is_spent_on_what_confirms(explainer, budget):
    for case in retrieval.examples(3, 10, seed=5):
        groups = [case.prompt[a:b] for a, b in case.facts]
        asked = {"groups": groups, "response": f" {case.answer}"}
        found = explainer.passages(case.prompt, **asked, budget=budget)
        assert len(found.table.subsets) <= budget
        assert found.run.method == ("occlusion" if budget < 64 else "shapley")
        (cited,), (expected,) = (
            found.citations(),
            explainer.passages(case.prompt, **asked).citations(),
        )
        assert (cited.status, cited.drop) == (expected.status, pytest.approx(expected.drop))


def test_another_method_may_rank(explainer):
    for method in ("kernel_shap", "occlusion", "loo_shapley"):
        found = explainer.passages(PROMPT, groups=FACTS, method=method)
        assert found.run.method == method
        assert int(found.score().argmax()) == 1
        assert found.table.complete
        assert [p.index for p in found.citations()[0].passages] == [1]


def test_origins_stay_with_passages_and_texts_are_found(explainer, tmp_path):
    documents = [{"id": i, "title": f"T{i}", "score": 1 - i, "more": 3} for i in range(4)]
    documents[1]["text"] = "key is blue"
    groups = {"a": (1, 7), "b": (7, 13), "c": (13, 18), "d": (18, 22)}
    found = explainer.passages(PROMPT, groups=groups, origins=documents)
    assert [row["id"] for row in found.documents] == ["0", "1", "2", "3"]
    assert [row["retrieval_score"] for row in found.documents] == [1, 0, -1, -2]
    assert [found.passage_text(i) for i in range(4)] == [
        FACTS[0], "key is blue", *FACTS[2:],
    ]  # fmt: skip
    assert found.names == ("T0", "T1", "T2", "T3")
    found.save(tmp_path / "r.json")
    again = hf_attrib.load(tmp_path / "r.json")
    assert again.citations("langchain") == found.citations("langchain")
    # In another order they have other numbers, and are the same passages.
    turned = dict(reversed(groups.items()))
    other = explainer.passages(PROMPT, groups=turned, origins=documents[::-1])
    assert other.score().flip(0).tolist() == pytest.approx(found.score().tolist(), abs=1e-5)
    assert other.documents[2]["id"] == "1"


def test_lists_and_attached_models(keys):
    model = hf_attrib.attach(*keys)
    many = model.passages([PROMPT, PROMPT], groups=FACTS, response=[" Bob's", " Bob's key"])
    assert [len(found.response) for found in many] == [2, 3]
    alone = model.passages(PROMPT, groups=FACTS, response=" Bob's")
    torch.testing.assert_close(many[0].table.values, alone.table.values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("copies", [1, 2])
def test_documents_are_passages_where_they_stand(explainer, copies):
    texts = FACTS[:3] * copies
    question, template = "What color is Bob's key?", "{documents} Q: {question} A:"
    documents = [{"text": text, "id": f"d{i}", "score": i / 8} for i, text in enumerate(texts)]
    found = explainer.passages(question, documents=documents, template=template)
    assert [found.passage_text(i) for i in range(len(texts))] == list(texts)
    assert [(one.id, one.score) for one in found.run.documents] == [
        (one["id"], one["score"]) for one in documents
    ]
    assert found.names == tuple(one["id"] for one in documents)
    (cited,) = found.citations()
    assert {p.document.id for p in cited.passages} == {f"d{1 + 3 * k}" for k in range(copies)}
    spans = [(span.start, span.stop) for span in found.spans]
    ids = {"input_ids": found.inputs.ids.tolist(), "response_ids": found.response.ids.tolist()}
    named = explainer.passages(**ids, groups=spans)
    torch.testing.assert_close(found.table.values, named.table.values, rtol=0, atol=1e-6)
    many = explainer.passages([question] * 2, documents=documents, template=template)
    assert [one.citations("markers") for one in many] == [found.citations("markers")] * 2


@pytest.mark.parametrize("name", ["trimmed", "Command A", "Granite 4"])
def test_what_is_cited_is_where_the_document_itself_has_it(name):
    """Though the template cuts white space, or writes a JSON string."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = chat_templates.WITH_DOCUMENTS[name]
    explainer = Explainer(tiny.model("llama", max_position_embeddings=4096), tokenizer)
    texts = ['  say "hi"\n\tC\\ \u00e9 \n', "\\", "dup", "dup", "Beta \U0001f642 "]
    found = explainer.passages([{"role": "user", "content": "Which?"}], documents=texts,
                               response="Beta. One two.", threshold=1e-6)  # fmt: skip
    stands = [found.passage_text(i) for i in range(len(texts))]
    escaped = [json.dumps(text, ensure_ascii=False)[1:-1] for text in texts]
    trimmed = [text.strip() for text in texts]
    assert stands in (escaped, [each.strip() for each in escaped], trimmed, texts)
    cited = {p.index: p for citation in found.citations() for p in citation.passages}
    assert cited
    for index, passage in cited.items():
        assert passage.text == trimmed[index] == texts[index][passage.start : passage.end]
    for citation in found.citations("langchain"):
        extras = citation["extras"]
        own = texts[extras["document_index"]]
        assert own[extras["start_char_index"] : extras["end_char_index"]] == citation["cited_text"]
    for citation in found.citations("cohere"):  # whose documents have no ids here
        for source in citation["sources"]:
            assert "document_id" not in source["document"]


def test_a_prompt_with_an_empty_document_has_its_error_in_its_place(explainer):
    found = explainer.passages(["Who?"] * 2, documents=[["Ada"], [" "]], max_new_tokens=1,
                               on_error="return")  # fmt: skip
    assert isinstance(found[0], Passages)
    assert "document 1 has no text" in str(found[1])


def test_documents_of_a_chat_are_passages_too(explainer):
    asked = [{"role": "user", "content": "What color is Bob's key?"}]
    found = explainer.passages(asked, documents=FACTS[:3], response=" Bob's key is blue.")
    assert [found.passage_text(i) for i in range(3)] == list(FACTS[:3])
    assert [p.index for p in found.citations()[0].passages] == [1]
    assert "in the last turn of the user" in found.run.notes[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"documents": ["Ada", " "]}, "document 2 has no text, so nothing can rest on it; leave"),
        ({"documents": ["Ada"], "origins": [{}]}, "origins came next to documents"),
        ({"documents": ["Ada"], "groups": {"a": "Ada"}}, "groups came next to documents"),
        (
            {"prompt": ["Q", "R"], "documents": [["Ada"], ["Ada", "B"]]},
            "prompt 2 of 2: it came with 2 documents and the first prompt with 1",
        ),
    ],
)
def test_documents_that_cannot_be_passages_are_refused(explainer, asked, message):
    with pytest.raises(InputError, match=message):
        explainer.passages(**{"prompt": "Who?"} | asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "groups are None; expected the passages"),
        ({"groups": "sentence"}, "groups are 'sentence'; expected the passages"),
        ({"groups": []}, "there are no passages"),
        ({"groups": ["Ada has"]}, "occurs 0 times"),
        ({"groups": [(1, 5), (4, 7)]}, "share tokens"),
        ({"groups": [(0, 1)]}, "may not move"),
        ({"origins": [{}]}, "1 origins for 4 passages"),
        ({"origins": [{}, {}, {}, 3]}, r"origins\[3\] is 3; expected a mapping"),
        ({"origins": [{"score": "high"}] * 4}, "expected a number"),
        ({"threshold": 0}, "threshold is 0"),
        ({"budget": 0}, "budget is 0; expected forward rows"),
        (
            {"budget": 5},
            r"budget is 5; to rank 4 passages by occlusion\(.*takes 6 rows",
        ),
        ({"method": "integrated_gradients"}, "does not play groups"),
        ({"mode": "burn"}, "mode"),
        ({"target": "logit"}, "passages has no argument 'target'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(explainer, asked, message):
    given = {"groups": FACTS} if asked and "groups" not in asked else {}
    with pytest.raises(InputError, match=message):
        explainer.passages(PROMPT, **given | asked)


def test_numbers_of_numpy_are_asked_and_saved_as_numbers(explainer, tmp_path):
    asked = {"budget": 64, "threshold": 1.5}
    of_numpy = {"budget": np.int64(64), "threshold": np.float32(1.5)}
    one, other = (explainer.passages(PROMPT, groups=FACTS, **a) for a in (asked, of_numpy))
    other.save(tmp_path / "numbers.json")
    read = hf_attrib.load(tmp_path / "numbers.json")
    assert read.documents == other.documents == one.documents
    assert (type(read.threshold), read.run.method_fields) == (float, one.run.method_fields)

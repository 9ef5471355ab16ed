"""Attributions to documents bring the table of their documents: the same that passages finds."""

import json

import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib import Explainer, InputError

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

FACTS = ["Ada's key is red.", "Bob's key is blue.", "Dean lives in Rome."]
ASKED = {
    "prompt": "What color is Bob's key?",
    "documents": FACTS,
    "template": "{documents} Q: {question} A:",
}


@pytest.fixture(scope="module")
def explainer():
    return Explainer(*hf_attrib.embedded.load("keys-llama"))


@pytest.fixture(scope="module")
def found(explainer):
    return explainer.explain(**ASKED)


def test_documents_and_citations_are_those_of_passages(explainer, found):
    alone = explainer.passages(**ASKED)
    assert found.documents == alone.to_rows((0, len(found.response)))
    assert found.documents == alone.documents
    for style in (None, "markers", "langchain", "anthropic", "cohere", "openai"):
        assert found.citations(style) == alone.citations(style)
    assert [p.index for p in found.citations()[0].passages] == [1]
    gain = sum(row["score"] for row in found.documents)
    assert gain == pytest.approx(found.passages.table.gain(), abs=1e-9)


def test_all_rows_that_were_run_are_counted(explainer, found):
    without = explainer.explain(**ASKED, method="loo_shapley", groups="token").forward_rows
    assert found.forward_rows > found.passages.run.forward_rows >= 8
    assert without < 200  # tokens bring no table
    told = explainer.estimate(**ASKED, response=found.response.text)
    assert told.forward_rows[0] <= found.forward_rows <= told.forward_rows[1]


def test_documents_of_some_rows_are_worth_what_they_are_for_these(found):
    part = found["blue"]
    rows = part.rows[0]
    assert part.documents == found.passages.to_rows((rows.start, rows.stop))
    assert part.documents[1]["score"] > found.documents[0]["score"]
    with pytest.raises(InputError, match="not one part of the answer"):
        _ = found[::2].documents


def test_a_method_that_plays_groups_ranks_documents_too(explainer):
    found = explainer.explain(**ASKED, method="banzhaf", samples=16)
    assert found.passages.run.method == found.run.method == "banzhaf"
    assert torch.allclose(found.passages.score(), found.passages.table.banzhaf(), atol=1e-9)


def test_what_asks_for_gradients_or_tokens_brings_no_table(explainer):
    for asked in ({"method": "saliency"}, {"groups": "word"}):
        found = explainer.explain(**ASKED, **asked, max_new_tokens=1)
        assert found.passages is None
        for ask in (lambda r=found: r.documents, found.citations):
            with pytest.raises(InputError, match="has no table of documents"):
                ask()


def test_an_empty_document_leaves_the_attribution_and_says_why_there_are_no_citations(explainer):
    asked = ASKED | {"documents": ["Ada's key is red.", " "]}
    found = explainer.explain(**asked, max_new_tokens=1)
    assert found.passages is None
    reason = "there are no citations: document 2 has no text"
    assert any(reason in note for note in found.run.notes)
    with pytest.raises(InputError, match=reason):
        _ = found.documents


def test_each_prompt_of_a_list_has_its_own_table(explainer):
    found = explainer.explain(
        ["What color is Bob's key?", "Where does Dean live?"],
        documents=[FACTS, FACTS[1:]],
        template=ASKED["template"],
    )
    assert [len(result.passages) for result in found] == [3, 2]
    assert [[p.index for p in r.citations()[0].passages] for r in found] == [[1], [1]]
    assert [result.forward_rows > 3 for result in found] == [True, True]


def test_files_hold_the_table(found, tmp_path):
    file = tmp_path / "r.json"
    found.save(file)
    again = hf_attrib.load(file)
    assert again.documents == found.documents
    assert again.citations("cohere") == found.citations("cohere")
    content = json.loads(file.read_text())
    del content["passages"]  # as in files from before there was any
    file.write_text(json.dumps(content))
    assert hf_attrib.load(file).passages is None


def test_the_view_shows_what_the_answer_rests_on(found):
    shown = str(found)
    assert "redundant" not in shown
    assert "Bob's key is blue. [2]" in shown
    assert "confirmed: without [2]" in shown


def test_any_number_of_documents_takes_rows_in_proportion(tmp_path):
    explainer = Explainer(tiny.shared("llama"))
    torch.manual_seed(0)
    ids = torch.randint(3, 90, (82,)).tolist()
    groups = [(2 * i, 2 * i + 2) for i in range(40)]
    found = explainer.passages(
        input_ids=ids, response_ids=[5, 6], groups=groups, movable="all", samples=4
    )
    # 4 orders of 39 between all and none, these two, each left out, and 16 that confirm.
    assert len(found.table.subsets) <= 4 * 39 + 2 + 40 + 16
    assert found.score().sum() == pytest.approx(found.table.gain(), abs=1e-9)
    found.save(tmp_path / "r.json")
    assert hf_attrib.load(tmp_path / "r.json").documents == found.documents


SEVERAL = [
    "Ada's key is red.  Bob's key is blue. Dean lives in Rome.",
    "Zoe likes rice. Bob's key is blue.",
    "Emma's key is gold.",
]


def test_the_sentences_that_an_answer_rests_on_are_cited_alone(explainer, tmp_path):
    found = explainer.passages(**ASKED | {"documents": SEVERAL}, detail="sentence")
    (citation,) = found.citations()
    assert [(p.index, p.start, p.text) for p in citation.passages] == [
        (0, 19, "Bob's key is blue."),
        (1, 16, "Bob's key is blue."),
    ]
    for style in ("langchain", "anthropic"):
        assert str(found.citations(style)).count("'cited_text': \"Bob's key is blue.\"") == 2
    plain = explainer.passages(**ASKED | {"documents": SEVERAL})
    assert plain.documents == found.documents  # the question about passages is the same one
    assert found.run.forward_rows == plain.run.forward_rows + found.sentences.run.forward_rows
    # Copies in two passages are players of one game: the table of all five sentences says so.
    assert len(found.sentences) == 5
    assert found.sentences.table.complete
    found.save(tmp_path / "r.json")
    assert hf_attrib.load(tmp_path / "r.json").citations("cohere") == found.citations("cohere")


def test_a_passage_of_one_sentence_is_not_asked_about_again(explainer):
    assert explainer.passages(**ASKED, detail="sentence").sentences is None
    with pytest.raises(InputError, match="detail is 'word'; expected 'passage' or 'sentence'"):
        explainer.passages(**ASKED, detail="word")


def test_scores_of_another_target_are_told_from_those_of_documents(explainer, found):
    logits = explainer.explain(**ASKED, target="logit", max_new_tokens=1)
    assert "log_prob in nats, and the scores above them about the target logit" in logits.notes[-1]
    assert not any("in nats" in note for note in found.notes)


@pytest.mark.parametrize("threshold", [10**400, float("inf"), True, "1"])
def test_a_threshold_is_a_finite_number(explainer, threshold):
    with pytest.raises(InputError, match="expected nats of log-odds, a number above 0"):
        explainer.passages(**ASKED, threshold=threshold)


def test_a_mode_without_a_baseline_is_named(explainer):
    with pytest.raises(InputError, match="has no baseline in mode 'drop'; leave it out"):
        explainer.passages(**ASKED, mode="drop", baseline="mean")


def test_what_ends_an_answer_is_no_block_of_it(found):
    blocks = found.citations("anthropic")
    assert [block["text"] for block in blocks] == [" ", "Bob's key is blue."]
    assert found.citations("markers") == " Bob's key is blue. [2]"

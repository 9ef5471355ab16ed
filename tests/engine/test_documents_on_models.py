"""A prompt with documents is explained document by document, and results keep the documents."""

import json

import pytest
import torch
from helpers import tiny
from helpers.chat_templates import CALL, WITH_DOCUMENTS, said

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.text import Document, Documents

TEMPLATE = "{documents} Q: {question} A:"
QUESTION = "What color is Bob's key?"
FACTS = [
    {"text": "Ada's key is red.", "id": "a", "score": 0.25},
    {"text": "Bob's key is blue.", "title": "T", "url": "u"},
    "",
    "Carl lives in Rome.",
]
ASKED = {"documents": FACTS, "template": TEMPLATE}
OTHER = "template and other"

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def scores_of(result):
    pairs = zip(result.pieces, result.total.tolist(), strict=True)
    return {name: score for name, score in pairs if name != OTHER}


def test_the_document_that_holds_the_answer_is_the_strongest(keys):
    result = Explainer(*keys).explain(QUESTION, **ASKED)
    assert "blue" in "".join(result.response_pieces)
    scores = scores_of(result["blue"])
    assert list(scores) == ["document 1", "document 2", "document 4", "question"]
    assert max(scores, key=scores.get) == "document 2"
    assert result.notes[0] == "The documents stand in the given template."
    assert "Document 3 is empty, so it has no tokens." in result.notes


@pytest.mark.parametrize(
    "method", ["loo_shapley", "shapley", "integrated_gradients", "kernel_shap"]
)
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_sums_are_exact(family, method):
    model, tokenizer = tiny.shared(family), tiny.tokenizer(family in tiny.SEQ2SEQ)
    result = Explainer(model, tokenizer).explain(
        QUESTION, **ASKED, method=method, response_ids=[9, 40, 77]
    )
    difference = (result.value - result.reference_value).double()
    tolerance = 2e-2 if method == "integrated_gradients" else 1e-4
    torch.testing.assert_close(
        result.scores.double().sum(1), difference, rtol=tolerance, atol=tolerance
    )
    assert set(result.pieces) - {"</s>"} == {
        "document 1",
        "document 2",
        "document 4",
        "question",
        OTHER,
    }


def test_what_is_explained_is_what_the_chat_template_writes():
    model, tokenizer = tiny.shared("llama", max_position_embeddings=512), tiny.tokenizer()
    tokenizer.chat_template = WITH_DOCUMENTS["Granite 3"]
    messages = [
        said("system", "Be brief."),
        said("user", "Hi"),
        said("assistant", "", tool_calls=[CALL]),
        said("tool", "22 C"),
        said("user", "So?"),
    ]
    explainer = Explainer(model, tokenizer)
    result = explainer.explain(messages, documents=["the key", "is red"], max_new_tokens=2)
    own = tokenizer.apply_chat_template(
        messages,
        documents=[{"text": "the key"}, {"text": "is red"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert result.input_ids.tolist() == list(own)
    expected = model.generate(torch.tensor([list(own)]), max_new_tokens=2)[0, len(own) :]
    assert result.response_ids.tolist() == expected.tolist()
    names = ["system", "document 1", "document 2", "user 1", "tool", "question"]
    assert list(scores_of(result)) == names


def test_groups_may_be_others(keys):
    explainer, given = Explainer(*keys), {"method": "saliency", "max_new_tokens": 1}
    tokens = explainer.explain(QUESTION, **ASKED, **given, groups="token")
    assert len(tokens.columns) == len(tokens.inputs)
    grouped = explainer.explain(QUESTION, **ASKED, **given)
    assert tokens.group("document").columns == grouped.columns
    assert explainer.explain(QUESTION, **ASKED, **given, groups=None).columns == tokens.columns


def test_documents_are_kept_in_files(keys, tmp_path):
    result = Explainer(*keys).explain(QUESTION, **ASKED, max_new_tokens=2)
    assert result.documents_given == Documents.of(FACTS).each
    assert result.documents_given[1] == Document("Bob's key is blue.", title="T", url="u", index=1)
    result.save(tmp_path / "r.json")
    read = hf_attrib.load(tmp_path / "r.json")
    assert read.documents_given == result.documents_given
    assert read.columns == result.columns
    assert read.group("document").columns == result.columns
    content = json.loads((tmp_path / "r.json").read_text())
    del content["run"]["documents"]  # as in files from before
    (tmp_path / "r.json").write_text(json.dumps(content))
    assert hf_attrib.load(tmp_path / "r.json").documents_given == ()


def test_pairs_of_documents(keys, tmp_path):
    found = Explainer(*keys).interactions(QUESTION, **ASKED, max_new_tokens=1)
    assert "document 1 × document 2" in str(found)
    assert found.run.documents == Documents.of(FACTS).each


def test_several_questions_of_the_same_documents(keys):
    explainer, given = Explainer(*keys), {"method": "saliency", "max_new_tokens": 1}
    questions = [QUESTION, "Where does Carl live?"]
    together = explainer.explain(questions, **ASKED, **given)
    for question, result in zip(questions, together, strict=True):
        alone = explainer.explain(question, **ASKED, **given)
        torch.testing.assert_close(result.scores, alone.scores, rtol=1e-4, atol=1e-6)
        assert result.columns == alone.columns


def test_the_best_method_is_chosen_by_documents(keys):
    result = Explainer(*keys).explain(QUESTION, **ASKED, method="auto", budget=40, max_new_tokens=1)
    assert set(scores_of(result)) == {"document 1", "document 2", "document 4", "question"}
    assert result.documents_given


def test_what_has_no_documents_refuses_them(keys):
    explainer = Explainer(*keys)
    for call in (explainer.robustness, explainer.evaluate):
        with pytest.raises(InputError, match="has no argument 'documents'"):
            call(QUESTION, documents=FACTS)
    with pytest.raises(InputError, match="none came; give documents"):
        explainer.explain(QUESTION, template=TEMPLATE)

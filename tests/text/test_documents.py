"""Documents are read as people hold them, and what came with them stays."""

import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas
import pytest

from hf_attrib import InputError
from hf_attrib.text import Document, Documents, Requests


@dataclass
class FromLangChain:
    page_content: str
    metadata: dict = field(default_factory=dict)
    id: str | None = None


class Node:
    """As LlamaIndex has them."""

    def __init__(self, text, **metadata):
        self._text, self.metadata, self.node_id = text, metadata, "n1"

    def get_content(self):
        return self._text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("A text", {}),
        *(({key: "A text"}, {}) for key in ("text", "content", "contents", "page_content")),
        *(({key: "A text"}, {}) for key in ("body", "snippet")),
        (
            {"text": "A text", "id": 7, "title": "T", "source": "a.txt", "url": "u", "score": 0.5},
            {"id": "7", "title": "T", "source": "a.txt", "url": "u", "score": 0.5},
        ),
        (
            {"content": "A text", "metadata": {"title": "T", "uri": "u"}, "title": None},
            {"title": "T", "url": "u"},
        ),
        (
            {"id": "c1", "data": {"snippet": "A text", "title": "T", "id": "inner"}},
            {"id": "c1", "title": "T"},
        ),
        ({"id": "c1", "data": "A text"}, {"id": "c1"}),
        (
            FromLangChain("A text", {"source": "a.pdf", "score": np.float32(0.5)}, "x"),
            {"id": "x", "source": "a.pdf", "score": 0.5},
        ),
        ((FromLangChain("A text"), np.float64(0.25)), {"score": 0.25}),
        (SimpleNamespace(text="A text", title="T"), {"title": "T"}),
        (
            SimpleNamespace(node=Node("A text", file_name="b.md"), score=0.75),
            {"id": "n1", "source": "b.md", "score": 0.75},
        ),
        (SimpleNamespace(content="A text", meta={"url": "u"}), {"url": "u"}),
        ({"text": "A text", "id": uuid.UUID(int=1), "score": True}, {"id": str(uuid.UUID(int=1))}),
        ({"text": "A text", "score": float("nan"), "title": ["no"]}, {}),
        ({"text": None, "content": "A text"}, {}),
        *(({"text": "A text", "score": score}, {}) for score in (10**400, np.ones(2), "0.5")),
        ({"text": "A text", "id": "", "doc_id": "d"}, {"id": "d"}),
        ({"text": "A text", "id": True}, {}),
    ],
)
def test_documents_of_all_kinds(given, expected):
    (document,) = Documents.of([given]).each
    assert document == Document("A text", **expected)


def test_documents_are_counted_in_the_order_given():
    read = Documents.of(name for name in ("b", "a", "b"))
    assert [(d.text, d.index, d.name) for d in read.each] == [
        ("b", 0, "document 1"),
        ("a", 1, "document 2"),
        ("b", 2, "document 3"),
    ]
    assert read.first(2) == Documents.of(["b", "a"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "documents is an empty list"),
        ({"a", "b"}, "documents came as a set, which has no order"),
        (pandas.DataFrame({"text": ["a"], "id": [1]}), r"give its rows, as frame.to_dict"),
        ("a text", "documents is a list of documents.*got one alone"),
        ({"text": "a"}, "got one alone"),
        (5, "got one alone"),
        (["a", 5], "document 2 is 5; expected a text, a mapping with one of text, content"),
        ([None], "document 1 is None"),
        ([b"a"], "document 1 is b'a'"),
        ([("a", float("nan"))], r"or a pair of one of these and a finite score"),
        ([{"title": "a"}], "document 1 is {'title': 'a'}"),
        ([{"id": 1, "data": {"title": "a"}}], "document 1 is {'title': 'a'}"),
        ([["a"]], r"document 1 is \['a'\]"),
        ([SimpleNamespace(text=3)], "document 1 is namespace"),
    ],
)
def test_what_is_no_document_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Documents.of(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"placement": "slot"}, "placement is 'slot'; expected 'auto' or 'template'"),
        ({"template": "{documents}"}, "template holds {question} 0 times"),
        ({"template": "{question}{question}{documents}"}, "template holds {question} 2 times"),
        ({"template": 5}, "template holds {documents} 0 times"),
    ],
)
def test_a_place_that_is_none_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Documents.of(["a"], **options)


def test_columns_of_a_frame_are_no_prompts_and_no_documents():
    frame = pandas.DataFrame({"prompt": ["p", "q"], "document": ["a", "b"]})
    with pytest.raises(InputError, match=r"give the column that holds them, as frame\['prompt'\]"):
        Requests.of(frame)
    with pytest.raises(InputError, match="documents came as a data frame"):
        Requests.of(["p", "q"], documents=frame)
    with pytest.raises(InputError, match="2 prompts need a list of 2 of response"):
        Requests.of(["p", "q"], response=frame)
    read = Requests.of(frame["prompt"], documents=frame["document"])
    assert [each.prompt for each in read.each] == ["p", "q"]
    assert read.each[0].documents == Documents.of(["a", "b"])
    rows = frame.rename(columns={"document": "text"}).to_dict("records")
    assert Documents.of(rows).each == Documents.of(["a", "b"]).each


def test_prompts_share_documents_or_have_their_own():
    shared = Requests.of(["p", "q"], documents=["a", "b"])
    assert [r.documents for r in shared.each] == [Documents.of(["a", "b"])] * 2
    own = Requests.of(["p", "q"], documents=[["a"], ["b", "c"]])
    assert [r.documents for r in own.each] == [Documents.of(["a"]), Documents.of(["b", "c"])]
    with pytest.raises(InputError, match="2 prompts need a list of 2 of documents"):
        Requests.of(["p", "q"], documents=[["a"]])
    with pytest.raises(InputError, match=r"^prompt 2 of 2: documents is an empty list"):
        Requests.of(["p", "q"], documents=[["a"], []])
    assert Requests.of("p").each[0].documents is None
    with pytest.raises(InputError, match="none came; give documents"):
        Requests.of("p", template="{documents}{question}")
    with pytest.raises(InputError, match="documents came with input_ids"):
        Requests.of(None, input_ids=[1], documents=["a"]).each[0].check()


def test_a_place_without_documents_is_refused():
    with pytest.raises(InputError, match="placement says where documents stand, but none came"):
        Requests.of("Who?", placement="template")

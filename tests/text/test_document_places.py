"""Documents stand where the template puts them, and each is found at its own tokens alone."""

import json
from functools import cache

import pytest
from helpers import tiny
from helpers.chat_templates import CALL, TEMPLATES, WITH_DOCUMENTS, said
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_attrib import InputError
from hf_attrib.text import Documents, Span, partition
from hf_attrib.text.encoding import encode_prompt

WITHOUT = ("Llama 3", "Llama 3.1", "Qwen 2.5", "Qwen 3", "Gemma", "Gemma 3", "Mistral", "Llama 2")
ASKED = [said("user", "Who has the key?")]
TALK = [said("user", "Hi"), said("assistant", "Hello"), said("user", " Who has the key?\n")]
WITH_TOOLS = [
    said("system", "Be brief."),
    said("user", "Hi"),
    said("assistant", "", tool_calls=[CALL]),
    said("tool", '{"celsius": "22"}'),
    said("user", "So?"),
]
SPECIAL = set(tiny.tokenizer().all_special_ids)
TEXTS = [
    "Ada has the key.",
    "  Bob <b>has</b>\nit.\n",
    "Ada has the key.",
    'say "x" \\ </doc> <|im_end|> <eos>\n<|user|> {{ y }} [/INST] é',
    "Who has the key?",
]


@cache
def tokenizer_of(template):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def encoded(tokenizer, prompt, documents, **options):
    return encode_prompt(tokenizer, prompt, {}, SPECIAL, Documents.of(documents, **options))


def found(tokens, kind="document"):
    """What the tokens of each part of a kind read, by its name."""
    parts = [s for s in tokens.segments if s.kind == kind]
    assert len({s.name for s in parts}) == len(parts)
    return {s.name: tokens.text[slice(*tokens.extent(Span(s.start, s.stop)))] for s in parts}


def named(texts, form=str):
    return {f"document {i + 1}": form(text) for i, text in enumerate(texts) if text.strip()}


def escaped(text):
    return json.dumps(text, ensure_ascii=False)[1:-1]


FORMS = {"Granite 4": escaped, "Command R7B": escaped, "Command A": escaped, "trimmed": str.strip}
#: Documents as each template is given them.
GIVEN = {"Granite 3.3": lambda text, i: {"text": text, "doc_id": i + 1}}


def fields(family, texts):
    make = GIVEN.get(family, lambda text, i: {"text": text})
    return [make(text, i) for i, text in enumerate(texts)]


@pytest.mark.parametrize("messages", [ASKED, TALK], ids=["question", "talk"])
@pytest.mark.parametrize("placement", ["auto", "template"])
@pytest.mark.parametrize("family", WITH_DOCUMENTS)
def test_a_template_with_a_place_writes_documents_itself(family, placement, messages):
    tokenizer = tokenizer_of(WITH_DOCUMENTS[family])
    tokens = encoded(tokenizer, messages, TEXTS, placement=placement)
    own = tokenizer.apply_chat_template(
        messages, documents=fields(family, TEXTS), add_generation_prompt=True, return_dict=False
    )
    assert tokens.ids.tolist() == list(own)
    assert found(tokens) == named(TEXTS, FORMS.get(family, str))
    assert tokens.notes[0] == "The documents stand in the chat template's own place for them."
    assert ("doc_id" in " ".join(tokens.notes)) == (family == "Granite 3.3")
    assert [d.text for d in tokens.documents] == TEXTS


def test_mappings_are_given_to_the_template_as_they_came():
    tokenizer = tokenizer_of(WITH_DOCUMENTS["Command A"])
    documents = [
        {"text": "Ada has it.", "title": "T", "year": 1999, "url": None},
        {"content": "Bob", "x": {"y": 1}},
    ]
    tokens = encoded(tokenizer, ASKED, documents)
    own = tokenizer.apply_chat_template(
        ASKED,
        documents=[documents[0] | {"url": None}, documents[1]],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert tokens.text == own.replace(', "url": null', "")
    assert found(tokens) == {"document 1": "Ada has it.", "document 2": "Bob"}


def test_a_mapping_that_names_its_text_otherwise_is_given_again_by_the_usual_name():
    tokenizer = tokenizer_of(WITH_DOCUMENTS["Granite 3"])
    tokens = encoded(tokenizer, ASKED, [{"body": "Ada has it."}])
    assert found(tokens) == {"document 1": "Ada has it."}
    assert "own place" in tokens.notes[0]


def test_ids_of_documents_are_kept_where_a_template_reads_them():
    tokenizer = tokenizer_of(WITH_DOCUMENTS["Granite 3.3"])
    documents = [{"text": "a", "doc_id": "x"}, {"text": "b", "id": "y"}, "c"]
    text = encoded(tokenizer, ASKED, documents).text
    assert [f'"document_id": "{name}"' in text for name in ("x", "y", "3")] == [True] * 3


FRAMED = (
    "[1]\nAda has the key.\n\n[2]\nBob <b>has</b>\nit.\n\n[3]\nAda has the key.\n\n"
    '[4]\nsay "x" \\ </doc> <|im_end|> <eos>\n<|user|> {{ y }} [/INST] é\n\n'
    "[5]\nWho has the key?\n\n"
)


@pytest.mark.parametrize("messages", [ASKED, TALK], ids=["question", "talk"])
@pytest.mark.parametrize("family", WITHOUT)
def test_a_template_without_a_place_has_them_in_the_last_turn_of_the_user(family, messages):
    tokenizer = tokenizer_of(TEMPLATES[family])
    tokens = encoded(tokenizer, messages, TEXTS)
    framed = [*messages[:-1], said("user", FRAMED + messages[-1]["content"])]
    own = tokenizer.apply_chat_template(framed, add_generation_prompt=True, return_dict=False)
    assert tokens.ids.tolist() == list(own)
    assert found(tokens) == named(TEXTS, str.strip)
    (question,) = found(tokens, "question").values()
    assert question.strip() == messages[-1]["content"].strip()
    assert tokens.notes[0] == (
        "The documents stand in the last turn of the user, in a numbered frame, since the chat "
        "template has no place for them."
    )


@pytest.mark.parametrize("family", WITHOUT)
def test_a_place_of_the_template_that_is_not_there_is_refused(family):
    with pytest.raises(InputError, match="own place, but the chat template has no place for them"):
        encoded(tokenizer_of(TEMPLATES[family]), ASKED, TEXTS, placement="template")


@pytest.mark.parametrize(
    "slot",
    [
        "{{ d.text }}{{ d.text }}",
        "{{ d.text | upper }}",
        "{{ d.text[:5] }}",
        "{{ d.text | replace('a', 'e') }}",
        "{{ d.text if loop.first }}",
        "{{ d.text | trim | tojson }}",
        "{{ d.title }}",
    ],
)
def test_a_template_that_does_more_to_documents_than_write_them_has_no_place(slot):
    template = "{% for d in documents or [] %}" + slot + "{% endfor %}" + TEMPLATES["ChatML"]
    documents = [{"text": text, "title": "T"} for text in TEXTS]
    with pytest.raises(InputError, match="does not write each of them once and as it is"):
        encoded(tokenizer_of(template), ASKED, documents, placement="template")
    tokens = encoded(tokenizer_of(template), ASKED, documents)
    assert "does not write each of them once" in tokens.notes[0]
    needed = tokenizer_of(template.replace("documents or []", "documents"))
    with pytest.raises(InputError, match="once and as it is, and it writes nothing without any"):
        encoded(needed, ASKED, documents)
    assert found(tokens) == named(TEXTS, str.strip)
    assert tokens.text.startswith("<|im_start|>user\n[1] T\nAda has")


@pytest.mark.parametrize("family", [*WITH_DOCUMENTS, *WITHOUT])
def test_empty_documents_have_no_tokens_and_it_is_said(family):
    template = WITH_DOCUMENTS.get(family) or TEMPLATES[family]
    tokens = encoded(tokenizer_of(template), ASKED, ["", "Ada", " \n "])
    assert found(tokens) == {"document 2": "Ada"}
    assert "Document 1 is empty, so it has no tokens." in tokens.notes
    assert "Document 3 is empty, so it has no tokens." in tokens.notes
    nothing = encoded(tokenizer_of(template), ASKED, [""])
    assert found(nothing) == {}


PIECES = ["Ada", "key", " ", "\n", "\n\n", "\t", '"', "\\", "<b>", "</doc>", "<|im_end|>", "[1]"]
PIECES += [
    "[2]\n",
    "Document 1\n",
    "é",
    "日本",
    "🙂",
    "<eos>",
    "<think>",
    "{{ d }}",
    "{documents}",
    "'",
]
ANY = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@pytest.mark.parametrize("family", [*WITH_DOCUMENTS, "Llama 3", "Qwen 3", "Gemma", "Mistral"])
@settings(max_examples=12)
@given(texts=st.lists(ANY, min_size=1, max_size=4), question=ANY)
def test_documents_of_any_kind_are_found(family, texts, question):
    slot = family in WITH_DOCUMENTS
    tokenizer = tokenizer_of(WITH_DOCUMENTS[family] if slot else TEMPLATES[family])
    tokens = encoded(tokenizer, [said("user", question)], texts)
    assert found(tokens) == named(texts, FORMS.get(family, str) if slot else str.strip)
    assert ("own place" in tokens.notes[0]) == slot
    inside = [i for s in tokens.segments if s.kind == "document" for i in range(s.start, s.stop)]
    assert len(inside) == len(set(inside))
    if slot:
        own = tokenizer.apply_chat_template(
            [said("user", question)],
            documents=fields(family, texts),
            add_generation_prompt=True,
            return_dict=False,
        )
        assert tokens.ids.tolist() == list(own)


def test_a_token_over_the_border_of_a_document_is_the_templates():
    template = "{% for d in documents %}: t{{ d.text }}, {% endfor %}{{ messages[0].content }}"
    tokens = encoded(tokenizer_of(template), ASKED, ["he key", "he", "Ada"])
    astride = [i for i, piece in enumerate(tokens.pieces) if piece == " the"]
    assert [tokens.roles[i] for i in astride[:2]] == ["template"] * 2
    assert found(tokens) == {"document 1": " key", "document 3": "Ada"}
    assert "2 tokens reach over the border of a document, and count as the template's." in (
        tokens.notes
    )
    assert "Document 2 has no token of its own, so it is not scored." in tokens.notes


def test_white_space_in_front_of_the_first_word_is_the_documents():
    template = "{% for d in documents %}Read: {{ d.text }}, {% endfor %}{{ messages[0].content }}"
    tokens = encoded(tokenizer_of(template), ASKED, ["the key", " is red", "Ada"])
    assert found(tokens) == {"document 1": " the key", "document 2": " is red", "document 3": "Ada"}
    assert tokens.notes == ("The documents stand in the chat template's own place for them.",)


def test_a_token_of_two_documents_is_neithers():
    template = "{% for d in documents %}{{ d.text }}{% endfor %}{{ messages[0].content }}"
    tokens = encoded(tokenizer_of(template), ASKED, ["Ada t", "he key", " i", "s"])
    assert found(tokens) == {"document 1": "Ada", "document 2": " key"}
    assert "2 tokens reach over" in " ".join(tokens.notes)


@pytest.mark.parametrize("family", [*WITH_DOCUMENTS, *WITHOUT])
def test_each_group_is_a_part_of_what_was_given(family):
    tokenizer = tokenizer_of(WITH_DOCUMENTS.get(family) or TEMPLATES[family])
    messages = WITH_TOOLS
    try:
        tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception:
        messages = ASKED
    tokens = encoded(tokenizer, messages, TEXTS)
    groups = partition(tokens, "document")
    tokens.check_partition(groups)
    names = [group.name for group in groups]
    assert None not in names
    parts = [name for name in names if name != "template and other"]
    assert len(parts) == len(set(parts))
    assert {f"document {i + 1}" for i in range(5)} | {"question"} <= set(parts)
    for group in groups:
        if group.name == "template and other":
            assert set(tokens.roles[group.start : group.stop]) <= {"template", "special"}
    if messages is WITH_TOOLS:
        assert {"user 1", "system", "tool"} <= set(parts)
        written = "weather" in tokens.text
        assert ("call 1: weather" in parts) == written


@pytest.mark.parametrize(
    "family", ["Qwen 2.5", "Qwen 3", "Mistral", "GLM-4", "Hermes", "Functionary"]
)
def test_calls_are_found_one_by_one(family):
    twice = [
        *WITH_TOOLS[:2],
        said("assistant", "", tool_calls=[CALL, CALL]),
        said("tool", "weather"),
        said("user", "weather"),
    ]
    tokens = encoded(tokenizer_of(TEMPLATES[family]), twice, ["weather"])
    calls = found(tokens, "call")
    assert list(calls) == ["call 1: weather", "call 2: weather"]
    for words in calls.values():
        assert words.startswith("weather")
        assert words.endswith(('{"city": "Rome"}', "Rome"))
    parents = [tokens.segments[s.parent].name for s in tokens.segments if s.kind == "call"]
    assert parents == ["assistant"] * 2


def test_a_content_of_parts_holds_the_frame_in_its_first():
    parts = [{"type": "text", "text": "Who"}, {"type": "text", "text": " has it?"}]
    tokens = encoded(tokenizer_of(TEMPLATES["Gemma 3"]), [said("user", parts)], ["Ada"])
    assert "<start_of_turn>user\n[1]\nAda\n\nWhohas it?<end" in tokens.text
    assert found(tokens) == {"document 1": "Ada"}


def test_a_template_of_ones_own_in_a_chat():
    tokenizer = tokenizer_of(WITH_DOCUMENTS["Granite 3"])
    template = "Q: {question}\nRead {braces}:\n{documents}\nEnd"
    tokens = encoded(tokenizer, TALK, [{"text": "Ada", "title": "A\nB"}], template=template)
    assert "Q:  Who has the key?\n\nRead {braces}:\n[1] A B\nAda\nEnd<eos>" in tokens.text
    assert found(tokens) == {"document 1": "Ada"}
    assert found(tokens, "question") == {"question": " Who has the key?\n"}
    assert tokens.notes == (
        "The documents stand in the last turn of the user, in the given template.",
    )


@pytest.mark.parametrize(
    "template", [None, "Facts: {documents}. Q: {question} A:", "{question}|{documents}"]
)
@pytest.mark.parametrize("seq2seq", [False, True])
def test_a_text_is_built_of_its_parts(template, seq2seq):
    tokenizer, question = tiny.tokenizer(seq2seq), "Who has the {documents} key?"
    tokens = encoded(tokenizer, question, TEXTS, template=template)
    documents = FRAMED.removesuffix("\n\n")
    expected = (template or "{documents}\n\n{question}").split("{documents}")
    text = documents.join(part.replace("{question}", question) for part in expected)
    assert tokens.text.replace("<eos>", "") == text.replace("<eos>", "") or tokens.text == text
    assert tokens.ids.tolist() == tokenizer(text)["input_ids"]
    assert found(tokens) == named(TEXTS, str.strip)
    assert found(tokens, "question") == {"question": question}
    frame = [r for r in tokens.roles if r in ("template", "special")]
    assert frame
    assert [g.name for g in partition(tokens, "document")].count("question") == 1


@pytest.mark.parametrize(
    ("prompt", "options", "placed", "message"),
    [
        ("Q", {}, {"placement": "template"}, "but the prompt is a text; give template="),
        (ASKED, {"documents": [{"text": "b"}]}, {}, "documents came twice"),
        (
            ASKED,
            {},
            {"placement": "template", "template": "{documents}{question}"},
            "names another; give one of them",
        ),
        ([said("system", "a")], {}, {}, "no message of the user has a text"),
        ([said("user", [])], {}, {}, "no message of the user has a text"),
        ([{"role": "user"}], {}, {}, "needs a role and a content"),
    ],
)
def test_documents_that_have_no_place_are_refused(prompt, options, placed, message):
    tokenizer = tokenizer_of(TEMPLATES["ChatML"])
    with pytest.raises(InputError, match=message):
        encode_prompt(tokenizer, prompt, options, SPECIAL, Documents.of(["a"], **placed))


def test_a_template_that_changes_a_turn_is_said_to():
    template = "{% for m in messages %}{{ m.content | replace('key', 'KEY') }}{% endfor %}"
    with pytest.raises(InputError, match="it changes them in the last turn of the user"):
        encoded(tokenizer_of(template), ASKED, ["the key"])


def test_half_a_character_in_a_document_is_refused():
    with pytest.raises(InputError, match="half of a surrogate pair"):
        encoded(tiny.tokenizer(), "Q", ["a\ud800"])


@pytest.mark.parametrize("family", ["ChatML", "Granite 3"])
def test_without_documents_nothing_is_new(family):
    """Not even where the template writes documents of its options."""
    tokenizer = tokenizer_of(TEMPLATES[family])
    tokens = encode_prompt(tokenizer, TALK, {"documents": [{"text": "a"}]}, SPECIAL)
    assert {s.kind for s in tokens.segments} == {"turn"}
    assert "document" not in tokens.roles
    assert tokens.documents == ()

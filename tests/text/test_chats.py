"""Every conversation that a template renders is explained as the template renders it."""

import re
from functools import cache

import pytest
from helpers import tiny
from helpers.chat_templates import CONVERSATIONS, TEMPLATES, said
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.text import chat
from hf_attrib.text.encoding import encode_prompt


@cache
def tokenizer_of(template):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def rendered(tokenizer, messages, options):
    begins = {"add_generation_prompt": "continue_final_message" not in options}
    return tokenizer.apply_chat_template(messages, tokenize=False, **(begins | options))


def words(message):
    """The texts of a message, each with a function that returns the message with another one."""
    content = message.get("content")
    if isinstance(content, str):
        yield content, lambda text: message | {"content": text}
    for index, part in enumerate(content if isinstance(content, list) else []):

        def replaced(text, index=index):
            return message | {
                "content": [p | {"text": text} if i == index else p for i, p in enumerate(content)]
            }

        yield part["text"], replaced
    if "reasoning_content" in message:
        yield (
            message["reasoning_content"],
            lambda text: message | {"reasoning_content": text},
        )


def other(character):
    """Another character of the same kind."""
    if character.isspace():
        return "\u2003" if character != "\u2003" else " "
    return "q" if character != "q" else "w"


def came_out(tokenizer, messages, options, index, but=()):
    """Places of a message's characters, and how many of its white spaces came out.

    A character is where another text of the same length differs; a white space came out if the
    text without it is shorter. Characters of ``but`` are left alone.
    """
    text = rendered(tokenizer, messages, options)
    places, spaces = set(), 0
    for own, with_text in words(messages[index]):
        skipped = {
            i for part in but for m in re.finditer(re.escape(part), own) for i in range(*m.span())
        }
        for at, character in enumerate(own):
            if at in skipped:
                continue
            changed = "" if character.isspace() else other(character)
            message = with_text(own[:at] + changed + own[at + 1 :])
            twin = rendered(
                tokenizer, [*messages[:index], message, *messages[index + 1 :]], options
            )
            if character.isspace():
                spaces += len(text) > len(twin)
            elif len(twin) == len(text):
                places |= {i for i, (a, b) in enumerate(zip(text, twin, strict=True)) if a != b}
    return places, spaces


def renders():
    """Every template with every conversation that it renders."""
    for family, template in TEMPLATES.items():
        tokenizer = tokenizer_of(template)
        for name, (messages, options) in CONVERSATIONS.items():
            try:
                rendered(tokenizer, messages, options)
            except Exception:
                continue
            yield family, name


RENDERED = list(renders())


def test_the_matrix_is_large():
    assert len(TEMPLATES) >= 25
    assert len(CONVERSATIONS) >= 12
    assert len(RENDERED) > 0.75 * len(TEMPLATES) * len(CONVERSATIONS)


@pytest.mark.parametrize(("family", "name"), RENDERED)
def test_the_ids_are_those_of_the_template(family, name):
    tokenizer, (messages, options) = tokenizer_of(TEMPLATES[family]), CONVERSATIONS[name]
    begins = {"add_generation_prompt": "continue_final_message" not in options}
    own = tokenizer.apply_chat_template(messages, return_dict=False, **(begins | options))
    tokens = encode_prompt(tokenizer, messages, options, set())
    assert tokens.ids.tolist() == list(own)
    assert tokens.text == rendered(tokenizer, messages, options)


def check_marks(tokenizer, messages, options, but=()):
    """What is marked are the characters of the contents, each with its message, and no others."""
    found = chat.render(tokenizer, messages, options)
    roles = [m["role"] for m in messages]
    owned = set()
    for index, message in enumerate(messages):
        role = message["role"]
        turn = role if roles.count(role) == 1 else f"{role} {index}"
        own = [p for p in found.parts if p.turn == turn]
        assert {p.role for p in own} <= {role}
        marked = {i for p in own for i in range(p.start, p.stop)}
        assert sum(p.stop - p.start for p in own) == len(marked), "parts overlap"
        assert owned.isdisjoint(marked)
        owned |= marked
        places, spaces = came_out(tokenizer, messages, options, index, but)
        assert places <= marked
        texts = [text for text, _ in words(message)]
        # What marks hold beyond is white space, as it is or escaped, where templates look for
        # nothing in a text.
        if not any(c in text for text in texts for c in '<"/'):
            beyond = "".join(found.text[i] for i in sorted(marked - places))
            beyond = re.sub(r"\\[nt]", " ", beyond)
            assert not beyond.strip()
            assert len(beyond) == spaces
        if any(text.strip() for text in texts) and not marked:
            assert f"of {turn!r}" in found.notes[0]
    return found


@pytest.mark.parametrize(("family", "name"), RENDERED)
def test_characters_of_contents_are_marked_and_no_others(family, name):
    check_marks(tokenizer_of(TEMPLATES[family]), *CONVERSATIONS[name])


TEXTS = st.lists(
    st.sampled_from(
        ["a", "user", "Hi there", " ", "\n", "\n\n", "\t", "<think>", "</think>", "<b>", "[x]", "é",
         "<|user|>", "[INST]", "日本", ".", "\u2003", "assistant", "<", ">", "{{ x }}"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("family", TEMPLATES)
@settings(max_examples=10)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), system=st.none() | TEXTS)
def test_contents_of_any_kind_are_marked(family, texts, system):
    tokenizer = tokenizer_of(TEMPLATES[family])
    roles = ["user", "assistant"] * 2
    messages = [said(role, text) for role, text in zip(roles, texts, strict=False)]
    if system is not None:
        messages.insert(0, said("system", system))
    try:
        text = rendered(tokenizer, messages, {})
    except Exception:
        return
    # What templates look for may come out far from the words that it stood with.
    assert check_marks(tokenizer, messages, {}, but=("<think>", "</think>")).text == text


def notes(family, name):
    tokenizer, (messages, options) = tokenizer_of(TEMPLATES[family]), CONVERSATIONS[name]
    return encode_prompt(tokenizer, messages, options, set()).notes


@pytest.mark.parametrize(
    ("family", "name", "note"),
    [
        ("Qwen 3", "thinking", "leaves out 28 characters of 'assistant 1', 19 characters of"),
        ("Qwen 2.5", "thinking apart", "leaves out 10 characters of 'assistant', which the model"),
        ("Llama 3", "spaces around", "trims white space of 'system', 'user 1', 'assistant'"),
        ("Phi-4", "documents", "does not write documents"),
        ("ChatML", "call without words", "does not write tools, the calls of 'assistant'"),
    ],
)
def test_what_a_template_leaves_out_is_said(family, name, note):
    assert note in " ".join(notes(family, name))


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("ChatML", "one message"),
        ("Qwen 3", "thinking that is kept"),
        ("Qwen 2.5", "call without words"),
        ("Granite 3", "documents"),
        ("Llama 3.1", "call with empty words"),
        ("Mistral", "system"),
    ],
)
def test_nothing_is_said_where_all_is_written(family, name):
    assert notes(family, name) == ()


def test_a_note_on_the_prompt_reaches_results_and_radii(tmp_path):
    messages = CONVERSATIONS["thinking"][0][:3]
    model = tiny.shared("llama")
    explainer = Explainer(model, tokenizer_of(TEMPLATES["Qwen 3"]))
    for found in (
        explainer.explain(messages, method="saliency", response_ids=[9]),
        explainer.robustness(messages, response_ids=[9], eps=0.1),
    ):
        (note,) = (n for n in found.run.notes if n.startswith("The chat template"))
        assert "leaves out 28 characters of 'assistant', which the model never reads" in note
        found.save(tmp_path / "r.json")
        assert note in hf_attrib.load(tmp_path / "r.json").run.notes


def refusals():
    """Every template with every conversation that it refuses, and the words in which it does."""
    for family, template in TEMPLATES.items():
        for name, (messages, options) in CONVERSATIONS.items():
            try:
                rendered(tokenizer_of(template), messages, options)
            except Exception as error:
                yield family, name, str(error)


def test_a_refusal_is_in_the_words_of_the_template():
    refused = list(refusals())
    assert any(words == "System role not supported" for *_, words in refused)
    for family, name, words_of_template in refused:
        with pytest.raises(InputError) as error:
            notes(family, name)
        assert words_of_template in str(error.value)


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        ([{"role": "user"}], {}, "needs a role and a content"),
        ([{"content": "a"}], {}, "needs a role and a content"),
        (["a"], {}, "needs a role and a content"),
        ([said("user", 5)], {}, "only text messages"),
        ([said("user", b"a")], {}, "holds bytes, b'a'; decode them"),
        ([said("user", [{"type": "text", "text": bytearray(b"a")}])], {}, "holds bytes"),
        ([said("user", [b"a"])], {}, "holds bytes"),
        ([said("user", "a") | {"reasoning_content": memoryview(b"a")}], {}, "holds bytes"),
        ([said("user", [{"type": "image", "url": "x"}])], {}, "only text messages"),
        ([said("user", [{"type": "text", "text": "a"}, {"type": "input_audio"}])], {}, "only text"),
        (
            [said("user", "a")],
            {"truncation": True, "max_length": 3},
            "max_length, truncation would",
        ),
    ],
)
def test_what_is_no_conversation_is_refused(messages, options, message):
    with pytest.raises(InputError, match=message):
        encode_prompt(tokenizer_of(TEMPLATES["ChatML"]), messages, options, set())


def test_an_answer_of_a_tool_may_be_no_text():
    tokenizer = tokenizer_of(TEMPLATES["Llama 3.1"])
    messages = [said("user", "Hi"), said("tool", {"celsius": 22, "sky": "clear"})]
    found = chat.render(tokenizer, messages, {})
    own = [found.text[p.start : p.stop] for p in found.parts if p.role == "tool"]
    assert own == ['{"celsius": 22, "sky": "clear"}']


def test_a_part_may_be_a_number():
    found = chat.render(
        tokenizer_of(TEMPLATES["Granite 4"]), [said("user", [{"type": "text", "text": 5}])], {}
    )
    assert [found.text[p.start : p.stop] for p in found.parts] == ["5"]


def test_a_template_may_come_with_the_messages():
    tokenizer, messages = tiny.tokenizer(), [said("user", "Hi")]
    tokens = encode_prompt(
        tokenizer, messages, {"chat_template": "<{{ messages[0].content }}>"}, set()
    )
    assert (tokens.text, tokens.roles) == ("<Hi>", ("template", "user", "user", "template"))


def test_a_content_that_is_written_twice_is_marked_twice():
    template = "{{ messages[0].content }}|" + TEMPLATES["ChatML"]
    found = chat.render(tokenizer_of(template), [said("user", "Hi you")], {})
    assert [found.text[p.start : p.stop] for p in found.parts] == ["Hi you"] * 2
    assert found.parts[0].start == 0


@pytest.mark.parametrize("end", ["", "a word more"])
def test_contents_that_depend_on_each_other_are_found_one_by_one(end):
    template = (
        "{% for m in messages %}{% if loop.first or m.content != messages[0].content %}"
        "<{{ m.role }}>{{ m.content }}{% else %}<again>{% endif %}{% endfor %}"
    )
    messages = [
        said("user", "same words"),
        said("assistant", "ok"),
        said("user", "same words" + end),
    ]
    found = chat.render(tokenizer_of(template), messages, {})
    own = [(found.text[p.start : p.stop], p.turn) for p in found.parts]
    assert own[:2] == [("same words", "user 0"), ("ok", "assistant")]
    assert len(own) == (3 if end else 2)


def test_words_that_a_template_rewrites_are_marked_as_a_whole():
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content | replace('e', '3') }}.{% endfor %}"
    )
    found = chat.render(tokenizer_of(template), [said("user", "three <b>bees</b>")], {})
    assert "".join(found.text[p.start : p.stop] for p in found.parts) == "thr33 <b>b33s</b>"


PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize(
    "template",
    [
        {"default": PLAIN, "rag": "never"},
        PLAIN.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}"),
        "{{ strftime_now('%Y') }}" + PLAIN,
    ],
    ids=["named", "marked for training", "with the date"],
)
def test_templates_of_other_kinds(template):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    messages = [said("user", "ok"), said("assistant", "ok"), said("user", "so?")]
    tokens = encode_prompt(tokenizer, messages, {}, set())
    own = tokenizer.apply_chat_template(messages, return_dict=False, add_generation_prompt=True)
    assert tokens.ids.tolist() == list(own)
    roles = zip(tokens.pieces, tokens.roles, strict=True)
    assert "".join(piece for piece, role in roles if role == "user") == "okso?"

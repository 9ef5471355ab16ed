"""What is said of a chat template is true: what it leaves out, trims or changes."""

import pytest
from helpers import tiny
from helpers.chat_templates import TEMPLATES, said

from hf_attrib.text import chat
from hf_attrib.text.encoding import encode_prompt

CONTENTS = [
    "<b>bold</b>",
    "plain words",
    " lead and trail ",
    "a <i>b</i> c [x] d\n",
    "<think>no</think> yes",
    "\n\nÄrger & 'quotes' \"here\"\n",
]
#: Filters that write all of a content, in words of their own or not.
WHOLE = {
    "upper": "m.content | upper",
    "lower": "m.content | lower",
    "title": "m.content | title",
    "escaped": "m.content | replace('&', '&amp;') | replace('<', '&lt;')",
    "other marks": "m.content | replace('<', '[') | replace('>', ']')",
    "longer marks": "m.content | replace('<b>', '**') | replace('</b>', '**')",
    "reversed": "m.content[::-1]",
    "JSON": "m.content | tojson",
    "as it is": "m.content",
}
#: What a template may write beside a content that depends on it.
BESIDE = {
    "nothing": "",
    "length": "{{ m.content | length }}",
    "words": "{{ m.content.split()|length }}",
}


def rendered(content, how, beside="", more=()):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }} " + beside + "|{{ " + how + " }}|]{% endfor %}"
    )
    return chat.render(tokenizer, [said("user", content), *more], {})


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("how", WHOLE)
@pytest.mark.parametrize("beside", BESIDE)
def test_what_is_written_is_never_said_to_be_left_out(content, how, beside):
    found = rendered(content, WHOLE[how], BESIDE[beside])
    assert not any("leaves out" in note or "trims" in note for note in found.notes)
    marked = {i for p in found.parts for i in range(p.start, p.stop)}
    start = found.text.index("|") + 1
    inside = range(start, len(found.text) - len("|]"))
    assert all(found.text[i] in ' \n\\n"' for i in set(inside) - marked)
    assert marked <= set(inside)
    same = found.text[slice(*(inside.start, inside.stop))] == content
    # White space at the ends of what marks cannot tell may be the template's.
    assert not (same and found.notes) or beside == "words"


#: Filters that leave something out, and what is left.
PARTS = {
    "m.content | trim": lambda text: text.strip(),
    "m.content[:4]": lambda text: text[:4],
    "m.content.split('</think>')[-1]": lambda text: text.split("</think>")[-1],
    "m.content.lstrip('\n')": lambda text: text.lstrip("\n"),
    "m.content[3:]": lambda text: text[3:],
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("how", PARTS)
@pytest.mark.parametrize("beside", ["nothing", "length"])
def test_what_is_left_out_is_said(content, how, beside):
    found = rendered(content, how, BESIDE[beside])
    left = PARTS[how](content)
    gone = len("".join(content.split())) - len("".join(left.split()))
    said_so = [n for n in found.notes if "leaves out" in n]
    if beside == "nothing":
        assert [f"leaves out {gone} character" in n for n in said_so] == [True] * (gone > 0)
    assert not (said_so and gone == 0)
    assert bool(found.notes) == (left != content)
    trims = [n for n in found.notes if "trims" in n]
    assert not trims or (gone == 0 and left != content)


def test_each_of_many_messages_has_its_own_note():
    more = [said("assistant", "plain"), said("user", "x <b>y</b>")]
    found = rendered("<b>bold</b>", "m.content | upper if loop.first else m.content", more=more)
    (note,) = found.notes
    assert note.startswith("The chat template changes the words of 'user 0';")
    own = {p.turn: found.text[p.start : p.stop] for p in found.parts}
    assert own == {"user 0": "<B>BOLD</B>", "assistant": "plain", "user 2": "x <b>y</b>"}


#: Chats whose contents depend on themselves or on each other, so that marks change what is written.
DEPENDENT = {
    "plain": TEMPLATES["ChatML"],
    "length": "{% for m in messages %}[{{ m.content | length }}]{{ m.content }}{% endfor %}",
    "same as the first": "{% for m in messages %}{% if loop.first or m.content != "
    "messages[0].content %}<{{ m.role }}>{{ m.content }}{% else %}<again>{% endif %}{% endfor %}",
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_long_chats_take_few_runs_of_their_template(name, monkeypatch):
    tokenizer, count = tiny.tokenizer(), 128
    tokenizer.chat_template = DEPENDENT[name]
    messages = [said(("user", "assistant")[i % 2], f"{i} words ") for i in range(count)]
    messages[100] = messages[0]
    runs, apply = [], tokenizer.apply_chat_template
    monkeypatch.setattr(
        tokenizer, "apply_chat_template", lambda *a, **k: runs.append(1) or apply(*a, **k)
    )
    tokens = encode_prompt(tokenizer, messages, {}, set())
    # One is not written, and the first cannot be told, which its note says.
    assert len(tokens.segments) == count - 2 * (name == "same as the first")
    assert len(runs) < count

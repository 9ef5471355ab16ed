"""Segments: tokens know which message they come from, wherever they are cut or joined."""

import pytest
import torch
from helpers import tiny
from hypothesis import given
from hypothesis import strategies as st

import hf_attrib
from hf_attrib.text import Segment, Span, Tokens, partition
from hf_attrib.text.encoding import encode_prompt


def tokens_of(count, segments=()):
    """Tokens "a", "b", ... whose ids tell them apart."""
    text = "".join(chr(97 + i) for i in range(count))
    offsets = tuple((i, i + 1) for i in range(count))
    return Tokens(torch.arange(count), tuple(text), ("user",) * count, offsets, text, segments)


def held(tokens):
    """What each segment covers and lies in, by names alone."""
    parents = [
        None if s.parent is None else tokens.segments[s.parent].name for s in tokens.segments
    ]
    return {
        s.name: (tokens.ids[s.start : s.stop].tolist(), parent)
        for s, parent in zip(tokens.segments, parents, strict=True)
    }


@st.composite
def nested(draw, size=9):
    """Segments, some within others."""
    made = []
    for index in range(draw(st.integers(0, 5))):
        parent = draw(st.none() | st.integers(0, index - 1)) if index else None
        low, high = (0, size) if parent is None else (made[parent].start, made[parent].stop)
        start = draw(st.integers(low, high - 1))
        stop = draw(st.integers(start + 1, high))
        made.append(Segment(start, stop, "part", f"s{index}", parent))
    return tuple(made)


@given(segments=nested(), start=st.integers(-10, 10), stop=st.integers(-10, 10) | st.none())
def test_a_slice_keeps_of_each_segment_what_is_in_it(segments, start, stop):
    whole = tokens_of(9, segments)
    part = whole[start:stop]
    left = set(part.ids.tolist())
    expected = {
        name: ([i for i in ids if i in left], parent) for name, (ids, parent) in held(whole).items()
    }
    assert held(part) == {name: pair for name, pair in expected.items() if pair[0]}


@given(a=nested(), b=nested())
def test_what_is_joined_holds_the_segments_of_both(a, b):
    whole = tokens_of(9, a) + tokens_of(9, b)
    assert whole[:9].segments == a
    assert whole[9:].segments == b
    assert len(whole.segments) == len(a) + len(b)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([Segment(0, 4, "turn", "a")], "segment 0 reaches beyond the tokens it lies in"),
        ([Segment(1, 1, "turn", "a")], "segment 0 reaches beyond"),
        ([Segment(0, 2, "turn", "a"), Segment(1, 3, "part", "b", 0)], "segment 1 reaches beyond"),
        ([Segment(0, 2, "turn", "a", 0)], "segment 0 lies in none of those before it"),
        ([Segment(0, 2, "turn", "a"), Segment(0, 1, "part", "b", 5)], "segment 1 lies in none"),
    ],
)
def test_segments_that_cannot_be_are_refused(segments, message):
    with pytest.raises(ValueError, match=message):
        tokens_of(3, tuple(segments))


def test_tokens_with_segments_cannot_skip():
    with pytest.raises(ValueError, match="without a step"):
        tokens_of(3, (Segment(0, 2, "turn", "a"),))[::2]
    assert tokens_of(3)[::2].ids.tolist() == [0, 2]


def chat(template, *messages):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    given_messages = [{"role": role, "content": content} for role, content in messages]
    return encode_prompt(tokenizer, given_messages, {}, set(tokenizer.all_special_ids))


PLAIN = "<bos>{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
#: Mistral's moves the system's message into the last turn of the user.
LATE = (
    "{% for m in messages %}{% if m.role != 'system' %}[{% if loop.last %}"
    "{{ messages[0].content }}|{% endif %}{{ m.content }}]{% endif %}{% endfor %}"
)
TALK = (("system", "be brief"), ("user", "the key?"), ("assistant", "is red"), ("user", "so"))


@pytest.mark.parametrize("template", [PLAIN, LATE])
def test_a_chat_has_a_segment_of_the_content_of_each_message(template):
    tokens = chat(template, *TALK)
    names = ["system", "user 1", "assistant", "user 3"]
    found = {s.name: tokens.piece(Span(s.start, s.stop)).strip() for s in tokens.segments}
    assert found == dict(zip(names, (content for _, content in TALK), strict=True))
    assert {s.kind for s in tokens.segments} == {"turn"}
    inside = {i for s in tokens.segments for i in range(s.start, s.stop)}
    assert {i for i, r in enumerate(tokens.roles) if r in ("template", "special")}.isdisjoint(
        inside
    )


def test_a_message_without_content_has_no_segment():
    tokens = chat(PLAIN, ("user", "the key"), ("assistant", ""))
    assert [s.name for s in tokens.segments] == ["user"]


@pytest.mark.parametrize("template", [PLAIN, LATE])
def test_each_turn_is_one_group_and_the_rest_is_grouped_by_role(template):
    tokens = chat(template, *TALK)
    spans = partition(tokens, "turn")
    assert [(s.start, s.stop, s.name) for s in spans if s.name is not None] == [
        (s.start, s.stop, s.name) for s in tokens.segments
    ]
    assert [s.start for s in spans] == [0, *(s.stop for s in spans)][:-1]
    assert spans[-1].stop == len(tokens)
    rest = [tokens.roles[s.start : s.stop] for s in spans if s.name is None]
    assert all(len(set(roles)) == 1 for roles in rest)
    assert all(len(roles) == 1 for roles in rest if roles[0] == "special")


def test_a_text_has_no_turns_but_roles():
    tokenizer = hf_attrib.embedded.load("keys-llama")[1]
    tokens = encode_prompt(tokenizer, "Ada's key", {}, set(tokenizer.all_special_ids))
    assert tokens.segments == ()
    roles = [tokens.roles[span.start] for span in partition(tokens, "turn")]
    assert roles == ["special", "prompt"]

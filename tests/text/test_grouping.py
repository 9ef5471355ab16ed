"""Words and sentences are those of the text, whatever the tokenizer makes of it."""

import re
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import pytest
import regex
import torch
from helpers import tiny
from helpers.tokenizers_of_all_kinds import TOKENIZERS, encode, pieces, unigram
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hf_attrib import InputError
from hf_attrib.text import Span, Tokens, finest, partition
from hf_attrib.text.encoding import encode_prompt, wrap
from hf_attrib.text.grouping import sentences, words

TEXTS = [
    "Ada's key is red. Bob's key costs 3.5 euros.",
    "  the key,  the key\n\nis red\t!",
    "日本語のテキスト。カタカナです。埃菲尔铁塔在巴黎。",
    "emoji 🙂👩‍👩‍👧🇫🇷 end 👍🏽",
    "한국어 문장입니다. 둘째 문장.",
    "नमस्ते दुनिया। दूसरा वाक्य।",
    "สวัสดีครับ",
    "naïve cafe\u0301 שלום עולם",
    "\x1b[31mred\x1b[0m [bold]x[/] {{x}} \u202eabc\u202c",
    "e",
    " ",
]


def content(tokens, by):
    spans = partition(tokens, by)
    return [tokens.piece(s).strip() for s in spans if tokens.role(s) != "special"]


def assert_partition(spans, size):
    assert [s.start for s in spans] == [0, *(s.stop for s in spans)][:-1]
    assert spans[-1].stop == size


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("by", "segment"), [("word", words), ("sentence", sentences)])
def test_groups_are_the_segments_of_the_text(name, text, by, segment):
    tokens = encode(TOKENIZERS[name], text)
    spans = partition(tokens, by)
    assert_partition(spans, len(tokens))
    found = [piece for piece in content(tokens, by) if piece]
    assert found == [text[a:b] for a, b in segment(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada's key is red.", ["<bos>", "Ada's", " key", " is", " red", "."]),
        ("born in 1987, ok", ["<bos>", "born", " in", " 1987", ",", " ok"]),
        ("日本語", ["<bos>", "日", "本", "語"]),
        ("カタカナです", ["<bos>", "カタカナ", "で", "す"]),
        ("a 🙂👩‍👩‍👧", ["<bos>", "a", " 🙂", "👩‍👩‍👧"]),
        ("  two\n\nlines ", ["<bos>", "  two", "\n\nlines", " "]),
    ],
)
def test_words_of_byte_level_bpe(text, expected):
    assert pieces(encode(tiny.tokenizer(), text), "word") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the key's red.", ["the", " key's", " red", "."]),
        ("日本 と", ["日", "本", " と"]),
        ("カタカナ 🙂", ["カタカナ", " 🙂"]),
    ],
)
def test_words_of_sentencepiece(text, expected):
    tokenizer = TOKENIZERS["SentencePiece"]
    assert pieces(encode(tokenizer, text), "word") == expected
    ids = tokenizer(text, add_special_tokens=False).input_ids  # its own text, no offsets given
    assert pieces(wrap(tokenizer, ids, "generated", set()), "word") == expected


def test_a_token_that_straddles_words_joins_them():
    tokenizer = unigram(["▁of▁the", "s.▁"])
    assert pieces(encode(tokenizer, "one of the keys. no"), "word") == [
        "one",
        " of the",
        " keys. ",
        "no",
    ]


def tokens_of(*texts, roles="prompt"):
    ends = list(accumulate(map(len, texts)))
    roles = [roles] * len(texts) if isinstance(roles, str) else roles
    offsets = tuple((end - len(t), end) for end, t in zip(ends, texts, strict=True))
    return Tokens(torch.arange(len(texts)), texts, tuple(roles), offsets, "".join(texts))


@pytest.mark.parametrize(
    "texts", [("the", " key", " is"), ("the ", "key ", "is"), ("the", " ", "key", " ", "is")]
)
def test_white_space_may_be_on_either_side(texts):
    tokens = tokens_of(*texts)
    assert content(tokens, "word") == ["the", "key", "is"]


def test_white_space_that_no_token_holds_is_shown():
    tokens = replace(
        tokens_of("th", "e", "ke", "y"), text="the key", offsets=((0, 2), (2, 3), (4, 6), (6, 7))
    )
    assert pieces(tokens, "word") == ["the", " key"]


def test_words_of_tokenizers_that_trim_offsets():
    """As those of RoBERTa and BART, whose tokens hold a space that their offsets leave out."""
    tokenizer = tiny.tokenizer()
    trimming = processors.ByteLevel(trim_offsets=True)
    tokenizer.backend_tokenizer.post_processor = trimming
    tokens = encode(tokenizer, "the key  is 日本 red")
    assert tokens.offsets[3] == (4, 7)
    assert pieces(tokens, "word") == ["the", " key", "  is", " 日", "本", " red"]


def test_words_of_wordpiece():
    vocabulary = ["[UNK]", "the", "key", "##s", "is", ".", "'", "s"]
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")
    tokens = encode_prompt(tokenizer, "the keys is. the key's 日", {}, set())
    assert content(tokens, "word") == ["the", "keys", "is", ".", "the", "key's", "[UNK]"]


def test_tokens_without_text_break_no_word():
    tokens = tokens_of("Ada", "", "'s", "", " key")
    assert pieces(tokens, "word") == ["Ada's", " key"]


def test_roles_and_special_tokens_stay_apart():
    roles = ["special", "special", "template", "template", "user", "user", "special", "generated"]
    tokens = tokens_of("<s>", "<s>", "us", "er", "Ad", "a", "</s>", "x", roles=roles)
    for by in ("word", "sentence"):
        assert pieces(tokens, by) == ["<s>", "<s>", "user", "Ada", "</s>", "x"]
    given = partition(tokens, {"name": "Ad"})
    assert [(s.start, s.stop, s.name) for s in given] == [
        (0, 1, None), (1, 2, None), (2, 4, None), (4, 5, "name"), (5, 6, None), (6, 7, None),
        (7, 8, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.5 km. Dr. Smith and J. Doe, e.g. Bob.", ["It is 3.5 km.", None]),
        ('He said "No!" (He left.) Then?', ['He said "No!"', "(He left.)", "Then?"]),
        ("Wait... what?! See https://a.b/c?d=e. ok", ["Wait... what?!", None]),
        ("1. First. 2. Second.", ["1. First.", "2. Second."]),
        ("a line\nanother\r\n\r\nthird", ["a line", "another", "third"]),
        ("东京是首都。巴黎呢？「好！」是", ["东京是首都。", "巴黎呢？", "「好！」", "是"]),
        ("हाँ। नहीं।", ["हाँ।", "नहीं।"]),
        ("So do I. Then", ["So do I.", "Then"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences(text, expected):
    found = [text[a:b] for a, b in sentences(text)]
    rest = text[len(expected[0]) :].strip() if None in expected else None
    assert found == [rest if part is None else part for part in expected]


@pytest.mark.parametrize("text", TEXTS)
def test_every_sentence_is_made_of_words(text):
    starts, stops = (
        (set(edge) for edge in zip(*words(text), strict=True)) if words(text) else ((), ())
    )
    for a, b in sentences(text):
        assert a in starts
        assert b in stops


FOUR = tokens_of("one", " two", " three", " two")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ({"x": (1, 3)}, [(0, 1, None), (1, 3, "x"), (3, 4, None)]),
        ({"x": "thr"}, [(0, 2, None), (2, 3, "x"), (3, 4, None)]),
        ({"b": (2, 4), "a": (0, 2)}, [(0, 2, "a"), (2, 4, "b")]),
        (["one two", (2, 3)], [(0, 2, None), (2, 3, None), (3, 4, None)]),
        ({"a": (np.int64(0), np.uint8(2))}, [(0, 2, "a"), (2, 4, None)]),
        ([Span(1, 2, "s")], [(0, 1, None), (1, 2, "s"), (2, 4, None)]),
        ({}, [(0, 4, None)]),
        ([], [(0, 4, None)]),
    ],
)  # fmt: skip
def test_parts_of_ones_own(by, expected):
    found = partition(FOUR, by)
    assert [(s.start, s.stop, s.name) for s in found] == expected
    assert_partition(found, 4)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("page", "cannot group by 'page'; expected 'token', 'word', 'sentence', 'line'"),
        (3, "cannot group by 3"),
        ({"x": "two"}, "'two' occurs 2 times"),
        ({"x": "four"}, "'four' occurs 0 times"),
        ({"x": ""}, "occurs 0 times"),
        ({"x": (2, 2)}, r"range \(start, stop\) of the 4 tokens"),
        ({"x": (0, 5)}, "range"),
        ({"x": (-1, 2)}, "range"),
        ({"x": (0, 1.5)}, "range"),
        ({"x": 3}, "range"),
        ((0, 2), "range"),
        ({3: (0, 2)}, "name is a text"),
        ({"x": (0, 2), "y": (1, 3)}, "'x' and 'y' share tokens"),
    ],
)
def test_parts_that_are_not_there(by, message):
    with pytest.raises(InputError, match=message):
        partition(FOUR, by)


LINES = ("Ada", " \n", "Bob", "\r\n", " \n", "Carl", ".", "\n", " Emma", "\u2029", "Hugo")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("line", ["Ada", "Bob", "Carl.", "Emma", "Hugo"]),
        ("paragraph", ["Ada \nBob", "Carl.\n Emma", "Hugo"]),
    ],
)
def test_lines_and_paragraphs_end_at_the_line_breaks_of_unicode(rule, expected):
    assert content(tokens_of(*LINES), rule) == expected


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "🙂", "\x1b[31m\n\n\x1b[0m"])
@pytest.mark.parametrize("rule", ["line", "paragraph", "role"])
def test_odd_texts_are_partitioned_all_the_same(rule, text):
    tokens = tokens_of("a", text, "b")
    assert_partition(partition(tokens, rule), 3)


def test_a_role_is_a_run_of_its_tokens_and_special_tokens_stay_apart():
    roles = ("special", "special", "user", "user", "template", "user")
    tokens = replace(tokens_of(*"abcdef"), roles=roles)
    found = [(s.start, s.stop, s.name) for s in partition(tokens, "role")]
    assert found == [
        (0, 1, None), (1, 2, None), (2, 4, "user"), (4, 5, "template"), (5, 6, "user"),
    ]  # fmt: skip


@pytest.mark.parametrize("engine", [re, regex])
def test_each_match_of_a_pattern_is_a_group(engine):
    tokens = tokens_of("key", " 1", "2", ":", " red", ",", " key", " 3")
    found = partition(tokens, engine.compile(r"key \d+"))
    assert [(s.start, s.stop) for s in found] == [(0, 3), (3, 6), (6, 8)]
    # A match takes all of the tokens that it begins and ends in.
    assert partition(tokens, engine.compile("ed")) == (Span(0, 4), Span(4, 5), Span(5, 8))


def test_a_pattern_looks_at_the_tokens_alone_and_not_at_what_is_around_them():
    part = tokens_of("a", "b", "a", "c")[2:]
    assert partition(part, re.compile("^a")) == (Span(0, 1), Span(1, 2))
    with pytest.raises(InputError, match="matches nothing of 'ac'"):
        partition(part, re.compile("b"))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (re.compile("x"), "'x' matches nothing of 'one two three two'; expected a match"),
        (re.compile("t*"), r"'t\*' matches no character at 0, before 'one two"),
        (re.compile(b"one"), "is of bytes"),
        (re.compile("o|n"), "share tokens"),
    ],
)
def test_patterns_that_name_no_groups(pattern, message):
    with pytest.raises(InputError, match=message):
        partition(FOUR, pattern)


def test_long_texts_take_no_time():
    tokens = tokens_of(*["word", " next", " ."] * 20_000)
    assert len(partition(tokens, "word")) == len(tokens)
    assert all(a.stop == b.start for a, b in pairwise(partition(tokens, "sentence")))


FINEST = (
    "Ada",
    "'s",
    " key",
    " is",
    " red",
    ".",
    " Bob's",
    " key",
    " costs",
    " 3.5",
    " euros",
    ".",
)


@pytest.mark.parametrize(
    ("most", "pieces"),
    [
        (12, list(FINEST)),
        (11, ["Ada's", *FINEST[2:]]),
        (4, ["Ada's key", " is red.", " Bob's key costs", " 3.5 euros."]),
        (2, ["Ada's key is red.", " Bob's key costs 3.5 euros."]),
        (1, ["Ada's key is red. Bob's key costs 3.5 euros."]),
    ],
)
def test_the_finest_groups_that_are_few_enough(most, pieces):
    tokens = tokens_of(*FINEST)
    spans = finest(tokens, [True] * len(tokens), most)
    assert_partition(spans, len(tokens))
    assert [tokens.piece(s) for s in spans] == pieces


def test_the_finest_groups_keep_roles_apart_and_count_what_moves():
    tokens = tokens_of(*FINEST, roles=["template"] * 6 + ["user"] * 6)
    moves = [role == "user" for role in tokens.roles]
    assert len(finest(tokens, moves, 6)) == 12
    assert [tokens.piece(s) for s in finest(tokens, moves, 1)] == [
        "Ada's key is red.",
        " Bob's key costs 3.5 euros.",
    ]


def test_a_long_word_is_cut_into_runs_of_its_tokens():
    tokens = tokens_of(*["A", "C", "GT"] * 80)
    spans = finest(tokens, [True] * len(tokens), 128)
    assert_partition(spans, len(tokens))
    assert {span.stop - span.start for span in spans} == {2}


def test_the_finest_groups_of_a_long_text_take_no_time_and_are_of_like_length():
    tokens = tokens_of(*["a ", "word ", "or ", "two. "] * 5_000)
    spans = finest(tokens, [True] * len(tokens), 128)
    assert_partition(spans, len(tokens))
    lengths = [span.stop - span.start for span in spans]
    assert len(spans) <= 128
    assert max(lengths) <= 4 * 20_000 / 128

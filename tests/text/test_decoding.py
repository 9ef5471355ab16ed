"""The text of tokens is what their tokenizer decodes, whatever kind it is of."""

import json

import pytest
import torch
import transformers
from helpers import tiny
from helpers.tokenizers_of_all_kinds import single_bytes, unigram
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

from hf_attrib.text import detokenize
from hf_attrib.text.encoding import encode_prompt

SPECIAL = ["<unk>", "<pad>", "<s>", "</s>", "<mask>", "[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "▁the", "▁", "key", "Ġkey", "##s", "a", "b", "Ġ", "'", "</w>", "a</w>", ".", ","]
WORDS += ["▁is", "é", "日", "Ã", "©", "ðŁ", "ĺ", "Ģ", "<0xC3>", "<0xA9>", "n't"]
VOCABULARIES = (
    {"vocab": {word: i for i, word in enumerate(SPECIAL + WORDS)}, "merges": []},
    {"vocab": {word: i for i, word in enumerate(SPECIAL + WORDS)}},
    {"vocab": [(word, -float(i)) for i, word in enumerate(SPECIAL + WORDS)]},
)


def converted(name):
    """A tokenizer of a kind that has a converter, with the few words above."""
    for vocabulary in VOCABULARIES:
        try:
            made = getattr(transformers, name)(**vocabulary)
        except Exception:
            continue
        if len(made) >= len(WORDS):
            return made
    return None


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    pieces = ["<unk>", "h@@", "e@@", "l@@", "lo", "o", "a", "wor@@", "ld", "b@@", "é@@"]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nl o</w>\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    made = {name: converted(name) for name in SLOW_TO_FAST_CONVERTERS}
    made |= {
        "byte-level BPE": tiny.tokenizer(),
        "bytes": single_bytes(),
        "Unigram with bytes": unigram(["▁the", "▁key"]),
        "Unigram without": unigram(["▁the", "▁key"], byte_fallback=False),
        "ByT5": transformers.ByT5Tokenizer(),
        "Perceiver": transformers.PerceiverTokenizer(),
        "CTRL": transformers.CTRLTokenizer(*files),
        "BlenderbotSmall": transformers.BlenderbotSmallTokenizer(*files),
        "Canine": transformers.CanineTokenizer(),
    }
    return {name: tokenizer for name, tokenizer in made.items() if tokenizer is not None}


def decoded(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def check(tokenizer, ids):
    pieces, offsets, text = detokenize(tokenizer, ids)
    assert text == decoded(tokenizer, ids)
    assert len(pieces) == len(offsets) == len(ids)
    end, joined = 0, ""
    for index, (piece, (start, stop)) in enumerate(zip(pieces, offsets, strict=True)):
        shares = index > 0 and offsets[index - 1] == (start, stop) and start < stop
        assert start == (offsets[index - 1][0] if shares else end), "the text has gaps"
        if shares or (start, stop) in offsets[index + 1 : index + 2]:
            joined += "" if shares else text[start:stop]  # bytes of one character
        else:
            assert piece == text[start:stop]
            joined += piece
        end = stop
    assert joined == text


def test_most_kinds_that_are_converted_can_be_made(kinds):
    assert len(set(kinds) & set(SLOW_TO_FAST_CONVERTERS)) > 0.8 * len(SLOW_TO_FAST_CONVERTERS)


@settings(max_examples=300)
@given(data=st.data())
def test_tokens_of_any_kind_have_the_text_that_is_decoded(kinds, data):
    name = data.draw(st.sampled_from(sorted(kinds)))
    size = 3000 if name == "Canine" else len(kinds[name])
    low = 32 if name == "Canine" else 0
    check(kinds[name], data.draw(st.lists(st.integers(low, size - 1), min_size=1, max_size=12)))


@pytest.mark.parametrize("name", ["ByT5", "Perceiver", "bytes", "byte-level BPE"])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_bytes_share_the_range_of_their_character(kinds, name, text):
    tokenizer = kinds[name]
    ids = tokenizer(text, add_special_tokens=False).input_ids
    check(tokenizer, ids)
    if decoded(tokenizer, ids) == text:
        _, offsets, _ = detokenize(tokenizer, ids)
        assert {(i, i + 1) for i in range(len(text))} <= {*offsets, *_single(offsets)}


def _single(offsets):
    return {(i, i + 1) for start, stop in offsets for i in range(start, stop)}


def test_a_slow_tokenizer_keeps_every_character_of_a_prompt(kinds):
    tokenizer, text = kinds["ByT5"], "é 日本 👩 ok"
    tokens = encode_prompt(tokenizer, text, {}, set(tokenizer.all_special_ids))
    assert tokens.text == decoded(tokenizer, tokens.ids.tolist()) == text + "</s>"
    assert tokens.pieces[:2] == ("<0xC3>", "<0xA9>")
    assert set(tokens.offsets[:2]) == {(0, 1)}
    assert tokens.roles == (*["prompt"] * (len(tokens) - 1), "special")


@pytest.mark.parametrize("name", ["ByT5", "CTRL"])
def test_a_chat_of_a_slow_tokenizer_has_its_messages_marked(kinds, name):
    tokenizer = kinds[name]
    tokenizer.chat_template = "a {% for m in messages %}{{ m.content }} a {% endfor %}"
    content = "é日 ok" if name == "ByT5" else "hello lo"
    tokens = encode_prompt(tokenizer, [{"role": "user", "content": content}], {}, set())
    own = [i for i, role in enumerate(tokens.roles) if role == "user"]
    (turn,) = tokens.segments
    assert (turn.start, turn.stop) == (own[0], own[-1] + 1)
    assert tokens.text[tokens.offsets[own[0]][0] : tokens.offsets[own[-1]][1]].strip() == content


@pytest.mark.parametrize("name", ["ByT5", "CTRL"])
def test_long_texts_take_time_in_proportion(kinds, name, monkeypatch):
    tokenizer = kinds[name]
    text = "é 日本 👩 ok " * 100 if name == "ByT5" else "hello world a lo " * 100
    ids = tokenizer(text, add_special_tokens=False).input_ids
    longest = []
    decode = type(tokenizer).decode
    monkeypatch.setattr(
        type(tokenizer),
        "decode",
        lambda self, ids, **options: longest.append(len(ids)) or decode(self, ids, **options),
    )
    assert "".join(detokenize(tokenizer, ids)[2]) == decode(tokenizer, ids)
    assert sorted(longest)[-2] < 100  # all but the whole text


def test_ids_have_no_text_without_a_tokenizer():
    assert detokenize(None, torch.tensor([5, 6]).tolist())[2] == "[5][6]"

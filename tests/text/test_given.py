"""Given ids are cut to the answer in them, given texts are the continuation they claim to be."""

import contextlib
import copy

import pytest
import torch
from helpers import tiny
from helpers.tokenizers_of_all_kinds import TOKENIZERS
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hf_attrib import Explainer, InputError

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

ANSWER = [20, 30, 40]


def explained(model, tokenizer=None, **options):
    return Explainer(model, tokenizer).explain(method="saliency", **options)


def sentencepiece(prepend="first"):
    """Spaces are ▁, and one is put before a text; other characters fall back to bytes."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    letters = [chr(c) for c in range(0x21, 0x7F) if chr(c) not in "<>"]
    merges = [("▁", "t"), ("▁", "k"), ("▁", "r"), ("r", "e"), ("▁r", "e"), ("▁re", "d")]
    pieces = [*special, *(f"<0x{b:02X}>" for b in range(256)), "▁", *letters]
    pieces += ["".join(pair) for pair in merges]
    made = Tokenizer(
        models.BPE(
            {p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True
        )
    )
    made.add_special_tokens([AddedToken(piece, special=True) for piece in special])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


@pytest.mark.parametrize("left", [0, 2])
@pytest.mark.parametrize("right", [0, 3])
@pytest.mark.parametrize("pad", [tiny.PAD, tiny.EOS])
def test_a_row_of_what_generate_returns_is_cut_to_its_answer(left, right, pad):
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    model.generation_config.pad_token_id = pad
    ids = tokenizer("the key").input_ids
    row = [pad] * left + ids + [*ANSWER, tiny.EOS] + [pad] * right
    for given in (row, torch.tensor(row), torch.tensor([row])):
        found = explained(model, tokenizer, prompt="the key", response_ids=given)
        assert found.response_ids.tolist() == [*ANSWER, tiny.EOS]
        assert f"the {len(ids)} tokens of the prompt" in found.notes[0]


@pytest.mark.parametrize("family", ["t5", "bart", "m2m_100"])
def test_the_start_of_a_decoder_is_no_part_of_its_answer(family):
    model, tokenizer = tiny.shared(family), tiny.tokenizer(seq2seq=True)
    start = model.generation_config.decoder_start_token_id
    row = torch.tensor([[start, *ANSWER, tiny.EOS, tiny.PAD, tiny.PAD]])
    found = explained(model, tokenizer, prompt="the key", response_ids=row)
    assert found.response_ids.tolist() == [*ANSWER, tiny.EOS]
    again = explained(model, tokenizer, prompt="the key", response_ids=found.response_ids)
    assert torch.equal(found.scores, again.scores)


def test_a_language_that_was_asked_for_can_be_given_along():
    model, tokenizer = tiny.shared("m2m_100"), tiny.tokenizer(seq2seq=True)
    language = {"forced_bos_token_id": 77, "decoder_start_token_id": 78}
    written = explained(model, tokenizer, prompt="the key", max_new_tokens=4, **language)
    given = {"response_ids": torch.tensor([[78, *written.response_ids.tolist()]])}
    again = explained(model, tokenizer, prompt="the key", **given, **language)
    assert torch.equal(again.response_ids, written.response_ids)
    torch.testing.assert_close(again.value, written.value)
    with pytest.raises(InputError, match="remove max_new_tokens"):
        explained(model, tokenizer, prompt="the key", **given, max_new_tokens=3)


def test_labels_are_cut_to_what_they_label():
    model, options = tiny.shared("gpt2"), {"input_ids": [5, 6]}
    found = explained(model, response_ids=torch.tensor([[-100, -100, *ANSWER, -100]]), **options)
    assert found.response_ids.tolist() == ANSWER
    for labels, message in (([20, -100, 30], "between tokens"), ([-100, -100], "throughout")):
        with pytest.raises(InputError, match=message):
            explained(model, response_ids=labels, **options)


def test_a_model_may_repeat_its_prompt():
    """Nothing tells, so what was given is explained, with a note; its own answer is always kept."""
    model = tiny.shared("gpt2")
    found = explained(model, input_ids=[50, 60], response_ids=[50, 60, 70])
    assert found.response_ids.tolist() == [50, 60, 70]
    assert "begin with the 2 tokens of the prompt" in found.notes[0]
    text = explained(
        tiny.shared("llama"), tiny.tokenizer(), prompt="the key", response="the key is"
    )
    assert "begins with the prompt's own text" in text.notes[0]
    assert not explained(model, input_ids=[50], response_ids=[50]).notes


def test_an_end_that_was_written_twice_is_left_out_with_a_note():
    model = tiny.shared("gpt2")
    model.generation_config.pad_token_id = tiny.EOS
    found = explained(model, input_ids=[5, 6], response_ids=[20, tiny.EOS, tiny.EOS])
    assert found.response_ids.tolist() == [20, tiny.EOS]
    assert "1 repetitions of the end" in found.notes[0]
    assert not explained(model, input_ids=[5, 6], response_ids=[20, tiny.EOS]).notes


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mask_cuts_the_padding_of_a_prompt(side):
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    tokenizer.padding_side = side
    batch = tokenizer(["the key", "the key is red"], padding=True, return_tensors="pt")
    plain = explained(model, tokenizer, prompt="the key", response_ids=ANSWER)
    row = {"input_ids": batch.input_ids[:1], "response_ids": ANSWER}
    found = explained(model, tokenizer, attention_mask=batch.attention_mask[:1], **row)
    assert torch.equal(found.input_ids, plain.input_ids)
    assert torch.equal(found.scores, plain.scores)
    with pytest.raises(InputError, match=r"padding .* attention_mask"):
        explained(model, tokenizer, **row)
    with pytest.raises(InputError, match="hold 2 rows"):
        explained(model, tokenizer, input_ids=batch.input_ids, response_ids=ANSWER)


@pytest.mark.parametrize("tensors", [None, "pt", "np"])
def test_what_a_tokenizer_returns_is_a_prompt(tensors):
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    encoded = tokenizer("the key", return_tensors=tensors)
    plain = explained(model, tokenizer, prompt="the key", max_new_tokens=2)
    assert torch.equal(
        explained(model, tokenizer, **encoded, max_new_tokens=2).scores, plain.scores
    )
    with pytest.raises(InputError, match=r"explain\(\*\*tokens\)"):
        explained(model, tokenizer, prompt=encoded)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([1, 0, 1, 1], "between others"),
        ([1, 1], "2 entries for 4"),
        ([0] * 4, "every token"),
        ([1, 2, 1, 1], "list of 0 and 1"),
        ("ones", "list of 0 and 1"),
    ],
)
def test_masks_that_make_another_prompt_are_refused(mask, message):
    with pytest.raises(InputError, match=message):
        explained(
            tiny.shared("gpt2"), input_ids=[5, 6, 7, 8], attention_mask=mask, response_ids=ANSWER
        )


@pytest.mark.parametrize("prepend", ["first", "always"])
@pytest.mark.parametrize("text", [",", " red", "'s red", "\n- a", "red", "é", " the"])
def test_a_text_is_what_follows_the_prompt(prepend, text):
    tokenizer, model = sentencepiece(prepend), tiny.shared("llama", vocab_size=400)
    found = explained(model, tokenizer, prompt="the key", response=text)
    whole = tokenizer.decode(found.input_ids.tolist() + found.response_ids.tolist())
    assert whole == tokenizer.decode(found.input_ids.tolist()) + text
    assert found.response.text == text
    assert not found.notes
    again = explained(model, tokenizer, prompt="the key", response=found.response.text)
    assert torch.equal(again.response_ids, found.response_ids)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level"])
def test_the_text_of_an_answer_is_that_answer_again_or_it_is_said_why_not(kind, seed):
    tokenizer = sentencepiece() if kind == "sentencepiece" else tiny.tokenizer()
    explainer = Explainer(tiny.shared("llama", seed, vocab_size=len(tokenizer)), tokenizer)
    first = explainer.explain("the key", method="saliency", max_new_tokens=4)
    again = explainer.explain("the key", method="saliency", response=first.response.text)
    same = torch.equal(again.response_ids, first.response_ids)
    # Other tokens of the same text are another answer that reads alike.
    assert same or again.notes or again.response.text == first.response.text


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_what_tokens_cannot_say_is_said(family):
    tokenizer = tiny.tokenizer(seq2seq=family == "t5")
    found = explained(tiny.shared(family), tokenizer, prompt="the", response="a\ufffdb")
    assert "U+FFFD" in found.notes[0]


def test_padding_that_is_a_word_is_content():
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    plain = explained(model, tokenizer, prompt="Hi! You!", response_ids=[20, 30])
    tokenizer.pad_token = "!"
    word = tokenizer.convert_tokens_to_ids("!")
    model.generation_config.pad_token_id = word
    found = explained(model, tokenizer, prompt="Hi! You!", response_ids=[20, 30])
    assert torch.equal(found.scores, plain.scores)
    assert found.roles == plain.roles
    by_ids = {"input_ids": found.input_ids, "response_ids": [20, word, word]}
    assert torch.equal(
        explained(model, tokenizer, **by_ids).response_ids, torch.tensor([20, word, word])
    )


def test_an_end_that_is_a_word_is_content():
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    line = tokenizer.convert_tokens_to_ids("Ċ")
    model.generation_config.eos_token_id = [tiny.EOS, line]
    found = explained(model, tokenizer, prompt="a\nb", response_ids=[20])
    assert "special" not in found.roles[1:]
    assert (found.scores[:, 1:] != 0).all()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_settings_of_a_tokenizer_outlive_a_call(kind):
    tokenizer = copy.deepcopy(TOKENIZERS[kind])
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(9, stride=1)
    backend.enable_padding(length=12, pad_id=1)
    before = dict(backend.truncation), dict(backend.padding)
    explainer = Explainer(tiny.shared("llama", vocab_size=400), tokenizer)
    for options in (
        {"response": "a"},
        {"response": ""},
        {"prompt": ["a", ""], "max_new_tokens": 1},
    ):
        with contextlib.suppress(InputError):
            explainer.explain(**{"prompt": "a", "method": "saliency"} | options)
        assert (backend.truncation, backend.padding) == before
    explainer.estimate("a", max_new_tokens=1)
    explainer.robustness("a", response="a", attack="bim", steps=1, bisections=1)
    assert (backend.truncation, backend.padding) == before

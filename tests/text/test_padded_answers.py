"""Padding is no answer: it is cut where that is sure, and said where it may be one."""

import re

import pytest
import torch
from helpers import tiny
from hypothesis import given
from hypothesis import strategies as st

from hf_attrib import Explainer, InputError
from hf_attrib.text.given import Marks, answer_ids

BOS, EOS, PAD = tiny.BOS, tiny.EOS, tiny.PAD
#: Padding with an id of its own, with the end of the text, and with an ordinary word.
OWN = Marks((), frozenset([EOS, BOS]), frozenset([PAD]), frozenset(), frozenset([BOS, EOS]))
END = Marks((), frozenset([EOS, BOS]), frozenset([EOS]), frozenset(), frozenset([BOS, EOS]))
WORD = Marks((), frozenset([EOS, BOS]), frozenset([33]), frozenset([33]), frozenset([BOS, EOS]))
DECODER = Marks((78,), frozenset([EOS]), frozenset([PAD]), frozenset(), frozenset([EOS]))
T5 = Marks((PAD,), frozenset([EOS]), frozenset([PAD]), frozenset(), frozenset([EOS]))

WORDS = st.lists(st.integers(40, 60), min_size=1, max_size=4)
FEW = st.integers(0, 3)


@given(st.sampled_from([OWN, END, WORD, DECODER, T5]), WORDS, WORDS, FEW, FEW, FEW, st.booleans())
def test_no_padding_is_explained_without_a_word(marks, prompt, answer, left, middle, right, whole):
    (pad,), prompt, answer = marks.pads, [BOS, *prompt], [*answer, EOS]
    start = list(marks.start)
    before = start if start else [pad] * left + prompt if whole else []
    row = [*before, *[pad] * middle, *answer, *[pad] * right]
    found, notes = answer_ids(torch.tensor([row]), prompt, marks)
    alone = marks is WORD and not whole and middle == 1  # an ordinary word
    if pad in found[:-1] and not alone:
        assert any("padding" in note for note in notes)
    elif not alone:
        assert found == answer
    if not start:
        assert any("of the prompt, which were left out" in n for n in notes) == whole
    assert all(note.endswith(".") and note.count(". ") == 0 for note in notes)


@given(st.lists(st.sampled_from([PAD, 50, 51]), min_size=1, max_size=7))
def test_whatever_stands_where_the_words_of_an_answer_stay(ids):
    found, notes = answer_ids(ids, [BOS, 60], OWN)
    assert [i for i in found if i != PAD] == [i for i in ids if i != PAD]
    assert PAD not in found or notes


def test_answers_of_right_padded_prompts_are_found_behind_the_padding():
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    tokenizer.padding_side = "right"
    batch = tokenizer(["the", "the key is red"], return_tensors="pt", padding=True)
    row = model.generate(**batch, max_new_tokens=3)[0]
    own = row[batch.input_ids.shape[1] :]
    found = Explainer(model, tokenizer).explain("the", method="saliency", response_ids=row)
    assert torch.equal(found.response_ids, own)
    assert "pad prompts on the left" in found.notes[1]
    plain = Explainer(model, tokenizer).explain("the", method="saliency", response_ids=own)
    assert torch.equal(found.scores, plain.scores)


@pytest.mark.parametrize(
    ("marks", "ids", "expected", "note"),
    [
        (OWN, [PAD, PAD, 50, 51], [50, 51], r"in front of the answer \(2 times id 0\)"),
        (DECODER, [PAD, PAD, 50, 51], [50, 51], "in front of the answer"),
        (END, [EOS, EOS, 50], [50], "in front of the answer"),
        (OWN, [BOS, 50], [BOS, 50], "the mark of a text"),
        (WORD, [33, 33, 50], [33, 33, 50], "may be padding"),
        (OWN, [50, PAD, 51], [50, PAD, 51], "between other tokens"),
        (OWN, [PAD, PAD], [PAD, PAD], "padding throughout"),
        (T5, [PAD, PAD, 50], [PAD, 50], "if the other is padding, cut it off"),
        (T5, [PAD, PAD, PAD, 50], [50], "in front of the answer"),
    ],
)
def test_what_may_be_padding_is_said(marks, ids, expected, note):
    found, notes = answer_ids(ids, [60, 61], marks)
    assert found == expected
    assert sum(bool(re.search(note, said)) for said in notes) == 1


@pytest.mark.parametrize("ids", [[33, 50], [50, 33, 33], [50, EOS], [EOS], [50, 51]])
@pytest.mark.parametrize("marks", [OWN, END, WORD])
def test_nothing_is_said_of_plain_answers(marks, ids):
    assert answer_ids(ids, [60, 61], marks) == (ids, [])


@pytest.mark.parametrize("kind", [list, torch.tensor])
@pytest.mark.parametrize("behind", [[], [PAD, PAD]])
def test_a_prompt_is_no_answer_to_itself(kind, behind):
    with pytest.raises(InputError, match="are the 3 tokens of the prompt and no answer"):
        answer_ids(kind([BOS, 50, 51, *behind]), [BOS, 50, 51], OWN)
    found, notes = answer_ids(kind([50, 51, *behind]), [50, 51], OWN)
    assert found == [50, 51]
    assert "are the 2 tokens of the prompt, which were explained" in notes[0]


@pytest.mark.parametrize("wrap", [list, lambda ids: torch.tensor([ids]), lambda ids: [ids]])
def test_a_word_that_repeats_a_prompt_of_one_token_stays(wrap):
    found, notes = answer_ids(wrap([77, 77, 80]), [77], OWN)
    assert found == [77, 77, 80]
    assert "begin with the 1 token of the prompt, which was explained as part" in notes[0]
    assert answer_ids(wrap([BOS, 77, 80]), [BOS], OWN)[0] == [77, 80]  # which no answer repeats
    assert answer_ids(wrap([77]), [77], OWN) == ([77], [])


@pytest.mark.parametrize("wrap", [lambda ids: torch.tensor([ids]), lambda ids: [ids]])
def test_a_row_of_a_batch_is_a_prompt_and_its_answer(wrap):
    found, notes = answer_ids(wrap([50, 60, 70]), [50, 60], OWN)
    assert found == [70]
    assert "began with the 2 tokens of the prompt" in notes[0]

"""No score is 0 in silence: what was asked for by name is scored, or a note says why it is not."""

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

QUICK = {"method": "input_x_gradient", "response_ids": [20, 30]}
#: Methods that take a baseline of one token.
BASED = [
    "baseline_average",
    "discretized_ig",
    "expected_gradients",
    "guided_ig",
    "idgi",
    "input_x_gradient",
    "integrated_gradients",
    "isa",
    "noise_average",
    "sequential_ig",
]


@pytest.fixture(scope="module")
def explainer():
    return Explainer(tiny.shared("llama"), tiny.tokenizer())


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])
def test_a_named_group_that_cannot_move_is_no_silent_zero(explainer, method):
    options = {"response_ids": [20], "groups": {"start": (0, 1), "key": (1, 3)}}
    found = explainer.explain("the key", method=method, **options)
    assert any("'start' scores 0" in note for note in found.notes)
    assert not any("'key'" in note for note in found.notes)
    moved = explainer.explain("the key", method=method, movable="all", **options)
    assert not moved.notes


def test_what_to_do_for_a_group_that_cannot_move_is_what_was_done(explainer):
    options = QUICK | {"groups": {"start": (0, 1)}}
    (note,) = explainer.explain("the key", **options).notes
    assert "movable='all'" in note
    tokens = len(explainer.explain("the key", **QUICK).inputs)
    flags = [False] + [True] * (tokens - 1)
    (note,) = explainer.explain("the key", movable=flags, **options).notes
    assert "set their flags in movable" in note
    assert "movable='all'" not in note


def test_a_token_against_itself_is_no_silent_zero():
    found = Explainer(tiny.shared("gpt2")).explain(
        input_ids=[5, 6], response_ids=[20, 30], contrast=20, method="saliency"
    )
    assert "1 of 2 tokens are contrasted with themselves" in found.notes[0]


@pytest.mark.parametrize("method", BASED)
def test_a_whole_prompt_that_is_its_baseline_is_no_silent_zero(explainer, method):
    found = explainer.explain("zzz", method=method, baseline="token:z", response_ids=[20])
    assert bool((found.scores == 0).all()) == any("All scores are 0" in n for n in found.notes)
    assert not any("scores are 0" in n for n in explainer.explain("zzz", **QUICK).notes)


def told(found):
    return [note for note in found.notes if "already" in note]


@pytest.mark.parametrize("baseline", ["token", "prompt", "embedding", "id"])
def test_a_group_that_is_its_baseline_is_no_silent_zero(explainer, baseline):
    word = explainer.tokenizer.convert_tokens_to_ids("z")
    table = explainer.model.get_input_embeddings().weight.detach()
    by_name = {"embedding": table[word], "id": word, "prompt": ["z"], "token": "token:z"}
    options = QUICK | {"baseline": by_name[baseline]}
    groups = {"same": (1, 3), "other": (3, 5), "both": (5, 7)}
    found = explainer.explain("zzqqzq", groups=groups, **options)
    (note,) = told(found)
    assert note.startswith("The group 'same' scores 0")
    assert [bool(c.abs().max() > 0) for c in found.scores.T[1:]] == [False, True, True]
    (note,) = told(explainer.explain("zzqqzq", **options))
    assert note.startswith("3 of 6 tokens that may move are the baseline")
    (note,) = told(explainer.explain("zz qq", groups="word", **options))
    assert note.startswith("2 of 5 tokens that may move are the baseline")
    assert not told(explainer.explain("qqqq", groups={"q": (1, 3)}, **options))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "t5", "bart"])
def test_zeros_of_what_moves_are_always_told(family):
    """Every input that may move and scores nothing at all is counted in the note."""
    model = tiny.shared(family)
    explainer = Explainer(model, tiny.tokenizer(seq2seq=model.config.is_encoder_decoder))
    prompts = ["zzq", "q", "zqzqzq"]
    results = explainer.explain(
        prompts, baseline="token:z", method="input_x_gradient", response_ids=[[20, 30]] * 3
    )
    for prompt, found in zip(prompts, results, strict=True):
        content = torch.tensor([role == "prompt" for role in found.roles])
        zeros = int((found.scores.abs().amax(0) == 0)[content].sum())
        assert zeros == prompt.count("z")
        assert len(told(found)) == (zeros > 0)
        assert all(note.startswith(f"{zeros} of {len(prompt)} tokens") for note in told(found))


def test_noise_moves_what_is_its_baseline(explainer):
    found = explainer.explain(
        "zzq", method="noise_average", baseline="token:z", response_ids=[20], samples=2
    )
    assert (found.scores[:, 1:] != 0).all()
    assert not told(found)


def test_a_group_behind_all_that_is_explained_is_no_silent_zero(explainer):
    options = {"attribute_to": "all", "response_ids": [20, 30, 40], "method": "saliency"}
    place = len(explainer.explain("key", **options).inputs) - 1  # the second generated token
    found = explainer.explain("key", groups={"late": (place, place + 1)}, spans=[(0, 2)], **options)
    (note,) = found.notes
    assert note.startswith("The group 'late' scores 0, since the model reads it after all")
    assert (found.scores[:, -1] == 0).all()
    seen = explainer.explain("key", groups={"late": (place, place + 1)}, **options)
    assert not seen.notes
    assert (seen.scores[-1, -1] != 0).all()


@pytest.mark.parametrize("role", ["eos", "bos", "cls", "sep", "mask", "pad"])
@pytest.mark.parametrize("word", ["z", "\n", " the"])
def test_a_token_with_a_name_that_is_a_word_is_content(role, word):
    """Named as people do it, tokenizer.eos_token = "\\n", and in the model's configs."""
    prompt = f"a{word}b{word}"
    plain = Explainer(tiny.shared("llama"), tiny.tokenizer()).explain(prompt, **QUICK)
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    spelt = tokenizer(word, add_special_tokens=False).input_ids
    setattr(tokenizer, f"{role}_token", tokenizer.convert_ids_to_tokens(spelt)[0])
    if role in ("eos", "bos", "pad"):
        setattr(model.generation_config, f"{role}_token_id", spelt[0])
    found = Explainer(model, tokenizer).explain(prompt, **QUICK)
    content = found.input_ids == spelt[0]
    assert content.sum() == 2
    assert {r for r, own in zip(found.roles, content, strict=True) if own} == {"prompt"}
    assert torch.equal(found.scores[:, content], plain.scores[:, content])


def test_what_no_text_holds_stays_special():
    """A tokenizer writes <bos> by itself, and reads its name as that token."""
    found = Explainer(tiny.shared("llama"), tiny.tokenizer()).explain("<eos>a<bos>", **QUICK)
    assert found.roles == ("special", "special", "prompt", "special")

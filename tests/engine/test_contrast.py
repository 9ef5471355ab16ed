"""An answer against another one: a sum of one less that of the other, from where both part."""

import importlib.util
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.quick import quick

import hf_attrib
from hf_attrib import Explainer, InputError, embedded
from hf_attrib.attacks import NAA
from hf_attrib.methods import Fundamental, methods

#: Decoders with learnt and rotary positions, a state-space model, and two with an encoder.
FAMILIES = ("gpt2", "llama", "mamba", "t5", "m2m_100")
PROMPT, ANSWER = tiny.ids(7, seed=1), tiny.ids(4, seed=2)
#: It parts from the answer behind two tokens, and is longer.
FORK = 2
OTHER = ANSWER[:FORK] + tiny.ids(5, seed=3)
#: Methods that end at another x, and those that so few steps leave far from their sums.
NOISY = ("expected_gradients", "noise_average")
COARSE = ("discretized_ig", "expected_gradients", "guided_ig", "isa")
NODES = {"method": "integrated_gradients", "steps": 4, "rule": "gauss_legendre"}
GIVEN = {"input_ids": PROMPT, "response_ids": ANSWER, "contrast": OTHER}

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def log_prob(model, prompt, answer, first):
    """Summed log-probability of an answer's tokens from one on, by the model's own forward."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            read = torch.tensor([[model.config.decoder_start_token_id, *answer[:-1]]])
            logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=read).logits[0]
        else:
            logits = model(torch.tensor([prompt + answer[:-1]])).logits[0, len(prompt) - 1 :]
    by_token = logits.double().log_softmax(-1)[range(len(answer)), answer]
    return float(by_token[first:].sum())


def difference(model, prompt, answer=ANSWER, other=OTHER, fork=FORK):
    return log_prob(model, prompt, answer, fork) - log_prob(model, prompt, other, fork)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_sum_to_what_both_answers_change_by(family):
    model = tiny.shared(family)
    found = Explainer(model).explain(**GIVEN, baseline=7, samples=2)
    end, start = difference(model, PROMPT), difference(model, [7] * len(PROMPT))
    assert [(row.start, row.stop) for row in found.rows] == [(FORK, len(ANSWER))]
    assert float(found.value) == pytest.approx(end, rel=1e-5)
    assert float(found.reference_value) == pytest.approx(start, rel=1e-5)
    assert float(found.scores.sum()) == pytest.approx(end - start, rel=1e-5, abs=1e-4)
    assert found.run.fork == FORK
    assert found.run.contrast_ids == tuple(OTHER[FORK:])


def test_every_method_explains_the_difference():
    model = tiny.shared("llama")
    explainer, expected = Explainer(model), difference(model, PROMPT)
    made = {name: quick(name) for name in methods() if name != "context_cite"}
    made["naa"] = Fundamental(NAA(eps=0.25, steps=4, points=4))
    for name, method in made.items():
        found = explainer.explain(**GIVEN, method=method)
        assert found.scores.shape == (1, len(PROMPT)), name
        assert bool(found.scores.any()), name
        if name not in NOISY:
            assert float(found.value) == pytest.approx(expected, rel=1e-5), name
        if found.run.identity is not None and name not in COARSE:
            assert float(found.gap) < 0.02, name


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        ("llama", NODES),
        ("t5", NODES),
        ("llama", NODES | {"groups": [(0, 3), (3, 7)]}),
        ("mamba", {"method": "occlusion"}),
        ("t5", {"method": "occlusion", "mode": "token", "baseline": 7}),
        ("llama", {"method": "occlusion", "mode": "drop"}),
        ("llama", {"method": "occlusion", "mode": "attention"}),
        ("mamba", {"method": "shapley", "samples": 4, "seed": 5, "budget": None}),
        ("llama", {"method": "input_x_gradient", "target": "logit"}),
    ],
)
def test_what_is_linear_in_f_is_the_difference_of_two_explanations(family, asked):
    explainer = Explainer(tiny.shared(family))
    found = explainer.explain(**GIVEN, **asked).scores
    own, other = (
        explainer.explain(
            input_ids=PROMPT, response_ids=ids, spans=[(FORK, len(ids))], **asked
        ).scores
        for ids in (ANSWER, OTHER)
    )
    size = float(own.abs().max() + other.abs().max())
    torch.testing.assert_close(found, own - other, rtol=0, atol=2e-6 * size)


def test_answers_that_change_places_change_signs():
    explainer = Explainer(tiny.shared("gpt2"))
    one = explainer.explain(**GIVEN)
    two = explainer.explain(input_ids=PROMPT, response_ids=OTHER, contrast=ANSWER)
    torch.testing.assert_close(one.scores, -two.scores, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.value, -two.value)


def test_one_token_against_another_is_that_token_at_its_position():
    explainer = Explainer(tiny.shared("llama"))
    given = {"input_ids": PROMPT, "response_ids": ANSWER, **NODES}
    by_token = explainer.explain(**given, contrast=OTHER[FORK])
    part = explainer.explain(**given, spans=[(FORK, FORK + 1)], contrast=OTHER[FORK : FORK + 1])
    torch.testing.assert_close(part.scores[0], by_token.scores[FORK], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(part.value[0], by_token.value[FORK], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_contrast_stands_in_the_place_of_a_part(family):
    model = tiny.shared(family)
    found = Explainer(model).explain(
        input_ids=PROMPT, response_ids=ANSWER, spans=[(1, 3)], contrast=OTHER[2:5], samples=2
    )
    end = difference(model, PROMPT, ANSWER[:3], ANSWER[:1] + OTHER[2:5], 1)
    assert float(found.value) == pytest.approx(end, rel=1e-5)
    assert [(row.start, row.stop) for row in found.rows] == [(1, 3)]


@pytest.mark.parametrize("family", ["gpt2", "m2m_100"])
def test_prefixes_are_inputs_as_far_as_both_answers_share_them(family):
    model = tiny.shared(family)
    asked = {"attribute_to": "all", "method": "shapley", "samples": 4, "movable": "all"}
    found = Explainer(model).explain(**GIVEN, **asked)
    shared = found.scores.shape[1] - (len(ANSWER) - 1 - FORK)
    assert bool(found.scores[0, :shared].all())
    assert not found.scores[0, shared:].any()
    assert float(found.value) == pytest.approx(difference(model, PROMPT), rel=1e-5)
    assert float(found.gap) < 1e-4


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_batch_is_explained_as_its_prompts_are(family):
    explainer = Explainer(tiny.shared(family), tiny.tokenizer(family == "t5"))
    prompts, responses = ["Ada's key", "the red key is in the"], [" is red", " was blue"]
    others = [" was the blue key", " in"]
    together = explainer.explain(prompts, response=responses, contrast=others, **NODES)
    for found, *own in zip(together, prompts, responses, others, strict=True):
        prompt, response, other = own
        single = explainer.explain(prompt, response=response, contrast=other, **NODES)
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-4, atol=1e-4)
        assert found.run.contrast_text == single.run.contrast_text == other
    one = explainer.explain(prompts, response=responses, contrast=" in", method="occlusion")
    assert [each.run.contrast_text for each in one] == [" in", " in"]
    ids = explainer.explain(prompts, response=responses, contrast=[40, 50], method="occlusion")
    assert [each.run.contrast_ids for each in ids] == [(40, 50)] * 2


def test_documents_are_scored_and_bring_no_table_of_one_of_two_answers():
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    asked = {"documents": ["Ada's key", "is red"], "response": " red", "contrast": " blue key"}
    found = explainer.explain("the key is", **asked)
    assert {"document 1", "document 2"} <= set(found.pieces)
    assert found.passages is None
    assert float(found.gap) < 1e-4
    least, most = explainer.estimate("the key is", **asked).forward_rows
    assert least <= found.forward_rows <= most


def test_a_text_ends_as_the_response_does():
    model = tiny.shared("llama")
    explainer = Explainer(model, tiny.tokenizer())
    encode = explainer.tokenizer
    prompt, red, blue = (
        encode(text, add_special_tokens=special)["input_ids"]
        for text, special in (("Ada's key is", True), (" red", False), (" blue key", False))
    )
    open_ended = explainer.explain("Ada's key is", response=" red", contrast=" blue key", samples=2)
    assert open_ended.run.contrast_ids == tuple(blue)
    ended = explainer.explain(
        "Ada's key is", response_ids=[*red, tiny.EOS], contrast=" blue key", samples=2
    )
    assert ended.run.contrast_ids == (*blue, tiny.EOS)
    expected = difference(model, prompt, [*red, tiny.EOS], [*blue, tiny.EOS], 0)
    assert float(ended.value) == pytest.approx(expected, rel=1e-5)
    ids = explainer.explain("Ada's key is", response_ids=[*red, tiny.EOS], contrast=blue, samples=2)
    assert ids.run.contrast_ids == tuple(blue)


def test_the_end_decides_where_one_answer_is_how_the_other_begins():
    model = tiny.shared("llama")
    explainer = Explainer(model)
    given = {"input_ids": PROMPT, "samples": 2}
    shorter = explainer.explain(**given, response_ids=ANSWER, contrast=ANSWER[:2])
    expected = difference(model, PROMPT, ANSWER, [*ANSWER[:2], tiny.EOS], 2)
    assert float(shorter.value) == pytest.approx(expected, rel=1e-5)
    assert shorter.run.contrast_ids == (tiny.EOS,)
    assert "The contrast is how the other answer begins" in " ".join(shorter.notes)
    longer = explainer.explain(**given, response_ids=ANSWER[:2], contrast=ANSWER)
    assert float(longer.value) == pytest.approx(-expected, rel=1e-5)
    assert longer.response.ids.tolist() == [*ANSWER[:2], tiny.EOS]
    torch.testing.assert_close(longer.scores, -shorter.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("answer", "contrast", "spans", "message"),
    [
        (ANSWER, ANSWER, None, "the response itself"),
        ([*ANSWER, tiny.EOS], ANSWER, None, "the response itself"),
        ([*ANSWER, tiny.EOS], [*ANSWER, tiny.EOS, 9], None, "goes on behind it"),
        (ANSWER, ANSWER[1:2], [(1, 3)], "begin alike"),
        (ANSWER, OTHER, [(0, 1), (2, 3)], "spans name 2 parts"),
    ],
)
def test_answers_that_cannot_be_told_apart_are_refused(answer, contrast, spans, message):
    explainer = Explainer(tiny.shared("llama"))
    with pytest.raises(InputError, match=message):
        explainer.explain(
            input_ids=PROMPT, response_ids=answer, contrast=contrast, spans=spans, samples=2
        )


def test_a_list_of_prompts_is_told_which_has_no_other_answer():
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    asked = {"response": [" red", " blue"], "contrast": " blue"}
    with pytest.raises(InputError, match="prompt 2 of 2: the contrast is the response itself"):
        explainer.explain(["Ada", "Bob"], **asked)
    found, error = explainer.explain(["Ada", "Bob"], **asked, samples=2, on_error="return")
    assert float(found.gap) < 1e-4
    assert isinstance(error, InputError)


def test_a_token_that_every_answer_begins_with_begins_a_contrast():
    model = tiny.model("mbart")
    model.generation_config.forced_bos_token_id = 290
    explainer = Explainer(model, tiny.tokenizer(seq2seq=True))
    found = explainer.explain("Ada's key", contrast=" blue", max_new_tokens=3, samples=2)
    assert found.response.ids[0] == 290
    assert found.run.fork == 1
    assert found.run.contrast_text == " blue"


def test_no_end_decides_where_none_is_known():
    model = tiny.model("llama")
    model.generation_config.eos_token_id = None
    with pytest.raises(InputError, match="neither model nor tokenizer names one"):
        Explainer(model).explain(input_ids=PROMPT, response_ids=ANSWER, contrast=ANSWER[:2])


def test_a_model_whose_tokens_take_a_pass_each_has_no_other_answer(looking_ahead):
    with pytest.raises(InputError, match="take the id of one token as contrast"):
        Explainer(looking_ahead).explain(**GIVEN)


def test_words_that_differ_by_a_space_have_a_note():
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    asked = {"response": " red", "method": "occlusion"}
    (note,) = explainer.explain("the key is", contrast="blue", **asked).notes
    assert "The response begins with white space here and the contrast does not" in note
    assert not explainer.explain("the key is", contrast=" blue", **asked).notes


def test_a_space_that_makes_no_difference_has_no_note():
    explainer = Explainer(*embedded.load("keys-llama"))
    prompt = "Ada's key is red. Q: What color is Ada's key? A:"
    asked = {"response": " Ada's key is red.", "method": "occlusion", "groups": "sentence"}
    without = explainer.explain(prompt, contrast="Ada's key is blue.", **asked)
    spaced = explainer.explain(prompt, contrast=" Ada's key is blue.", **asked)
    assert without.run.contrast_ids == spaced.run.contrast_ids
    assert without.run.fork > 0
    assert not any("white space" in note for note in without.notes)


def test_every_row_that_ran_is_counted():
    model, rows = tiny.model("llama"), []
    explainer = Explainer(model)
    explainer.explain(**GIVEN, method="occlusion")  # and checks the model
    model.register_forward_pre_hook(
        lambda _, args, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    estimate = explainer.estimate(**GIVEN, method="occlusion")
    rows.clear()
    found = explainer.explain(**GIVEN, method="occlusion")
    assert found.forward_rows == 2 * (1 + len(PROMPT))
    assert estimate.forward_rows == (found.forward_rows, found.forward_rows)
    assert sum(rows) >= found.forward_rows
    counted, told = explainer.explain(**GIVEN, **NODES), explainer.estimate(**GIVEN, **NODES)
    assert counted.backward_rows == 2 * NODES["steps"]
    assert told.backward_rows == (counted.backward_rows,) * 2
    assert told.forward_rows == (counted.forward_rows, counted.forward_rows)


def test_what_is_asked_about_answers_is_asked_about_both(tmp_path):
    model = tiny.shared("llama")
    explainer = Explainer(model)
    game = explainer.game(**GIVEN)
    value = float(game([True] * len(game.players))[0, 0])
    assert value == pytest.approx(difference(model, PROMPT), rel=1e-5)
    pairs = explainer.interactions(**GIVEN, groups=[(0, 3), (3, 6)])
    assert float(pairs.end_value) == pytest.approx(difference(model, PROMPT), rel=1e-5)
    assert "why " in str(pairs)
    found = explainer.explain(**GIVEN, samples=2)
    path = tmp_path / "result.json"
    found.save(path)
    assert hf_attrib.load(path).run == found.run
    with pytest.raises(ValueError, match="must begin where another answer parts"):
        type(found)(**(vars(found) | {"rows": (hf_attrib.text.Span(0, 4),)}))


def test_terminals_and_pages_say_why_this_answer_and_not_that_one(keys, tmp_path):
    prompt = "Ada's key is red. Bob's key is blue. Q: What color is Ada's key? A:"
    explainer = Explainer(*keys)
    found = explainer.explain(prompt, contrast=" Ada's key is blue.", samples=2)
    shown = str(found).replace("\n", " ")
    assert "why ' red.</s>' and not ' blue.</s>'" in shown
    assert "+ favours the generated tokens over ' blue.</s>'" in shown
    page = tmp_path / "page.html"
    found.to_html(page)
    assert "why &#39; red.&lt;/s&gt;&#39; and not" in page.read_text()


def test_methods_that_are_judged_have_no_other_answer(keys):
    with pytest.raises(InputError, match="Another answer comes with its prompt"):
        Explainer(*keys).evaluate("a", [{"method": "occlusion", "contrast": " b"}])


def test_the_example_explains_what_it_says(capsys):
    path = Path(__file__).parents[2] / "examples" / "contrast.py"
    spec = importlib.util.spec_from_file_location("contrast", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    explainer = example.chatting()
    for make in (example.of_a_refusal, example.of_a_call):
        found = make(explainer)
        prompt, answer = found.sequence.prompt.ids.tolist(), found.response.ids.tolist()
        fork = found.run.fork
        other = [*answer[:fork], *found.run.contrast_ids]
        expected = difference(explainer.model, prompt, answer, other, fork)
        assert float(found.value) == pytest.approx(expected, rel=1e-4)
        assert {"system", "user"} <= set(found.pieces)
        assert float(found.gap) < 1e-3
    example.main()
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "why ' red.</s>' and not ' blue.</s>'" in shown
    assert "and not 'It is red.'" in shown

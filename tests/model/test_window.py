"""Documents that a model has no room for are refused before anything runs, with what there is."""

import re

import pytest
from helpers import tiny
from helpers.chat_templates import TEMPLATES, WITH_DOCUMENTS, said

from hf_attrib import Explainer, InputError

QUESTION = "Who has the key?"
MANY = [f"Person {i} has the key number {i}." for i in range(12)]
QUICK = {"method": "saliency"}


class Unrun(Explainer):
    """Explains with a model that may not run."""

    def __init__(self, model, tokenizer):
        super().__init__(model, tokenizer)

        def run(*args, **options):
            raise AssertionError("the model ran")

        model.generate = model.forward = run


def explainer_of(family, template=None, **config):
    tokenizer = tiny.tokenizer(family in tiny.SEQ2SEQ)
    tokenizer.chat_template = template
    return Unrun(tiny.model(family, **config), tokenizer)


def length(explainer, prompt, documents, template=None):
    """Tokens of a prompt, counted without what is tested."""
    tokenizer = explainer.tokenizer
    if isinstance(prompt, str):
        listed = "\n\n".join(f"[{i + 1}]\n{text}" for i, text in enumerate(documents))
        text = (template or "{documents}\n\n{question}").replace("{documents}", listed)
        return len(tokenizer(text.replace("{question}", prompt))["input_ids"])
    if "documents" in tokenizer.chat_template:
        given = {"documents": [{"text": text} for text in documents]}
    else:
        listed = "".join(f"[{i + 1}]\n{text}\n\n" for i, text in enumerate(documents))
        given, prompt = {}, [said("user", listed + prompt[0]["content"])]
    whole = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, return_dict=False, **given
    )
    return len(whole)


CHAT = [said("user", QUESTION)]
PROMPTS = {
    "text": (QUESTION, None, None),
    "own template": (QUESTION, None, "Q: {question} {documents} A:"),
    "frame": (CHAT, TEMPLATES["ChatML"], None),
    "slot": (CHAT, WITH_DOCUMENTS["trimmed"], None),
}
ANSWERS = {
    "nothing said": ({}, 1),
    "asked for": ({"max_new_tokens": 9}, 9),
    "given": ({"response_ids": [9] * 7}, 7),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("call", ["explain", "estimate"])
def test_too_long_is_refused_by_how_much_and_what_fits(call, prompt, answer):
    (asked, chat, template), (given, tokens) = PROMPTS[prompt], ANSWERS[answer]
    explainer = explainer_of("llama", chat)
    whole = length(explainer, asked, MANY, template)
    room = 256 - (tokens - 1)
    fits = max(n for n in range(12) if length(explainer, asked, MANY[:n], template) <= room)
    assert 1 < fits < 11
    more = {} if template is None else {"template": template}
    with pytest.raises(InputError) as error:
        getattr(explainer, call)(asked, documents=MANY, **given, **more, **QUICK)
    numbers = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", str(error.value))]
    assert numbers == [12, whole, 256, tokens, whole - room, 1, fits]
    assert f"documents 1 to {fits} fit; leave out the rest" in str(error.value)


@pytest.mark.parametrize("tokens", [1, 9])
def test_what_fits_to_the_last_token_is_not_refused(tokens):
    explainer = Explainer(tiny.model("llama"), tiny.tokenizer())
    word = 256 - (tokens - 1) - length(explainer, QUESTION, [""])
    for size, refused in ((word, False), (word + 1, True)):
        options = {"documents": ["x" * size], "response_ids": [9] * tokens} | QUICK
        if refused:
            with pytest.raises(
                InputError, match=r"that is 1 token too many\. Shorten the document"
            ):
                explainer.explain(QUESTION, **options)
        else:
            explainer.explain(QUESTION, **options)


def test_not_even_the_first():
    explainer = explainer_of("llama")
    with pytest.raises(InputError, match="Not even the first document fits"):
        explainer.explain(QUESTION, documents=["x" * 500, "y"], **QUICK)
    with pytest.raises(InputError, match=r"order document 1 fits; leave out"):
        explainer.explain(QUESTION, documents=["x", "y" * 500], **QUICK)


def test_an_encoder_reads_no_answer():
    explainer = explainer_of("bart")
    with pytest.raises(InputError) as error:
        explainer.explain(QUESTION, documents=MANY, response_ids=[9] * 7, **QUICK)
    whole = length(explainer, QUESTION, MANY)
    assert f"reads at most 256: with it that is {whole - 256} tokens too many" in str(error.value)


def test_each_of_a_list_is_checked_before_any_runs():
    explainer = explainer_of("llama")
    with pytest.raises(InputError, match=r"^prompt 2 of 2: the prompt with its 12 documents has"):
        explainer.explain([QUESTION, QUESTION], documents=[["a"], MANY], **QUICK)


def test_a_model_without_a_limit_reads_them_all():
    explainer = Explainer(tiny.shared("mamba"), tiny.tokenizer())
    result = explainer.explain(QUESTION, documents=MANY, response_ids=[9], **QUICK)
    assert len(result.inputs) > 256

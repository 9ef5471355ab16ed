"""Lists of prompts: checked whole before any work, and no work is lost where one of them fails."""

import warnings

import numpy as np
import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib import AttributionWarning, Explainer, HFAttribError, InputError, MemoryLimitError

GOOD = "the key is red"
QUICK = {"method": "saliency", "max_new_tokens": 2}


class Counted(Explainer):
    """Counts the answers that its model generates."""

    def __init__(self, model, tokenizer=None, **options):
        super().__init__(model, tokenizer, **options)
        self.generated, generate = 0, model.generate

        def counting(*args, **given):
            self.generated += 1
            return generate(*args, **given)

        model.generate = counting


@pytest.fixture
def explainer():
    return Counted(tiny.model("llama"), tiny.tokenizer())


BAD = {
    "empty": ("", {}),
    "too long": ("x" * 400, {}),
    "no room": ("x" * 250, {"max_new_tokens": 30}),
    "a number": (float("nan"), {}),
    "nothing": (None, {}),
    "half a surrogate": ("a\ud800", {}),
    "no such group": ("else", {"groups": ["key"]}),
    "messages without a template": ([{"role": "user", "content": "a"}], {}),
}


@pytest.mark.parametrize("call", ["explain", "estimate", "robustness"])
@pytest.mark.parametrize("case", BAD)
def test_a_list_is_checked_whole_and_the_message_says_which_prompt(explainer, call, case):
    bad, options = BAD[case]
    if call == "robustness":
        if "groups" in options:
            pytest.skip("robustness has no groups")
        options = {"attack": "bim", "steps": 1, "bisections": 1, "max_new_tokens": 2} | options
    else:
        options = QUICK | options
    with pytest.raises(InputError, match=r"^prompt 3 of 4: "):
        getattr(explainer, call)([GOOD, GOOD, bad, GOOD], **options)
    assert explainer.generated == 0


def test_one_prompt_has_no_number(explainer):
    with pytest.raises(InputError, match=r"^the prompt is empty"):
        explainer.explain("", **QUICK)


def test_given_answers_are_checked_before_one_is_generated(explainer):
    with pytest.raises(InputError, match=r"^prompt 2 of 2: the response is empty"):
        explainer.explain([GOOD, GOOD], response=[None, ""], method="saliency")
    assert explainer.generated == 0


@pytest.mark.parametrize("case", BAD)
def test_errors_stand_in_the_places_of_results(explainer, case):
    bad, options = BAD[case]
    options = {"method": "saliency", "max_new_tokens": 2} | options
    plain = explainer.explain([GOOD, "the key"], **options)
    found = explainer.explain([GOOD, bad, "the key", bad], **options, on_error="return")
    for result, expected in zip((found[0], found[2]), plain, strict=True):
        torch.testing.assert_close(result.scores, expected.scores)
    for place in (1, 3):
        assert isinstance(found[place], InputError)
        assert str(found[place]).startswith(f"prompt {place + 1} of 4: ")


def test_errors_stand_in_the_places_of_results_that_generation_or_rows_cannot_give(monkeypatch):
    explainer = Counted(tiny.model("llama"), tiny.tokenizer())
    plain = explainer.explain(["the", "key"], **QUICK)
    generate, attribute = explainer.model.generate, explainer._engine.attribute

    def failing(input_ids, **options):
        if input_ids.shape[1] > 9:
            raise RuntimeError("the device is gone")
        return generate(input_ids=input_ids, **options)

    def running_out(plan, processes):
        for index, case in enumerate(plan.cases):
            if case.inputs.text == "red":
                raise MemoryLimitError("no memory")
            yield from attribute(plan.part(index, index + 1), processes)

    monkeypatch.setattr(explainer.model, "generate", failing)
    monkeypatch.setattr(explainer._engine, "attribute", running_out)
    found = explainer.explain(["the", "red", "x" * 20, "key"], **QUICK, on_error="return")
    assert [type(one).__name__ for one in found] == [
        "Attribution",
        "MemoryLimitError",
        "RuntimeError",
        "Attribution",
    ]
    for result, expected in zip((found[0], found[3]), plain, strict=True):
        torch.testing.assert_close(result.scores, expected.scores)
    with pytest.raises(MemoryLimitError) as caught:
        explainer.explain(["the", "red", "key"], **QUICK)
    torch.testing.assert_close(caught.value.results[0].scores, plain[0].scores)


class Own(Exception):
    """An error of the caller's, which nobody can add anything to."""

    def __setattr__(self, name, value):
        if not name.startswith("__"):
            raise AttributeError(name)
        super().__setattr__(name, value)


@pytest.mark.parametrize(
    ("error", "call"),
    [(error, "explain") for error in (KeyboardInterrupt, SystemExit, RuntimeError, ValueError, Own)]
    + [(KeyboardInterrupt, call) for call in ("robustness", "estimate")]
    + [(ValueError, call) for call in ("robustness", "estimate")],
)
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_what_is_done_outlives_any_error(monkeypatch, error, call, on_error):
    explainer = Counted(tiny.model("llama"), tiny.tokenizer(), batch_size=1)
    options = {"on_error": on_error, "max_new_tokens": 2}
    options |= {"attack": "bim", "steps": 1} if call == "robustness" else {"method": "saliency"}
    prompts = ["the", "key", "is", "red"]
    plain = getattr(explainer, call)(prompts[:2], **options)
    # The work on the third of four ends.
    engine, started = explainer._engine, []
    ready_of = engine._ready

    def ready(plan, *rest, **named):
        if any(case.inputs.text == "is" for case in plan.cases):
            started.append(error("now"))
            raise started[0]
        return ready_of(plan, *rest, **named)

    monkeypatch.setattr(engine, "_ready", ready)
    monkeypatch.setattr("hf_attrib.engine.engine.TOGETHER", 1)
    if on_error == "return" and issubclass(error, Exception):
        found = getattr(explainer, call)(prompts, **options)
        assert found[2] is started[0]
        assert not getattr(started[0], "results", None)  # they stand beside it
        assert not isinstance(found[3], BaseException)
        return
    with pytest.raises(error) as caught:
        getattr(explainer, call)(prompts, **options)
    assert caught.value is started[0]
    if error is Own:
        return
    results = caught.value.results
    assert results[2:] == ([None, None] if on_error == "return" and call != "estimate" else [])
    assert [type(one) for one in results[:2]] == [type(one) for one in plain]
    if call == "explain":
        for one, other in zip(results, plain, strict=False):
            torch.testing.assert_close(one.scores, other.scores)


def test_results_that_an_error_holds_already_stay_its_own(explainer, monkeypatch):
    error = RuntimeError("mine")
    error.results = "mine"

    def failing(plan, processes):
        raise error
        yield

    monkeypatch.setattr(explainer._engine, "attribute", failing)
    with pytest.raises(RuntimeError) as caught:
        explainer.explain([GOOD], **QUICK)
    assert caught.value.results == "mine"


def test_one_error_that_is_raised_twice_holds_what_the_last_call_has_done(explainer, monkeypatch):
    attribute, error = explainer._engine.attribute, RuntimeError("the same again")

    def failing(plan, processes):
        for index, case in enumerate(plan.cases):
            if case.inputs.text == "red":
                raise error
            yield from attribute(plan.part(index, index + 1), processes)

    monkeypatch.setattr(explainer._engine, "attribute", failing)
    for prompts, done in ((["the", "key", "red"], 2), (["the", "red"], 1), (["red", "the"], 0)):
        with pytest.raises(RuntimeError) as caught:
            explainer.explain(prompts, **QUICK)
        assert caught.value is error
        assert len(error.results) == done
    explainer.explain(["the", "red"], **QUICK, on_error="return")
    assert not error.results  # they stand beside it
    with pytest.raises(RuntimeError):
        explainer.explain(["the", "red"], **QUICK)

    def unable(**given):
        raise error

    monkeypatch.setattr(explainer.model, "generate", unable)
    with pytest.raises(RuntimeError):
        explainer.explain(["the", "key"], **QUICK)
    assert not error.results


def test_estimates_and_radii_return_errors_too(explainer):
    found = explainer.estimate([GOOD, ""], **QUICK, on_error="return")
    assert isinstance(found[0], hf_attrib.Estimate)
    assert isinstance(found[1], InputError)
    attack = {"attack": "bim", "steps": 1, "bisections": 1, "max_new_tokens": 2}
    found = explainer.robustness([GOOD, ""], **attack, on_error="return")
    assert isinstance(found[0], hf_attrib.Robustness)
    assert isinstance(found[1], InputError)


def test_what_no_prompt_could_mend_is_raised(explainer):
    for options in ({"baseline": "nil"}, {"target": "surprise"}, {"on_error": "ignore"}):
        with pytest.raises(HFAttribError):
            explainer.explain([GOOD], **QUICK | {"on_error": "return"} | options)
    assert explainer.generated == 0


@pytest.mark.parametrize("prompts", [GOOD, [GOOD, "the key"]])
def test_warnings_that_are_errors_come_after_the_work_and_hold_it(prompts):
    """Experts give a reservation about the model, one step one about the sums."""
    explainer = Explainer(tiny.model("mixtral"), tiny.tokenizer())
    with warnings.catch_warnings():
        warnings.simplefilter("error", AttributionWarning)
        with pytest.raises(AttributionWarning) as caught:
            explainer.explain(prompts, method="integrated_gradients", steps=1, max_new_tokens=2)
    results = caught.value.results
    assert len(results) == (1 if prompts is GOOD else 2)
    assert all(isinstance(result, hf_attrib.Attribution) for result in results)


def test_the_caller_is_warned_where_it_stands():
    explainer = Explainer(tiny.model("mixtral"), tiny.tokenizer())
    with pytest.warns(AttributionWarning) as seen:
        explainer.explain(GOOD, method="integrated_gradients", steps=1, max_new_tokens=2)
    assert {warning.filename for warning in seen} == {__file__}


class Column:
    """What holds texts without being a list, as a column of a data set does."""

    def __init__(self, texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __iter__(self):
        return iter(self.texts)

    def __getitem__(self, index):
        return self.texts[index]


@pytest.mark.parametrize("kind", [tuple, np.array, Column])
def test_prompts_and_responses_may_come_in_any_container(explainer, kind):
    texts, answers = [GOOD, "the key"], [" is", " in"]
    plain = explainer.explain(texts, response=answers, method="saliency")
    found = explainer.explain(kind(texts), response=kind(answers), method="saliency")
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one.scores, other.scores)


@pytest.mark.parametrize("prompt", [{"a", "b"}, {"text": "a"}, 3, iter(["a"])])
def test_what_is_no_list_of_prompts_is_refused_in_a_sentence(explainer, prompt):
    with pytest.raises(InputError, match="a prompt is a text or a list of messages"):
        explainer.explain(prompt, **QUICK)


@pytest.mark.parametrize("place", [0, 3, 7, 8, 10])
def test_the_prompt_that_fails_is_the_one_that_gets_the_error(place):
    """Prompts run together; that one of them fails is no fault of those before it."""
    model = tiny.model("llama")

    def limited(module, args, output):
        if output.shape[1] > 30:
            raise ValueError("too long for me")

    model.get_input_embeddings().register_forward_hook(limited)
    prompts = ["the key is red"] * 11
    prompts[place] = "x" * 40
    found = Explainer(model, tiny.tokenizer()).explain(
        prompts, response=[" in"] * 11, method="saliency", on_error="return"
    )
    assert [isinstance(one, Exception) for one in found] == [n == place for n in range(11)]


@pytest.mark.parametrize("place", [0, 3, 9])
def test_an_error_that_ends_the_work_says_which_prompt_it_came_from(monkeypatch, place):
    """Also of prompts that run together; those before it are done."""
    explainer = Explainer(tiny.model("llama"), tiny.tokenizer())
    prompts = ["the key"] * 10
    prompts[place] = "red"
    attribute = explainer._engine.attribute

    def failing(plan, processes):
        for start in range(0, len(plan.cases), 4):
            part = plan.part(start, start + 4)
            if any(case.inputs.text == "red" for case in part.cases):
                raise MemoryLimitError("no memory")
            yield from attribute(part, processes)

    monkeypatch.setattr(explainer._engine, "attribute", failing)
    with pytest.raises(MemoryLimitError, match=rf"^prompt {place + 1} of 10: no memory$") as caught:
        explainer.explain(prompts, response=[" in"] * 10, method="saliency")
    assert len(caught.value.results) == place
    with pytest.raises(MemoryLimitError, match=r"^no memory$"):
        explainer.explain("red", response=" in", method="saliency")


def test_prompts_that_fail_together_only_are_all_named(explainer, monkeypatch):
    attribute = explainer._engine.attribute

    def failing(plan, processes):
        if len(plan.cases) > 1:
            raise hf_attrib.UnsupportedModelError("changed meanwhile")
        return attribute(plan, processes)

    monkeypatch.setattr(explainer._engine, "attribute", failing)
    with pytest.raises(HFAttribError, match=r"^one of prompts 1 to 2 of 2: changed") as caught:
        explainer.explain([GOOD, "the key"], **QUICK)
    assert not caught.value.results


def test_a_model_that_cannot_be_explained_is_no_fault_of_a_prompt(explainer):
    explainer.model.lm_head.register_forward_hook(lambda *args: args[-1].detach())
    with pytest.raises(hf_attrib.UnsupportedModelError, match=r"^no gradient reaches"):
        explainer.explain([GOOD, "the key"], **QUICK)

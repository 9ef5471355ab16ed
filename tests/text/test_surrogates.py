"""Half a surrogate pair in any text is refused in one sentence, before anything runs."""

import pytest
from helpers import tiny
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from hf_attrib import Explainer, InputError
from hf_attrib.text.encoding import check_text

USER = [{"role": "user", "content": "a b"}]
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
BAD = ["a\ud800", "\udfff", "\ude00\ud83d"]

#: Where a text comes in, as arguments of a call.
PLACES = {
    "prompt": lambda bad: {"prompt": bad},
    "second of several prompts": lambda bad: {"prompt": ["a", bad]},
    "response": lambda bad: {"prompt": "a", "response": bad},
    "baseline token": lambda bad: {"prompt": "a", "response": "b", "baseline": f"token:{bad}"},
    "span of an answer to come": lambda bad: {"prompt": "a", "spans": [bad]},
    "group of what will be read": lambda bad: {
        "prompt": "a", "groups": {bad: "a"}, "attribute_to": "all"
    },
    "baseline prompt": lambda bad: {"prompt": "a", "response": "b", "baseline": [bad]},
    "baseline prompts": lambda bad: {
        "prompt": "a", "response": "b", "method": "expected_gradients", "baseline": ["ok", bad]
    },
    "contrast": lambda bad: {"prompt": "a", "response": "b", "contrast": bad},
    "group": lambda bad: {"prompt": "a b", "response": "b", "groups": [bad]},
    "name of a group": lambda bad: {"prompt": "a b", "response": "b", "groups": {bad: (0, 1)}},
    "span": lambda bad: {"prompt": "a", "response": "b", "spans": [bad]},
    "name of a span": lambda bad: {"prompt": "a", "response": "b", "spans": {bad: "b"}},
    "content": lambda bad: {"prompt": [{"role": "user", "content": bad}]},
    "part": lambda bad: {"prompt": [{"role": "user", "content": [{"type": "text", "text": bad}]}]},
    "role": lambda bad: {"prompt": [{"role": bad, "content": "a"}]},
    "thinking": lambda bad: {"prompt": [USER[0] | {"reasoning_content": bad}]},
    "call": lambda bad: {"prompt": [*USER, CALL | {"tool_calls": [{"function": {"name": bad}}]}]},
    "option": lambda bad: {"prompt": USER, "template_options": {"style": bad}},
    "document": lambda bad: {"prompt": USER, "template_options": {"documents": [{"text": bad}]}},
    "template": lambda bad: {"prompt": USER, "template_options": {"chat_template": bad}},
    "what stops generation": lambda bad: {"prompt": "a", "stop_strings": [bad]},
    "one text that stops it": lambda bad: {"prompt": "a", "stop_strings": bad},
    "set of what stops it": lambda bad: {"prompt": "a", "stop_strings": {"ok", bad}},
    "frozen set": lambda bad: {"prompt": "a", "stop_strings": frozenset([bad])},
    "config": lambda bad: {
        "prompt": "a", "generation_config": GenerationConfig(stop_strings=["ok", bad])
    },
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=ascii)
@pytest.mark.parametrize("place", PLACES)
def test_half_a_surrogate_pair_is_refused(place, bad):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    model = tiny.shared("llama")
    model.generate = lambda *_, **__: pytest.fail("it ran")
    with pytest.raises(InputError, match=r"no valid Unicode at character \d+: '.*half") as error:
        Explainer(model, tokenizer).explain(**PLACES[place](bad))
    assert str(error.value).isascii()
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize("bad", BAD, ids=ascii)
def test_half_a_surrogate_pair_in_the_config_of_a_model_is_refused(bad):
    model = tiny.shared("llama")
    model.generation_config.stop_strings = [bad]
    with pytest.raises(InputError, match="no valid Unicode"):
        Explainer(model, tiny.tokenizer()).explain("a")


@pytest.mark.parametrize("groups", [["\ud800"], {"\ud800": (0, 1)}])
def test_groups_of_a_result_are_checked_too(groups):
    found = Explainer(tiny.shared("llama"), tiny.tokenizer()).explain(
        "a b", response="b", method="saliency"
    )
    with pytest.raises(InputError, match="no valid Unicode"):
        found.group(groups)


NESTED = st.recursive(
    st.text(max_size=3) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
)


@given(given=NESTED)
def test_a_surrogate_is_found_however_deep_it_is(given):
    whole = repr(given).encode("unicode-escape").decode()
    halves = any(f"\\\\ud{c}" in whole.lower() for c in "89abcdef")
    if halves:
        with pytest.raises(InputError):
            check_text(given)
    else:
        check_text(given)

"""Models as people have them: scores sum to what plain passes compute, or the reason is said."""

from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.variants import VARIANTS

from hf_attrib import Explainer, InputError, UnsupportedModelError

pytestmark = [
    pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of peft
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of packages that quantise
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PAGE = (Path(__file__).parents[2] / "docs/support.md").read_text(encoding="utf-8").splitlines()
PROMPT, ANSWER = tiny.ids(6), tiny.ids(2, seed=1)
#: What no score stands for, and what is said of it.
REFUSED = {
    "PEFT: prompt tuning": (UnsupportedModelError, r"virtual tokens do; explain it without"),
    "VisionEncoderDecoderModel": (InputError, "reads pixel_values, which are no text"),
    "SpeechEncoderDecoderModel": (InputError, "reads inputs, which are no text"),
}
#: Gradients do not see f, and differences of f do; what those are told who ask for gradients.
NO_GRADIENT = {
    "optimum-quanto: int8, activations too": "not its derivative.*quantised",
    "an attention kernel without a backward pass": "no gradient reaches.* no backward pass",
}
#: Rounds activations as well, by a gradient that passes through: sums are nearly right, no more.
STEPS = "bitsandbytes: 8 bits"
EXPLAINED = [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("compiled") else [])
    for name in VARIANTS
    if name not in REFUSED
]


def built(name):
    missing = VARIANTS[name].missing
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return VARIANTS[name].make()


def log_prob(model, **prompt):
    """What one plain pass says of the answer, without hf_attrib."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = model.generation_config.decoder_start_token_id
            prompt["decoder_input_ids"] = torch.tensor([[start, *ANSWER[:-1]]])
        logits = model(**prompt).logits[0, -len(ANSWER) :]
    return logits.float().log_softmax(-1)[range(len(ANSWER)), ANSWER]


def plain(model):
    """f(x) - f(x') from two plain passes: the prompt, and the mean embedding in its places."""
    embedding = model.get_input_embeddings()
    with torch.no_grad():
        mean = embedding(torch.arange(tiny.VOCABULARY)[None]).mean(1, keepdim=True)
        prefix = [] if model.config.is_encoder_decoder else ANSWER[:-1]
        behind = embedding(torch.tensor([prefix], dtype=torch.int64))
        x = embedding(torch.tensor([PROMPT]))
        both = [torch.cat([part, behind], 1) for part in (x, mean.expand_as(x))]
    value = log_prob(model, input_ids=torch.tensor([[*PROMPT, *prefix]]))
    at_x, at_mean = (log_prob(model, inputs_embeds=part) for part in both)
    torch.testing.assert_close(at_x, value, rtol=1e-4, atol=1e-5)  # or the two prove nothing
    return value, at_mean


def explained(model, **options):
    return Explainer(model).explain(
        input_ids=PROMPT, response_ids=ANSWER, movable="all", baseline="mean", **options
    )


@pytest.mark.parametrize("name", EXPLAINED)
def test_scores_sum_to_what_plain_passes_compute(name):
    model = built(name)
    value, reference = plain(model)
    found = explained(model)
    torch.testing.assert_close(found.value, value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.scores.sum(1), value - reference, rtol=1e-3, atol=1e-4)
    if name in NO_GRADIENT:
        with pytest.raises(UnsupportedModelError, match=NO_GRADIENT[name]):
            explained(model, method="integrated_gradients")
        return
    found = explained(model, method="integrated_gradients")
    assert found.converged.all() == (name != STEPS)
    missed = (found.scores.sum(1) - (value - reference)).abs()
    assert (missed <= 0.02 * (value - reference).abs() + 1e-5).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_explained_is_refused_with_its_reason(name):
    kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        explained(built(name))


def test_images_are_refused_by_name():
    model, tokenizer = built("LLaVA"), tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    content = [{"type": "image", "url": "image.png"}, {"type": "text", "text": "what"}]
    with pytest.raises(InputError, match=r"only text messages can be explained.*image"):
        Explainer(model, tokenizer).explain([{"role": "user", "content": content}])
    with pytest.raises(InputError, match="pixel_values would make the model read something else"):
        Explainer(model, tokenizer).explain("what", pixel_values=torch.zeros(1, 3, 28, 28))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_page_on_support_says_so(name):
    answer = (
        "refused" if name in REFUSED else "without gradients" if name in NO_GRADIENT else "works"
    )
    assert [line.split(" | ")[1] for line in PAGE if line.startswith(f"| {name} |")] == [answer]

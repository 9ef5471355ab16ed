"""All methods on causal and encoder-decoder models, in two precisions, in chunks and batches."""

import pytest
import torch
from helpers import tiny
from helpers.laws import DISTINCT
from helpers.quick import quick

from hf_attrib.errors import InputError
from hf_attrib.explainer import Explainer
from hf_attrib.methods import BaselineAverage, methods
from hf_attrib.render.phrases import about

PROMPT, RESPONSE = tiny.ids(9), tiny.ids(4, seed=1)
#: One of each kind of rows: ablated, at path nodes for each target, of walks, of samples. No
#: method's scores depend on how many rows run at once, which is a law of functions.
TWO_SIDED = ("loo_shapley", "idgi", "guided_ig", "sequential_ig", "agi", "smooth_grad")


@pytest.fixture(scope="module")
def models():
    made = {}

    def get(family, dtype=torch.float32):
        if (family, dtype) not in made:
            made[family, dtype] = tiny.shared(family, dtype=dtype)
        return made[family, dtype]

    return get


def explain(model, name, batch_size=None, **options):
    options = {"input_ids": PROMPT, "response_ids": RESPONSE} | options
    return Explainer(model, batch_size=batch_size).explain(**from_the_mean(name), **options)


def from_the_mean(name):
    """A method that is not slow, from the mean embedding if it takes a baseline."""
    method = quick(name)
    return {"method": method, "baseline": "mean" if method.claims.baseline else None}


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("name", "family"),
    [(name, family) for name in TWO_SIDED for family in ("llama", "t5")],
)
def test_chunks_change_nothing(models, family, name):
    """In float64: rounding decides on the signs of gradients that vanish, by which attacks step."""
    model = models(family, torch.float64)
    state = torch.get_rng_state()
    whole = explain(model, name, batch_size=1000)
    assert torch.equal(torch.get_rng_state(), state)
    size = float(whole.scores.abs().max())
    assert size > 0
    found = explain(model, name, batch_size=3)
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("name", "family"),
    [(name, "llama") for name in DISTINCT] + [(name, "t5") for name in TWO_SIDED],
)
def test_batched_equals_single(models, family, name):
    """Random numbers too: they belong to a sequence, not to a place in a batch.

    In float64: rounding decides on the signs of gradients that vanish, by which attacks step.
    """
    explainer = Explainer(models(family, torch.float64), tiny.tokenizer(family == "t5"))
    prompts, responses = ["the key is red", "Ada"], [" blue", " in the key"]
    options = from_the_mean(name)
    together = explainer.explain(prompts, response=responses, **options)
    for prompt, response, found in zip(prompts, responses, together, strict=True):
        single = explainer.explain(prompt, response=response, **options)
        size = float(single.scores.abs().max())
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-9, atol=1e-9 * size)
        fixed = [role in ("special", "template") for role in found.roles]
        assert any(fixed)
        assert not found.scores[:, fixed].any()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("name", "family"),
    [(name, "llama") for name in DISTINCT] + [(name, "bart") for name in TWO_SIDED],
)
def test_bfloat16_gives_much_the_same(models, family, name):
    fine = explain(models(family), name)
    coarse = explain(models(family, torch.bfloat16), name)
    assert coarse.scores.dtype == torch.float32
    cosine = torch.cosine_similarity(coarse.scores.flatten(), fine.scores.flatten(), 0)
    assert cosine > 0.9


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("name", "family"),
    [(name, "llama") for name in methods()]
    + [(name, family) for name in TWO_SIDED for family in ("mamba", "bart")],
)
def test_tokens_that_are_not_read_score_exactly_zero(models, family, name):
    found = explain(models(family), name, attribute_to="all", movable="all")
    prompt = len(found.inputs) - len(RESPONSE) + 1
    for t, row in enumerate(found.scores):
        assert not row[prompt + t :].any()
        assert row[: prompt + t].any()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("name", [n for n, m in methods().items() if m().claims.baseline is None])
def test_methods_without_a_baseline_refuse_one(models, name):
    question = {"input_ids": PROMPT, "response_ids": RESPONSE, "method": name}
    for call in (Explainer(models("gpt2")).explain, Explainer(models("gpt2")).estimate):
        with pytest.raises(InputError, match=f"method {name} has no baseline; leave it out"):
            call(**question, baseline="mean")
    found = Explainer(models("gpt2")).explain(**question | {"method": quick(name)})
    assert found.run.baseline is None
    assert not any("baseline" in part for part in about(found.run))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, claims in ((name, kind().claims) for name, kind in methods().items())
        if claims.signed and not claims.stochastic and claims.baseline
    ],
)
def test_inputs_that_are_the_baseline_score_zero(models, name):
    """Nothing moves then; methods that draw, and those without a baseline, are another matter."""
    found = Explainer(models("gpt2"), tiny.tokenizer()).explain(
        "Ada", response=" is", method=quick(name), baseline="token:Ada"
    )
    assert not found.scores.any()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("baseline", ["vocabulary", "noise", ["the key is", "Ada was born"]])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_references_can_be_distributions(models, family, baseline):
    explainer = Explainer(models(family), tiny.tokenizer(family == "t5"))
    options = {"response": " blue", "baseline": baseline}
    averaged = BaselineAverage(samples=4)
    found = explainer.explain("the key is red", method=averaged, **options)
    inside = found.scores[:, [role == "prompt" for role in found.roles]]
    assert (inside != 0).all()
    assert (found.standard_error[:, found.scores[0] != 0] > 0).all()
    assert found.run.identity == "f(x) - E f(x')"
    with pytest.raises(InputError, match="is a distribution; give one, or explain with"):
        explainer.explain("the key is red", method="integrated_gradients", **options)


@pytest.mark.parametrize("name", ["pad", "eos", "unk"])
def test_named_tokens_are_references(models, name):
    tokenizer = tiny.tokenizer()
    explainer = Explainer(models("gpt2"), tokenizer)
    options = {
        "prompt": "the key is red",
        "response": " blue",
        "method": "integrated_gradients",
        "steps": 64,
    }
    named = explainer.explain(baseline=name, **options)
    by_id = explainer.explain(baseline=getattr(tokenizer, f"{name}_token_id"), **options)
    assert torch.equal(named.scores, by_id.scores)
    with pytest.raises(InputError, match="has no mask token; it has pad, eos, unk"):
        explainer.explain(baseline="mask", **options)
    with pytest.raises(InputError, match="needs a tokenizer"):
        Explainer(models("gpt2")).explain(
            input_ids=PROMPT,
            response_ids=RESPONSE,
            baseline=name,
            method="integrated_gradients",
            steps=1,
        )


def test_other_prompts_are_repeated_or_cut_to_fit(models):
    """A single prompt of one token, repeated, is that token's reference."""
    explainer = Explainer(models("gpt2"), tiny.tokenizer())
    options = {"prompt": "the key is red", "response": " blue"}
    path = {"method": "integrated_gradients"}
    found = explainer.explain(baseline=["Ada"], **options)
    single = explainer.explain(baseline="token:Ada", **options)
    assert torch.equal(found.scores, single.scores)
    both = explainer.explain(baseline=["Ada", "Bob"], method=BaselineAverage(samples=2), **options)
    single = explainer.explain(baseline="token:Ada", **options, **path)
    other = explainer.explain(baseline="token:Bob", **options, **path)
    torch.testing.assert_close(both.scores, (single.scores + other.scores) / 2)

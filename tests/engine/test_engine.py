"""What the engine promises on every family: exact injection, shared forwards, no dependence on
how the work is cut, exact zeros, and sums that add up."""

import re

import pytest
import torch
from helpers import tiny

from hf_attrib import AttributionWarning, Explainer, InputError
from hf_attrib.methods import methods
from hf_attrib.methods.adversarial.base import AdversarialMethod
from hf_attrib.methods.base import held
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.model import EmbeddingField, collate, isolated, sites_of
from hf_attrib.targets import TARGETS

#: One of each kind of architecture; all of them keep the same laws in ``model/test_architectures``.
FAMILIES = ("llama", "gpt2", "falcon", "mixtral", "t5", "m2m_100")
#: Routing to experts makes f jump, so its gap does not close with more nodes.
ROUTED = ("mixtral",)
PROMPT, RESPONSE = tiny.ids(9, seed=1), tiny.ids(4, seed=2)

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def explain(model, batch_size=None, **options):
    options = {
        "input_ids": PROMPT,
        "response_ids": RESPONSE,
        "method": "integrated_gradients",
        "steps": 16,
    } | options
    return Explainer(model, batch_size=batch_size).explain(**options)


def close(a, b, relative=1e-6):
    scale = float(b.abs().max())
    assert float((a - b).abs().max()) <= relative * scale


@pytest.mark.parametrize("family", FAMILIES)
def test_injected_embeddings_reproduce_the_log_probabilities(family):
    model = tiny.shared(family)
    sequence = tiny.sequence(model, input_ids=PROMPT, response_ids=RESPONSE)
    moves = torch.ones(len(sequence.inputs), dtype=torch.bool)
    batch = collate([sequence], [moves], None, 0)
    with isolated(model):
        field = EmbeddingField(model, sites_of(model), batch, TARGETS["log_prob"])
        seen = field.observe()
        injected = field.value(seen.x[None])[0]
        moved = field.value(seen.x[None].flip(-1))[0]
    assert torch.equal(injected, seen.value)
    assert not torch.allclose(moved, seen.value)  # the injection does reach the logits
    torch.testing.assert_close(seen.value[0], plain_log_probs(model), rtol=1e-5, atol=1e-5)


def plain_log_probs(model):
    """Log-probabilities of RESPONSE by the model's own forward, without our code."""
    if model.config.is_encoder_decoder:
        start = [model.generation_config.decoder_start_token_id]
        inputs = {
            "input_ids": torch.tensor([PROMPT]),
            "decoder_input_ids": torch.tensor([start + RESPONSE[:-1]]),
        }
    else:
        inputs = {"input_ids": torch.tensor([PROMPT + RESPONSE[:-1]])}
    with torch.no_grad():
        logits = model(**inputs).logits[0, -len(RESPONSE) :]
    return logits.log_softmax(-1)[range(len(RESPONSE)), RESPONSE]


@pytest.mark.parametrize("attribute_to", ["prompt", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_sum_to_the_difference(family, attribute_to):
    found = explain(
        tiny.shared(family),
        attribute_to=attribute_to,
        method="integrated_gradients",
        steps=256,
        baseline=7,
    )
    assert found.scores.abs().max() > 1e-3
    if family in ROUTED:
        assert not found.converged.all()  # and said so
        return
    difference = found.value - found.reference_value
    # Against the largest difference: T5 has a target whose own one nearly cancels.
    close(found.scores.sum(-1), difference, 0.02)
    assert float(found.gap.median()) < 0.02


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_change_nothing(family):
    model = tiny.shared(family)
    whole = explain(model, batch_size=64, attribute_to="all").scores
    for size in (1, 5):
        close(explain(model, batch_size=size, attribute_to="all").scores, whole)


def test_a_sure_token_has_probability_one():
    """The logit less the log of the sum may round to more than 0."""
    model = tiny.shared("gpt2", seed=1)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight * 100)
    logits = model(torch.tensor([PROMPT])).logits[0, -1]
    found = explain(
        model, response_ids=[int(logits.argmax())], method="integrated_gradients", steps=1
    )
    assert found.probability.item() == 1


def test_autocast_of_the_caller_changes_nothing():
    model = tiny.shared("llama")
    expected = explain(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = explain(model)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(found.scores, expected.scores)


def test_answers_of_any_lengths_share_a_batch():
    """A chunk may hold nothing but padding, whatever a method keeps of gradients."""
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer(), batch_size=1)
    texts, responses = [" the in", " abc"], [[300, 20, 30], [301, 40, 50, 60, 70]]
    options = {"method": "guided_ig", "steps": 4}
    together = explainer.explain(texts, response_ids=responses, **options)
    for text, response, found in zip(texts, responses, together, strict=True):
        close(explainer.explain(text, response_ids=response, **options).scores, found.scores)


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_equals_single(family):
    exact = family not in ROUTED  # whose experts take float32 alone
    model = tiny.shared(family, dtype=torch.float64 if exact else torch.float32)
    prompts = [tiny.ids(n, seed=n) for n in (3, 9, 6)]
    responses = [tiny.ids(n, seed=10 + n) for n in (4, 1, 2)]
    tokenizer = tiny.tokenizer(model.config.is_encoder_decoder)
    texts = [tokenizer.decode(p) for p in prompts]
    explainer = Explainer(model, tokenizer, batch_size=5)
    options = {
        "method": "integrated_gradients",
        "steps": 8,
        "attribute_to": "all",
        "movable": "all",
    }
    batched = explainer.explain(texts, response_ids=responses, **options)
    for text, response, together in zip(texts, responses, batched, strict=True):
        alone = explainer.explain(text, response_ids=response, **options)
        assert together.input_ids.tolist() == alone.input_ids.tolist()
        close(together.scores, alone.scores, 1e-12 if exact else 2e-6)
        close(together.value, alone.value, 1e-12 if exact else 1e-6)
        close(together.reference_value, alone.reference_value, 1e-12 if exact else 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_future_tokens_score_exactly_zero(family):
    found = explain(tiny.shared(family), attribute_to="all", movable="all")
    generated = len(RESPONSE) - 1
    prefix = found.scores[:, -generated:]
    for target in range(len(RESPONSE)):
        assert (prefix[target, target:] == 0).all()
        assert (prefix[target, :target] != 0).all()


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_sharing_the_forward_gives_what_each_prefix_alone_gives(family):
    model = tiny.shared(family)
    together = explain(model, attribute_to="all", movable="all")
    for target in range(len(RESPONSE)):
        alone = explain(
            model, attribute_to="all", movable="all", response_ids=RESPONSE[: target + 1]
        )
        width = alone.scores.shape[1]
        torch.testing.assert_close(
            together.scores[target, :width], alone.scores[-1], rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("nodes", [1, 7, 32])
def test_forward_rows_do_not_grow_with_the_response(nodes):
    for response in (RESPONSE[:1], RESPONSE):
        found = explain(
            tiny.shared("llama"), method="integrated_gradients", steps=nodes, response_ids=response
        )
        assert found.forward_rows == nodes + 2  # the nodes, f(x) and f(x')
        assert found.backward_rows == nodes * len(response)


def test_rows_are_those_the_model_ran():
    model = tiny.shared("llama")
    explainer = Explainer(model)
    explainer.explain(
        input_ids=PROMPT, response_ids=RESPONSE, method="integrated_gradients", steps=4
    )  # the one-time check
    rows = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = explainer.explain(
        input_ids=PROMPT, response_ids=RESPONSE, method="integrated_gradients", steps=12
    )
    handle.remove()
    assert sum(rows) == found.forward_rows == 14


#: Of walks the estimate's counts are compared with, as their cost depends on what they find; those
#: of games depend on how many players there are (tests/methods/test_perturbation.py).
COUNTED = [
    name
    for name, kind in methods().items()
    if not issubclass(kind, AdversarialMethod | Perturbation) and name != "bsm"
]


@pytest.mark.parametrize("name", COUNTED)
def test_rows_are_those_the_method_claims(name):
    fixed = {"steps": 64} if name == "integrated_gradients" else {}
    found = Explainer(tiny.shared("llama")).explain(
        input_ids=PROMPT, response_ids=RESPONSE, method=name, **fixed
    )
    made = methods()[name](**fixed)
    steps = getattr(held(getattr(made, "inner", made)), "steps", None)
    numbers = {"K": steps, "S": getattr(made, "samples", None), "T": len(RESPONSE)}
    numbers |= {"N": int((found.scores != 0).any(0).sum()), **found.run.method_fields}
    claim = re.fullmatch("(.+) forward rows, (.+) backward rows(?:;.*)?", made.claims.cost)
    assert [eval(formula, numbers) for formula in claim.groups()] == [
        found.forward_rows,
        found.backward_rows,
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart"])
def test_only_movable_tokens_score(family):
    flags = [i in (2, 5) for i in range(len(PROMPT))]
    found = explain(tiny.shared(family), movable=flags)
    assert (found.scores != 0).any(0).tolist() == flags


@pytest.mark.parametrize("target", list(TARGETS))
def test_targets_are_what_their_names_say(target):
    model = tiny.shared("llama")
    found = explain(model, target=target, method="integrated_gradients", steps=64)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT + RESPONSE[:-1]])).logits[0, -len(RESPONSE) :]
    q = logits.double().softmax(-1)
    p = q[range(len(RESPONSE)), RESPONSE]
    best = logits.scatter(1, torch.tensor(RESPONSE)[:, None], -torch.inf).amax(1)
    expected = {
        "log_prob": p.log(),
        "prob": p,
        "logit": logits[range(len(RESPONSE)), RESPONSE].double(),
        "log_odds": (p / (1 - p)).log(),
        "entropy": -(q * q.log()).sum(-1),
        "margin": logits[range(len(RESPONSE)), RESPONSE].double() - best,
    }[target]
    torch.testing.assert_close(found.value.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.probability.double(), p, rtol=1e-4, atol=1e-7)
    if target == "margin":  # the best rival changes along the path, which bends f sharply
        found = explain(model, target=target, method="integrated_gradients", steps=1024)
        residual = found.scores.sum(-1) - (found.value - found.reference_value)
        assert residual.abs().max() < 1e-2
    else:
        assert found.converged.all()


def test_a_token_that_the_model_is_sure_of_keeps_its_digits():
    logits = torch.tensor([[20.0, 12.0, 11.0, -torch.inf]])
    found = TARGETS["log_prob"](logits, torch.tensor([0]), None).double()
    exact = logits.double().log_softmax(-1)[:, 0]
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)  # a unit of 20 is 2e-6


def test_a_function_can_be_the_target():
    model = tiny.shared("llama")

    def twice(logits, ids):
        return 2 * logits.gather(1, ids[:, None])[:, 0]

    found = explain(model, target=twice, method="integrated_gradients", steps=32)
    torch.testing.assert_close(
        found.scores,
        2 * explain(model, target="logit", method="integrated_gradients", steps=32).scores,
    )
    assert found.run.target == "custom: twice"


def test_a_target_that_is_no_number_somewhere_is_not_blamed_on_precision():
    def nothing_below(logits, ids):
        return (logits.gather(1, ids[:, None])[:, 0] - 0.01).log()

    with pytest.warns(AttributionWarning, match="the model or the target gives NaN"):
        explain(tiny.shared("llama"), target=nothing_below, method="integrated_gradients", steps=8)


def test_a_target_may_write_into_what_it_is_given():
    model = tiny.shared("llama")
    found = explain(model, target=lambda logits, ids: logits.mul_(2)[:, 5])
    plain = explain(model, target=lambda logits, ids: 2 * logits[:, 5])
    assert torch.equal(found.scores, plain.scores)
    assert torch.equal(found.probability, plain.probability)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda logits, ids: logits, "returned .* expected a tensor"),
        (lambda logits, ids: 3.0, "returned float"),
        (lambda logits, ids: logits.softmax(0)[:, 0], "mixes rows"),
        (lambda logits, ids: logits.argmax(1).float(), "cannot be differentiated"),
        (lambda logits, ids: torch.cat([logits[1:, 5], logits[-1:, 5]]), "mixes rows"),
    ],
)
def test_functions_that_are_no_targets_are_refused(function, message):
    with pytest.raises(InputError, match=message):
        explain(tiny.shared("gpt2"), target=function)


def test_a_flag_is_no_contrast():
    with pytest.raises(InputError, match="contrast must be a non-empty list of token ids"):
        explain(tiny.shared("gpt2"), contrast=True)


def test_entropy_has_no_contrast():
    with pytest.raises(InputError, match="entropy is the same for every token"):
        explain(tiny.shared("gpt2"), target="entropy", contrast=17)


@pytest.mark.parametrize("target", ["log_prob", "entropy"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_a_span_is_the_sum_of_its_tokens_at_one_backward_pass(family, target):
    model = tiny.shared(family)
    every = explain(model, method="integrated_gradients", steps=16, target=target)
    found = explain(
        model, method="integrated_gradients", steps=16, target=target, spans=[(1, 3), (3, 4)]
    )
    size = float(every.scores.abs().max())
    expected = torch.stack([every.scores[1:3].sum(0), every.scores[3]])
    torch.testing.assert_close(found.scores, expected, rtol=1e-3, atol=1e-4 * size)
    torch.testing.assert_close(found.value, torch.stack([every.value[1:3].sum(), every.value[3]]))
    torch.testing.assert_close(found.probability[0], every.probability[1:3].prod())
    assert [(row.start, row.stop) for row in found.rows] == [(1, 3), (3, 4)]
    assert found.backward_rows == 2 * 16
    assert found.forward_rows == every.forward_rows
    whole = explain(model, method="integrated_gradients", steps=16, target=target, spans="response")
    torch.testing.assert_close(whole.scores[0], every.total, rtol=1e-3, atol=1e-4 * size)
    assert whole.backward_rows == 16


def test_no_spans_are_no_spans():
    with pytest.raises(InputError, match="spans are empty"):
        explain(tiny.shared("gpt2"), spans=[])


@pytest.mark.parametrize("name", ["guided_ig", "sequential_ig"])
def test_spans_have_walks_of_their_own(name):
    """Methods that give each target its own points, and those without gradients."""
    model = tiny.shared("llama")
    options = {"input_ids": PROMPT, "response_ids": RESPONSE, "method": name}
    options |= {"steps": 20} if name == "guided_ig" else {}
    found = Explainer(model, batch_size=3).explain(spans=[(0, 2), (3, 4)], **options)
    single = Explainer(model).explain(spans=[(3, 4)], **options)
    torch.testing.assert_close(found.scores[1:], single.scores, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_spans_of_a_batch_are_those_of_single_calls():
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    prompts, responses = ["the key is red", "Ada"], [" blue in the key", " is"]
    for spans in ("word", "response"):
        together = explainer.explain(
            prompts, response=responses, spans=spans, method="integrated_gradients", steps=8
        )
        for prompt, response, found in zip(prompts, responses, together, strict=True):
            single = explainer.explain(
                prompt, response=response, spans=spans, method="integrated_gradients", steps=8
            )
            assert found.rows == single.rows
            size = float(single.scores.abs().max())
            torch.testing.assert_close(found.scores, single.scores, rtol=1e-3, atol=1e-5 * size)


def test_a_contrast_is_the_difference_of_logits():
    model = tiny.shared("llama")
    found = explain(model, contrast=17, method="integrated_gradients", steps=64)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT + RESPONSE[:-1]])).logits[0, -len(RESPONSE) :]
    expected = logits[range(len(RESPONSE)), RESPONSE] - logits[:, 17]
    torch.testing.assert_close(found.value, expected, rtol=1e-4, atol=1e-5)
    assert found.converged.all()
    assert found.run.contrast_ids == (17,) * len(RESPONSE)


def test_contrast_scores_are_the_difference_of_two_explanations():
    model = tiny.shared("llama")
    other = tiny.ids(1, seed=9)
    both = explain(model, contrast=other[0], response_ids=RESPONSE[:1], target="logit")
    one = explain(model, response_ids=RESPONSE[:1], target="logit")
    two = explain(model, response_ids=other, target="logit")
    torch.testing.assert_close(both.scores, one.scores - two.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_baselines(family):
    model = tiny.shared(family)
    sites = sites_of(model)
    table = next(iter(sites.modules.values())).weight.detach()
    by_id = explain(model, baseline=7)
    by_tensor = explain(model, baseline=table[7])
    by_tokens = explain(model, baseline=table[7].expand(len(PROMPT), -1))
    assert torch.equal(by_id.scores, by_tensor.scores)
    assert torch.equal(by_id.scores, by_tokens.scores)
    mean = explain(model)
    assert torch.equal(mean.scores, explain(model, baseline="mean").scores)
    assert not torch.equal(mean.scores, by_id.scores)
    torch.testing.assert_close(
        mean.scores, explain(model, baseline=table.mean(0)).scores, rtol=1e-4, atol=1e-5
    )
    plain = {"input_ids": PROMPT, "response_ids": RESPONSE, "method": "input_x_gradient"}
    zero = Explainer(model).explain(baseline="zero", **plain)
    assert torch.equal(zero.scores, Explainer(model).explain(**plain).scores)


def test_scaled_embeddings_are_taken_at_the_hook():
    """Gemma multiplies by sqrt(D) inside the module: rows of the table are no baseline there."""
    model = tiny.shared("gemma3_text")
    row = model.get_input_embeddings().weight[7].detach()
    by_id = explain(model, baseline=7)
    assert not torch.allclose(by_id.scores, explain(model, baseline=row).scores)
    scaled = explain(model, baseline=row * model.config.hidden_size**0.5)
    torch.testing.assert_close(by_id.scores, scaled.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_low_precision_models_follow_the_float32_ones(family):
    fine = explain(tiny.shared(family)).scores.flatten()
    coarse = explain(tiny.shared(family, dtype=torch.bfloat16)).scores
    assert coarse.dtype == torch.float32
    assert float(torch.cosine_similarity(fine, coarse.flatten(), dim=0)) > 0.98


def test_double_precision_models_are_explained_in_double():
    found = explain(
        tiny.shared("gpt2", dtype=torch.float64), method="integrated_gradients", steps=64
    )
    assert found.scores.dtype == torch.float64
    assert float(found.gap.max()) < 1e-9


@pytest.mark.parametrize("method", ["input_x_gradient", "saliency"])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_methods_of_one_point(family, method):
    model = tiny.shared(family)
    found = Explainer(model).explain(input_ids=PROMPT, response_ids=RESPONSE, method=method)
    assert found.scores.shape == (len(RESPONSE), len(PROMPT))
    assert found.backward_rows == len(RESPONSE)
    assert bool(found.reference_value.isnan().all()) == (method == "saliency")
    assert found.run.identity is None


def test_an_unconverged_result_warns_and_says_so():
    model = tiny.shared("llama")
    with pytest.warns(AttributionWarning, match="have not converged"):
        found = explain(
            model, baseline="zero", method="integrated_gradients", rule="trapezoid", steps=2
        )
    assert not found.converged.all()


def test_resized_models_that_share_one_embedding_module():
    model = tiny.shared("bart")
    model.resize_token_embeddings(tiny.VOCABULARY + 8)
    found = explain(model, attribute_to="all", method="integrated_gradients", steps=128)
    assert float(found.gap.max()) < 0.02
    assert (found.scores != 0).any()


def test_parameters_are_frozen_and_only_needed_logits_are_computed():
    model = tiny.shared("llama")
    explainer = Explainer(model)
    explainer.explain(
        input_ids=PROMPT, response_ids=RESPONSE, method="integrated_gradients", steps=1
    )
    seen = []

    def look(module, args, output):
        read = [getattr(m, name) for m in model.modules() for name in m._parameters]
        frozen = not any(one.requires_grad for one in read if one is not None)
        seen.append((frozen, tuple(output.shape[:2]), torch.is_grad_enabled()))

    handle = model.lm_head.register_forward_hook(look)
    explainer.explain(
        input_ids=PROMPT, response_ids=RESPONSE, method="integrated_gradients", steps=3
    )
    handle.remove()
    assert all(frozen for frozen, _, _ in seen)
    assert {shape[1] for _, shape, _ in seen} == {len(RESPONSE)}
    assert sum(shape[0] for _, shape, grad in seen if grad) == 3  # the nodes


def test_positions_are_those_of_generate():
    """RoBERTa counts positions from its padding id by itself; generate counts from 0."""
    from transformers import RobertaConfig, RobertaForCausalLM

    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=tiny.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        is_decoder=True,
        max_position_embeddings=64,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    model = RobertaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    written = model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=4,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
    )
    found = explain(
        model,
        response_ids=written.sequences[0, len(PROMPT) :],
        method="integrated_gradients",
        steps=1,
    )
    expected = [
        float(logits.softmax(-1)[0, token])
        for logits, token in zip(written.logits, written.sequences[0, len(PROMPT) :], strict=True)
    ]
    torch.testing.assert_close(found.probability, torch.tensor(expected), rtol=1e-4, atol=1e-7)


def test_low_precision_logits_are_normalised_in_float32():
    """A log-softmax in bfloat16 has steps of 1/32 near -8; float32 sums probabilities to 1."""
    model = tiny.shared("llama", dtype=torch.bfloat16)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT])).logits[0, -1]
    found = explain(model, response_ids=[7], method="integrated_gradients", steps=1)
    expected = logits.float().log_softmax(-1)[7]
    torch.testing.assert_close(found.value[0], expected, rtol=1e-5, atol=1e-6)


def test_the_reference_is_rounded_to_what_the_model_sees():
    model = tiny.shared("llama", dtype=torch.bfloat16)
    baseline = torch.full((32,), 0.1)  # not a bfloat16 number
    fine = explain(model, baseline=baseline, method="integrated_gradients", steps=4)
    rounded = explain(
        model, baseline=baseline.bfloat16().float(), method="integrated_gradients", steps=4
    )
    assert torch.equal(fine.scores, rounded.scores)


def test_a_tiny_difference_is_measured_against_the_resolution():
    model = tiny.shared("llama")
    ids = torch.tensor(PROMPT)
    table = model.get_input_embeddings().weight.detach()
    nearly = table[ids] * (1 + 1e-6)
    found = explain(model, baseline=nearly, method="integrated_gradients", steps=1)
    assert float((found.value - found.reference_value).abs().max()) < 1e-3
    assert float(found.gap.max()) < 0.02


def test_long_prompts_and_responses_together_are_limited():
    model = tiny.shared("gpt2")
    with pytest.raises(InputError, match="reads at most 256 tokens, but would read 299"):
        explain(model, input_ids=[5] * 200, response_ids=[6] * 100)

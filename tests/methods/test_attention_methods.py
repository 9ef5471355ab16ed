"""Attention times gradient, on models: by plain torch once more, and what it leaves behind."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import families, tiny
from helpers.residue import assert_same, prepared, state
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from hf_attrib import Explainer, UnsupportedModelError
from hf_attrib.model import attention

PROMPT, RESPONSE = tiny.ids(13), tiny.ids(4, seed=1)
METHOD = "attention_x_gradient"
ASKED = {"input_ids": PROMPT, "response_ids": RESPONSE, "method": METHOD}
EVERYTHING = {"attribute_to": "all", "movable": "all"}


def plain(model, values, places):
    """Scores [T, S + L] by the paper's equations 5 to 10, a matrix at a time.

    ``values`` maps logits to T sums of log-probabilities, and each is read at some ``places``.
    """
    two_sided = model.config.is_encoder_decoder
    ids = torch.tensor([PROMPT if two_sided else PROMPT + RESPONSE[:-1]])
    start = [model.generation_config.decoder_start_token_id, *RESPONSE[:-1]]
    given = {"decoder_input_ids": torch.tensor([start])} if two_sided else {}
    output = model(input_ids=ids, output_attentions=True, use_cache=False, **given)
    encoder, cross = (output.encoder_attentions, output.cross_attentions) if two_sided else ((), ())
    decoder = output.decoder_attentions if two_sided else output.attentions
    scores = []
    for value, read in zip(values(output.logits[0].log_softmax(-1)), places, strict=True):

        def mean(attended, value=value):
            (slope,) = torch.autograd.grad(value, attended, retain_graph=True)
            return torch.relu(slope * attended)[0].mean(0).detach()

        own, crossed = identity(decoder[0].shape[-1]), 0
        encoded = identity(ids.shape[1])
        for attended in encoder:
            encoded = encoded + mean(attended) @ encoded
        for layer, attended in enumerate(decoder):
            added = mean(attended)
            own = own + added @ own
            if two_sided:
                crossed = crossed + added @ crossed if layer else crossed
                crossed = crossed + hat(own).T @ mean(cross[layer]) @ hat(encoded)
        rows = own[read].sum(0) - identity(len(own))[read].sum(0)
        scores.append(torch.cat([crossed[read].sum(0), rows]) if two_sided else rows)
    return torch.stack(scores)


def identity(size):
    return torch.eye(size, dtype=torch.float64)


def hat(relevance):
    """Equations 8 and 9, where a row that gained nothing keeps nothing."""
    rows = relevance - identity(len(relevance))
    return identity(len(rows)) + torch.stack(
        [row / row.sum() if row.sum() else row for row in rows]
    )


def eager(family):
    """The same model, made to return its attention."""
    return tiny.model(family, dtype=torch.float64, attn_implementation="eager")


def first(model):
    """Where the decoder predicts the first token of the response."""
    return 0 if model.config.is_encoder_decoder else len(PROMPT) - 1


FAMILIES = ["gpt2", "llama", "gemma3_text", "falcon", "t5", "bart", "m2m_100"]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_papers_equations(family):
    """Windows, shared keys and encoders too, with all inputs; no score of what is behind."""
    model = tiny.shared(family, dtype=torch.float64)
    places = [[first(model) + t] for t in range(len(RESPONSE))]

    def values(log_probs):
        return [log_probs[at[0], token] for at, token in zip(places, RESPONSE, strict=True)]

    expected = plain(eager(family), values, places)
    found = Explainer(model).explain(**ASKED, **EVERYTHING)
    size = float(expected.max())
    torch.testing.assert_close(found.scores, expected, rtol=1e-9, atol=1e-9 * size)
    assert bool((found.scores >= 0).all())
    assert (found.forward_rows, found.backward_rows) == (2, len(RESPONSE))
    assert not found.run.notes


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_span_is_read_at_all_of_its_tokens(family):
    model = tiny.shared(family, dtype=torch.float64)
    places = [[first(model) + t for t in span] for span in ([0, 1], [2, 3])]

    def values(log_probs):
        each = log_probs[range(places[0][0], places[1][1] + 1), RESPONSE]
        return [each[:2].sum(), each[2:].sum()]

    expected = plain(eager(family), values, places)
    found = Explainer(model).explain(**ASKED, **EVERYTHING, spans=[(0, 2), (2, 4)])
    torch.testing.assert_close(found.scores, expected, rtol=1e-9, atol=1e-12)


def test_one_layer_with_one_head_in_closed_form():
    """Scores are what attention of the last position gains, where that is positive."""
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    model = tiny.model("llama", dtype=torch.float64, **sizes)
    layer, seen = model.model.layers[0], {}
    ids = torch.tensor([PROMPT])
    hook = layer.self_attn.v_proj.register_forward_hook(lambda *got: seen.update(values=got[2][0]))
    with attention.eager(model):
        probability = model(ids, output_attentions=True).attentions[0][0, 0, -1].detach()
    hook.remove()
    bends = (probability @ seen["values"]).detach().requires_grad_()
    states = model.model.embed_tokens(ids)[0, -1] + layer.self_attn.o_proj(bends)
    states = states + layer.mlp(layer.post_attention_layernorm(states))
    logits = model.lm_head(model.model.norm(states))
    slope = torch.autograd.grad(logits.log_softmax(-1)[RESPONSE[0]], bends)[0]
    expected = torch.relu(probability * (seen["values"] @ slope))
    found = Explainer(model).explain(**ASKED | {"response_ids": RESPONSE[:1]}, movable="all")
    torch.testing.assert_close(found.scores[0], expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_the_models_own_attention_is_put_back(family, monkeypatch):
    """Also of a pass that fails, and hooks with which transformers collects it do not add up."""
    model, tokenizer = prepared(family)
    before, given, kinds = state(model, tokenizer), vars(model.config).copy(), kinds_of(model)

    def explain():
        return Explainer(model, tokenizer).explain("the key", response=" is red", method=METHOD)

    once = explain()
    assert torch.equal(explain().scores, once.scores)
    with monkeypatch.context() as patch:
        patch.setattr(type(model.lm_head), "forward", failing_where_eager(model))
        with pytest.raises(ZeroDivisionError):
            explain()
    assert_same(before, state(model, tokenizer))
    assert vars(model.config) == given
    assert kinds_of(model) == kinds


def kinds_of(model):
    return [type(module.config) for module in model.modules() if hasattr(module, "config")]


def failing_where_eager(model):
    plainly = type(model.lm_head).forward

    def forward(module, states):
        if module is model.lm_head and model.config._attn_implementation == "eager":
            raise ZeroDivisionError("on purpose")
        return plainly(module, states)

    return forward


def test_attention_of_another_thread_stays_what_it_is():
    model = tiny.shared("llama")

    def kind():
        return model.config._attn_implementation

    with ThreadPoolExecutor(1) as pool, attention.eager(model):
        assert (kind(), pool.submit(kind).result()) == ("eager", "sdpa")
    assert kind() == "sdpa"


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("causal/mamba", "attention of 0 of its 2 layers; expected that of all"),
        ("causal/jamba", "attention of 1 of its 2 layers; expected that of all"),
        ("seq2seq/longt5", r"attention of shape \(1, 3, 4, 4, 12\); expected a probability"),
        ("seq2seq/t5gemma2", "does not compute its logits by the attention that it returned"),
    ],
)
def test_models_that_do_not_show_all_attention_are_refused(family, text):
    asked = {"input_ids": families.ids(9, 0), "response_ids": families.ids(3, 1)}
    with pytest.raises(UnsupportedModelError, match=f"{text}.*Take a method that follows no"):
        Explainer(families.build(family)).explain(**asked, method=METHOD)


def test_that_attention_is_of_another_f_is_said():
    """As of a kernel of one's own that reads less sharply."""

    def blurred(module, query, *given, **options):
        return sdpa_attention_forward(module, query / 2, *given, **options)

    AttentionInterface.register("blurred", blurred)
    AttentionMaskInterface.register("blurred", sdpa_mask)
    model = tiny.model("llama", attn_implementation="blurred")
    (note,) = Explainer(model).explain(**ASKED).run.notes
    assert note.startswith("4 of 4 targets: the pass that shows attention computes another f")

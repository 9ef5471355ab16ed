"""Integrated gradients equal those of captum and inseq, which run every token on its own.

Both are asked for the same Gauss–Legendre nodes, so agreement is to rounding, however far either
is from convergence.
"""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from torch import Tensor

from hf_attrib import Explainer, embedded

pytestmark = [
    # The sums are compared, not the integrals: a coarse rule is as good a witness as a fine one.
    pytest.mark.filterwarnings("ignore::hf_attrib.errors.AttributionWarning"),
    # Captum's reminder about layers that feed each other; encoder and decoder embeddings do not.
    pytest.mark.filterwarnings("ignore:Multiple layers provided:UserWarning"),
]

STEPS = 12
TOLERANCE = 1e-5
BASELINE = 7
TEXT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"


def error(scores: Tensor, reference: Tensor) -> float:
    """Return the largest difference relative to the largest score."""
    assert scores.shape == reference.shape
    return float((scores - reference).abs().max() / reference.abs().max())


def ours(model, prompt, response, movable="all", **options) -> Tensor:
    result = Explainer(model).explain(
        input_ids=prompt,
        response_ids=response,
        method="integrated_gradients",
        rule="gauss_legendre",
        steps=STEPS,
        movable=movable,
        **options,
    )
    return result.scores


def loaded(name: str):
    """Return an embedded model and its tokenizer; the T5 in float64.

    Between its words and a baseline token its float32 gradients are off by 1e-5 to 1e-3 of
    themselves, in every library; in float64 all agree to 1e-7.
    """
    model, tokenizer = embedded.load(name)
    return (model.double() if name == "g2p-t5" else model), tokenizer


def case(name: str):
    """Return a model, a prompt and a response: the model's own where it was trained."""
    if name in embedded.names():
        model, tokenizer = loaded(name)
        prompt = tokenizer("attribution" if name == "g2p-t5" else TEXT, return_tensors="pt")
        output = model.generate(**prompt, max_new_tokens=8)[0].tolist()
        read = 1 if model.config.is_encoder_decoder else prompt["input_ids"].shape[1]
        return model, prompt["input_ids"][0].tolist(), output[read:]
    return tiny.shared(name), tiny.ids(14), tiny.ids(5, seed=1)


def captum_causal(model, prompt, response, attribute_to) -> Tensor:
    """Return captum's scores, [T, N], from one call for each token on the tokens before it."""
    attr = pytest.importorskip("captum.attr", reason="needs pip install captum")
    width = len(prompt) + (len(response) - 1) * (attribute_to == "all")
    rows = torch.zeros(len(response), width)
    for t, token in enumerate(response):

        def log_prob(ids: Tensor, token: int = token) -> Tensor:
            return model(input_ids=ids).logits[:, -1].log_softmax(-1)[:, token]

        prefix = response[:t]
        moved = len(prompt) + t if attribute_to == "all" else len(prompt)
        ids = torch.tensor([prompt + prefix])
        # A position whose baseline is its own token stands still and scores 0.
        baseline = torch.where(torch.arange(ids.shape[1]) < moved, BASELINE, ids)
        method = attr.LayerIntegratedGradients(log_prob, model.get_input_embeddings())
        scores = method.attribute(ids, baselines=baseline, n_steps=STEPS).sum(-1)[0]
        rows[t, :moved] = scores[:moved].detach()
    return rows


def captum_seq2seq(model, prompt, response, attribute_to) -> Tensor:
    """Return captum's scores, [T, N]: of the encoder's tokens, the start, the prefix."""
    attr = pytest.importorskip("captum.attr", reason="needs pip install captum")
    start = model.generation_config.decoder_start_token_id
    everything = attribute_to == "all"
    rows = torch.zeros(len(response), len(prompt) + everything * len(response))
    for t, token in enumerate(response):

        def log_prob(source: Tensor, target: Tensor, token: int = token) -> Tensor:
            logits = model(input_ids=source, decoder_input_ids=target).logits
            return logits[:, -1].log_softmax(-1)[:, token]

        source, target = torch.tensor([prompt]), torch.tensor([[start, *response[:t]]])
        still = torch.full_like(target, BASELINE) if everything else target
        layers = [model.get_encoder().embed_tokens, model.get_decoder().embed_tokens]
        method = attr.LayerIntegratedGradients(log_prob, layers)
        baselines = (torch.full_like(source, BASELINE), still)
        sides = method.attribute((source, target), baselines=baselines, n_steps=STEPS)
        scores = torch.cat([side.sum(-1)[0] for side in sides]).detach()[: rows.shape[1]]
        rows[t, : len(scores)] = scores
    return rows


@pytest.mark.parametrize("attribute_to", ["prompt", "all"])
@pytest.mark.parametrize(
    "name", ["gpt2", "llama", "gemma3_text", "t5", "bart", "marian", *embedded.names()]
)
def test_scores_equal_those_of_captum(name, attribute_to):
    model, prompt, response = case(name)
    oracle = captum_seq2seq if model.config.is_encoder_decoder else captum_causal
    reference = oracle(model, prompt, response, attribute_to)
    scores = ours(model, prompt, response, baseline=BASELINE, attribute_to=attribute_to)
    assert error(scores, reference.to(scores)) <= TOLERANCE


def inseq_scores(model, tokenizer, prompt: str, response: str, options: dict) -> Tensor:
    """Return inseq's scores, [T, N]; positions after a token, NaN in inseq, are 0."""
    inseq = pytest.importorskip("inseq", reason="needs pip install inseq")
    seq2seq = model.config.is_encoder_decoder
    wrapped = inseq.load_model(model, "integrated_gradients", tokenizer=tokenizer)
    output = wrapped.attribute(
        prompt,
        response if seq2seq else prompt + response,
        n_steps=STEPS,
        attribute_target=seq2seq and options["attribute_to"] == "all",
        attributed_fn={"prob": "probability", "logit": "logit"}[options["target"]],
        show_progress=False,
    ).sequence_attributions[0]
    sides = [output.source_attributions] if seq2seq else []
    if options["attribute_to"] == "all":
        sides.append(output.target_attributions[:-1])  # nothing is generated from the last token
    return torch.cat(sides).sum(-1).nan_to_num(0).T


def spoken(name: str):
    """Return a model, its tokenizer, and a prompt and a response as text."""
    if name in embedded.names():
        texts = ("knight", "N AY1 T") if name == "g2p-t5" else (TEXT, " Bob's key is blue")
        return *loaded(name), *texts
    return tiny.shared(name), tiny.tokenizer(name in tiny.SEQ2SEQ), TEXT, " the key is blue"


@pytest.mark.filterwarnings("ignore:.*encoding_length:UserWarning")
@pytest.mark.parametrize("target", ["prob", "logit"])
@pytest.mark.parametrize(
    ("name", "attribute_to"),
    [(name, "all") for name in ("gpt2", "llama", "gemma3_text", "t5", "bart", *embedded.names())]
    # On decoder-only models inseq always moves the prefix.
    + [(name, "prompt") for name in ("t5", "bart", "g2p-t5")],
)
def test_scores_equal_those_of_inseq(name, attribute_to, target):
    """Compare on a single prompt, where inseq's missing position ids do no harm.

    Inseq moves the prefix with the path, from ``<unk>``; of the special tokens ``<bos>`` moves on
    decoder-only models, and ``<eos>`` and the decoder's start stay.
    """
    model, tokenizer, text, answer = spoken(name)
    seq2seq = model.config.is_encoder_decoder
    end = tokenizer.eos_token_id
    prompt = tokenizer(text).input_ids
    response = tokenizer(answer, add_special_tokens=False).input_ids + [end] * seq2seq
    movable = [i != end for i in prompt]
    if attribute_to == "all":
        movable += [False] * seq2seq + [True] * (len(response) - 1)
    options = {"attribute_to": attribute_to, "target": target}
    scores = ours(model, prompt, response, movable, baseline=tokenizer.unk_token_id, **options)
    reference = inseq_scores(model, tokenizer, text, answer, options)
    assert error(scores, reference.to(scores)) <= TOLERANCE

"""What must hold on a real model: Gemma 3 270M, which copies answers from its context well."""

from __future__ import annotations

import hashlib

import pytest
import torch
from helpers import tiny  # noqa: F401  (sets one thread)
from helpers.real_models import gemma

from hf_attrib import Explainer

pytestmark = [
    pytest.mark.slow,
    # 16 nodes are few for this model: measured gaps are 5 to 20 %, though the ranks hold.
    pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning"),
]

PROMPT = (
    "Context: Ada Lovelace was born in London in 1815. Her mother was Annabella.\n"
    "Question: In which city was Ada born?\nAnswer:"
)
#: From a frequent word; the path from the mean embedding, which is half as long as any token's,
#: has jumps that so few nodes miss.
QUESTION = {"method": "integrated_gradients", "steps": 16, "baseline": "token: the"}


@pytest.fixture(scope="module")
def real():
    return gemma()


@pytest.fixture(scope="module")
def explainer(real):
    return Explainer(*real)


@pytest.fixture(scope="module")
def answer(explainer):
    return explainer.explain(PROMPT, max_new_tokens=3, **QUESTION)


def fingerprint(model) -> list[object]:
    """Return everything of a model's state that an explanation might disturb."""
    state: list[object] = [model.training, torch.is_grad_enabled()]
    for module in model.modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        state += [module.training, *map(len, hooks)]
    for name, parameter in model.named_parameters():
        state += [name, parameter.requires_grad, parameter.grad is None]
        if "norm" in name or "layers.3." in name:
            content = parameter.detach().view(torch.uint8).numpy().tobytes()
            state.append(hashlib.sha256(content).hexdigest())
    return state


def test_the_default_finds_the_place_in_the_context(explainer):
    """What asks for an answer, the last colon above all, counts for more than any fact."""
    found = explainer.explain(PROMPT, max_new_tokens=1)
    assert found.converged.all()
    context = found.pieces[: found.pieces.index("Question")]
    scores = found.scores[0, : len(context)]
    assert context[int(scores.argmax())] == " London"
    assert scores.max() > 3 * scores.topk(2).values[1]


def test_the_adaptive_rule_converges_on_a_real_model(explainer):
    """From the mean embedding, where the 16 nodes of the other tests are far from enough."""
    prompt = "Ada was born in London. The city of Ada is"
    found = explainer.explain(prompt, max_new_tokens=1, method="integrated_gradients")
    assert found.converged.all()
    assert found.bound.median() < 0.2


def test_the_answer_comes_from_its_place_in_the_context(answer):
    assert answer.response_pieces[0] == " London"
    best = answer.scores[0].topk(3).indices.tolist()
    assert answer.pieces.index(" London") in best
    assert answer.scores[0, answer.pieces.index(" London")] > 1  # nats


def test_every_target_has_its_gap(answer):
    assert answer.gap.shape == (3,)
    assert torch.isfinite(answer.gap).all()
    assert torch.isfinite(answer.scores).all()


def test_special_tokens_score_nothing(answer):
    assert answer.roles[0] == "special"
    assert not answer.scores[:, 0].any()
    assert set(answer.roles[1:]) == {"prompt"}


@pytest.mark.parametrize(
    "prompt",
    [
        PROMPT,
        "I ❤️ pizza 🍕 and family 👨‍👩‍👧:",
        "質問：日本の首都はどこですか？\n答え：",
        "e\u0301 𓀀 naïve",
    ],
)
def test_ids_in_are_ids_out(real, explainer, prompt):
    model, tokenizer = real
    encoded = tokenizer(prompt, return_tensors="pt")
    written = model.generate(**encoded, max_new_tokens=4)[0, encoded["input_ids"].shape[1] :]
    result = explainer.explain(prompt, max_new_tokens=4, method="input_x_gradient")
    assert result.input_ids.tolist() == encoded["input_ids"][0].tolist()
    assert result.response_ids.tolist() == written.tolist()
    spans = [result.inputs.text[start:end] for start, end in result.offsets]
    assert "".join(dict(zip(result.offsets, spans, strict=True)).values()) == prompt
    for piece, span, role in zip(result.pieces, spans, result.roles, strict=True):
        if role == "special":
            assert span == ""
        else:
            assert span == piece or piece.startswith("<0x")


def test_the_model_is_left_as_it_was(real):
    model, tokenizer = real
    before = fingerprint(model)
    Explainer(model, tokenizer).explain(
        PROMPT, response=" London", **QUESTION | {"method": "integrated_gradients", "steps": 2}
    )
    assert fingerprint(model) == before


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"),
    reason="this CPU emulates bfloat16, which takes a hundred times as long",
)
def test_bfloat16_says_the_same(answer):
    model, tokenizer = gemma(torch.bfloat16)
    result = Explainer(model, tokenizer).explain(
        PROMPT, response_ids=answer.response_ids[:1], **QUESTION
    )
    assert result.run.dtype == "bfloat16"
    assert torch.isfinite(result.scores).all()
    assert (torch.cosine_similarity(result.scores, answer.scores[:1]) > 0.99).all()

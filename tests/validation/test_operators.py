"""The operator that no method uses itself: tokens give way to other tokens, drawn at random."""

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer, evaluate
from hf_attrib.methods import methods
from hf_attrib.model import ordinary_ids
from hf_attrib.validation import OPERATORS, evaluation
from hf_attrib.validation.entrants import entrants_of

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPTS = [
    "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:",
    "Bob's key is green. Q: What color is Bob's key? A:",
]
ASKED = {"operators": "random", "metrics": "morf_lerf", "random_orders": 4}


@pytest.fixture
def drawn(monkeypatch):
    """What took the place of each token of each prompt that was judged."""
    found, once = [], evaluation._replaced

    def kept(*given):
        found.append(once(*given)[0].tolist())
        return torch.tensor([found[-1]])

    monkeypatch.setattr(evaluation, "_replaced", kept)
    return found


def test_it_is_what_the_model_says_of_other_tokens(keys, drawn):
    model, tokenizer = keys
    result = Explainer(model, tokenizer).explain(PROMPTS[1], method="saliency")
    found = evaluate(model, tokenizer, PROMPTS[1], "saliency", **ASKED)
    response, ids = result.response_ids.tolist(), result.input_ids.tolist()
    movable = [n for n, role in enumerate(result.roles) if role not in ("special", "template")]
    order = sorted(movable, key=lambda n: -float(result.total[n]))
    counts = [max(1, int(share * len(order) + 0.5)) for share in (0.05, 0.1, 0.2, 0.3, 0.5)]

    def said(gone):
        whole = [drawn[0][n] if n in gone else i for n, i in enumerate(ids)] + response
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        at = torch.arange(len(ids) - 1, len(whole) - 1)
        return float(logits[at, torch.tensor(response)].double().mean())

    lowest, highest = (
        sum(said(some[:k]) for k in counts) / len(counts) for some in (order[::-1], order)
    )
    assert float(found.of("saliency")) == pytest.approx(lowest - highest, abs=1e-4)


def test_what_is_drawn_is_other_text_and_the_same_for_all(keys, drawn):
    model, tokenizer = keys
    evaluate(model, tokenizer, PROMPTS, ["saliency", "occlusion"], **ASKED)
    (first, second), known = drawn, set(ordinary_ids(model, tokenizer).tolist())
    own = tokenizer(PROMPTS[0])["input_ids"]
    assert known.isdisjoint(tokenizer.all_special_ids)
    assert len(known) > len(tokenizer) / 2
    assert set(first[: len(own)]) <= known
    assert all(a != b for a, b in zip(own, first, strict=False))
    evaluate(model, tokenizer, PROMPTS[0], "saliency", **ASKED)  # alone, and another method
    evaluate(model, tokenizer, PROMPTS[0], "saliency", **ASKED, seed=1)
    assert drawn[2][: len(own)] == first[: len(own)] != drawn[3][: len(own)]
    assert second[:5] != first[:5]


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("groups", [None, "word"])
def test_every_architecture_and_unit(family, groups):
    model = tiny.model(family)
    tokenizer = tiny.tokenizer(model.config.is_encoder_decoder)
    asked = {**ASKED, "responses": ["eight"], "groups": groups}
    found = evaluate(model, tokenizer, ["one two three four"], "saliency", **asked)
    assert found.values.isfinite().all()
    assert "drawn once for each prompt" in str(found)


def test_no_method_takes_inputs_away_so():
    assert "random" in OPERATORS
    entrants = entrants_of(list(methods()), 1, {})
    assert all(entrant.own_operator != "random" for entrant in entrants)


def test_without_a_tokenizer_the_model_names_what_is_special():
    model = tiny.model("llama")
    found = evaluate(model, None, [[70, 71, 72, 80, 90]], "saliency", responses=[[81]], **ASKED)
    assert found.values.isfinite().all()

"""Sanity checks: what fails them must fail, and marks are all that comes of it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from hf_attrib import Explainer, InputError
from hf_attrib.field import Decomposition
from hf_attrib.methods import Claims, Method
from hf_attrib.validation import CHECKS

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPTS = [
    "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:",
    "Bob's key is green. Q: What color is Bob's key? A:",
]


@dataclass(frozen=True)
class Position(Method):
    """Scores that are places: they know nothing of the model, and reach into the future."""

    CLAIMS: ClassVar = Claims("nothing", frozenset(), signed=False, baseline=None)

    def __call__(self, field, x, baseline):
        places = torch.arange(x.shape[2]).to(x) * field.movable.to(x)
        scores = places[:, None].expand(-1, field.targets, -1)
        return Decomposition(scores, None)


@pytest.fixture(scope="module")
def found(keys):
    return Explainer(*keys).sanity(
        PROMPTS, {"ours": "sequential_ig", "drawn": "smooth_grad(samples=2)", "place": Position()}
    )


def of(found, method):
    return {check.check: check for check in found.checks if check.method == method}


def test_a_sound_method_passes(found):
    checks = of(found, "ours")
    assert list(checks) == list(CHECKS)
    assert [checks[name].passed for name in CHECKS] == [True, True, True, None, None]
    assert 0 < checks["sensitivity"].value < 1
    assert np.isnan(checks["seeds"].value)


def test_one_that_knows_no_model_fails(found):
    checks = of(found, "place")
    assert [checks[name].passed for name in CHECKS] == [False, False, False, None, None]
    assert checks["weights"].value == pytest.approx(1)
    assert checks["sensitivity"].value == 0
    assert {check.method for check in found.failed} >= {"place"}


def test_one_that_draws_says_how_sure_it_is(found):
    seeds = of(found, "drawn")["seeds"]
    assert seeds.passed
    assert 0.5 < seeds.value <= 1


def test_the_model_is_left_as_it_was(keys):
    model, tokenizer = keys
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Explainer(model, tokenizer).sanity(PROMPTS[1], "saliency", ["weights"])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_encoders_are_checked(g2p):
    found = Explainer(*g2p).sanity("knight", "saliency", ["other target", "causality", "weights"])
    assert of(found, "saliency")["causality"].passed


def test_it_is_shown(found):
    text = str(found)
    assert text.startswith("Sanity of methods on keys-llama · 2 prompts")
    assert "!" in text
    assert "draws nothing" in text


def test_what_cannot_be_checked_is_refused(keys):
    explainer = Explainer(*keys)
    with pytest.raises(InputError, match="'depth' is unknown; expected some of other target"):
        explainer.sanity(PROMPTS, "saliency", ["depth"])
    with pytest.raises(InputError, match="checks are 5; expected some of other target"):
        explainer.sanity(PROMPTS, "saliency", 5)
    with pytest.raises(InputError, match="'mine' brings scores"):
        explainer.sanity(PROMPTS[0], {"mine": lambda case: None})

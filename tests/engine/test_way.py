"""The way of a call is short: from explain to the gradient a reader passes few functions."""

import inspect

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer

pytestmark = pytest.mark.filterwarnings("ignore:.*have not converged")


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "integrated_gradients"},
        {"method": "integrated_gradients", "steps": 2},
        {"method": "saliency"},
        {"method": "guided_ig", "steps": 2},
    ],
)
def test_few_frames_lie_between_explain_and_the_gradient(monkeypatch, asked):
    explainer, depths = Explainer(tiny.model("llama"), tiny.tokenizer()), []
    explainer.explain("the key is red", max_new_tokens=1, **asked)  # which measures memory, too
    grad = torch.autograd.grad

    def spy(*args, **kwargs):
        names = [frame.function for frame in inspect.stack(0)]
        depths.append(names.index("explain") + 1)
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", spy)
    explainer.explain("the key is red", max_new_tokens=1, **asked)
    # The pullback is the deepest; the head is differentiated on the way.
    assert max(depths) <= 11

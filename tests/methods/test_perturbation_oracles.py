"""Forward-only methods equal captum's where both compute the same."""

import math

import captum.attr
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from helpers import tiny

from hf_attrib import Explainer
from hf_attrib.field import FunctionField
from hf_attrib.methods import KernelShap, Lime, Occlusion, Shapley
from hf_attrib.methods.perturbation.staircases import orders

COUNT = 5
MIX = torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(3)).double()


def function(z):
    """Two targets of inputs [R, n]."""
    return torch.tanh(z @ MIX)[:, :2] + z.prod(-1, keepdim=True)


X = torch.tensor([[1.0, 0.8, -1.2, 0.6, 1.5]]).double()


def ours(method):
    field = FunctionField(lambda z: function(z[..., 0]), 2, COUNT)
    x = X[None, ..., None]
    return method(field, x, torch.zeros_like(x)).scores[0]


def theirs(made, **options):
    return torch.cat([made.attribute(X, target=t, **options) for t in range(2)])


def test_occlusion_is_feature_ablation():
    torch.testing.assert_close(ours(Occlusion()), theirs(captum.attr.FeatureAblation(function)))


def test_shapley_values_are_those_of_all_orders_and_of_the_same_orders():
    every = theirs(captum.attr.ShapleyValues(function))
    torch.testing.assert_close(ours(Shapley()), every, check_dtype=False)
    sampling = captum.attr.ShapleyValueSampling(function)
    mine = orders(COUNT, 0, 2, 0).flatten(0, 1).tolist()
    sampling.permutation_generator = lambda count, samples: iter(map(tuple, mine))
    same = theirs(sampling, n_samples=4)
    torch.testing.assert_close(ours(Shapley(samples=4)), same, check_dtype=False)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_kernel_shap_is_the_limit_of_captums():
    torch.manual_seed(0)
    found = theirs(captum.attr.KernelShap(function), n_samples=1500)
    torch.testing.assert_close(found.double(), ours(KernelShap()), rtol=0, atol=0.1)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lime_is_the_limit_of_captums_with_the_same_kernel():
    torch.manual_seed(0)

    def close(one, other, mask, **_):
        return math.exp(-(((1 - float(mask.double().mean().sqrt())) / 0.25) ** 2))

    made = captum.attr.Lime(function, SkLearnLinearRegression(), close)
    found = theirs(made, n_samples=1500)
    torch.testing.assert_close(found.double(), ours(Lime()), rtol=0, atol=0.1)


def test_occlusion_of_a_model_is_feature_ablation_of_its_ids():
    model = tiny.shared("llama", dtype=torch.float64)
    prompt, answer, stand_in = tiny.ids(6), tiny.ids(3, seed=1), 7

    def forward(ids):
        whole = torch.cat([ids, torch.tensor([answer[:-1]]).expand(len(ids), -1)], 1)
        said = model(whole).logits.log_softmax(-1)[:, len(prompt) - 1 :]
        return said.gather(2, torch.tensor([answer]).expand(len(ids), -1)[..., None])[..., 0]

    ids = torch.tensor([prompt])
    ablation = captum.attr.FeatureAblation(forward)
    with torch.no_grad():
        found = [ablation.attribute(ids, baselines=stand_in, target=t) for t in range(3)]
    for mode in ("embed", "token"):
        scores = (
            Explainer(model)
            .explain(
                input_ids=prompt,
                response_ids=answer,
                movable="all",
                baseline=stand_in,
                method=Occlusion(mode=mode),
            )
            .scores
        )
        torch.testing.assert_close(scores, torch.cat(found).to(scores), rtol=1e-6, atol=1e-6)

"""Rules integrate what they promise, and integrated gradients has its textbook values."""

import math

import pytest
import torch

from hf_attrib.errors import InputError
from hf_attrib.field import FunctionField
from hf_attrib.integration import RULES, gauss_legendre, midpoint
from hf_attrib.integration.rules import trapezoid
from hf_attrib.methods import InputXGradient, IntegratedGradients


def integral(rule, power):
    return float((rule.weights * rule.nodes**power).sum())


@pytest.mark.parametrize("steps", [2, 3, 17])
@pytest.mark.parametrize("name", RULES)
def test_weights_sum_to_one(name, steps):
    assert float(RULES[name](steps).weights.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_gauss_legendre_is_exact_to_degree_2k_minus_1(steps):
    rule = gauss_legendre(steps)
    for power in range(2 * steps):
        assert integral(rule, power) == pytest.approx(1 / (power + 1), abs=1e-12)
    assert abs(integral(rule, 2 * steps) - 1 / (2 * steps + 1)) > 1e-15


@pytest.mark.parametrize("rule", [midpoint, trapezoid])
def test_second_order_rules_gain_a_factor_of_four(rule):
    def error(steps):
        found = float((rule(steps).weights * rule(steps).nodes.exp()).sum())
        return abs(found - math.expm1(1))

    intervals = 0 if rule is midpoint else 1
    assert error(8 + intervals) / error(16 + intervals) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("name", [n for n in RULES if n != "trapezoid"])
def test_no_node_sits_on_the_baseline(name):
    assert float(RULES[name](64).nodes.min()) > 0


def field(function, positions):
    return FunctionField(lambda z: function(z[..., 0]).unsqueeze(-1), 1, positions)


def attribute(function, x, baseline, **fields):
    x = torch.tensor(x, dtype=torch.float64)[None, None, :, None]
    baseline = torch.tensor(baseline, dtype=torch.float64)[None, None, :, None]
    return IntegratedGradients(**fields)(field(function, x.shape[2]), x, baseline).scores[0, 0]


@pytest.mark.parametrize("name", RULES)
def test_linear_models_are_exact_under_every_rule(name):
    """Sums of K + 1 nodes weighted by 1 / K, or weights that sum to 1 - 1 / K, fail here."""
    found = attribute(lambda z: 3 * z[:, 0] - 2 * z[:, 1], [2, 5], [1, 1], steps=2, rule=name)
    assert found.tolist() == pytest.approx([3, -8], abs=1e-12)


def test_bilinear():
    found = attribute(lambda z: z[:, 0] * z[:, 1], [2, 3], [0.5, -1], steps=2)
    # (x1 - a)(x2 + b) / 2 and its mirror image
    assert found.tolist() == pytest.approx([1.5 * 2 / 2, 4 * 2.5 / 2], abs=1e-12)


@pytest.mark.parametrize("count", [3, 5])
def test_a_product_shares_equally(count):
    x = [1.5] * count
    found = attribute(lambda z: z.prod(-1), x, [0] * count, steps=8, rule="gauss_legendre")
    assert found.tolist() == pytest.approx([1.5**count / count] * count, rel=1e-10)


def test_a_saturated_kink_still_gets_its_share():
    def saturating(z):
        return 1 - torch.relu(1 - z[:, 0])

    found = attribute(saturating, [2], [0], steps=1000, rule="midpoint")
    assert found.item() == pytest.approx(1, abs=1e-3)


def test_quadratic_from_zero_is_exact_for_every_second_order_rule():
    q = torch.tensor([[2.0, 1.0], [1.0, -3.0]], dtype=torch.float64)
    x = torch.tensor([1.5, -0.5], dtype=torch.float64)
    expected = (x * (q @ x) / 2).tolist()
    for rule in ("midpoint", "trapezoid", "gauss_legendre"):
        found = attribute(
            lambda z: torch.einsum("ri,ij,rj->r", z, q, z) / 2,
            x.tolist(),
            [0, 0],
            steps=4,
            rule=rule,
        )
        assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_homogeneous_networks_need_no_path():
    """Bias-free ReLU networks are of degree one: input x gradient is integrated gradients."""
    torch.manual_seed(5)
    inner, outer = torch.randn(3, 8).double(), torch.randn(8).double()

    def network(z):
        return torch.relu(z @ inner) @ outer

    x = torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64)[None, None, :, None]
    zero = torch.zeros_like(x)
    found = InputXGradient()(field(network, 3), x, zero).scores
    integral = IntegratedGradients(steps=3)(field(network, 3), x, zero).scores
    torch.testing.assert_close(found, integral)
    assert float(found.sum()) == pytest.approx(float(network(x[0, :, :, 0])[0]), rel=1e-12)


def test_one_dimension_is_the_difference_itself():
    found = attribute(lambda z: torch.sigmoid(3 * z[:, 0]), [2], [-1], steps=32)
    expected = 1 / (1 + math.exp(-6)) - 1 / (1 + math.exp(3))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_a_bag_of_embeddings():
    """h = mean of e_i, logit U_y h: every token gets U_y (e_i - e'_i) / L, equal ones the same."""
    torch.manual_seed(6)
    head = torch.randn(4, 5).double()
    x, baseline = torch.randn(1, 1, 3, 4).double(), torch.randn(1, 1, 3, 4).double()
    x[..., 2, :], baseline[..., 2, :] = x[..., 0, :], baseline[..., 0, :]
    bag = FunctionField(lambda z: z.mean(1) @ head, 5, 3)
    found = IntegratedGradients(steps=1)(bag, x, baseline).scores[0]
    expected = torch.einsum("nd,dt->tn", (x - baseline)[0, 0], head) / 3
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[:, 2], found[:, 0])


def test_causal_uniform_attention_gives_equal_shares_and_zeros_behind():
    """f_t = U_t . mean of e_i up to position t: each token before it 1 / (t + 1), none after."""
    torch.manual_seed(8)
    head = torch.randn(4, 3).double()
    x, baseline = torch.randn(1, 1, 4, 3).double(), torch.randn(1, 1, 4, 3).double()
    count = torch.arange(1, 5)[:, None]

    def uniform(z):
        return ((z.cumsum(1) / count) * head).sum(-1)

    found = IntegratedGradients(steps=2)(FunctionField(uniform, 4, 4), x, baseline).scores[0]
    expected = torch.tril((head @ (x - baseline)[0, 0].T) / count)
    torch.testing.assert_close(found, expected)
    assert (found.triu(1) == 0).all()


def rms_norm_answer(x, weight, eps):
    """Closed form of IG from 0 of w.x / sqrt(mean(x**2) + eps), for D = len(x)."""
    mean = sum(v * v for v in x) / len(x)
    rho = math.sqrt(mean / eps)
    dot = sum(w * v for w, v in zip(weight, x, strict=True))
    spread = math.asinh(rho) / mean**1.5 - 1 / (mean * math.sqrt(mean + eps))
    return [
        w * v * math.asinh(rho) / math.sqrt(mean) - dot * v * v / len(x) * spread
        for w, v in zip(weight, x, strict=True)
    ]


def test_the_graded_rule_resolves_the_spike_of_a_norm_at_zero():
    """At rms / sqrt(eps) = 1000, plain Gauss-Legendre misses by percents, the graded one not."""
    x, weight = [1.0, -0.8, 1.2, 0.9], [0.5, 1.0, -0.3, 2.0]
    eps = sum(v * v for v in x) / len(x) / 1000**2
    w = torch.tensor(weight, dtype=torch.float64)

    def norm(z):
        return (z @ w) / (z.square().mean(-1) + eps).sqrt()

    expected = rms_norm_answer(x, weight, eps)
    total = sum(expected)
    graded = attribute(norm, x, [0] * 4, steps=50)  # "auto" sees the zero baseline
    plain = attribute(norm, x, [0] * 4, steps=50, rule="gauss_legendre")
    assert float(graded.sum()) == pytest.approx(total, rel=1e-4)
    assert abs(float(plain.sum()) - total) > 0.02 * abs(total)
    assert graded.tolist() == pytest.approx(expected, rel=0.02)


def test_fields_are_checked():
    with pytest.raises(InputError, match="steps is 0"):
        IntegratedGradients(steps=0)
    with pytest.raises(InputError, match="at least 2"):
        IntegratedGradients(steps=1, rule="trapezoid")
    with pytest.raises(InputError, match="'left' is unknown"):
        IntegratedGradients(rule="left")

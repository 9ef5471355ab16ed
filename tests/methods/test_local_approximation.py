"""Methods are linear functions nearest to f: of one solver, in neighbourhoods of their own.

The solver is examples/local_approximation.py. Where a method and the solver look at the same places
they agree to rounding; where a method draws them, within its standard error of exact quadrature.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest
import torch
from local_approximation import (
    Approximation,
    Entries,
    LocalApproximation,
    Tokens,
    even,
    gaussian,
    segment,
    subsets,
    twins,
    unavoidable,
)

import hf_attrib
from hf_attrib.field import Decomposition, FunctionField, Space, Table
from hf_attrib.methods import Claims, CLime, InputXGradient, IntegratedGradients, Method, SmoothGrad

#: Relative to the largest score, in float64: a regression squares the condition of its rows.
ROUNDING = 1e-10
SIGMA = 0.15

SLOPE = torch.tensor([[1.3, -0.7], [0.4, 1.1]]).double()
X = torch.tensor([[[[0.8, -0.5], [0.3, 1.2]]]]).double()
ZERO = torch.zeros_like(X)


def phase(z):
    return torch.einsum("rnd,nd->r", z, SLOPE)[:, None]


def toy(z):
    """A sine, of which everything is known, and a product of two inputs."""
    return torch.cat([phase(z).sin(), z.sum(-1).prod(-1, keepdim=True)], 1)


def field_of(function, x=X):
    """A field with an embedding scale of 1."""
    table = Table(lambda ids: (2.0 * ids - 1)[:, None].expand(-1, x.shape[3]).double(), 2)
    where = torch.zeros(x.shape[2], dtype=torch.int64)
    space = Space((table,), where, lambda sample, seed: torch.zeros_like(x))
    return FunctionField(function, function(x[0]).shape[1], x.shape[2], 8192, space)


def solved(approximation, function=toy, x=X, baseline=ZERO):
    at = approximation.coordinates(field_of(function, x), x, baseline)
    return approximation.fit(at).weights


def distance(one, other):
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("name", list(twins()))
def test_a_method_is_the_nearest_linear_function_of_a_toy(name):
    method, twin = twins()[name]
    one, other = (made(field_of(toy), X, ZERO).scores for made in (method, twin))
    assert distance(one, other) < ROUNDING


@pytest.fixture(scope="module")
def asked():
    """The field of a short prompt on keys-llama, in float64, as a method sees it."""
    model, tokenizer = hf_attrib.embedded.load("keys-llama")
    explainer = hf_attrib.Explainer(model.double(), tokenizer)
    return partial(explainer.explain, "Ada's key is red.", response=" Bob's", baseline="mean")


@pytest.mark.parametrize("name", list(twins()))
def test_a_method_is_the_nearest_linear_function_of_a_model(name, asked):
    method, twin = twins()[name]
    twin_scores = asked(method=twin).scores
    own = {} if method.claims.baseline else {"baseline": None}
    scores = asked(method=method, **own).scores
    assert scores.shape == (2, 7)
    assert distance(scores, twin_scores) < ROUNDING


def test_the_solver_has_the_closed_forms_of_a_sine():
    """By quadrature, whose rules are exact to rounding here."""
    at, shrink = phase(X[0])[0, 0], (-(SIGMA**2) * SLOPE.square().sum() / 2).exp()
    around = partial(gaussian, sigma=SIGMA, nodes=8)
    smooth = solved(LocalApproximation(around, "gradient", Entries))[:, 0]
    assert distance(smooth, SLOPE.flatten() * at.cos() * shrink) < ROUNDING
    straight = solved(LocalApproximation(partial(segment, nodes=12), "gradient"))[:, 0]
    assert distance(straight, (X[0, 0] * SLOPE).sum(-1) / at * at.sin()) < ROUNDING


@pytest.mark.parametrize(
    ("method", "coordinates"),
    [(SmoothGrad(samples=4000), Entries), (CLime(samples=4000), Tokens)],
    ids=str,
)
def test_what_is_drawn_is_within_its_standard_error_of_the_whole_gaussian(method, coordinates):
    loss = "gradient" if coordinates is Entries else "squared"
    around = partial(gaussian, sigma=method.sigma, nodes=8 if coordinates is Entries else 12)
    found = method(field_of(toy), X, ZERO)
    exact = LocalApproximation(around, loss, coordinates)(field_of(toy), X, ZERO).scores
    assert ((found.scores - exact).abs() < 4 * found.standard_error + ROUNDING).all()
    assert (found.standard_error < 0.02 * exact.abs()).all()


@pytest.mark.parametrize("coordinates", [Tokens, Entries])
def test_on_a_gaussian_both_losses_have_one_answer(coordinates):
    """Stein's lemma, by which C-LIME is SmoothGrad in the limit; elsewhere they differ."""
    around = partial(gaussian, sigma=0.3, nodes=8)
    one, other = (
        solved(LocalApproximation(around, loss, coordinates)) for loss in ("squared", "gradient")
    )
    assert distance(one, other) < ROUNDING
    corners = partial(subsets, kernel=even)
    one, other = (solved(LocalApproximation(corners, loss)) for loss in ("squared", "gradient"))
    assert distance(one, other) > 0.1


@pytest.mark.parametrize(
    ("shrinking", "order"),
    [
        (lambda h: LocalApproximation(partial(gaussian, sigma=h, nodes=8)), 2),
        (lambda h: LocalApproximation(partial(gaussian, sigma=h, nodes=8), "gradient"), 2),
        (lambda h: LocalApproximation(partial(segment, nodes=8, start=1 - h), "gradient"), 1),
    ],
    ids=["C-LIME", "SmoothGrad", "integrated gradients"],
)
def test_neighbourhoods_that_shrink_to_x_lead_to_the_gradient(shrinking, order):
    limit = InputXGradient()(field_of(toy), X, ZERO).scores[0].T
    errors = [distance(solved(shrinking(h)), limit) for h in (0.004, 0.002)]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.02)  # but for higher orders
    assert errors[1] < 0.005


def test_the_solver_confirms_integrals_that_place_their_own_nodes():
    fine = solved(LocalApproximation(partial(segment, nodes=20), "gradient"))
    found = IntegratedGradients(tolerance=1e-9, max_nodes=4000)(field_of(toy), X, ZERO)
    assert distance(found.scores[0].T, fine) < 1e-8


@pytest.mark.parametrize(
    "name", [name for name, pair in twins().items() if pair[1].coordinates is Tokens]
)
def test_a_linear_function_is_nearest_to_itself_everywhere(name):
    found = twins()[name][0](field_of(phase), X, ZERO).scores[0, 0]
    torch.testing.assert_close(found, (X[0, 0] * SLOPE).sum(-1), rtol=ROUNDING, atol=ROUNDING)


def product(z):
    return z[..., 0].prod(-1, keepdim=True)


#: The corners of a unit square, on which a product is 0 but at x.
ONE = torch.ones(1, 1, 2, 1).double()


def test_no_method_is_nearest_in_every_neighbourhood():
    """Each is where it was made for, and each is beaten elsewhere: there is no free lunch."""
    at = Tokens(field_of(product, ONE), ONE, torch.zeros_like(ONE))
    made = {n: twin for n, (_, twin) in twins().items() if twin.coordinates is Tokens}
    fits = {name: twin.fit(at) for name, twin in made.items()}
    error = {
        own: {where: float(twin.error(at, fit)) for where, twin in made.items()}
        for own, fit in fits.items()
    }
    for own in made:
        assert all(error[own][own] <= error[other][own] + 1e-12 for other in made)
        assert any(error[own][where] > error[where][where] + 0.01 for where in made)


def test_every_linear_function_errs_somewhere_by_what_its_class_cannot_say():
    """A quarter for a product: reached on the corners by the one made for them, by no other."""
    at = Tokens(field_of(product, ONE), ONE, torch.zeros_like(ONE))
    corners = subsets(at, even).places
    value = at.values(corners)
    assert float(unavoidable(value)) == 0.25
    worst = {
        name: float((twin.fit(at)(corners) - value).abs().max())
        for name, (_, twin) in twins().items()
        if twin.coordinates is Tokens
    }
    assert all(error >= 0.25 - 1e-12 for error in worst.values())
    assert [name for name, error in worst.items() if error < 0.26] == ["banzhaf"]
    # Where it was made for, at x, the gradient has no error at all, and the winner above has one.
    gradient, mean = twins()["input_x_gradient"][1], twins()["banzhaf"][1]
    assert float(gradient.error(at, gradient.fit(at))) == 0
    assert float(gradient.error(at, mean.fit(at))) == pytest.approx(0.5)


@dataclass(frozen=True)
class Look(Method):
    """Does something with the coordinates of an input, and scores nothing."""

    CLAIMS: ClassVar = Claims(cost="that of what it does", axioms=frozenset())
    does: Callable[[Tokens], None]

    def __call__(self, field, x, baseline):
        self.does(Tokens(field, x, baseline))
        return Decomposition(torch.zeros(1, field.targets, x.shape[2]).to(x), start_value=None)


def test_of_a_model_every_linear_function_errs_by_as_much(asked):
    """Those of all methods, and others around them drawn at random."""
    drawn = torch.Generator().manual_seed(0)
    seen = []

    def look(at):
        corners = subsets(at, even).places
        value = at.values(corners)
        least = unavoidable(value)
        for name, (_, twin) in twins().items():
            if twin.coordinates is Tokens:
                fit = twin.fit(at)
                for scale in [0.0] + [0.5] * 20:
                    shift = scale * torch.randn(fit.weights.shape, generator=drawn).double()
                    other = Approximation(fit.weights + shift, fit.constant)
                    seen.append((name, (other(corners) - value).abs().amax(0) / least))
        assert float(least.max()) > 0.5  # nats

    asked(method=Look(look))
    assert len(seen) == 7 * 21
    assert all((times >= 1 - ROUNDING).all() for _, times in seen)

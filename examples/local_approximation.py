"""One solver behind nine attribution methods: the linear function that is nearest to f around x.

Han, Srinivas, Lakkaraju 2022, arXiv:2206.01254: a method is a neighbourhood, a loss and a class of
functions. docs/local-approximation.md has the table; this prints how far each method of the package
is from the solver's answer on the embedded model.

    python examples/local_approximation.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import comb
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

import hf_attrib
from hf_attrib import methods
from hf_attrib.field import Decomposition, Field
from hf_attrib.integration import generator, noise
from hf_attrib.methods import Claims, Method


class Tokens:
    r"""Coordinates of one number for each input that moves: z = x' + ξ ⊙ (x - x'), x at ξ = 1.

    Args:
        field: F of one sequence.
        x: its inputs, [1, 1, N, D].
        baseline: the reference, [1, 1, N, D].
    """

    centre = 1.0

    def __init__(self, field: Field, x: Tensor, baseline: Tensor) -> None:
        self.field, self.x = field, x
        moves = field.movable[0] & (x != baseline)[0, 0].any(-1).cpu()
        directions = torch.diag(moves.to(x))[moves, :, None] * (x - baseline)[0, 0]
        self.moves, self.directions = moves, directions  # [P, N, D]

    @property
    def count(self) -> int:
        """P, how many coordinates there are."""
        return len(self.directions)

    def points(self, places: Tensor) -> Tensor:
        """Return the inputs at coordinates [R, P], [R, 1, 1, N, D]."""
        offset = (places - self.centre).to(self.x)
        return self.x + torch.einsum("rp,pnd->rnd", offset, self.directions)[:, None, None]

    def values(self, places: Tensor) -> Tensor:
        """Return f at places [R, P], [R, T]."""
        return self.field.value(self.points(places))[:, 0].double()

    def gradients(self, places: Tensor) -> Tensor:
        """Return the derivatives of f along the coordinates at places [R, P], [R, P, T]."""
        whole = self.field(self.points(places)).gradient[:, 0]  # [R, T, N, D]
        return torch.einsum("rtnd,pnd->rpt", whole, self.directions).double()

    def scores(self, weights: Tensor) -> Tensor:
        """Return weights [P, T] as scores of inputs, [1, T, N]."""
        scores = weights.new_zeros(1, weights.shape[1], len(self.moves))
        scores[0][:, self.moves] = weights.T
        return scores


class Entries(Tokens):
    """Coordinates of one number for each coordinate of an embedding: z = x + ξ, x at ξ = 0."""

    centre = 0.0

    def __init__(self, field: Field, x: Tensor, baseline: Tensor) -> None:
        self.field, self.x = field, x
        self.moves = field.movable[0]
        each = self.moves[:, None].expand(x.shape[2:]).flatten()
        self.directions = torch.diag(each.to(x))[each].unflatten(1, x.shape[2:])

    def scores(self, weights: Tensor) -> Tensor:
        """Return the lengths of the weights [P, T] of each input, [1, T, N]."""
        lengths = weights.unflatten(0, (-1, self.x.shape[-1])).norm(dim=1)
        return super().scores(lengths)


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Where f is looked at, and how much each place counts.

    Args:
        places: coordinates ξ, [R, P].
        weight: of each place, [R]; infinite where the approximation has to be exact.
    """

    places: Tensor
    weight: Tensor


#: Says where f is looked at, in the coordinates of an input.
Around: TypeAlias = Callable[[Tokens], Neighbourhood]


def here(at: Tokens) -> Neighbourhood:
    """Look at x alone: the limit of all neighbourhoods that shrink to it."""
    return Neighbourhood(torch.full((1, at.count), at.centre).double(), torch.ones(1).double())


def segment(at: Tokens, nodes: int, start: float = 0.0) -> Neighbourhood:
    """Look along the line from x' (or nearer) to x, evenly: a Gauss-Legendre rule."""
    node, weight = map(torch.from_numpy, np.polynomial.legendre.leggauss(nodes))
    alpha = start + (node + 1) / 2 * (1 - start)
    return Neighbourhood(alpha[:, None].expand(-1, at.count), weight / 2)


def without_one(at: Tokens) -> Neighbourhood:
    """Look at x, and at x without each input."""
    places = torch.cat([torch.ones(1, at.count), 1 - torch.eye(at.count)]).double()
    return Neighbourhood(places, torch.ones(len(places)).double())


def subsets(at: Tokens, kernel: Callable[[int, int], float]) -> Neighbourhood:
    """Look at all subsets of inputs, which count by a kernel of size k and number n."""
    codes = torch.arange(2**at.count)
    places = (codes[:, None] >> torch.arange(at.count)) % 2
    weight = [kernel(k, at.count) for k in places.sum(1).tolist()]
    return Neighbourhood(places.double(), torch.tensor(weight, dtype=torch.float64))


def even(k: int, n: int) -> float:
    """Return the weight of fair coins."""
    return 1.0


def exponential(k: int, n: int, width: float = 0.25) -> float:
    """Return the weight that LIME gives to k of n."""
    return float(np.exp(-(((1 - (k / n) ** 0.5) / width) ** 2)))


def shapley(k: int, n: int) -> float:
    """Return the weight that makes a regression one of Shapley values."""
    return (n - 1) / (comb(n, k) * k * (n - k)) if 0 < k < n else float("inf")


def gaussian(at: Tokens, sigma: float, nodes: int) -> Neighbourhood:
    """Look at a Gaussian around x, by a product of Gauss-Hermite rules: few coordinates alone."""
    node, weight = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(nodes))
    grid = torch.cartesian_prod(*[torch.arange(nodes)] * at.count).reshape(-1, at.count)
    return Neighbourhood(at.centre + sigma * node[grid], weight[grid].prod(1))


def pairs(at: Tokens, sigma: float, samples: int, seed: int = 0) -> Neighbourhood:
    """Look at what c_lime draws from that Gaussian, each there and back."""
    draw = generator(seed, "c_lime")
    half = sigma * torch.randn(samples // 2, at.count, generator=draw).double()
    return Neighbourhood(at.centre + torch.cat([half, -half]), torch.ones(samples).double())


def cloud(at: Tokens, sigma: float, samples: int, seed: int = 0) -> Neighbourhood:
    """Look at what smooth_grad draws from a Gaussian in units of the embedding scale."""
    drawn = [noise(at.field, at.x, seed, j)[0, 0, at.moves].flatten() for j in range(samples)]
    return Neighbourhood(sigma * torch.stack(drawn).double(), torch.ones(samples).double())


def nearest(rows: Tensor, seen: Tensor, weight: Tensor) -> Tensor:
    r"""Return the w of least :math:`\sum_r \pi_r \|Y_r - X_r w\|^2`, [P, T].

    What counts infinitely is a condition, with a Lagrange multiplier.

    Args:
        rows: X, what is asked of a linear function at each place, [R, Q, P].
        seen: Y, what f answers there, [R, Q, T].
        weight: of each place, [R].
    """
    exact = weight.isinf()
    counted = weight[~exact, None, None] * rows[~exact]
    gram = torch.einsum("rqp,rqs->ps", counted, rows[~exact])
    right = torch.einsum("rqp,rqt->pt", counted, seen[~exact])
    condition, met = rows[exact].flatten(0, 1), seen[exact].flatten(0, 1)
    corner = torch.zeros(len(condition), len(condition)).to(gram)
    system = torch.cat([torch.cat([gram, condition.T], 1), torch.cat([condition, corner], 1)])
    return torch.linalg.solve(system, torch.cat([right, met]))[: rows.shape[2]]


@dataclass(frozen=True, eq=False)
class Approximation:
    """A linear function g(ξ) = c + w ξ for each target.

    Args:
        weights: w, [P, T].
        constant: c, [T].
    """

    weights: Tensor
    constant: Tensor

    def __call__(self, places: Tensor) -> Tensor:
        """Return g at places [R, P], [R, T]."""
        return self.constant + places @ self.weights


@dataclass(frozen=True)
class LocalApproximation(Method):
    r"""Scores that are the weights of the linear function nearest to f.

    .. math:: \min_{c, w} \sum_r \pi_r \, \ell(f, g, \xi_r), \qquad g(\xi) = c + w \xi

    Args:
        around: the neighbourhood: places ξ and their weights π.
        loss: ``"squared"``, :math:`(f - g)^2`, or ``"gradient"``,
            :math:`\|\nabla_\xi f - \nabla_\xi g\|^2`.
        coordinates: ξ, :class:`Tokens` or :class:`Entries`, whose scores are lengths.

    Returns:
        scores [1, T, N] of one sequence.
    """

    CLAIMS: ClassVar[Claims] = Claims(cost="that of its places", axioms=frozenset({"linearity"}))
    around: Around = here
    loss: str = "squared"
    coordinates: type[Tokens] = Tokens

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Return the weights as scores."""
        at = self.coordinates(field, x, baseline)
        return Decomposition(at.scores(self.fit(at).weights).to(x), start_value=None)

    def fit(self, at: Tokens) -> Approximation:
        """Return the nearest linear function; where derivatives leave c open, it fits f best."""
        near = self.around(at)
        if self.loss == "squared":
            rows = torch.nn.functional.pad(near.places, (1, 0), value=1.0)[:, None]
            found = nearest(rows, at.values(near.places)[:, None], near.weight)
            return Approximation(found[1:], found[0])
        rows = torch.eye(at.count).double().expand(len(near.places), -1, -1)
        weights = nearest(rows, at.gradients(near.places), near.weight)
        left = at.values(near.places) - near.places @ weights
        return Approximation(weights, near.weight @ left / near.weight.sum())

    def error(self, at: Tokens, of: Approximation) -> Tensor:
        """Return the mean loss of any linear function in this neighbourhood, [T]."""
        near = self.around(at)
        if self.loss == "squared":
            square = (at.values(near.places) - of(near.places)).square()
        else:
            square = (at.gradients(near.places) - of.weights).square().sum(1)
        exact = near.weight.isinf()
        weight = near.weight[~exact]
        mean = weight @ square[~exact] / weight.sum()
        return mean.masked_fill((square[exact] > 1e-12).any(0), torch.inf)


def twins(samples: int = 8, draws: int = 200) -> dict[str, tuple[Method, LocalApproximation]]:
    """Return methods of the package, each with the neighbourhood and loss that give its scores.

    Args:
        samples: of noise on each coordinate.
        draws: of noise on each input.
    """
    lime, shap = partial(subsets, kernel=exponential), partial(subsets, kernel=shapley)
    return {
        "saliency": (methods.Saliency(), LocalApproximation(here, "gradient", Entries)),
        "smooth_grad": (
            methods.SmoothGrad(samples=samples),
            LocalApproximation(partial(cloud, sigma=0.15, samples=samples), "gradient", Entries),
        ),
        "input_x_gradient": (methods.InputXGradient(), LocalApproximation(here, "gradient")),
        "integrated_gradients": (
            methods.IntegratedGradients(steps=96, rule="gauss_legendre"),
            LocalApproximation(partial(segment, nodes=96), "gradient"),
        ),
        "occlusion": (methods.Occlusion(), LocalApproximation(without_one)),
        "lime": (methods.Lime(), LocalApproximation(lime)),
        "c_lime": (
            methods.CLime(samples=draws),
            LocalApproximation(partial(pairs, sigma=0.15, samples=draws)),
        ),
        "kernel_shap": (methods.KernelShap(samples=510), LocalApproximation(shap)),
        "banzhaf": (
            methods.Banzhaf(samples=512),
            LocalApproximation(partial(subsets, kernel=even)),
        ),
    }


def unavoidable(value: Tensor) -> Tensor:
    """Return what every linear function errs by on some subset, at least, [T].

    Of f with and without two inputs the mixed difference is 0 for a linear function, so that of the
    four errors one is a quarter of it.

    Args:
        value: f of all subsets in the order of :func:`subsets`, [2^n, T].
    """
    count = len(value).bit_length() - 1
    cube = value.reshape(*[2] * count, -1)
    mixed = [cube.diff(dim=i).diff(dim=j) for i, j in combinations(range(count), 2)]
    return torch.stack([m.abs().flatten(0, -2).amax(0) for m in mixed]).amax(0) / 4


def main() -> None:
    """Print how far methods are from the solver, relative to their largest scores."""
    model, tokenizer = hf_attrib.embedded.load("keys-llama")
    explainer = hf_attrib.Explainer(model.double(), tokenizer)
    asked = partial(explainer.explain, "Ada's key is red.", response=" Bob's")
    for name, (method, twin) in twins().items():
        one = asked(method=method, baseline="mean" if method.claims.baseline else None).scores
        other = asked(method=twin, baseline="mean").scores
        print(f"{name:22}{float((one - other).abs().max() / one.abs().max()):9.1e}")


if __name__ == "__main__":
    main()

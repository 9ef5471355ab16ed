"""C-LIME, with noise along tokens. Agarwal et al. 2021, arXiv:2102.10618."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.field import Cost, Decomposition, Field, Path
from hf_attrib.hyperparameters import at_least, even, hyperparameter, positive
from hf_attrib.integration import generator
from hf_attrib.methods.base import Claims, Method
from hf_attrib.methods.perturbation.game import players, readable
from hf_attrib.methods.perturbation.regression import check_enough, least_squares

__all__ = ["CLime"]


@dataclass(frozen=True)
class CLime(Method, name="c_lime"):
    r"""The weights of the linear function that is nearest to f on Gaussian noise around the input.

    .. math:: \min_{c, A} \sum_j \Big(f_t(z_j) - c - \sum_i \eta_{ji} A_{t,i}\Big)^2, \qquad
        z_j = x + \eta_j \odot (x - x'), \quad \eta_{ji} \sim \mathcal N(0, \sigma^2)

    Each player moves as a whole, towards x' or away from it. Noise on each coordinate, as in the
    paper, would give as many weights as coordinates and take as many samples at least; and a sum of
    them over a token would be in no unit of f. Noise comes with its negative, so that a pair is one
    row of the regression, which has no c then. With many samples scores go to those of
    ``input_x_gradient`` averaged over that noise, by Stein's lemma, and with little noise to those
    at x, for which no gradient is needed. Standard errors are a jackknife's over pairs.

    Args:
        samples: S, noisy inputs.
        sigma: standard deviation of the noise, in lengths of x - x'.
        seed: of the noise.

    Returns:
        scores [B, T, G]; their sum is nothing in particular (units of f).

    Raises:
        InputError: ``samples`` is not even, or below three for each player; or ``sigma`` is not
            positive.

    Source: arXiv:2102.10618.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]])
    >>> CLime()(product, x, torch.zeros_like(x)).scores
    tensor([[[6., 6.]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        stochastic=True,
        cost="S + 1 forward rows, 0 backward rows",
        axioms=frozenset({"implementation_invariance", "linearity"}),
        groups="players",
    )
    samples: int = hyperparameter(1000, "Samples S.", even(4))
    sigma: float = hyperparameter(0.15, "Noise, in lengths of x - x'.", positive)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(values=self.samples).exactly()

    def moving(self, field: Field, x: Tensor, baseline: Tensor) -> int:
        """Return how many players there are."""
        return int(players(field, x, baseline, "embed").sum())

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Run forward at noisy inputs, and fit what f does to the noise."""
        plays = players(field, x, baseline, "embed")
        noise = torch.stack([self._noise(own) for own in plays])
        of_input = noise.gather(2, field.groups.owner[:, None].expand(-1, noise.shape[1], -1))
        line = _there_and_back(x, x - baseline, of_input)
        value = field.values(line, torch.arange(self.samples)).double().cpu()
        odd = (value[::2] - value[1::2]) / 2  # [S / 2, B, T]
        fits = [least_squares(rows, odd[:, b]) for b, rows in enumerate(noise)]
        counts = readable(field) & plays[:, None]
        found, error = (
            torch.stack(part).mT.masked_fill(~counts, 0).to(x) for part in zip(*fits, strict=True)
        )
        return Decomposition(found, start_value=None, standard_error=error)

    def _noise(self, plays: Tensor) -> Tensor:
        """Return the first of each pair of noises of G groups, 0 where these do not play, [S/2, G].

        Args:
            plays: which groups of one sequence play, [G] bool.
        """
        count = int(plays.sum())
        check_enough(self.samples, count)
        drawn = torch.zeros(self.samples // 2, len(plays), dtype=torch.float64)
        draw = generator(self.seed, "c_lime")
        drawn[:, plays] = (
            self.sigma
            * torch.randn(len(drawn), count, generator=draw, dtype=torch.float32).double()
        )
        return drawn


def _there_and_back(x: Tensor, along: Tensor, noise: Tensor) -> Path:
    """Map numbers of samples to inputs moved by noise [B, S/2, N], each there and then back."""

    def path(numbers: Tensor) -> tuple[Tensor, Tensor]:
        sign = 1 - 2 * (numbers % 2)
        moved = noise[:, numbers // 2] * sign[:, None]  # [B, k, N]
        points = x + moved.transpose(0, 1)[:, :, None, :, None].to(x) * along
        return points, torch.zeros_like(x)[None]

    return path

"""Any method averaged over noisy inputs, as SmoothGrad does. Smilkov et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.integration import Average, noise
from hf_attrib.methods.base import Claims, Cost, Method, held, of_sample

__all__ = ["NoiseAverage"]


@dataclass(frozen=True)
class NoiseAverage(Method, name="noise_average"):
    r"""Scores of another method, averaged over noisy inputs.

    .. math:: A = \frac{1}{S} \sum_j A^\mathrm{inner}(x + \epsilon_j),
        \qquad \epsilon_j \sim \mathcal N(0, \sigma^2)

    Args:
        inner: a method, its name, or its name and fields, as in ``"idgi(steps=8)"``; if it draws
            samples, it gets other random numbers for each of ours.
        samples: S.
        sigma: standard deviation of the noise in units of the embedding scale.
        seed: of the noise.

    Returns:
        scores [B, T, N]; where the inner ones sum to f(x) - f(x'), the mean of f over the noise
        takes the place of f(x).

    Raises:
        InputError: ``samples`` is below 2, ``sigma`` is not positive, or there is no such method.

    Source: arXiv:1706.03825.
    """

    inner: str | Method = hyperparameter(
        "integrated_gradients(steps=64)",
        "The method to average, as NAME or 'NAME(FIELD=VALUE)'.",
        lambda _, inner: held(inner),
    )
    samples: int = hyperparameter(10, "Samples S.", at_least(2))
    sigma: float = hyperparameter(0.15, "Noise, in embedding scales.", positive)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    @property
    def claims(self) -> Claims:
        """What the inner method claims, in the mean."""
        inner = held(self.inner).claims
        return inner.over_noise(inner.cost_of_samples(" + 1"))

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        least, most = held(self.inner).cost(targets, inputs)
        # Where the inner method has a reference, f of the noisy input is found as well.
        more = replace(most, values=most.values + 1)
        return least.times(self.samples), more.times(self.samples)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Average over the noise."""
        average, inner = Average(), held(self.inner)
        for j in range(self.samples):
            noisy = x + self.sigma * noise(field, x, self.seed, j)
            found = of_sample(inner, self.seed, j)(field, noisy, baseline)
            if found.start_value is not None and found.end_value is None:
                found = replace(found, end_value=field.value(noisy[None])[0])
            average.add(found)
        return average.result()

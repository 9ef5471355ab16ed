"""Any method averaged over references drawn from a distribution. Erion et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter
from hf_attrib.integration import Average
from hf_attrib.methods.base import Claims, Cost, Method, held, of_sample

__all__ = ["BaselineAverage"]


@dataclass(frozen=True)
class BaselineAverage(Method, name="baseline_average"):
    r"""Scores of another method, averaged over drawn references.

    .. math:: A = \frac{1}{S} \sum_j A^\mathrm{inner}(x; x'_j)

    Unlike expected gradients it integrates to the end from each reference, so that each sample,
    and not only their mean, keeps the inner method's identity.

    Args:
        inner: a method, its name, or its name and fields, as in ``"idgi(steps=8)"``; if it draws
            samples, it gets other random numbers for each of ours.
        samples: S.
        seed: of the references.

    Returns:
        scores [B, T, N]; where the inner ones sum to f(x) - f(x'), the mean of f over the
        references takes the place of f(x').

    Raises:
        InputError: ``samples`` is below 2, or there is no such method, or it has no baseline or
            averages over references itself.

    Source: arXiv:1906.10670.
    """

    inner: str | Method = hyperparameter(
        "integrated_gradients(steps=64)",
        "The method to average, as NAME or 'NAME(FIELD=VALUE)'.",
        lambda _, inner: held(inner),
    )
    samples: int = hyperparameter(10, "Samples S.", at_least(2))
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        name, claims = held(self.inner).name, held(self.inner).claims
        if claims.baseline is None:
            raise InputError(f"inner is {name}, which has no baseline; take it alone.")
        if claims.many_references:
            raise InputError(
                f"inner is {name}, which averages over references itself; take it alone."
            )

    @property
    def claims(self) -> Claims:
        """What the inner method claims, in the mean."""
        inner = held(self.inner).claims
        return replace(
            inner,
            identity=inner.identity and inner.identity.replace("- f(x')", "- E f(x')", 1),
            stochastic=True,
            cost=inner.cost_of_samples(" - S + 1"),
            many_references=True,
            baseline="vocabulary",
        )

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        least, most = held(self.inner).cost(targets, inputs)
        return least.times(self.samples), most.times(self.samples)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Average over references."""
        average, inner = Average(), held(self.inner)
        for j in range(self.samples):
            reference = field.space.reference(j, self.seed).expand_as(x)
            average.add(of_sample(inner, self.seed, j)(field, x, reference))
        return average.result()

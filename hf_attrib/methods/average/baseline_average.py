"""Any method averaged over references drawn from a distribution. Erion et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least
from hf_attrib.integration import Average
from hf_attrib.methods.base import AXIOMS, Claims, Method, Rows, held, of_sample

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

    claims: ClassVar = Claims(
        signed=True,
        identity="f(x) - E f(x')",
        stochastic=True,
        cost="S * (K + 1) + 1 forward rows, S * K * T backward rows",
        axioms=frozenset(AXIOMS),
        many_references=True,
        baseline="vocabulary",
    )
    inner: str | Method = field(
        default="integrated_gradients(steps=64)",
        metadata={"help": "The method to average, as NAME or 'NAME(FIELD=VALUE)'."},
    )
    samples: int = field(default=10, metadata={"help": "Samples S."})
    seed: int = field(default=0, metadata={"help": "Seed of all random numbers."})

    def __post_init__(self) -> None:
        at_least(2, samples=self.samples)
        at_least(0, seed=self.seed)
        object.__setattr__(self, "inner", held(self.inner))
        name, claims = held(self.inner).name, held(self.inner).promises()
        if claims.baseline is None:
            raise InputError(f"inner is {name}, which has no baseline; take it alone.")
        if claims.many_references:
            raise InputError(
                f"inner is {name}, which averages over references itself; take it alone."
            )

    def promises(self) -> Claims:
        """Claim what the inner method does, in the mean."""
        inner = held(self.inner).promises()
        identity = inner.identity and inner.identity.replace("- f(x')", "- E f(x')", 1)
        return replace(
            inner,
            identity=identity,
            stochastic=True,
            cost=f"S times {inner.cost}",
            many_references=True,
            baseline=self.claims.baseline,
        )

    def rows(self, targets: int, inputs: int) -> tuple[Rows, Rows]:
        """Return the rows run at least and at most."""
        least, most = held(self.inner).rows(targets, inputs)
        return least.times(self.samples), most.times(self.samples)

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Average over references."""
        average, inner = Average(), held(self.inner)
        for j in range(self.samples):
            reference = field.space.reference(j, self.seed).expand_as(x)
            average.add(of_sample(inner, self.seed, j)(field, x, reference))
        return average.result()

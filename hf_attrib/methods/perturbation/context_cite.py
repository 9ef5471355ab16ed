"""ContextCite. Cohen-Wang, Shah, Georgiev, Madry 2024, arXiv:2409.00729."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.integration import generator
from hf_attrib.methods.base import Claims
from hf_attrib.methods.perturbation.base import Perturbation
from hf_attrib.methods.perturbation.game import Game, Solution
from hf_attrib.methods.perturbation.regression import uniform
from hf_attrib.methods.perturbation.values import all_subsets

__all__ = ["ContextCite"]

#: Parts of the subsets that are left out by turns, for standard errors.
_PARTS = 8


@dataclass(frozen=True)
class ContextCite(Perturbation, name="context_cite"):
    r"""The weights of a sparse linear function that is near to f on subsets: most are 0.

    .. math:: \min_{c, A} \frac{1}{2S} \sum_S \Big(v_t(S) - c - \sum_{i \in S} A_{t,i}\Big)^2
        + \lambda \sum_i s_i |A_{t,i}|

    S has each player by a fair coin, and :math:`s_i` is the standard deviation of whether i is in
    it. For a span of T tokens :math:`\lambda` is T times ``penalty``. The paper explains the
    log-odds of a whole answer by the sentences of a context that are cut out:
    ``explain(..., target="log_odds", spans="response", groups="sentence", mode="drop")``. All
    subsets are run where these are no more. Standard errors are a jackknife's over eight parts.
    It takes scikit-learn (``pip install hf_attrib[sparse]``).

    Args:
        samples: S, subsets.
        penalty: of each token explained.
        seed: of the subsets.
        mode: how inputs are taken away.

    Returns:
        scores [B, T, G]; their sum is nothing in particular (units of f).

    Raises:
        InputError: scikit-learn is not installed, or a field is out of range.

    Source: arXiv:2409.00729.

    >>> from hf_attrib.field import FunctionField
    >>> total = FunctionField(lambda z: z.sum(1), targets=1, positions=2)
    >>> x = torch.tensor([[[[0.01], [3.0]]]])
    >>> ContextCite()(total, x, torch.zeros_like(x)).scores
    tensor([[[0.0000, 2.9800]]])
    """

    CLAIMS: ClassVar[Claims] = Claims(
        stochastic=True,
        cost="S + 1 forward rows, 0 backward rows; 2^N for few N",
        axioms=frozenset({"implementation_invariance"}),
        groups="players",
    )
    samples: int = hyperparameter(64, "Samples S.", at_least(_PARTS))
    penalty: float = hyperparameter(0.01, "Penalty on the size of scores.", positive)
    seed: int = hyperparameter(0, "Seed of all random numbers.", at_least(0))

    def subsets(self, count: int) -> Tensor:
        """Return subsets by fair coins, or all subsets."""
        if 2**count <= self.samples:
            return all_subsets(count)
        return uniform(count, self.samples, generator(self.seed, "context_cite"))

    def solve(self, subsets: Tensor, value: Tensor) -> Solution:
        """Return the coefficients of the lasso."""
        found = self._fit(subsets, value)
        if len(subsets) == 2 ** subsets.shape[1]:
            return Solution(found, standard_error=torch.zeros_like(found))
        rows = torch.arange(len(subsets)) % _PARTS
        parts = [self._fit(subsets[rows != k], value[rows != k]) for k in range(_PARTS)]
        spread = torch.stack(parts).var(0, correction=0) * (_PARTS - 1)
        return Solution(found, standard_error=spread.sqrt())

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Explain the mean of each span's tokens, so that the penalty is one of each token."""
        _lasso()  # before anything runs
        game = Game(field, x, baseline, self.mode)
        tokens = field.target_table.tokens.double().clamp_min(1)
        solutions = []
        for (asked, value), many in zip(self.asked(game), tokens, strict=True):
            found = self.result(asked, value / many)
            error = found.standard_error
            assert error is not None
            solutions.append(Solution(found.scores * many, standard_error=error * many))
        return game.decomposition(solutions)

    def _fit(self, subsets: Tensor, value: Tensor) -> Tensor:
        """Return the coefficients of standardised columns, scaled back, [n, T]."""
        plays = subsets.double()
        deviation = plays.std(0, correction=0)
        rows = (plays - plays.mean(0)) / torch.where(deviation > 0, deviation, 1)
        solver = _lasso()(alpha=self.penalty, tol=1e-9, max_iter=100_000)
        solver.fit(rows.numpy(), (value - value.mean(0)).numpy())
        found = torch.from_numpy(solver.coef_.reshape(value.shape[1], -1)).double().T
        return torch.where(deviation[:, None] > 0, found / deviation[:, None], 0.0)


def _lasso() -> Any:
    try:
        from sklearn.linear_model import Lasso
    except ImportError:
        raise InputError(
            "context_cite takes scikit-learn, which is not installed; "
            "pip install 'hf_attrib[sparse]', or take banzhaf, which is the same without sparsity."
        ) from None
    return Lasso

"""The frozen result of a question about pairs: what two groups of inputs do together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.results.protocol import Result
from hf_attrib.results.run import Run
from hf_attrib.results.tables import data_frame
from hf_attrib.text import Span, Tokens, TokenSequence

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Interactions", "Pair"]

_OF_ROWS = ("start_value", "end_value", "probability")


class Pair(NamedTuple):
    """What two groups do together, for all targets or for one."""

    #: Numbers of the two, the one that is read first before the other.
    first: int
    second: int
    first_piece: str
    second_piece: str
    score: float


@dataclass(frozen=True, eq=False)
class Interactions(Result):
    r"""What pairs of G groups of inputs do together for each of T generated tokens.

    The matrix of a target is symmetric. Its diagonal has main effects, what a group does by itself;
    off it, A[t, i, j] is what two groups do together beyond that: above 0 where they support the
    token together, below 0 where each makes the other superfluous, or works against it. Each pair
    stands in two places and counts once.

    Where ``run.identity`` names f(x) - f(x'), :math:`\sum_{i \le j} A_{t,ij}` is the change from
    ``start_value`` to ``end_value``, up to :attr:`gap`; and a main effect with half of its pairs is
    what the group has of it, its Shapley value or integrated gradient. Of the Shapley interaction
    index the main effects are Shapley values and sum to that change alone, and pairs to nothing.

    All tensors are on the CPU, in float64.

    Args:
        matrix: :math:`A`, [T, G, G]; where one group was paired with all others, NaN but for its
            row and column.
        attribution: what each group has, half of each of its pairs included, [T, G].
        inputs: the tokens that the groups are made of.
        response: the tokens that the rows are made of.
        start_value: f at the reference input, [T].
        end_value: f(x) of each target, [T].
        probability: the model's own probability of each row's tokens, [T].
        run: method, target, model, cost.
        rows: T spans of the response; none given means each token.
        columns: G spans that partition the inputs; none given means each token.
        token: number of the group that was paired with all others, or ``None`` if all were paired.
        standard_error: of each score, [T, G, G], or ``None`` if the method draws no samples.
        sequence: all that the model read and generated, from which ``inputs`` and ``response`` are
            taken.
    """

    matrix: Tensor
    attribution: Tensor
    inputs: Tokens
    response: Tokens
    start_value: Tensor
    end_value: Tensor
    probability: Tensor
    run: Run = field(repr=False)
    rows: tuple[Span, ...] = field(default=(), repr=False)
    columns: tuple[Span, ...] = field(default=(), repr=False)
    token: int | None = None
    standard_error: Tensor | None = field(default=None, repr=False)
    sequence: TokenSequence | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows or self.response.singles())
        object.__setattr__(self, "columns", self.columns or self.inputs.singles())
        if not self.rows:
            raise ValueError("there are no rows: no generated token was explained")
        if self.sequence is not None:
            self.sequence.check_parts(self.inputs, self.response, self.run.attribute_to)
        self.inputs.check_partition(self.columns)
        self.response.check_within(self.rows)
        count, groups = len(self.rows), len(self.columns)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_OF_ROWS, (count,))
        shapes |= dict.fromkeys(("matrix", "standard_error"), (count, groups, groups))
        for name, shape in (shapes | {"attribution": (count, groups)}).items():
            given = getattr(self, name)
            if given is not None and tuple(given.shape) != shape:
                raise ValueError(f"{name} is {tuple(given.shape)}, expected {shape}")
        if not torch.equal(self.matrix.nan_to_num(), self.matrix.mT.nan_to_num()):
            raise ValueError("the matrix is not symmetric")
        if self.token is not None and not 0 <= self.token < groups:
            raise ValueError(f"group {self.token} is none of {groups}")
        if bool(((self.probability < 0) | (self.probability > 1)).any()):
            raise ValueError("probability reaches beyond 0 to 1")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Text of each of the G groups."""
        return tuple(map(self.inputs.piece, self.columns))

    @property
    def response_pieces(self) -> tuple[str, ...]:
        """Text of each of the T rows."""
        return tuple(map(self.response.piece, self.rows))

    @property
    def main(self) -> Tensor:
        """Main effects, [T, G]."""
        return self.matrix.diagonal(dim1=1, dim2=2)

    @property
    def total(self) -> Tensor:
        """The matrix summed over the response, [G, G]."""
        return self.matrix.sum(0)

    @property
    def sums(self) -> Tensor:
        """What main effects and pairs sum to, each pair once, [T].

        Where one group alone was paired, it is what all groups have at the same nodes.
        """
        if self.token is not None:
            return self.attribution.sum(-1)
        return self.matrix.triu().sum((-1, -2))

    @property
    def gap(self) -> Tensor:
        r"""Relative completeness gap of each target, [T]; NaN where the method has no identity.

        :math:`|\mathrm{sums}_t - \Delta_t| / \max(|\Delta_t|, r)` with :math:`\Delta_t` the change
        from ``start_value`` to ``end_value`` and r the target's resolution.
        """
        change = self.end_value - self.start_value
        if self.run.identity is None:
            return torch.full_like(change, torch.nan)
        return (self.sums - change).abs() / change.abs().clamp_min(self.run.resolution)

    @property
    def converged(self) -> Tensor:
        """Whether each target's gap is within the tolerance, [T] bool; False without an identity.

        It speaks of the sum. :attr:`disagreement` speaks of the rows.
        """
        return self.gap <= self.run.tolerance

    @property
    def disagreement(self) -> Tensor:
        """How far row sums are from what groups have by the other way it was found, [T].

        The largest difference of a main effect with half of its pairs from ``attribution``, in
        units of f: rounding of exact values, or the error of second derivatives that are
        differences of gradients. NaN where the method has no identity.
        """
        if self.run.identity is None:
            return torch.full_like(self.start_value, torch.nan)
        found = (self.matrix.sum(-1) + self.main) / 2
        return (found - self.attribution).abs().nan_to_num(0).amax(-1)

    def strongest(self, k: int = 10, row: int | None = None) -> tuple[Pair, ...]:
        """Return the k pairs with the largest magnitude, strongest first; those of 0 are left out.

        Args:
            k: how many.
            row: for one of the T rows; by default for their sum.

        Raises:
            InputError: ``k`` is below 1, or there is no such row.
        """
        k = plain_number(k)
        if type(k) is not int or k < 1:
            raise InputError(f"k is {k!r:.80}; expected how many pairs to return, at least 1.")
        row = plain_number(row)
        if row is not None and (type(row) is not int or not -len(self) <= row < len(self)):
            raise InputError(f"row {row!r:.80} is none of the {len(self)} generated tokens.")
        scores = self.total if row is None else self.matrix[row]
        labels = self.labels
        places = torch.triu_indices(len(labels), len(labels), 1).T.tolist()
        found = [Pair(i, j, labels[i], labels[j], float(scores[i, j])) for i, j in places]
        # What is no number in a row that was asked for comes first, as it must be seen.
        asked = [p for p in found if self.token in (None, p.first, p.second) and p.score != 0]
        size = {p: math.inf if math.isnan(p.score) else abs(p.score) for p in asked}
        return tuple(sorted(asked, key=lambda p: -size[p])[:k])

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a record for each main effect and each pair of each of the T rows.

        Of a main effect ``second`` and ``second_piece`` are those of the group itself. Pairs that
        were not asked for are left out.
        """
        labels, errors = self.labels, self.standard_error
        places = torch.triu_indices(len(labels), len(labels)).T.tolist()
        gap, probability = self.gap.tolist(), self.probability.tolist()
        return [
            {
                "generated": t,
                "generated_piece": piece,
                "probability": probability[t],
                "gap": gap[t],
                "first": i,
                "first_piece": labels[i],
                "second": j,
                "second_piece": labels[j],
                "kind": "main effect" if i == j else "pair",
                "score": float(self.matrix[t, i, j]),
                "standard_error": None if errors is None else float(errors[t, i, j]),
            }
            for t, piece in enumerate(self.response_pieces)
            for i, j in places
            if self.token in (None, i, j)
        ]

    def to_dataframe(self) -> DataFrame:
        """Return :meth:`to_rows` as a pandas data frame (``pip install hf_attrib[table]``)."""
        return data_frame(self.to_rows())

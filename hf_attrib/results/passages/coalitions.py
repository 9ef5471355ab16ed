"""What an answer is worth with some of the passages only: a table, and all that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number

__all__ = ["Coalitions", "Rows", "SubsetMissing", "code_of", "is_necessary", "players_of"]

#: Rows of the table of values that are summed: from the first to behind the last; by default all.
Rows = tuple[int, int] | None

#: Odds are counted as long as the probability of anything else is above this: up to 19 to 1.
_SURE = 1 / 20


class SubsetMissing(InputError):
    """A subset of the passages was asked for that was not run; ``kept`` says which."""

    def __init__(self, kept: Iterable[int], count: int) -> None:
        self.kept = tuple(sorted(kept))
        named = ", ".join(f"[{i + 1}]" for i in self.kept) or "none of them"
        super().__init__(
            f"the model was not run with {named} alone of the {count} passages, so that this "
            "cannot be told; ask again with a larger budget, or about fewer passages."
        )


def code_of(kept: Iterable[int]) -> int:
    """Return the number of a subset, whose bit i is set where player i is in it."""
    return sum(1 << i for i in set(kept))


def players_of(code: int) -> tuple[int, ...]:
    """Return the players of the subset of a number, in order."""
    return tuple(i for i in range(code.bit_length()) if code >> i & 1)


@dataclass(frozen=True, eq=False)
class Coalitions:
    r"""Log-probabilities of an answer's T tokens with some of n passages and all of the rest.

    .. math:: \ell(S) = \sum_{t \in \mathrm{rows}} \log p_t(\text{prompt with the passages } S)

    Every quantity is about such a sum over rows ``(start, stop)`` of the table, by default all. It
    is a sum over what is in the table, so that any part of the answer can be asked about later.

    Args:
        subsets: which passages are kept, [R, n] bool; that of all, that of none, and others.
        values: log-probability of each token with these alone, [R, T], in nats.

    Raises:
        ValueError: shapes do not fit, a subset is there twice, or all or none are not there.

    >>> table = Coalitions(torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]]) == 1,
    ...                    torch.tensor([[-6.0], [-1.0], [-1.0], [-1.0]]))
    >>> table.shapley().tolist(), table.leave_one_out().tolist(), table.drop([0, 1])
    ([2.5, 2.5], [0.0, 0.0], 5.0)
    """

    subsets: Tensor
    values: Tensor
    _place: dict[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.subsets.dim() != 2 or self.values.dim() != 2 or self.subsets.shape[1] < 1:
            raise ValueError("subsets are [R, n] and values [R, T], n at least 1")
        if self.subsets.dtype != torch.bool or len(self.subsets) != len(self.values):
            raise ValueError("subsets are flags, one row of them for each row of values")
        object.__setattr__(self, "values", self.values.double().cpu())
        codes = [code_of(i for i, flag in enumerate(row) if flag) for row in self.subsets.tolist()]
        place = {code: row for row, code in enumerate(codes)}
        if len(place) != len(codes):
            raise ValueError("a subset is there twice")
        if not {0, (1 << self.count) - 1} <= set(place):
            raise ValueError("the subsets of all and of no passages must be there")
        object.__setattr__(self, "_place", place)

    @property
    def count(self) -> int:
        """How many passages there are, n."""
        return self.subsets.shape[1]

    @property
    def complete(self) -> bool:
        """Whether every subset is there."""
        return len(self._place) == 1 << self.count

    def knows(self, kept: Iterable[int]) -> bool:
        """Tell whether a subset is there."""
        return code_of(kept) in self._place

    def value(self, kept: Iterable[int], rows: Rows = None) -> float:
        r"""Return :math:`\ell` of the passages of these numbers, in nats.

        Raises:
            SubsetMissing: it was not run.
        """
        kept = self._checked(kept)
        code = code_of(kept)
        if code not in self._place:
            raise SubsetMissing(kept, self.count)
        return float(self._of(rows)[self._place[code]].sum())

    def odds(self, rows: Rows = None) -> Coalitions:
        r"""Return the table of the log-odds of these rows together, [R, 1], counted up to 19 to 1.

        .. math:: \omega(S) = \ell(S) - \log \max(1 - e^{\ell(S)}, \tfrac{1}{20})

        Log-probabilities of what is unlikely anyway move by more than of what is nearly sure, so
        that a threshold on them takes noise for support; log-odds move alike. They end at 19 to 1,
        since what is said in 99 instead of 99.99 % of all cases has lost next to nothing.

        >>> table = Coalitions(torch.tensor([[0], [1]]) == 1, torch.tensor([[0.1], [0.9]]).log())
        >>> round(table.odds().drop([0]), 4)  # the odds fall from 9 : 1 to 1 : 9, by log(81)
        4.3944
        """
        total = self._of(rows).sum(1, keepdim=True)
        against = (-torch.expm1(total)).clamp_min(_SURE)
        return Coalitions(self.subsets, total - against.log())

    def gain(self, rows: Rows = None) -> float:
        r"""Return :math:`\ell(\text{all}) - \ell(\emptyset)`, in nats."""
        return self.value(range(self.count), rows) - self.value((), rows)

    def drop(self, some: Iterable[int], rows: Rows = None) -> float:
        r"""Return :math:`\ell(\text{all}) - \ell(\text{all} \setminus S)`, the need of S, in nats.

        Raises:
            SubsetMissing: what is left was not run.
        """
        left = set(range(self.count)) - set(self._checked(some))
        return self.value(range(self.count), rows) - self.value(left, rows)

    def hold(self, some: Iterable[int], rows: Rows = None) -> float:
        r"""Return :math:`\ell(\text{all}) - \ell(S)`, in nats: 0 where S does as well as all.

        Raises:
            SubsetMissing: S was not run alone.
        """
        return self.value(range(self.count), rows) - self.value(some, rows)

    def leave_one_out(self, rows: Rows = None) -> Tensor:
        """Return the drop of each passage alone, [n], in nats.

        Raises:
            SubsetMissing: the others of one were not run.
        """
        found = [self.drop([i], rows) for i in range(self.count)]
        return torch.tensor(found, dtype=torch.float64)

    def shapley(self, rows: Rows = None) -> Tensor:
        r"""Return Shapley values, [n], in nats; they sum to the gain.

        .. math:: \phi_i = \sum_{S \ni i} m(S) / |S|, \quad
            m(S) = \sum_{Q \subseteq S} (-1)^{|S| - |Q|} \ell(Q)

        Raises:
            SubsetMissing: the table is not complete.

        Source: Harsanyi's dividends, doi:10.2307/2525487.
        """
        own, size = self._dividends(rows)
        return self._members.T @ (own / size.clamp_min(1))

    def banzhaf(self, rows: Rows = None) -> Tensor:
        r"""Return what each passage adds in the mean over all subsets of the others, [n], in nats.

        .. math:: \beta_i = \sum_{S \ni i} m(S) / 2^{|S| - 1}

        Raises:
            SubsetMissing: the table is not complete.
        """
        own, size = self._dividends(rows)
        return self._members.T @ (own * 2 ** (1 - size))

    def interactions(self, rows: Rows = None) -> Tensor:
        r"""Return what pairs do together beyond both alone, [n, n], in nats, 0 on the diagonal.

        .. math:: I_{ij} = \sum_{S \supseteq \{i,j\}} m(S) / (|S| - 1)

        Below 0 where one makes the other superfluous, above 0 where each needs the other. This is
        the Shapley interaction index.

        Raises:
            SubsetMissing: the table is not complete.

        Source: Grabisch, Roubens 1999, doi:10.1007/s001820050125.
        """
        own, size = self._dividends(rows)
        shared = (own / (size - 1).clamp_min(1))[:, None] * self._members
        found = self._members.T @ shared
        return found.fill_diagonal_(0)

    def necessary(self, threshold: float, rows: Rows = None) -> tuple[tuple[int, ...], ...]:
        """Return the smallest sets without which the answer loses the threshold, in nats.

        No member is along for the ride: without any one of them such a set would cost less by half
        of the threshold.

        Raises:
            SubsetMissing: the table is not complete.
        """
        return self._smallest(lambda some: is_necessary(self, some, threshold, rows))

    def sufficient(self, threshold: float, rows: Rows = None) -> tuple[tuple[int, ...], ...]:
        """Return the smallest sets with which alone the answer loses less than the threshold.

        The empty set is one where passages gain less than that.

        Raises:
            SubsetMissing: the table is not complete.
        """
        return self._smallest(lambda some: self.hold(some, rows) < threshold)

    def _smallest(self, holds: Callable[[tuple[int, ...]], bool]) -> tuple[tuple[int, ...], ...]:
        self._check_complete()
        for size in range(self.count + 1):
            some = combinations(range(self.count), size)
            if found := tuple(filter(holds, some)):
                return found
        return ()

    def _checked(self, some: Iterable[int]) -> Sequence[int]:
        if isinstance(some, str | bytes) or not isinstance(some, Iterable):
            raise InputError(
                f"passages are {some!r:.80}; expected a list of their numbers, which count from 0."
            )
        numbers = [plain_number(each) for each in some]
        if not all(type(i) is int and 0 <= i < self.count for i in numbers):
            raise InputError(
                f"{numbers!r:.80} are no numbers of the {self.count} passages, which count from 0."
            )
        return numbers

    def _of(self, rows: Rows) -> Tensor:
        """Return the values of some rows of the answer, [R, rows]."""
        if rows is None:
            return self.values
        start, stop = rows
        if not 0 <= start < stop <= self.values.shape[1]:
            raise InputError(f"rows {rows!r:.80} are none of {self.values.shape[1]} tokens.")
        return self.values[:, start:stop]

    @cached_property
    def _members(self) -> Tensor:
        """Return which players are in each subset, in the order of their numbers, [2^n, n]."""
        found = torch.arange(1 << self.count)[:, None] >> torch.arange(self.count) & 1
        return found.double()

    def _check_complete(self) -> None:
        missing = next((c for c in range(1 << self.count) if c not in self._place), None)
        if missing is not None:
            raise SubsetMissing(players_of(missing), self.count)

    def _dividends(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return what each subset adds that none of its parts does, and its size, [2^n] each."""
        self._check_complete()
        order = [self._place[code] for code in range(1 << self.count)]
        found = self._of(rows).sum(1)[order]
        for player in range(self.count):
            halves = found.view(-1, 2, 1 << player)
            halves[:, 1] -= halves[:, 0].clone()
        return found, self._members.sum(1)


def is_necessary(
    table: Coalitions, some: Sequence[int], threshold: float, rows: Rows = None
) -> bool:
    """Tell whether the answer loses the threshold without a set, to which each member adds.

    Args:
        table: of the passages.
        some: their numbers.
        threshold: in nats.
        rows: of the answer.

    Raises:
        SubsetMissing: a subset that decides was not run.
    """
    lost = table.drop(some, rows)
    if not some or not lost >= threshold:  # of what is no number nothing is said
        return False
    parts = ([j for j in some if j != i] for i in some)
    return all(lost - table.drop(part, rows) >= threshold / 2 for part in parts)

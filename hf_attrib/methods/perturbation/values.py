"""Values of games of which every subset is known: sums of what a player adds, by size of subset."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import torch
from torch import Tensor

from hf_attrib.methods.perturbation.game import Solution

__all__ = ["all_subsets", "neighbours", "pair_values", "semivalues", "shapley_weights"]


def all_subsets(count: int) -> Tensor:
    """Return every subset of n players, [2^n, n] bool; row r has those whose bit of r is set."""
    return (torch.arange(2**count)[:, None] >> torch.arange(count)) % 2 == 1


def neighbours(value: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each player the values of subsets with it and without it, [2^(n-1), T] each.

    Args:
        value: of :func:`all_subsets`, [2^n, T].
    """
    code = torch.arange(len(value))
    for player in range(len(value).bit_length() - 1):
        without = code[(code >> player) % 2 == 0]
        yield value[without | (1 << player)], value[without]


def shapley_weights(count: int) -> Tensor:
    """Return the weights of subsets of k of the other players, for k from 0 to n - 1."""
    shares = [1 / (count * comb(count - 1, k)) for k in range(count)]
    return torch.tensor(shares, dtype=torch.float64)


def semivalues(value: Tensor, weight: Tensor, start: Tensor | None = None) -> Solution:
    """Return weighted sums of what each player adds to subsets of the others, without an error.

    Args:
        value: of :func:`all_subsets`, [2^n, T].
        weight: of subsets of k of the others, [n].
        start: what scores are relative to, [T].
    """
    size = all_subsets(len(weight) - 1).sum(1)  # of subsets without a player, in order
    gains = [weight[size] @ (more - less) for more, less in neighbours(value)]
    found = torch.stack(gains)
    return Solution(found, start, torch.zeros_like(found))


def pair_values(value: Tensor, weight: Tensor) -> Tensor:
    r"""Return weighted sums of what pairs do together, [n, n, T], 0 on the diagonal.

    That is :math:`v(S \cup \{i,j\}) - v(S \cup \{i\}) - v(S \cup \{j\}) + v(S)` for subsets S of
    the others.

    Args:
        value: of :func:`all_subsets`, [2^n, T].
        weight: of subsets of k of the others, [n - 1].
    """
    count = len(value).bit_length() - 1
    code, found = torch.arange(len(value)), value.new_zeros(count, count, value.shape[1])
    for i in range(count):
        for j in range(i):
            one, other = 1 << i, 1 << j
            rest = code[code & (one | other) == 0]
            size = sum((rest >> k) % 2 for k in range(count))
            together = value[rest | one | other] - value[rest | one] - value[rest | other]
            found[i, j] = found[j, i] = weight[size] @ (together + value[rest])
    return found

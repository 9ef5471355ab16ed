"""A field without a model, for tests, doctests and toy problems."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hf_attrib.directions import derivative
from hf_attrib.field import Field, Linearisation, Pushforward
from hf_attrib.rows import RowRunner
from hf_attrib.space import Space

__all__ = ["FunctionField"]


class FunctionField(Field):
    """A field made of a plain function.

    Args:
        function: maps embeddings [R, N, D] to targets [R, T], differentiably and row by row.
        targets: T.
        positions: N.
        row_budget: rows run at once.
        space: what lies around the input, for methods that draw from it.

    >>> square = FunctionField(lambda z: (z**2).sum((-1, -2))[:, None], targets=1, positions=2)
    >>> square(torch.ones(1, 1, 1, 2, 3)).gradient.shape
    torch.Size([1, 1, 1, 2, 3])
    """

    precision = torch.finfo(torch.float64).eps

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        targets: int,
        positions: int,
        row_budget: int = 8,
        space: Space | None = None,
    ) -> None:
        movable = torch.ones(1, positions, dtype=torch.bool)
        super().__init__(1, targets, movable, RowRunner(row_budget))
        self.function = function
        if space is not None:
            self.space = space

    def evaluate(self, points: Tensor, sequence: Tensor, target: Tensor) -> Tensor:
        """Return the function's columns."""
        with torch.no_grad():
            return self.function(points).gather(1, target)

    def linearise(self, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
        """Return the function's columns and their gradients."""
        with torch.enable_grad():
            leaf = points.detach().clone().requires_grad_()
            value = self.function(leaf).gather(1, target)

        def pullback(weights: Tensor) -> Tensor:
            return torch.autograd.grad(value, leaf, weights.to(value), retain_graph=True)[0]

        return Linearisation(value.detach(), pullback)

    def pushforward(self, points: Tensor, sequence: Tensor, target: Tensor) -> Pushforward:
        """Return the function's columns and their derivatives along directions."""

        def along(rows: Tensor, direction: Tensor) -> Tensor:
            here = rows.to(points.device)
            return derivative(self.function, points[here], direction).gather(1, target[rows])

        return Pushforward(self.evaluate(points, sequence, target), along)

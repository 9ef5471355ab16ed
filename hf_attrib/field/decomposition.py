"""What fields and methods return: values, gradients, scores; and how much they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field

import torch
from torch import Tensor

__all__ = ["Cost", "Decomposition", "Linearisation", "Part", "Pushforward", "Sample"]


@dataclass(frozen=True, eq=False)
class Sample:
    """A field along a path.

    Args:
        value: F, [K, B, T].
        gradient: the contracted gradient, [K, B, T, G] (or [K, B, T, N, D] if kept whole).
    """

    value: Tensor
    gradient: Tensor


@dataclass(frozen=True, eq=False)
class Decomposition:
    r"""What a method returns: scores, and the value of F at the input they are relative to.

    Methods that claim completeness promise
    :math:`\sum_n \mathrm{scores}_{b,t,n} = F_{b,t}(x) - \mathrm{start\_value}_{b,t}`.

    Args:
        scores: [B, T, N].
        start_value: F at the start of the path, [B, T], or ``None`` if the method has none.
        end_value: F at its end, [B, T], where that is not F(x) itself.
        standard_error: of each score, [B, T, N], where the method draws samples.
        sum_standard_error: of the sum's distance from what it claims, [B, T], where it does, too.
        bound: on the summed error of a target's scores, [B, T], where the method knows one.
        sizes: lengths of the walk that was taken, by name, [B, T] each, where there was one.
        notes: reservations, and which targets each is about, [B, T] bool, on the CPU.
    """

    scores: Tensor
    start_value: Tensor | None
    end_value: Tensor | None = None
    standard_error: Tensor | None = None
    sum_standard_error: Tensor | None = None
    bound: Tensor | None = None
    sizes: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def mean(cls, parts: Sequence[Decomposition]) -> Decomposition:
        """Return the mean of decompositions that have starts, such as along several walks.

        A reservation is about the targets that it is about in all of them.
        """
        starts = [part.start_value for part in parts if part.start_value is not None]
        bounds = [part.bound for part in parts if part.bound is not None]
        return cls(
            torch.stack([part.scores for part in parts]).mean(0),
            torch.stack(starts).mean(0),
            bound=torch.stack(bounds).mean(0) if bounds else None,
            sizes={k: torch.stack([p.sizes[k] for p in parts]).mean(0) for k in parts[0].sizes},
            notes={k: torch.stack([p.notes[k] for p in parts]).all(0) for k in parts[0].notes},
        )


@dataclass(eq=False)
class Part:
    """What a method has found when it is interrupted, as ``part`` of what interrupts it.

    Args:
        found: scores, 0 for targets that were not done.
        done: which targets were, [B, T] bool.
        method: that has found it, once the method itself says so.
    """

    found: Decomposition
    done: Tensor
    method: object = None


@dataclass(frozen=True, eq=False)
class Linearisation:
    """F at R rows, and its gradient in any direction of the targets.

    Args:
        value: F of C targets for each row, [R, C].
        pullback: maps weights [R, C], on the CPU, to the gradient of each row's weighted sum of
            values, [R, N, D], in one backward pass.
    """

    value: Tensor
    pullback: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Pushforward:
    """F at R rows, and its derivative along any direction of the inputs.

    Args:
        value: F of C targets for each row, [R, C].
        along: maps numbers of rows [I], on the CPU, and directions there [I, N, D] to the
            derivatives of all C targets along them, [I, C], in one forward pass.
    """

    value: Tensor
    along: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Cost:
    """How many inputs a method runs for one sequence, x itself aside.

    Args:
        values: inputs at which f of all targets is found, without gradients.
        gradients: inputs at which the gradients of all targets are found, too.
        own: inputs for one target, at which its gradient is found.
        joint: inputs at which the gradient of a sum of all targets is found.
        own_values: inputs for one target, at which f of it is found.
    """

    values: int = 0
    gradients: int = 0
    own: int = 0
    joint: int = 0
    own_values: int = 0

    def exactly(self) -> tuple[Cost, Cost]:
        """Return these as the least and the most."""
        return self, self

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, count: int) -> Cost:
        """Return the cost of so many runs."""
        return Cost(*(count * kind for kind in astuple(self)))

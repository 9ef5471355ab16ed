"""What a method of interactions is, and what it returns: scores of pairs of groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field
from hf_attrib.hyperparameters import Registry
from hf_attrib.methods.base import Method

__all__ = ["Interaction", "PairScores", "interaction", "interactions", "row_sums"]

_INTERACTIONS: Registry[Interaction] = Registry("method of interactions")


def row_sums(scores: Tensor) -> Tensor:
    """Return the main effect of each group and half of each of its pairs, [..., G].

    Args:
        scores: of pairs, symmetric, main effects on the diagonal, [..., G, G].
    """
    return (scores.sum(-1) + scores.diagonal(dim1=-2, dim2=-1)) / 2


@dataclass(frozen=True, eq=False)
class PairScores(Decomposition):
    r"""What pairs of groups do together, float64 on the CPU.

    ``scores`` are [B, T, G, G] here and symmetric: the main effect of each group on the diagonal,
    and off it what two groups do together, which counts once for both places. Methods that claim
    completeness promise :math:`\sum_{i \le j} \mathrm{scores}_{b,t,i,j} = F_{b,t}(x) -
    \mathrm{start\_value}_{b,t}`. Where one group alone was paired with the others, all that is not
    in its row and column is NaN.

    Args:
        attribution: what each group has of F, half of each of its pairs included, [B, T, G], found
            on a way of its own where there is one; by default :func:`row_sums`.
    """

    attribution: Tensor | None = None

    def __post_init__(self) -> None:
        if self.attribution is None:
            object.__setattr__(self, "attribution", row_sums(self.scores))


@dataclass(frozen=True)
class Interaction(Method, ABC):
    """A method that scores pairs of groups of inputs.

    It has a register of its own, so that ``explain`` takes none of them for a method of scores.

    Attributes:
        pairs_one: whether it can pair one group with all others at less cost.
    """

    registry: ClassVar[Registry[Any]] = _INTERACTIONS
    pairs_one: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, field: Field, x: Tensor, baseline: Tensor, only: Tensor | None = None
    ) -> PairScores:
        """Score the pairs of groups of every target of a field.

        Args:
            field: F, its gradient and its groups.
            x: embeddings of the inputs, [B, 1, N, D].
            baseline: reference embeddings, equal to x where inputs do not move, [B, 1, N, D].
            only: the group of each sequence that is paired with all others, [B]; by default all
                groups are paired.
        """


def interactions() -> Mapping[str, type[Interaction]]:
    """Return all methods of interactions by name, sorted."""
    return _INTERACTIONS.all()


def interaction(given: str | Interaction, arguments: Mapping[str, Any]) -> Interaction:
    """Return a method of interactions by name, or as it is written, with some fields set.

    Args:
        given: a name, ``"shapley_taylor(mode=drop)"``, or a method that is made already.
        arguments: further fields by name.

    Raises:
        InputError: there is no such method or field, or a field comes next to a method that is made
            already.
    """
    if isinstance(given, Interaction):
        if arguments:
            names = ", ".join(sorted(arguments))
            raise InputError(f"{names} came next to {given!r}; set them when you make it.")
        return given
    if not isinstance(given, str):
        raise InputError(
            f"method is {given!r:.80}; expected one of {', '.join(interactions())}, or an instance."
        )
    name, written = _INTERACTIONS.read(given, "method") if "(" in given else (given, {})
    if twice := sorted(set(written) & set(arguments)):
        raise InputError(
            f"{', '.join(twice)} came within {given!r:.80} and next to it; give each once."
        )
    return _INTERACTIONS.make(name, {**written, **arguments})

"""Integrated Hessians. Janizek, Sturmfels, Lee 2021, arXiv:2002.04138."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Cost, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.integration import CELL_NODES, MOST_LOG_NODES, Rule, gauss_log, log_cell
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.interaction.base import Interaction, PairScores
from hf_attrib.methods.interaction.slopes import Slopes

__all__ = ["SPENT", "IntegratedHessians"]

#: Where the parts of the line end at first; each but the first is as long as what lies before it.
_EDGES = (0.0, 0.125, 0.25, 0.5, 1.0)
_TOLERANCE, _NODES, _FIRST = 0.02, 256, CELL_NODES * (len(_EDGES) - 1)
_ADAPTIVE = {"tolerance": _TOLERANCE, "max_nodes": _NODES}
#: A part is halved that misses by so much of its even share of what is allowed.
_SHARE = 0.5
#: Relative rounding from which on differences of gradients tell little.
_COARSE = 1e-4

_ROUGH = "second derivatives are coarse in 16 bits; load the model in float32"
#: What a result says whose nodes did not do.
SPENT = "the nodes were spent before second derivatives were right on every part of the path"


@dataclass(frozen=True)
class IntegratedHessians(Interaction, name="integrated_hessians"):
    r"""Integrated gradients of what integrated gradients give each input: which inputs change it.

    .. math:: A_{t,ij} = 2 \int_0^1 (-\ln\alpha)\, \alpha\,
        \Delta_i^\top \nabla^2_{ij} f_t(z_\alpha)\, \Delta_j\, d\alpha, \quad
        A_{t,ii} = \int_0^1 (-\ln\alpha) \left( \alpha\, \Delta_i^\top \nabla^2_{ii} f_t(z_\alpha)
        \Delta_i + \Delta_i^\top \nabla_i f_t(z_\alpha) \right) d\alpha

    :math:`z_\alpha = x' + \alpha\Delta`, :math:`\Delta = x - x'`, of all the width of each group.
    The double integral of the paper over :math:`\alpha\beta` is this single one, since
    :math:`\int\!\!\int g(\alpha\beta) = \int (-\ln\alpha)\, g(\alpha)`, so that K nodes do for
    K^2: those of Gauss's rule for this weight. A pair stands for both of its orders. Main effects
    and pairs, each pair once, sum to f(x) - f(x'), and the main effect of a group with half of its
    pairs is its integrated gradient.

    A product of Hessian and :math:`\Delta_i` is a central difference of two gradients, at points
    where group i is a little further and a little less far on its way, since forward mode and
    fused kernels know no second derivatives. One such product along :math:`\Delta` itself gives
    all row sums. Without ``steps`` these place the nodes: by parts,
    :math:`\int_a^b (-\ln\alpha)\, d(\alpha f_t') = [-\alpha \ln\alpha\, f_t']_a^b + f_t(z_b) -
    f_t(z_a)` exactly, and parts of the line that miss theirs are halved until all of them together
    are within the tolerance, before any pair is run. Then each node takes a product for each group,
    or a single one for the group that is paired with all others.

    Where F has kinks, as models of ReLU have, second derivatives are no functions: they miss what
    changes at a kink, and the gap says by how much.

    Args:
        steps: K, nodes of the rule, whatever they come to.
        tolerance: without ``steps``, relative error of the sum to reach.
        max_nodes: without ``steps``, K at most.

    Returns:
        scores [B, T, G, G], symmetric, of which main effects and pairs sum to f(x) - f(x') within
        the tolerance, or as K grows (units of f).

    Raises:
        InputError: a field is out of range, or ``tolerance`` or ``max_nodes`` came with ``steps``.

    Source: arXiv:2002.04138.

    >>> from hf_attrib.field import FunctionField
    >>> product = FunctionField(lambda z: z[:, 0] * z[:, 1] + z[:, 0], targets=1, positions=2)
    >>> x = torch.tensor([[[[2.0], [3.0]]]], dtype=torch.float64)
    >>> IntegratedHessians()(product, x, torch.zeros_like(x)).scores.round(decimals=6)
    tensor([[[[3.5000, 3.0000],
              [3.0000, 1.5000]]]], dtype=torch.float64)
    """

    CLAIMS: ClassVar[Claims] = Claims(
        identity="f(x) - f(x')",
        cost="2 * K * (N + 1) forward rows, as many backward rows for each of T targets; 4 * K for "
        "one group against all; less than 3 * K more where nodes place themselves",
        axioms=frozenset(AXIOMS),
        groups="joined",
    )
    pairs_one: ClassVar[bool] = True
    steps: int | None = hyperparameter(None, "Nodes K.", at_least(1, MOST_LOG_NODES))
    tolerance: float | None = hyperparameter(
        None, f"Without steps: relative error, {_TOLERANCE}.", positive
    )
    max_nodes: int | None = hyperparameter(
        None, f"Without steps: nodes at most, {_NODES}.", at_least(_FIRST, MOST_LOG_NODES)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, default in _ADAPTIVE.items():
            given = getattr(self, name)
            if self.steps is not None and given is not None:
                raise InputError(f"{name} goes without steps, which fix the nodes; give one.")
            if self.steps is None and given is None:
                object.__setattr__(self, name, default)

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most, all groups paired."""
        if self.steps is not None:
            return Cost(values=1, gradients=2 * self.steps * (inputs + 1)).exactly()
        most = self.max_nodes or _NODES
        # A part that is halved was run before: of n parts, fewer than n.
        least, placed = 2 * _FIRST + len(_EDGES) - 2, 4 * most + most // CELL_NODES
        return (
            Cost(values=1, gradients=least + 2 * _FIRST * inputs),
            Cost(values=1, gradients=placed + 2 * most * inputs),
        )

    def __call__(
        self, field: Field, x: Tensor, baseline: Tensor, only: Tensor | None = None
    ) -> PairScores:
        """Integrate along the straight line."""
        start = field.value(baseline[None])[0].double().cpu()
        end = field.value(x[None])[0] if field.known is None else field.known
        slopes = Slopes(field, x, baseline)
        ends = start, end.double().cpu()
        line = self._fixed(slopes, ends) if self.steps else self._placed(slopes, ends)
        rule, gradient = line.rule, line.gradient
        moving = slopes.moving()
        chosen = moving[:, None].expand(-1, field.sequences) if only is None else only[None]
        found = slopes.apart(rule, chosen)
        scores = torch.full((*gradient.shape, gradient.shape[-1]), torch.nan, dtype=torch.float64)
        if only is None:
            scores.zero_()[:, :, moving] = found.movedim(0, 2)
            # Both orders of a pair, which differ by rounding alone.
            diagonal = scores.diagonal(dim1=2, dim2=3).clone()
            scores = scores + scores.mT
            scores.diagonal(dim1=2, dim2=3).copy_(diagonal + gradient)
        else:
            for b, group in enumerate(only.tolist()):
                row = 2 * found[0, b]
                row[:, group] = found[0, b, :, group] + gradient[b, :, group]
                scores[b, :, group] = scores[b, :, :, group] = row
        coarse = torch.full(start.shape, slopes.precision > _COARSE)
        missed = self._excess(line, (ends[1] - ends[0]).abs(), field.resolution).isfinite()
        notes = {_ROUGH: coarse, SPENT: missed}
        return PairScores(scores, start, notes=notes, attribution=line.sums)

    def _excess(self, line: _Part, change: Tensor, resolution: float) -> Tensor:
        """Return what the parts of a line may miss in all, [B, T]; infinite where they do not.

        Their sum is told by the change of f; and the parts one by one, whose misses cancel in it,
        by the changes of all parts, which do so, too.

        Args:
            line: all of it.
            change: of f, its size, [B, T].
            resolution: of f.
        """
        if self.tolerance is None:
            return torch.full(change.shape, torch.inf)
        of_sum = self.tolerance * change.clamp_min(resolution)
        of_parts = self.tolerance * line.passed.clamp_min(resolution)
        found = torch.where(line.missed > of_parts, of_parts, torch.inf)
        off = (line.sums.sum(-1) - line.change).abs() > of_sum
        return torch.where(off, of_sum, found)

    def _fixed(self, slopes: Slopes, ends: tuple[Tensor, Tensor]) -> _Part:
        assert self.steps is not None
        rule = gauss_log(self.steps)
        return _part(rule, *slopes.along(rule.nodes), ends[1] - ends[0])

    def _placed(self, slopes: Slopes, ends: tuple[Tensor, Tensor]) -> _Part:
        """Halve the parts of the line that miss what is known of them; return all as one.

        Args:
            slopes: along the line.
            ends: f(x') and f(x), [B, T] each.
        """
        known = {edge: (f, torch.zeros_like(f)) for edge, f in zip((0.0, 1.0), ends, strict=True)}
        parts: dict[tuple[float, float], _Part] = {}
        asked, valid = list(pairwise(_EDGES)), slopes.field.valid()
        while asked:
            _measure(slopes, asked, known, parts)
            line = _Part.joined(list(parts.values()))
            change = (ends[1] - ends[0]).abs()
            allowed = self._excess(line, change, slopes.field.resolution)
            missed = torch.stack([part.missed for part in parts.values()])
            share = (missed / allowed).masked_fill(~valid, 0).amax((1, 2)) * len(parts)
            worst = [n for n in share.argsort(descending=True).tolist() if float(share[n]) > _SHARE]
            room = (self.max_nodes or _NODES) // CELL_NODES - len(parts)
            split = [list(parts)[n] for n in worst[: max(0, room)]]
            for each in split:
                del parts[each]
            middles = [(start, (start + stop) / 2, stop) for start, stop in split]
            asked = [each for three in middles for each in pairwise(three)]
        return line


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the line, or all of it.

    Args:
        rule: its nodes and weights.
        gradient: weighted sum of gradients, [B, T, G].
        second: weighted sum of their changes along the line, [B, T, G].
        change: what both must sum to, [B, T].
        missed: by how much they miss it, those of its own parts added up, [B, T].
        passed: the size of what they must sum to, those of its own parts added up, [B, T].
    """

    rule: Rule
    gradient: Tensor
    second: Tensor
    change: Tensor
    missed: Tensor
    passed: Tensor

    @property
    def sums(self) -> Tensor:
        """What each group has, [B, T, G]."""
        return self.gradient + self.second

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        """Return parts as one, whose misses add up."""
        rule = Rule(*(torch.cat([getattr(p.rule, n) for p in parts]) for n in ("nodes", "weights")))
        names = ("gradient", "second", "change", "missed", "passed")
        return cls(rule, *(torch.stack([getattr(p, n) for p in parts]).sum(0) for n in names))


def _part(rule: Rule, gradient: Tensor, second: Tensor, change: Tensor) -> _Part:
    """Return a part of gradients [K, B, T, G] and their changes at its nodes."""
    first, then = (torch.einsum("k,kbtg->btg", rule.weights, own) for own in (gradient, second))
    missed = ((first + then).sum(-1) - change).abs()
    return _Part(rule, first, then, change, missed, change.abs())


def _measure(
    slopes: Slopes,
    asked: Sequence[tuple[float, float]],
    known: dict[float, tuple[Tensor, Tensor]],
    parts: dict[tuple[float, float], _Part],
) -> None:
    """Run parts of the line together.

    Args:
        slopes: along the line.
        asked: where they start and stop.
        known: f and its slope where parts meet, [B, T] each; new ones are put in.
        parts: where they go.
    """
    new = sorted({edge for each in asked for edge in each} - set(known))
    known.update(
        zip(new, zip(*slopes.at(torch.tensor(new, dtype=torch.float64)), strict=True), strict=True)
    )
    rules = [log_cell(*each) for each in asked]
    found = slopes.along(torch.cat([rule.nodes for rule in rules]))
    pairs = zip(*(each.split(CELL_NODES) for each in found), strict=True)
    for (start, stop), rule, own in zip(asked, rules, pairs, strict=True):
        (low, rising), (high, falling) = known[start], known[stop]
        change = high - low - _weighted(stop) * falling + _weighted(start) * rising
        parts[start, stop] = _part(rule, own[0], own[1], change)


def _weighted(edge: float) -> float:
    """Return edge times its logarithm, 0 at 0."""
    return edge * math.log(edge) if edge else 0.0

"""Integrated Hessians. Janizek, Sturmfels, Lee 2021, arXiv:2002.04138."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Cost, Field
from hf_attrib.hyperparameters import at_least, hyperparameter, positive
from hf_attrib.integration import MOST_LOG_NODES, Rule, gauss_log
from hf_attrib.methods.base import AXIOMS, Claims
from hf_attrib.methods.interaction.base import Interaction, PairScores

__all__ = ["IntegratedHessians"]

_TOLERANCE, _NODES, _FIRST = 0.02, 128, 8
_ADAPTIVE = {"tolerance": _TOLERANCE, "max_nodes": _NODES}
#: Relative rounding from which on differences of gradients tell little.
_COARSE = 1e-4

_ROUGH = "second derivatives are coarse in 16 bits; load the model in float32"


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
    all row sums; by these the number of nodes is doubled until they sum to f(x) - f(x') within the
    tolerance, before any pair is run. Then each node takes a product for each group, or a single
    one for the group that is paired with all others.

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
        cost="2 * K * (N + 1) + 1 forward rows, as many backward rows for each of T targets; "
        "4 * K for one group against all; and 2 for each node that was tried",
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
        counts = self._counts()
        tried = [sum(2 * k for k in counts[: n + 1]) for n in range(len(counts))]
        least, most = ((n, 2 * n * inputs) for n in (counts[0], counts[-1]))
        return (
            Cost(values=1, gradients=tried[0] + least[1]),
            Cost(values=1, gradients=tried[-1] + most[1]),
        )

    def _counts(self) -> list[int]:
        """Return the numbers of nodes that are tried, one after another."""
        if self.steps is not None:
            return [self.steps]
        most = self.max_nodes or _NODES
        doubled = [_FIRST << k for k in range(most.bit_length()) if _FIRST << k < most]
        return [*doubled, most]

    def __call__(
        self, field: Field, x: Tensor, baseline: Tensor, only: Tensor | None = None
    ) -> PairScores:
        """Integrate along the straight line."""
        start = field.value(baseline[None])[0].double().cpu()
        end = field.value(x[None])[0] if field.known is None else field.known
        slopes = _Slopes(field, x, baseline)
        rule, gradient, sums = self._settled(field, slopes, end.double().cpu() - start)
        moving = slopes.moving()
        chosen = moving[:, None].expand(-1, field.sequences) if only is None else only[None]
        found = slopes.differences(rule, slopes.masks(chosen))  # [J, B, T, G]
        count = gradient.shape[-1]
        scores = torch.full((*gradient.shape, count), torch.nan, dtype=torch.float64)
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
        return PairScores(scores, start, notes={_ROUGH: coarse}, attribution=sums)

    def _settled(
        self, field: Field, slopes: _Slopes, change: Tensor
    ) -> tuple[Rule, Tensor, Tensor]:
        """Return nodes that do, the weighted mean of gradients there, and row sums, [B, T, G].

        Args:
            field: F.
            slopes: its differences.
            change: f(x) - f(x'), [B, T].
        """
        for count in self._counts():
            rule = gauss_log(count)
            gradient, second = slopes.along(rule)
            sums = gradient + second
            missed = (sums.sum(-1) - change).abs()
            wanted = (self.tolerance or 0) * change.abs().clamp_min(field.resolution)
            if bool((missed <= wanted)[field.valid()].all()):
                break
        return rule, gradient, sums


class _Slopes:
    """Gradients of F along the straight line, and their differences, all contracted with x - x'.

    Args:
        field: F, its gradient and its groups.
        x: the inputs, [B, 1, N, D].
        baseline: the reference, [B, 1, N, D].
    """

    def __init__(self, field: Field, x: Tensor, baseline: Tensor) -> None:
        self.field, self.x, self.baseline = field, x, baseline
        self.precision = max(field.precision, torch.finfo(x.dtype).eps)
        #: How much further and less far points go: the error of a difference is about its square,
        #: and rounding is divided by it.
        self.step = self.precision ** (1 / 3)

    def moving(self) -> Tensor:
        """Return the groups that move in some sequence, [J]."""
        moves = (self.x != self.baseline).any(-1)[:, 0].cpu() & self.field.movable.cpu()
        owned = torch.zeros(self.field.groups.moving.shape)
        return owned.scatter_add(1, self.field.groups.owner, moves.float()).any(0).nonzero()[:, 0]

    def masks(self, groups: Tensor) -> Tensor:
        """Return which inputs are in the groups, [J, B, N] bool, of numbers [J, B]."""
        return self.field.groups.owner == groups[..., None]

    def along(self, rule: Rule) -> tuple[Tensor, Tensor]:
        """Return gradients by group, and their change along the whole line, [B, T, G] each."""
        every = torch.ones(1, *self.field.movable.shape, dtype=torch.bool)
        mean, change = self._moments(rule, every)
        return mean[0], change[0]

    def differences(self, rule: Rule, masks: Tensor) -> Tensor:
        """Return the change of gradients as some inputs go further, [J, B, T, G]."""
        return self._moments(rule, masks)[1]

    def _moments(self, rule: Rule, masks: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return weighted sums over nodes of gradients, and of their derivatives, [J, B, T, G].

        A derivative is by the factor that the displacement of some inputs is stretched with.

        Args:
            rule: K nodes and weights.
            masks: inputs that are stretched, [J, B, N] bool.
        """
        count, device = len(masks), self.x.device
        mask = masks.to(device)[:, :, None, :, None].to(self.x)
        velocity = (self.x - self.baseline)[None]

        def path(numbers: Tensor) -> tuple[Tensor, Tensor]:
            node, which, sign = self._parts(numbers, count)
            shape = (-1, *[1] * self.x.dim())
            at = rule.nodes[node].to(self.x).reshape(shape)
            stretch = 1 + (sign * self.step).to(self.x).reshape(shape) * mask[which.to(device)]
            return (1 - at * stretch) * self.baseline + at * stretch * self.x, velocity

        groups = self.field.groups.moving.shape[1]
        shape = count, self.field.sequences, self.field.targets, groups
        mean, change = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
        done, total = 0, 2 * count * len(rule)
        for sample in self.field.along(path, torch.arange(total)):
            numbers = torch.arange(done, done + len(sample.gradient))
            node, which, sign = self._parts(numbers, count)
            part = sample.gradient.double().cpu() * rule.weights[node].reshape(-1, 1, 1, 1)
            mean.index_add_(0, which, part / 2)
            change.index_add_(0, which, part * (sign / (2 * self.step)).reshape(-1, 1, 1, 1))
            done += len(numbers)
        return mean, change

    def _parts(self, numbers: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return node, mask and sign of rows by their numbers."""
        pair = numbers // 2
        return pair // count, pair % count, (1 - 2 * (numbers % 2)).double()

"""Gradients along the straight line, and how they change as some inputs go further on it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hf_attrib.field import Field
from hf_attrib.integration import Rule, straight

__all__ = ["Slopes"]

#: Gradients of a model are rounded about so many times as coarsely as a number.
_ROUGHER = 4
#: Points go this far at most, in displacements of x from x'.
_FURTHEST = 0.1


class Slopes:
    r"""Gradients of F along the straight line, contracted with x - x', and their changes.

    What changes is by the factor that the displacement of some inputs is stretched with, found by a
    central difference: :math:`\alpha\, \Delta_i^\top \nabla^2_{ij} F(z_\alpha)\, \Delta_j`.

    Args:
        field: F, its gradient and its groups.
        x: the inputs, [B, 1, N, D].
        baseline: the reference, [B, 1, N, D].

    Attributes:
        precision: relative rounding of F.
    """

    def __init__(self, field: Field, x: Tensor, baseline: Tensor) -> None:
        self.field, self.x, self.baseline = field, x, baseline
        self.precision = max(field.precision, torch.finfo(x.dtype).eps)
        # The error of a difference is about its square, and rounding is divided by it.
        self.step = min(_FURTHEST, (_ROUGHER * self.precision) ** (1 / 3))

    def moving(self) -> Tensor:
        """Return the groups that move in some sequence, [J]."""
        moves = (self.x != self.baseline).any(-1)[:, 0].cpu() & self.field.movable.cpu()
        owned = torch.zeros(self.field.groups.moving.shape, dtype=torch.float32)
        return owned.scatter_add(1, self.field.groups.owner, moves.float()).any(0).nonzero()[:, 0]

    def at(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return F, [K, B, T], and the slope along the line, [K, B, T], at nodes [K]."""
        shape = 0, self.field.sequences, self.field.targets
        values, slopes = (
            [torch.zeros(shape, dtype=torch.float64)],
            [torch.zeros(shape, dtype=torch.float64)],
        )
        for sample in (
            self.field.along(straight(self.baseline, self.x), nodes) if len(nodes) else ()
        ):
            values.append(sample.value.double().cpu())
            slopes.append(sample.gradient.double().cpu().sum(-1))
        return torch.cat(values), torch.cat(slopes)

    def along(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients by group, and their changes along the line, [K, B, T, G] each."""
        every = torch.ones(1, *self.field.movable.shape, dtype=torch.bool)
        mean, change = (self._zeros(len(nodes)) for _ in range(2))
        for node, _, sign, gradient in self._samples(nodes, every):
            mean.index_add_(0, node, gradient / 2)
            change.index_add_(0, node, gradient * sign / (2 * self.step))
        return mean, change

    def apart(self, rule: Rule, groups: Tensor) -> Tensor:
        """Return weighted sums of changes as one group each goes further, [J, B, T, G].

        Args:
            rule: K nodes and weights.
            groups: numbers of these, of each sequence, [J, B].
        """
        found = self._zeros(len(groups))
        masks = self.field.groups.owner == groups[..., None]
        for node, which, sign, gradient in self._samples(rule.nodes, masks):
            weight = rule.weights[node].reshape(sign.shape) / (2 * self.step)
            found.index_add_(0, which, gradient * sign * weight)
        return found

    def _zeros(self, count: int) -> Tensor:
        shape = count, self.field.sequences, self.field.targets, self.field.groups.moving.shape[1]
        return torch.zeros(shape, dtype=torch.float64)

    def _samples(
        self, nodes: Tensor, masks: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield numbers of nodes and masks, signs [R, 1, 1, 1] and gradients [R, B, T, G].

        Args:
            nodes: on the line, [K].
            masks: inputs that go further, [J, B, N] bool.
        """
        count, device = len(masks), self.x.device
        mask = masks.to(device)[:, :, None, :, None].to(self.x)
        velocity = (self.x - self.baseline)[None]

        def parts(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            pair, sign = numbers // 2, (1 - 2 * (numbers % 2)).double()
            return pair // count, pair % count, sign.reshape(-1, 1, 1, 1)

        def path(numbers: Tensor) -> tuple[Tensor, Tensor]:
            node, which, sign = parts(numbers)
            shape = (-1, *[1] * self.x.dim())
            stretch = (sign * self.step).to(self.x).reshape(shape) * mask[which.to(device)]
            at = nodes[node].to(self.x).reshape(shape) * (1 + stretch)
            return (1 - at) * self.baseline + at * self.x, velocity

        done, total = 0, 2 * count * len(nodes)
        for sample in self.field.along(path, torch.arange(total)) if total else ():
            numbers = torch.arange(done, done + len(sample.gradient))
            yield *parts(numbers), sample.gradient.double().cpu()
            done += len(numbers)

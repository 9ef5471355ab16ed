"""Forward-mode derivatives of a transformers model: its body along directions, its head once.

As with pullbacks the head is differentiated once for all directions: what a target gains along
one is the product of its gradient at the hidden states and their derivative. So a directional
pass ends where the head would begin, and the vocabulary costs it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from hf_attrib.execution.rows import out_of_memory
from hf_attrib.field import Field, Pushforward
from hf_attrib.field.directions import derivative
from hf_attrib.model.backward_mode import Value
from hf_attrib.model.forward import Forward
from hf_attrib.model.hooks import hooked
from hf_attrib.model.sites import injected

__all__ = ["lacks", "push", "verify"]

#: Models in which an operation has no forward-mode derivative, or one that is no derivative.
_LACKING: WeakSet[nn.Module] = WeakSet()


class _Reached(Exception):
    """The head was about to be called, so the rest of the pass is not needed."""


def lacks(model: nn.Module) -> bool:
    """Tell whether a model is known to have no forward-mode derivatives."""
    return model in _LACKING


def verify(model: nn.Module, field: Field, x: Tensor, gradient: Tensor) -> None:
    """Find out whether a model's forward-mode derivatives are its gradients, and remember.

    Args:
        model: the model.
        field: its field, with one sequence.
        x: embeddings of it, [1, 1, N, D].
        gradient: of each target, [T, N, D].
    """
    _LACKING.discard(model)
    size = gradient.flatten(1).norm(dim=1)[:, None, None]
    direction = torch.where(size > 0, gradient / size, 0).sum(0, keepdim=True)
    expected = (gradient * direction).sum((1, 2))
    row, targets = torch.zeros(1, dtype=torch.int64), torch.arange(field.targets)[None]
    try:
        found = field.pushforward(x[0], row, targets).along(row, direction)[0]
    except Exception as error:  # whatever a model does not bear in this mode, it does in the other
        if out_of_memory(error):
            raise
        _LACKING.add(model)
        return
    # Half of the digits: 16-bit floats leave few, and a wrong derivative has none. Many models
    # normalise in float32 even where they are loaded in float64.
    tolerance = max(field.precision, torch.finfo(torch.float32).eps) ** 0.5
    if not bool((found - expected).abs().max() <= tolerance * expected.abs().max()):
        _LACKING.add(model)


def push(
    forward: Forward, value_of: Value, points: Tensor, sequence: Tensor, target: Tensor
) -> Pushforward:
    """Return F at injected embeddings and its pushforward.

    Args:
        forward: runs the model.
        value_of: the scalar to explain.
        points: embeddings, [R, N, D].
        sequence: which of the B sequences each row belongs to, [R], on the CPU.
        target: which of its T targets to evaluate, [R, C], on the CPU.

    Raises:
        NotImplementedError: when it is called, if an operation has no forward-mode derivative.
    """
    length = int(forward.reach(sequence, target).max())
    cut: list[Tensor] = []
    with torch.enable_grad():
        with (
            injected(forward.sites, forward.split(points.detach(), length)),
            _before(forward.sites.head, lambda hidden: _leaf(hidden, cut)),
        ):
            logits, index = forward.logits(sequence, target, length)
        # Where hidden states do not pass through one head, the cut is at the logits.
        headed = len(cut) == 1 and cut[0].shape[:-1] == logits.shape[:-1]
        leaf = cut[0] if headed else logits.detach().requires_grad_()
        value = value_of(logits if headed else leaf, index, sequence, target)
        seeds = torch.autograd.grad(value.sum(), leaf)[0]
    seeds = _at(seeds, index).to(value)  # [R, C, width]

    def along(rows: Tensor, direction: Tensor) -> Tensor:
        here = rows.to(points.device)
        sequences, targets = sequence[rows], target[rows]

        def cut_off(some: Tensor) -> Tensor:
            return _until(forward, headed, some, sequences, targets, length)

        try:
            tangent = derivative(cut_off, points[here], direction)
        except NotImplementedError:
            _LACKING.add(forward.model)
            raise
        places = forward.places(sequences, targets)
        if tangent.shape[1] != length - forward.skipped:  # only what is asked for was kept
            places = places.unique(return_inverse=True)[1]
        return (seeds[rows.to(seeds.device)] * _at(tangent, places).to(seeds)).sum(-1)

    return Pushforward(value.detach(), along)


def _until(
    forward: Forward,
    headed: bool,
    points: Tensor,
    sequence: Tensor,
    target: Tensor,
    length: int,
) -> Tensor:
    """Run rows as far as the head, if it is one; return what it would get, or the logits."""
    reached: list[Tensor] = []

    def stop(hidden: Tensor) -> Tensor:
        reached.append(hidden)
        raise _Reached

    head = forward.sites.head if headed else None
    try:
        with injected(forward.sites, forward.split(points, length)), _before(head, stop):
            logits, _ = forward.logits(sequence, target, length)
    except _Reached:
        return reached[0]
    return logits


def _leaf(hidden: Tensor, into: list[Tensor]) -> Tensor:
    into.append(hidden.detach().requires_grad_())
    return into[-1].clone()  # which may be written into


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Return what is at places [R, C] (on the CPU) of values [R, M, width], [R, C, width]."""
    rows = torch.arange(len(places))[:, None]
    return values[rows.to(values.device), places.to(values.device)]


@contextmanager
def _before(head: nn.Module | None, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace what a module is called with inside the context."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (replace(args[0]), *args[1:]) if args else None

    if head is None:
        yield
        return
    with hooked(head, "before", hook):
        yield

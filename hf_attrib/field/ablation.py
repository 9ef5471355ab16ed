"""F of inputs some of which are taken away, and the ways to take them away."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hf_attrib.errors import InputError

if TYPE_CHECKING:
    from hf_attrib.field.base import Field

__all__ = ["MODES", "ablated_rows"]

#: Ways to take inputs away, by name. Only ``embed`` lies on a path of embeddings; the others are
#: answered by a model alone.
MODES: Mapping[str, str] = MappingProxyType(
    {
        "embed": "their embeddings are those of the reference x'",
        "token": "their ids are those of a token that stands for nothing",
        "attention": "nothing attends to them; positions stay what they are",
        "drop": "they are cut out of the sequence, so that what follows moves up",
    }
)


def ablated_rows(
    field: Field,
    keep: Tensor,
    sequence: Tensor,
    mode: str = "embed",
    ends: tuple[Tensor, Tensor] | None = None,
    stand_in: Tensor | None = None,
) -> Tensor:
    """Return F of rows without some of their groups, [R, T], and count them.

    Rows may be of any sequences, since one with few groups needs fewer subsets than those that it
    is batched with.

    Args:
        field: F and its groups.
        keep: which groups stay, [R, G] bool, on the CPU.
        sequence: which of the B sequences each row is made of, [R], on the CPU.
        mode: of :data:`MODES`.
        ends: x and x' of mode ``"embed"``, [B, 1, N, D]; by default those of the field's space.
        stand_in: ids that take their place in mode ``"token"``, [B, N], on the CPU; by default
            that of a token that stands for nothing.

    Raises:
        InputError: there is no such mode, or not here.
    """
    if mode not in MODES:
        raise InputError(f"mode {mode!r:.80} is unknown; expected {', '.join(MODES)}.")
    if not len(keep):
        return torch.zeros(0, field.targets)
    # Where targets share no pass, each has rows of its own.
    own = 1 if field.target_table.together else field.targets
    subset = torch.arange(len(keep)).repeat_interleave(own)
    target = torch.arange(field.targets).reshape(own, -1).repeat(len(keep), 1)
    nothing = field.space.stand_in if mode == "token" else None
    if mode == "embed" and ends is None:
        ends = field.space.x, field.space.reference(0, 0)

    def compute(rows: Tensor) -> tuple[Tensor, ...]:
        of = sequence[subset[rows]]
        fixed = ~field.movable[of].cpu()
        kept = keep[subset[rows]].gather(1, field.groups.owner[of]) | fixed
        if mode != "embed" or ends is None:
            others = nothing if stand_in is None else stand_in[of]
            return (field.evaluate_without(kept, of, target[rows], mode, others),)
        x, gone = (end[of.to(end.device), 0] for end in ends)
        points = torch.where(kept[..., None].to(x.device), x, gone)
        return (field.evaluate(points, of, target[rows]),)

    (value,) = field.runner.map(len(subset), compute)
    runs = torch.bincount(sequence, minlength=field.sequences)
    field.forward_rows += runs * field.target_table.passes
    return value.reshape(len(keep), field.targets)

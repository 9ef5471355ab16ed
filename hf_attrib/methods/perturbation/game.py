"""The game behind forward-only methods: players are groups of inputs, v(S) is f with S alone.

Each sequence of a batch has players of its own, n of them. A **subset** is a row of n flags. A
subset is run once, however often it is asked for, and all T targets come from the same row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.field import Decomposition, Field, ablated_rows
from hf_attrib.integration import generator

__all__ = ["Game", "Solution", "distinct", "players", "readable"]

#: Rows that tell what rounding does, and the precision from which on it is worth them.
_ROUNDINGS, _COARSE = 8, 1e-4


@dataclass(frozen=True, eq=False)
class Solution:
    """What a game of one sequence comes to, in float64 on the CPU.

    Args:
        scores: of its n players, [n, T].
        start_value: of what scores are relative to, [T], or ``None``.
        standard_error: of each score, [n, T], where subsets are drawn.
        sum_standard_error: of the sum's distance from what it claims, [T], where it has one.
        undecided: targets that the method leaves open, [T] bool, where it can tell.
    """

    scores: Tensor
    start_value: Tensor | None = None
    standard_error: Tensor | None = None
    sum_standard_error: Tensor | None = None
    undecided: Tensor | None = None


def players(field: Field, x: Tensor, baseline: Tensor, mode: str) -> Tensor:
    """Return which groups play, [B, G] bool: those of which something can be taken away.

    Args:
        field: that has the groups.
        x: the inputs, [B, 1, N, D].
        baseline: what takes their place in mode ``"embed"``, [B, 1, N, D].
        mode: of :data:`hf_attrib.field.MODES`.
    """
    groups = field.groups
    if mode != "embed":
        return groups.moving
    differs = (x != baseline).any(-1).any(1).cpu() & field.movable.cpu()
    return (
        torch.zeros(groups.moving.shape, dtype=torch.float32).scatter_add(
            1, groups.owner, differs.float()
        )
        > 0
    )


def distinct(subsets: Tensor) -> Tensor:
    """Return subsets [R, n] without those that come again, in order."""
    order = {key: row for row, key in reversed(list(enumerate(_keys(subsets))))}
    return subsets[sorted(order.values())]


def readable(field: Field) -> Tensor:
    """Return which groups have an input that a target can depend on, [B, T, G] bool."""
    reads = (field.reads().cpu() & field.movable.cpu()[:, None]).float()
    owner = field.groups.owner[:, None].expand(reads.shape)
    total = torch.zeros(*reads.shape[:2], field.groups.moving.shape[1], dtype=torch.float32)
    return total.scatter_add(2, owner, reads) > 0


def _keys(subsets: Tensor) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(subsets.numpy(), axis=1)]


class Game:
    """F of subsets of the players of each of B sequences.

    Args:
        field: F and its groups.
        x: the inputs, [B, 1, N, D].
        baseline: what takes their place in mode ``"embed"``, [B, 1, N, D].
        mode: how players are taken away, of :data:`hf_attrib.field.MODES`.
        playing: numbers of the groups that play; by default all of which something goes away.

    Attributes:
        players: numbers of the groups that play, [n] for each sequence.
        parts: numbers of the documents or messages, say, that these are in, [n] for each sequence.
        sentences: and of the sentences.
        words: and of the words.
        rows: how many subsets of each sequence are known, that of all players aside.

    Raises:
        InputError: the mode takes away tokens, and these inputs are not those of the field.
    """

    def __init__(
        self,
        field: Field,
        x: Tensor,
        baseline: Tensor,
        mode: str,
        playing: Sequence[Tensor] | None = None,
    ) -> None:
        self.field, self.mode = field, mode
        self.x, self.baseline = _shared(x), _shared(baseline)
        inputs = field.inputs if mode == "embed" else field.space.x
        self._elsewhere = inputs is not None and not torch.equal(self.x, inputs)
        if mode != "embed":
            same = not self._elsewhere and torch.equal(self.baseline, field.space.reference(0, 0))
            _check_own(mode, same)
        if playing is None:
            playing = [own.nonzero()[:, 0] for own in players(field, x, baseline, mode)]
        self.players = playing
        groups = field.groups
        self.parts, self.sentences, self.words = (
            [number[own] for number, own in zip(numbers, self.players, strict=True)]
            for numbers in (groups.parts, groups.sentences, groups.words)
        )
        self.rows = [0] * len(self.players)
        self._done = 0
        self._found: list[dict[bytes, int]] = [{} for _ in self.players]
        self._values = [torch.zeros(0, field.targets, dtype=torch.float64) for _ in self.players]
        self._whole = [_keys(torch.ones(1, n, dtype=torch.bool))[0] for n in self.counts]
        if field.known is not None and not self._elsewhere:
            for b, value in enumerate(field.known.double().cpu()):
                self._found[b][self._whole[b]] = 0
                self._values[b] = value[None]

    @property
    def counts(self) -> list[int]:
        """How many players each sequence has."""
        return [len(own) for own in self.players]

    def cuttable(self, subsets: Sequence[Tensor]) -> list[Tensor]:
        """Return of which subsets [R, n] of each sequence the others can be cut out, [R] bool."""
        sequence, keep = self._kept(subsets)
        field, here = self.field, self.field.inputs is not None and not self._elsewhere
        kept = keep.gather(1, field.groups.owner[sequence]) | ~field.movable.cpu()[sequence]
        found = field.survives(kept, sequence) & here
        return list(found.split([len(asked) for asked in subsets]))

    def dropping(self) -> Game:
        """Return the game of the same players, cut out of the sequence."""
        return Game(self.field, self.x, self.field.space.reference(0, 0), "drop", self.players)

    def values(self, subsets: Sequence[Tensor]) -> list[Tensor]:
        """Return v of subsets [R, n] of each sequence, [R, T] in float64 on the CPU.

        Args:
            subsets: who stays, one tensor for each sequence.
        """
        keys = [_keys(asked) for asked in subsets]
        new: list[Tensor] = []
        for b, (own, asked) in enumerate(zip(keys, subsets, strict=True)):
            found, rows = self._found[b], []
            for row, key in enumerate(own):
                if key not in found:
                    found[key] = len(found)
                    rows.append(row)
                    self.rows[b] += key != self._whole[b]
            new.append(asked[rows])
        run = self._run(new).split([len(rows) for rows in new])
        self._values = [torch.cat(pair) for pair in zip(self._values, run, strict=True)]
        numbers = (
            [found[key] for key in own] for found, own in zip(self._found, keys, strict=True)
        )
        return [value[which] for value, which in zip(self._values, numbers, strict=True)]

    def _run(self, subsets: Sequence[Tensor]) -> Tensor:
        """Run subsets of all sequences together, [R, T]."""
        sequence, keep = self._kept(subsets)
        ends = (self.x, self.baseline) if self.mode == "embed" else None
        found = [torch.zeros(0, self.field.targets, dtype=torch.float64)]
        if not len(keep):
            return found[0]
        # Rows that begin alike run one after another, so that their beginning need not run again;
        # last come those that begin as the inputs do.
        flags = keep.numpy().T[::-1]
        order = torch.from_numpy(np.lexsort((*flags, sequence.numpy())))
        keep, sequence = keep[order], sequence[order]
        for part in torch.arange(len(keep)).split(self.field.runner.window):
            value = ablated_rows(self.field, keep[part], sequence[part], self.mode, ends)
            found.append(value.double().cpu())
            self.field.progress(self._done + int(part[-1]) + 1, self._done + len(keep))
        self._done += len(keep)
        return torch.cat(found)[order.argsort()]

    @property
    def rounding_rows(self) -> int:
        """How many rows :meth:`rounding` takes of a sequence: none but in 16 bits."""
        return _ROUNDINGS if self.field.precision > _COARSE else 0

    def rounding(self) -> Tensor | None:
        """Return how far rounding moves f, in root mean square, [B, T]; ``None`` in 32 bits.

        It is measured where f(x) is known, by inputs that differ by their own rounding.
        """
        if not self.rounding_rows:
            return None
        # Input by input, and for all sequences, so that it depends on no padding behind them.
        shape = self.x.shape[2], self.rounding_rows, self.x.shape[3]
        noise = 2 * torch.rand(shape, generator=generator(0, "rounding"), dtype=torch.float32) - 1
        noise = noise.transpose(0, 1)[:, None, None]  # [K, 1, 1, N, D]
        points = self.x * (1 + self.field.precision * noise.to(self.x))
        return self.field.value(points).double().cpu().std(0)

    def _kept(self, subsets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the sequence of each subset, [R], and which of all groups stay, [R, G]."""
        counts = torch.tensor(list(map(len, subsets)))
        sequence = torch.arange(len(subsets)).repeat_interleave(counts)
        keep = torch.ones(len(sequence), self.field.groups.moving.shape[1], dtype=torch.bool)
        for b, asked in enumerate(subsets):
            keep[(sequence == b).nonzero(), self.players[b]] = asked
        return sequence, keep

    def decomposition(
        self, solutions: Sequence[Solution], undecided: str = "left open"
    ) -> Decomposition:
        """Return the scores of all sequences, [B, T, G]; of what no target reads, they are 0.

        Args:
            solutions: one for each sequence.
            undecided: what is to be said of targets that they leave open.
        """
        first = solutions[0]
        ends = [s.start_value for s in solutions if s.start_value is not None]
        sums = [s.sum_standard_error for s in solutions if s.sum_standard_error is not None]
        errors = [s.standard_error for s in solutions if s.standard_error is not None]
        open_ = [s.undecided for s in solutions if s.undecided is not None]
        return Decomposition(
            self._by_group([s.scores for s in solutions], complete=bool(ends)),
            torch.stack(ends).to(self.x) if ends else None,
            self._end() if self._elsewhere else None,
            self._by_group(errors) if first.standard_error is not None else None,
            torch.stack(sums).to(self.x) if sums else None,
            notes={undecided: torch.stack(open_)} if open_ else {},
        )

    def _end(self) -> Tensor:
        """Return f of all players, [B, T]."""
        whole = self.values([torch.ones(1, n, dtype=torch.bool) for n in self.counts])
        return torch.cat(whole).to(self.x)

    def _by_group(self, found: Sequence[Tensor], complete: bool = False) -> Tensor:
        """Return what players have, [n, T] of each sequence, as what groups have, [B, T, G].

        What no target reads has nothing. Where sums are claimed, the others share what a
        regression on drawn subsets gave it.
        """
        read = readable(self.field)
        total = torch.zeros(read.shape, dtype=torch.float64)
        plays = torch.zeros_like(total)
        for by_group, flags, own, by_player in zip(total, plays, self.players, found, strict=True):
            by_group[:, own], flags[:, own] = by_player.T, 1
        kept = total.masked_fill(~read, 0)
        if complete:
            plays = plays.masked_fill(~read, 0)
            lost = (total - kept).sum(-1, keepdim=True)
            kept = kept + plays * lost / plays.sum(-1, keepdim=True).clamp_min(1)
        return kept.to(self.x)


def _shared(points: Tensor) -> Tensor:
    """Return points [B, T or 1, N, D] as one for all targets, [B, 1, N, D].

    Raises:
        InputError: targets have points of their own.
    """
    if not bool((points == points[:, :1]).all()):
        raise InputError(
            "each target has inputs of its own, and a game is played for all of them at once; "
            "explain one target at a time."
        )
    return points[:, :1]


def _check_own(mode: str, same: bool) -> None:
    if not same:
        raise InputError(
            f"mode {mode!r} takes tokens away, and these inputs are no tokens: another method "
            "moved them, or drew a reference for them. Take mode 'embed' inside of that method."
        )

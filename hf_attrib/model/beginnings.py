"""Whether rows may run behind what a model keeps of the beginning of their inputs.

It is proven on the inputs as they are. Some models go on wrongly behind keys and values, and a
pass that runs few tokens may switch a model, for a while or for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from hf_attrib.errors import ProcessError, UnsupportedModelError
from hf_attrib.model.forward import Forward, Prefix
from hf_attrib.model.observation import COARSE, ROUNDINGS, likely_error
from hf_attrib.model.state import state_restored

__all__ = ["Beginnings", "Trail"]

#: What runs the inputs as they are: log-probabilities [B, T], and all logits of some targets.
_Ends: TypeAlias = Callable[[Forward], tuple[Tensor, Tensor]]


class Beginnings:
    """Runs beginnings of sequences, and proves what runs behind them.

    Args:
        forward: runs whole rows.
        ends: runs the inputs as they are by a forward, and returns log-probabilities of targets,
            [B, T], and all logits of P of them, [B, P, V].
        forward_rows: rows run so far, [B], which are added to.
    """

    def __init__(self, forward: Forward, ends: _Ends, forward_rows: Tensor) -> None:
        self._forward, self._ends, self._rows = forward, ends, forward_rows
        self._model = forward.model

    def of(self, lengths: Sequence[int], seen: Tensor, precision: float) -> list[Forward | None]:
        """Return what runs rows behind so many tokens, where that is proven exact.

        Nothing is run behind others by a model that remembers something of such passes, which are
        short: rows after them would be those of another model.

        Args:
            lengths: how many tokens begin the rows.
            seen: log-probabilities that the model gave before, [B, T].
            precision: relative rounding error of what it computes.

        Raises:
            UnsupportedModelError: the model does not give these any more.
        """
        none: list[Forward | None] = [None] * len(lengths)
        if not lengths:
            return none

        def once_more() -> None:
            rows = self._rows.clone()
            self._behind(lengths)
            self._rows.copy_(rows)  # part of the self-check, as it is once for a model

        with state_restored(self._model, once_more) as changed:
            found = self._behind(lengths)
            remembers = changed()
        if not any(found):
            return none
        # After the others, since what they leave behind may be where nothing can be put back.
        log_prob, whole = self._ends(self._forward)
        self._check_unmoved(log_prob, seen, precision)
        if remembers:
            return none
        return [
            one[0] if one is not None and _same(one[1], whole, precision) else None for one in found
        ]

    def _behind(self, lengths: Sequence[int]) -> list[tuple[Forward, Tensor] | None]:
        """Return what runs rows behind so many tokens each, and the logits that it gives."""
        found: list[tuple[Forward, Tensor] | None] = []
        for length in lengths:
            forward = copy(self._forward)
            try:
                forward.reuse(length)
                if forward.prefix is None:  # nor of any other length
                    return [None] * len(lengths)
                self._rows += 1
                found.append((forward, self._ends(forward)[1]))
            except ProcessError:  # another process has ended the call
                raise
            except Exception:  # a cache of its own, or no memory for it: rows run whole, slower
                found.append(None)
        return found

    def _check_unmoved(self, log_prob: Tensor, seen: Tensor, precision: float) -> None:
        """Demand that a model still gives what was seen, after passes over parts of it."""
        valid = self._forward.batch.valid.to(seen.device)
        before, after = seen[valid], log_prob[valid]
        change = torch.where(after == before, 0, (after - before).abs())
        if not bool((change / (1 + before.abs())).max() <= precision**0.5):
            raise UnsupportedModelError(
                f"{type(self._model).__name__} computes something else over the same tokens after "
                f"passes over parts of them (a log-probability moves by {float(change.max()):.2g})"
                ", so it remembers its passes where that cannot be put back, or was changed "
                "meanwhile by another thread. Only models can be explained that are functions of "
                "their input; let it remember nothing, and change and explain it in turns."
            )


class Trail:
    """What the model keeps of the row that ran last, for rows that begin as it does.

    Rows whose order is that of a dictionary share as much as any order lets them with one row
    kept: all subsets of n passages of P tokens take about 2^n P tokens, and not n 2^(n-1) P.

    Args:
        lengths: after how many tokens rows may go on, in order; each was proven by a pass.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths = torch.tensor(lengths)
        self._last: tuple[Tensor, Prefix] | None = None

    def leaving(self, forward: Forward) -> Forward:
        """Return a forward of the same rows that leaves what :meth:`keep` keeps."""
        own = copy(forward)
        own.kept = []
        return own

    def behind(self, forward: Forward, content: Tensor) -> Forward:
        """Return what runs rows, behind the longest beginning that all share with the last row.

        Args:
            forward: of these rows; what it runs them behind is taken if it is as long.
            content: all that the rows differ by, [R, N, X].
        """
        own = self.leaving(forward)
        if self._last is None or self._last[0].shape[1:] != content.shape[2:]:
            return own
        last, prefix = self._last
        common = (content[:, : len(last)] == last).all(-1).all(0).long().cumprod(0).sum()
        fitting = self._lengths[self._lengths <= int(common)].tolist()
        if fitting and fitting[-1] > own.skipped:
            owner = torch.zeros(len(own.batch.decoder_ids), dtype=torch.int64)
            own.prefix = Prefix(fitting[-1], _cut(prefix.cache, fitting[-1]), owner)
        return own

    def keep(self, forward: Forward, content: Tensor) -> None:
        """Keep what a forward of :meth:`behind` has left of the last row that it ran.

        Args:
            forward: that ran rows.
            content: of these rows, [R, N, X].
        """
        self._last = None
        cache: Any = forward.kept.pop() if forward.kept else None
        # Windows hold the end of a row alone, which nothing else can go on from.
        if type(cache) is DynamicCache and {type(one) for one in cache.layers} == {DynamicLayer}:
            length = int(self._lengths[-1])
            kept = Prefix(length, _cut(cache, length, row=-1))
            self._last = content[-1, :length].clone(), kept


def _cut(cache: DynamicCache, length: int, row: int | None = None) -> DynamicCache:
    """Return what is kept of the first tokens, of all rows or as a copy of one."""
    found = copy(cache)
    found.layers = [copy(layer) for layer in cache.layers]
    for layer in found.layers:
        for name in ("keys", "values"):
            part = getattr(layer, name)[..., :length, :]
            setattr(layer, name, part if row is None else part[row][None].clone())
    return found


def _same(found: Tensor, whole: Tensor, precision: float) -> bool:
    """Tell whether logits [B, P, V] differ by rounding: some models go on wrongly.

    A token that the model is sure of does not show by its probability that logits move.
    """
    bound = precision**0.75 if precision < COARSE else ROUNDINGS * precision
    return likely_error(found.flatten(0, 1), whole.flatten(0, 1)) <= bound

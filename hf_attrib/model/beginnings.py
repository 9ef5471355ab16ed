"""Whether rows may run behind what a model keeps of the beginning of their inputs.

It is proven on the inputs as they are. Some models go on wrongly behind keys and values, and a
pass that runs few tokens may switch a model, for a while or for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import TypeAlias

import torch
from torch import Tensor

from hf_attrib.errors import ProcessError, UnsupportedModelError
from hf_attrib.model.forward import Forward
from hf_attrib.model.observation import COARSE, ROUNDINGS, likely_error
from hf_attrib.model.state import state_restored

__all__ = ["Beginnings"]

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


def _same(found: Tensor, whole: Tensor, precision: float) -> bool:
    """Tell whether logits [B, P, V] differ by rounding: some models go on wrongly.

    A token that the model is sure of does not show by its probability that logits move.
    """
    bound = precision**0.75 if precision < COARSE else ROUNDINGS * precision
    return likely_error(found.flatten(0, 1), whole.flatten(0, 1)) <= bound

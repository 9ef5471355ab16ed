"""Whether a short pass computes the same after a longer one as before it.

What a model remembers in its modules is put back. What it remembers elsewhere, as in a variable
of a function, shows only in what it computes next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.execution import RowRunner
from hf_attrib.model.batch import Batch, alone
from hf_attrib.model.embedding_field import EmbeddingField
from hf_attrib.model.sites import Sites
from hf_attrib.model.state import state_restored
from hf_attrib.model.watch import two_models, weights_of
from hf_attrib.targets import TARGETS
from hf_attrib.text import TokenSequence

__all__ = ["Replay"]

#: So many of the likeliest tokens are compared.
_LIKELY = 256


class Replay:
    """Runs a short pass before and after each that is longer than all before it.

    Args:
        sites: embedding modules of a model.
        known: up to so many tokens of the decoder it has been seen to remember nothing.
    """

    def __init__(self, sites: Sites, known: int = 0) -> None:
        self.sites = sites
        self._longest = [0, known]
        self._refused: _Refused | None = None

    @contextmanager
    def around(
        self, model: Any, sequences: Sequence[TokenSequence], batch: Batch
    ) -> Iterator[None]:
        """Demand that passes inside the context leave what a short pass computes.

        The two short passes are run once for each length, and are part of the self-check.

        Args:
            model: the model.
            sequences: those that run inside.
            batch: they, as they run.

        Raises:
            UnsupportedModelError: it remembers something that cannot be put back, draws random
                numbers, or is changed meanwhile by others.
        """
        self._check_refused(model)
        both = list(zip(self._longest, batch.reads, strict=True))
        if all(read <= longest for longest, read in both):
            yield
            return
        short = _half(max(sequences, key=lambda sequence: len(sequence.inputs)))
        before, tokens = self._likely(model, short)
        weights = weights_of(model)
        yield
        after, _ = self._likely(model, short, tokens)
        if change := _change(model, after, before):
            if weights is not None and not weights.same(weights_of(model)):
                raise two_models(model)
            # What the longer pass has switched stays switched; anything else goes on changing.
            again, _ = self._likely(model, short, tokens)
            if further := _change(model, again, after):
                self._longest = [0, 0]  # nothing is known any more
                raise UnsupportedModelError(_restless(model, further, sum(short.reads)))
            message = _refusal(model, change, sum(short.reads), sum(batch.reads))
            self._refused = _Refused(message, short, tokens, again)
            raise UnsupportedModelError(message)
        self._longest = [max(pair) for pair in both]

    def _check_refused(self, model: Any) -> None:
        """Refuse a model again, as long as it computes what it did when it was refused.

        By then it computes the same before and after any pass: what it remembers is there already.
        """
        if (last := self._refused) is not None:
            now, _ = self._likely(model, last.short, last.tokens)
            if not _change(model, now, last.found):
                raise UnsupportedModelError(last.message)
            self._refused = None  # somebody has mended it, or put another one in its place

    def _likely(
        self, model: Any, batch: Batch, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of likely tokens at the ends of a response, and the tokens."""
        ends = torch.tensor([[0, batch.targets.shape[1] - 1]])
        field = EmbeddingField(model, self.sites, batch, TARGETS["logit"], RowRunner(1))
        with state_restored(model, field.observe):
            kept = field.observe(ends).kept
        assert kept is not None
        found = kept.logits[0].log_softmax(-1)
        if tokens is None:
            tokens = found.topk(min(_LIKELY, found.shape[-1])).indices
        return found.gather(1, tokens), tokens


class _Refused(NamedTuple):
    """A refusal, and what the model computed then.

    Args:
        message: why.
        short: the short pass.
        tokens: that were compared, [P, K].
        found: their log-probabilities, [P, K].
    """

    message: str
    short: Batch
    tokens: Tensor
    found: Tensor


def _change(model: Any, found: Tensor, before: Tensor) -> float:
    """Return by how much log-probabilities have moved; 0 if only by rounding."""
    change = (found - before).abs().nan_to_num()
    moved = (change / (1 + before.abs())).max() > torch.finfo(model.dtype).eps ** 0.5
    return float(change.max()) if moved else 0.0


def _half(sequence: TokenSequence) -> Batch:
    """Return half of a prompt with half of its response, alone."""
    prompt, response = (
        part[: (len(part) + 1) // 2] for part in (sequence.prompt, sequence.response)
    )
    return alone(TokenSequence(prompt, sequence.start, response))


def _restless(model: Any, change: float, tokens: int) -> str:
    return (
        f"{type(model).__name__} computes something else each time over the same {tokens} tokens "
        f"(a log-probability moves by {change:.2g}): it remembers its last passes where that "
        "cannot be put back, draws random numbers, or is changed meanwhile by another thread. Only "
        "models can be explained that are functions of their input; let it remember and draw "
        "nothing, and change and explain it in turns."
    )


def _refusal(model: Any, change: float, short: int, whole: int) -> str:
    return (
        f"{type(model).__name__} computes something else over the same {short} tokens after a pass "
        f"over {whole} than before it (a log-probability moves by {change:.2g}), so it remembers "
        "its passes where that cannot be put back, or was changed meanwhile by another thread; "
        "only models can be explained that are functions of their input. Let it remember nothing, "
        "or in attributes and buffers of its modules, and load it anew; if it was changed for "
        "good, make a new Explainer."
    )

"""What a model does with a batch that is left as it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["COARSE", "LIKELY", "ROUNDINGS", "Kept", "Observation", "likely_error"]

#: So many of the likeliest tokens are compared; the rest may be masked by huge numbers.
LIKELY = 256
#: Logits that differ by so many roundings are looked at again. Rounding to 16 bits measured at
#: most 2 in tiny random models and 4.4 in a trained one; passes of another function 50 and more.
ROUNDINGS = 6
#: Types whose smallest step is larger than this have 16 bits.
COARSE = 1e-4


@dataclass(frozen=True, eq=False)
class Kept:
    """All logits of some targets.

    Args:
        places: which targets, [B, P].
        logits: theirs, float32 or better, [B, P, V].
    """

    places: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Observation:
    """What a model does with a batch left as it is.

    Args:
        x: embeddings at the hooked modules, [B, 1, N, D], float32 or better.
        value: F(x), [B, T].
        log_prob: of each generated token, [B, T].
        shortfall: by how much its logit misses the largest, [B, T]; of tokens, also where the rest
            is of spans.
        kept: all logits of those targets that were asked for.
    """

    x: Tensor
    value: Tensor
    log_prob: Tensor
    shortfall: Tensor
    kept: Kept | None = None

    @property
    def probability(self) -> Tensor:
        """Probability of each generated token, [B, T]."""
        return self.log_prob.exp().clamp_max(1)  # which rounding may exceed

    def of_spans(self, members: Tensor) -> Observation:
        """Return the same of sums of targets, value and log-probability [B, S].

        Args:
            members: which targets each span adds up, [B, S, T] bool, on the CPU.
        """
        weights = members.to(self.value)
        value, log_prob = (
            torch.einsum("bt,bst->bs", by_token, weights)
            for by_token in (self.value, self.log_prob)
        )
        return Observation(self.x, value, log_prob, self.shortfall)

    def of_pairs(self) -> Observation:
        """Return F of half the sequences less that of the rest; of the former what else is seen."""
        half = len(self.x) // 2
        value = self.value[:half] - self.value[half:]
        return Observation(self.x[:half], value, self.log_prob[:half], self.shortfall[:half])


def likely_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of logits [P, V] over P places, relative to their size."""
    likely = expected.topk(min(LIKELY, expected.shape[-1])).indices
    found, expected = found.gather(1, likely), expected.gather(1, likely)
    change = torch.where(found == expected, 0, found - expected)
    typical = change.square().mean(1).sqrt()
    size = expected.abs().median(1).values.clamp_min(torch.finfo(expected.dtype).tiny)
    return float((typical / size).max())

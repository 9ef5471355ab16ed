"""Random numbers that depend on a seed and nothing else, and averages over samples.

Numbers are drawn for the tokens of one sequence at a time, so that they are the same whatever it
is padded or chunked with. No global generator is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b

import torch
from torch import Tensor

from hf_attrib.field import Decomposition, Field, Path

__all__ = ["Average", "Running", "cloud", "derived", "generator", "noise"]


def generator(seed: int, *stream: object) -> torch.Generator:
    """Return a generator for one purpose.

    Args:
        seed: the caller's.
        *stream: what the numbers are for, such as ``("noise", 3)``; streams are independent.
    """
    return torch.Generator().manual_seed(derived(seed, *stream))


def derived(seed: int, *stream: object) -> int:
    """Return a seed for one purpose, below 2**63."""
    digest = blake2b(repr((seed, *stream)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def noise(field: Field, x: Tensor, seed: int, sample: int) -> Tensor:
    """Return standard normal noise in units of the embedding scale, 0 where inputs do not move.

    Args:
        field: says which inputs move, and what their scale is.
        x: embeddings, [B, T or 1, N, D].
        seed: the caller's.
        sample: number of the sample.

    Returns:
        noise [B, 1, N, D], like ``x``.
    """
    drawn = torch.zeros(field.sequences, *x.shape[-2:], dtype=torch.float32)
    for sequence, moves in zip(drawn, field.movable.cpu(), strict=True):
        shape = (int(moves.sum()), x.shape[-1])
        sequence[moves] = torch.randn(
            shape, generator=generator(seed, "noise", sample), dtype=torch.float32
        )
    return drawn[:, None].to(x) * field.space.scale.to(x)


def cloud(field: Field, x: Tensor, sigma: float, seed: int) -> Path:
    """Return a path that maps numbers of samples to noisy inputs, with velocity 0.

    Args:
        field: see :func:`noise`.
        x: embeddings, [B, T or 1, N, D].
        sigma: standard deviation of the noise, in units of the embedding scale.
        seed: the caller's.
    """

    def path(numbers: Tensor) -> tuple[Tensor, Tensor]:
        points = [x + sigma * noise(field, x, seed, int(j)) for j in numbers]
        return torch.stack(points), torch.zeros_like(x)[None]

    return path


class Running:
    """Mean and standard error of samples that come in chunks (Chan, Golub, LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, samples: Tensor) -> None:
        """Add samples [k, ...]."""
        count, mean = len(samples), samples.mean(0)
        step, total = mean - self.mean.to(mean), self.count + count
        between = step.square() * (self.count * count / total)
        self._squares = self._squares.to(mean) + (samples - mean).square().sum(0) + between
        self.mean = self.mean.to(mean) + step * (count / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """Variance of a sample, unbiased; NaN for a single one."""
        return self._squares / (self.count - 1 or torch.nan)

    @property
    def standard_error(self) -> Tensor:
        """Standard error of the mean; NaN for a single sample."""
        return (self.variance / self.count).sqrt()


class Average:
    """Mean of decompositions that differ by what was drawn, for methods that hold another."""

    def __init__(self) -> None:
        self._scores = Running()
        self._references: list[Tensor] = []
        self._values: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._sizes: list[Mapping[str, Tensor]] = []
        self._notes: dict[str, Tensor] = {}

    def add(self, sample: Decomposition) -> None:
        """Add one sample."""
        self._scores.add(sample.scores[None])
        self._sums.append(sample.scores.sum(-1))
        self._sizes.append(sample.sizes)
        for note, about in sample.notes.items():
            self._notes[note] = self._notes.get(note, torch.zeros_like(about)) | about
        if sample.start_value is not None:
            self._references.append(sample.start_value)
        if sample.end_value is not None:
            self._values.append(sample.end_value)

    def result(self) -> Decomposition:
        """Return the mean; its sum has an error where each sample's sum has an identity."""
        error = self._scores.standard_error
        sizes = {k: torch.stack([s[k] for s in self._sizes]).mean(0) for k in self._sizes[0]}
        alone = Decomposition(
            self._scores.mean, None, standard_error=error, sizes=sizes, notes=self._notes
        )
        if not self._references:
            return alone
        references, sums = torch.stack(self._references), torch.stack(self._sums)
        values = torch.stack(self._values) if self._values else torch.zeros_like(references)
        residual = Running()
        residual.add(sums - (values - references))
        return replace(
            alone,
            start_value=references.mean(0),
            end_value=values.mean(0) if self._values else None,
            sum_standard_error=residual.standard_error,
        )

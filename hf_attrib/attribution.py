"""The frozen result of an explanation: scores, the proof that they add up, and where from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hf_attrib.tokens import Span, Tokens

__all__ = ["Attribution", "Run"]


@dataclass(frozen=True)
class Run:
    """How an attribution was computed, and at what cost.

    Args:
        method: registered name of the method.
        method_fields: its hyperparameters.
        target: the scalar explained, e.g. ``"log_prob"``.
        contrast_ids: for each generated token the id it was contrasted with, or ``None``.
        contrast_pieces: their text.
        attribute_to: ``"prompt"`` or ``"all"`` (prompt and generated prefix).
        movable: which tokens could move: ``"content"``, ``"all"`` or ``"given"`` by flags.
        baseline: what the reference input was, in words.
        signed: whether scores carry a sign.
        identity: what the scores of a target sum to, e.g. ``"f(x) - f(x')"``, or ``None``.
        resolution: differences of f below this count as this in the relative gap (units of f).
        tolerance: relative gap up to which a target counts as converged.
        model: name or path of the model.
        model_revision: commit of the model, where known.
        dtype: floating point type of the model.
        versions: versions of the packages that matter.
        seconds: wall time of attribution, without generation.
        forward_rows: sequences run forward.
        backward_rows: (sequence, target) pairs run backward.
        notes: reservations a reader must know.
    """

    method: str
    method_fields: Mapping[str, Any]
    target: str
    contrast_ids: tuple[int, ...] | None
    contrast_pieces: tuple[str, ...] | None
    attribute_to: str
    movable: str
    baseline: str
    signed: bool
    identity: str | None
    resolution: float
    tolerance: float
    model: str
    model_revision: str | None
    dtype: str
    versions: Mapping[str, str]
    seconds: float
    forward_rows: int
    backward_rows: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Attribution:
    r"""Signed scores of T generated tokens over N input tokens.

    Each row of the scores belongs to a span of the response, and each column to a span of the
    inputs: single tokens, unless spans were asked for or tokens were grouped.

    For methods that state a completeness identity,
    :math:`\sum_n A_{t,n} = f_t(x) - f_t(x_\mathrm{ref})` up to :attr:`gap`.

    Args:
        scores: :math:`A`, [T, N], on the CPU; positive supports the generated token.
        inputs: the tokens that the columns are made of.
        response: the tokens that the rows are made of.
        value: f(x) of each target, or its mean over what the method samples, [T].
        reference_value: f at the reference input, [T]; NaN where the method has none.
        probability: the model's probability of each row's tokens, [T].
        run: method, target, model, cost.
        rows: T spans of the response; none given means each token.
        columns: N spans that partition the inputs; none given means each token.
        standard_error: of each score, [T, N], or ``None`` if the method draws no samples.
        sum_standard_error: of the completeness residual, [T], likewise.
    """

    scores: Tensor
    inputs: Tokens
    response: Tokens
    value: Tensor
    reference_value: Tensor
    probability: Tensor
    run: Run = field(repr=False)
    rows: tuple[Span, ...] = field(default=(), repr=False)
    columns: tuple[Span, ...] = field(default=(), repr=False)
    standard_error: Tensor | None = field(default=None, repr=False)
    sum_standard_error: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows or self.response.singles())
        object.__setattr__(self, "columns", self.columns or self.inputs.singles())
        self._check_spans()
        expected = (len(self.rows), len(self.columns))
        for name in ("scores", "standard_error"):
            self._check_shape(name, expected)
        for name in ("value", "reference_value", "probability", "sum_standard_error"):
            self._check_shape(name, expected[:1])

    def _check_spans(self) -> None:
        edges = [0, *(span.stop for span in self.columns)]
        if [span.start for span in self.columns] != edges[:-1] or edges[-1] != len(self.inputs):
            raise ValueError(f"columns do not partition the {len(self.inputs)} inputs")
        if not all(0 <= span.start < span.stop <= len(self.response) for span in self.rows):
            raise ValueError(f"rows reach beyond the {len(self.response)} generated tokens")

    def _check_shape(self, name: str, expected: tuple[int, ...]) -> None:
        given = getattr(self, name)
        if given is not None and tuple(given.shape) != expected:
            raise ValueError(f"{name} is {tuple(given.shape)}, expected {expected}")

    @property
    def input_ids(self) -> Tensor:
        """Ids of the input tokens."""
        return self.inputs.ids

    @property
    def response_ids(self) -> Tensor:
        """Ids of the generated tokens."""
        return self.response.ids

    @property
    def pieces(self) -> tuple[str, ...]:
        """Text of each of the N columns."""
        return tuple(map(self.inputs.piece, self.columns))

    @property
    def response_pieces(self) -> tuple[str, ...]:
        """Text of each of the T rows."""
        return tuple(map(self.response.piece, self.rows))

    @property
    def roles(self) -> tuple[str, ...]:
        """Role of each of the N columns."""
        return tuple(map(self.inputs.role, self.columns))

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Character range of each of the N columns in ``inputs.text``."""
        return tuple(map(self.inputs.extent, self.columns))

    @property
    def forward_rows(self) -> int:
        """Sequences run forward."""
        return self.run.forward_rows

    @property
    def backward_rows(self) -> int:
        """(sequence, target) pairs run backward."""
        return self.run.backward_rows

    @property
    def notes(self) -> tuple[str, ...]:
        """Reservations a reader must know."""
        return self.run.notes

    @property
    def gap(self) -> Tensor:
        r"""Relative completeness gap of each target, [T].

        :math:`|\sum_n A_{t,n} - \Delta_t| / \max(|\Delta_t|, r)` with
        :math:`\Delta_t = f_t(x) - f_t(x_\mathrm{ref})` and r the target's resolution;
        NaN where the method has no reference.
        """
        difference = (self.value - self.reference_value).double()
        residual = self.scores.double().sum(-1) - difference
        return residual.abs() / difference.abs().clamp_min(self.run.resolution)

    @property
    def converged(self) -> Tensor:
        """Whether each target's gap is within tolerance, [T] bool; False without a reference."""
        return self.gap <= self.run.tolerance

    @property
    def total(self) -> Tensor:
        """Scores summed over the response, [N]."""
        return self.scores.sum(0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON, whole or not at all."""
        from hf_attrib.storage import save  # it imports this module

        save(self, path)

    def __rich__(self) -> Any:
        """Show as a heatmap wherever rich prints; rendering is imported only when asked for."""
        from hf_attrib.render import Heatmap

        return Heatmap(self)

    def __str__(self) -> str:
        from hf_attrib.render import to_text

        return to_text(self)

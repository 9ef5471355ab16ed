"""The record of a run: what was computed, of which model, at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_attrib.results.json_value import LATER
from hf_attrib.text import Document

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """How an attribution was computed, and at what cost.

    Args:
        method: registered name of the method.
        method_fields: its hyperparameters.
        target: the scalar explained, e.g. ``"log_prob"``.
        contrast_ids: for each generated token the id it was contrasted with; or, where ``fork``
            says so, the tokens of another answer from there on; or ``None``.
        contrast_pieces: their text, one by one.
        attribute_to: ``"prompt"`` or ``"all"`` (prompt and generated prefix).
        movable: which tokens could move: ``"content"``, ``"all"`` or ``"given"`` by flags.
        baseline: what the reference input was, in words; ``None`` if the method takes none.
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
        notes: what a reader must know before relying on the scores.
        directional_rows: (sequence, group) pairs run forward with their derivative.
        sizes: of a walk through embedding space, by name, for each target that was explained:
            its radius ``eps`` and its ``step`` in units of ``scale``, a typical coordinate.
        contest: of a method that was chosen among several, numbers of each of these, by name.
        contest_heads: what these numbers are.
        documents: that came with the prompt.
        fork: how many generated tokens come before those that are explained against another
            answer, which begins with the same; or ``None``.
        contrast_text: the text of the other answer from there on.
    """

    method: str
    method_fields: Mapping[str, Any]
    target: str
    contrast_ids: tuple[int, ...] | None
    contrast_pieces: tuple[str, ...] | None
    attribute_to: str
    movable: str
    baseline: str | None
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
    directional_rows: int = field(default=0, metadata=LATER)
    sizes: Mapping[str, tuple[float, ...]] = field(default_factory=dict, metadata=LATER)
    contest: Mapping[str, tuple[float, ...]] = field(default_factory=dict, metadata=LATER)
    contest_heads: tuple[str, ...] = field(default=(), metadata=LATER)
    documents: tuple[Document, ...] = field(default=(), metadata=LATER)
    fork: int | None = field(default=None, metadata=LATER)
    contrast_text: str | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        for name, least in (("resolution", math.ulp(0.0)), ("tolerance", 0.0), ("seconds", 0.0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ValueError(f"{name} is {value}, which is no size")
        if any(len(numbers) != len(self.contest_heads) for numbers in self.contest.values()):
            raise ValueError("contest has other numbers than contest_heads")
        ids, pieces = self.contrast_ids, self.contrast_pieces
        if (ids is None, len(ids or ())) != (pieces is None, len(pieces or ())):
            raise ValueError("contrast_ids and contrast_pieces differ in length")
        if (self.fork is None) != (self.contrast_text is None) or (
            self.fork is not None and not ids
        ):
            raise ValueError("fork, contrast_text and contrast_ids come together")

    @property
    def half_precision(self) -> bool:
        """Whether the model computes in 16 bits."""
        return self.dtype in ("float16", "bfloat16")

    @property
    def remedy(self) -> str | None:
        """What brings scores closer to their identity, in a sentence, if anything does."""
        given = self.method_fields
        if "steps=" in str(given.get("inner", "")):
            # What the inner method misses, no samples mend.
            return "Raise the steps of inner, or samples."
        # Results that were saved before it was renamed have max_points.
        given = {"max_nodes": given.get("max_points"), **given}
        if given.get("max_nodes") and given.get("rule") not in (None, "adaptive"):
            return "Take rule='adaptive'."
        names = ("samples", "steps", "max_nodes", "nodes")
        field = next((n for n in names if given.get(n) is not None), None)
        if field == "max_nodes" and self.half_precision:
            # Nodes are spent only as long as rounding lets them mend something.
            return "Load the model in float32, or raise max_nodes."
        return field and f"Raise {field}."

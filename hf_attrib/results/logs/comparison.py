"""Log-probabilities of a log beside those of the model that explains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_attrib.errors import InputError
from hf_attrib.results.attribution import Attribution
from hf_attrib.results.protocol import Told

if TYPE_CHECKING:
    from hf_attrib.results.logs.row import LogRow

__all__ = ["LogComparison", "compared"]


@dataclass(frozen=True)
class LogComparison(Told):
    """How far the log-probabilities of a log are from those of the model that explains, in nats.

    Args:
        line: of the log.
        pieces: text of each of the T rows of the result.
        logged: the log's log-probability of each, T numbers; ``None`` where the log lacks one.
        here: the model's, T numbers.
    """

    line: int
    pieces: tuple[str, ...]
    logged: tuple[float | None, ...]
    here: tuple[float, ...]

    @property
    def differences(self) -> tuple[float | None, ...]:
        """The model's less the log's, T numbers; ``None`` where the log has none."""
        pairs = zip(self.here, self.logged, strict=True)
        return tuple(None if logged is None else here - logged for here, logged in pairs)

    @property
    def compared(self) -> int:
        """How many rows have a log-probability in the log."""
        return sum(one is not None for one in self.logged)

    @property
    def max(self) -> float:
        """The largest magnitude of a difference."""
        return max(abs(one) for one in self.differences if one is not None)

    @property
    def mean(self) -> float:
        """The mean magnitude of the differences."""
        return math.fsum(abs(one) for one in self.differences if one is not None) / self.compared

    @property
    def worst(self) -> int:
        """The row whose difference is largest."""
        sizes = [-1.0 if one is None else abs(one) for one in self.differences]
        return sizes.index(max(sizes))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a record for each row; ``None`` where the log has nothing, or for infinity."""
        columns = zip(self.pieces, self.logged, self.here, self.differences, strict=True)
        return [
            {
                "generated": t,
                "generated_piece": piece,
                "logged": _finite(logged),
                "here": _finite(here),
                "difference": _finite(difference),
            }
            for t, (piece, logged, here, difference) in enumerate(columns)
        ]

    def __str__(self) -> str:
        t, left = self.worst, len(self.pieces) - self.compared
        without = f"; the log has none of {left} more" if left else ""
        # `repr` keeps text from steering the terminal.
        return (
            f"log-probabilities of line {self.line} differ by {self.max:.3g} nats at most "
            f"({self.pieces[t]!r}, row {t}: {self.logged[t]:.4g} logged, {self.here[t]:.4g} here) "
            f"and {self.mean:.3g} in the mean of {self.compared}{without}"
        )


def compared(row: LogRow, result: Attribution) -> LogComparison:
    """Compare, as :meth:`LogRow.compare` says."""
    if not isinstance(result, Attribution):
        raise InputError(f"expected what row.explain(model) returned; got {type(result).__name__}.")
    where = f"line {row.line} of the log"
    numbers = row.log_probabilities
    if numbers is None or all(one is None for one in numbers):
        raise InputError(
            f"{where} holds no log-probabilities; ask the engine for them (logprobs of vLLM, "
            "n_probs of llama-server)."
        )
    sequence = result.sequence
    prompt = None if sequence is None else sequence.prompt.ids.tolist()
    asked = row.question.get("input_ids", prompt)
    read = row.prompt_tokens is None or prompt is None or len(prompt) == row.prompt_tokens
    if result.response_ids.tolist() != row.question["response_ids"] or asked != prompt or not read:
        raise InputError(
            f"the result is not of {where}: it explains other ids than those that are logged; "
            "compare what row.explain(model) returned."
        )
    logged = [numbers[span.start : span.stop] for span in result.rows]
    return LogComparison(
        row.line,
        result.response_pieces,
        tuple(None if None in some else math.fsum(some) for some in logged),  # type: ignore[arg-type]
        tuple(result.probability.double().log().tolist()),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

"""A result as tables: its strongest columns, and a record for each score."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.results.protocol import Told

if TYPE_CHECKING:
    from pandas import DataFrame

    from hf_attrib.results.attribution import Attribution

__all__ = ["Contribution", "Ranking", "data_frame", "to_csv", "to_dataframe", "to_rows", "top"]


class Contribution(NamedTuple):
    """What one column contributed to all rows together."""

    position: int
    piece: str
    role: str
    score: float
    #: Its part of the sum of all columns' magnitudes, 0 to 1; NaN for a score that is not finite.
    share: float
    #: Of the score, at most; ``None`` if the method draws no samples.
    standard_error: float | None


class Ranking(Told, tuple[Contribution, ...]):
    """Contributions, strongest first; prints as a table."""

    #: Whether scores carry a sign.
    signed: bool

    def __new__(cls, contributions: Iterable[Contribution], signed: bool = True) -> Ranking:
        """Keep the contributions, and whether their scores carry a sign."""
        made = super().__new__(cls, contributions)
        made.signed = signed
        return made

    def __str__(self) -> str:
        return "\n".join(map(self._line, self))

    def _line(self, c: Contribution) -> str:
        sign = "+" if self.signed else ""
        error = "" if c.standard_error is None else f" ± {c.standard_error:<8.2g}"
        # `repr` keeps text from steering the terminal.
        return (
            f"{c.score:{sign}12.4g}{error} {c.share:6.1%}  {c.position:5d} {c.role:10s} {c.piece!r}"
        )


def top(result: Attribution, k: int) -> Ranking:
    """Return the strongest columns, as :meth:`Attribution.top` says."""
    k = plain_number(k)
    if type(k) is not int or k < 1:
        raise InputError(f"k is {k!r:.80}; expected how many columns to return, at least 1.")
    totals: list[float] = result.scores.double().sum(0).tolist()
    error = result.standard_error
    errors = [None] * len(totals) if error is None else error.double().sum(0).tolist()
    size = [abs(total) if math.isfinite(total) else math.inf for total in totals]
    everything = sum(s for s in size if math.isfinite(s))
    pieces, roles = result.pieces, result.roles
    order = sorted((i for i in range(len(size)) if size[i]), key=lambda i: -size[i])
    found = [
        Contribution(
            i,
            pieces[i],
            roles[i],
            totals[i],
            size[i] / everything if math.isfinite(size[i]) else math.nan,
            errors[i],
        )
        for i in order[:k]
    ]
    return Ranking(found, result.run.signed)


def to_rows(result: Attribution) -> list[dict[str, Any]]:
    """Return one record for each score, as :meth:`Attribution.to_rows` says."""
    scores, gap, converged = result.scores.tolist(), result.gap.tolist(), result.converged.tolist()
    probability, status = result.probability.tolist(), result.status
    errors = None if result.standard_error is None else result.standard_error.tolist()
    inputs = list(zip(result.pieces, result.roles, result.offsets, strict=True))
    return [
        {
            "generated": t,
            "generated_piece": piece,
            "probability": probability[t],
            "gap": gap[t],
            "converged": converged[t],
            "status": status[t],
            "input": n,
            "input_piece": input_piece,
            "role": role,
            "start": start,
            "end": end,
            "score": scores[t][n],
            "standard_error": None if errors is None else errors[t][n],
        }
        for t, piece in enumerate(result.response_pieces)
        for n, (input_piece, role, (start, end)) in enumerate(inputs)
    ]


def to_csv(result: Attribution) -> str:
    """Return :func:`to_rows` as CSV: texts are quoted, ``None`` is empty, numbers are exact.

    Half of a surrogate pair, which UTF-8 cannot hold, is written as its escape.
    """
    text, rows = io.StringIO(), to_rows(result)
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def to_dataframe(result: Attribution) -> DataFrame:
    """Return :func:`to_rows` as a table, as :meth:`Attribution.to_dataframe` says."""
    return data_frame(to_rows(result))


def data_frame(rows: list[dict[str, Any]]) -> DataFrame:
    """Return records as a data frame.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas  # no other part of the package needs it
    except ImportError:
        raise InputError(
            "a data frame needs pandas: pip install 'hf_attrib[table]'; to_rows() does without."
        ) from None
    return pandas.DataFrame(rows)

"""What a page shows of one result: words, running text, a table, and the numbers of the script."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_attrib.render import phrases
from hf_attrib.render.html.pieces import Piece, brief, inputs, shades
from hf_attrib.render.palette import Scale
from hf_attrib.render.sheet import Sheet, merge_scores, prepare
from hf_attrib.results import Attribution

__all__ = ["MISSED", "Panel", "panel_of"]

#: What marks a row of the response, since its numbers may be wrong; the worst first.
MISSED = ("not converged", "row uncertain")


#: What the legend says of inputs that are no part of what was said.
_LINES = "special and template tokens have a line in their colour, all others stand on it"


@dataclass(frozen=True)
class Panel:
    """One result as a page shows it: every text and number that the template fills in.

    A comparison has two panels side by side. A panel holds no colours and computes nothing more;
    what it is drawn from is the :class:`~hf_attrib.render.sheet.Sheet` of the result.

    Args:
        name: what tells it from another panel, if there is one.
        about: how it was made, as far as another panel's result was not.
        completeness: what the scores sum to.
        converged: how many targets have, if the method states an identity.
        warnings: that some have not, and how.
        notes: what a reader must know.
        meaning: what the sign of a score means.
        written: which inputs do not stand on their colour, if some could have one.
        cost: rows run, and seconds.
        identity: what scores sum to, if anything.
        row: what to call a row.
        column: what to call a column.
        shades: classes of the scale, from the lowest to the highest score.
        limits: the numbers at its ends, for the totals.
        words: what full colour stands for.
        matrix_limits: the numbers at the ends of the scale of single scores.
        matrix_words: what full colour stands for there.
        odd: whether some scores are not finite.
        prompt: the inputs as running text.
        prefix: those inputs that were generated.
        rows: the table of generated tokens.
        owners: which unit each of the N columns belongs to.
        data: what the script needs.
    """

    name: str | None
    about: Sequence[str]
    completeness: str
    converged: str | None
    warnings: Sequence[str]
    notes: Sequence[str]
    meaning: str
    written: str | None
    cost: str
    identity: str | None
    row: str
    column: str
    shades: Sequence[str]
    limits: tuple[str, str]
    words: str
    matrix_limits: tuple[str, str]
    matrix_words: str
    odd: bool
    prompt: Sequence[Piece]
    prefix: Sequence[Piece]
    rows: Sequence[dict[str, Any]]
    owners: Sequence[int]
    data: dict[str, Any]


def panel_of(result: Attribution, name: str | None = None, about: Sequence[str] = ()) -> Panel:
    """Prepare a result for a page.

    Args:
        result: the attribution.
        name: what tells it from another panel, if there is one.
        about: how it was made, as far as another panel's result was not.
    """
    sheet = prepare(result, "full")
    run = result.run
    pieces = list(inputs(sheet))
    generated = [unit.role == "generated" for unit in sheet.units]
    targets = phrases.count(len(result.rows), "target")
    reached = f"{int(result.converged.sum())} of {targets} converged"
    if result.error_bound is None:
        reached = f"the sums of {reached}"
    return Panel(
        name=name,
        about=about,
        completeness=phrases.completeness(result),
        converged=None if run.identity is None else reached,
        warnings=phrases.unconverged(result),
        notes=(*run.notes, *phrases.contest(run)),
        meaning=phrases.meaning(result),
        written=_LINES if _writes(sheet) else None,
        cost=phrases.cost(run),
        identity=run.identity,
        row=sheet.row,
        column=sheet.column,
        shades=shades(run.signed),
        limits=_limits(sheet.total_scale),
        words=sheet.total_scale.words(),
        matrix_limits=_limits(sheet.token_scale),
        matrix_words=sheet.token_scale.words("the outermost shade"),
        odd=not bool(result.scores.isfinite().all()),
        prompt=[p for p, flag in zip(pieces, generated, strict=True) if not flag],
        prefix=[p for p, flag in zip(pieces, generated, strict=True) if flag],
        rows=list(_table(result)),
        owners=[u for u, unit in enumerate(sheet.units) for _ in range(unit.start, unit.stop)],
        data=_data(sheet) | {"name": name},
    )


def _writes(sheet: Sheet) -> bool:
    """Tell whether an input is written in its colour, of the whole response or of a part."""
    columns = zip(sheet.units, *sheet.rows, strict=True)
    return any(unit.is_written and any(scores) for unit, *scores in columns)


def _limits(scale: Scale) -> tuple[str, str]:
    return scale.number(-scale.limit) if scale.signed else "0", scale.number(scale.limit)


def _table(result: Attribution) -> Iterator[dict[str, Any]]:
    """Yield what the table says of each row."""
    difference = (result.value.double() - result.reference_value.double()).tolist()
    sums = result.scores.double().sum(-1).tolist()
    error = result.sum_standard_error
    bars = [""] * len(sums) if error is None else [f" ± {e:.2g}" for e in error.tolist()]
    gap, converged, status = result.gap.tolist(), result.converged.tolist(), result.status
    for t, piece in enumerate(result.response_pieces):
        yield {
            "label": brief(piece),
            "probability": phrases.probability(float(result.probability[t])),
            "value": f"{float(result.value[t]):.4g}",
            "difference": f"{difference[t]:.4g}",
            "sum": f"{sums[t]:.4g}{bars[t]}",
            "gap": phrases.gap(gap[t]),
            "converged": converged[t],
            "state": phrases.state(status[t]),
            "missed": status[t] if status[t] in MISSED else "",
        }


def _data(sheet: Sheet) -> dict[str, Any]:
    """Return the numbers of a page; sums are those of the full precision."""
    result = sheet.result
    spans = [result.columns[unit.start : unit.stop] for unit in sheet.units]
    errors, sum_errors = result.standard_error, result.sum_standard_error
    vectors = {
        "totals": torch.tensor(sheet.totals, dtype=torch.float64),
        "sum": result.scores.double().sum(-1),
        "difference": result.value.double() - result.reference_value.double(),
        "probability": result.probability,
        "resolution": torch.tensor([result.run.resolution], dtype=torch.float64),
    }
    return {
        "units": [brief(unit.text) for unit in sheet.units],
        "spans": [[columns[0].start + 1, columns[-1].stop] for columns in spans],
        "signed": result.run.signed,
        "limit": sheet.token_scale.limit,
        "strongest": sheet.token_scale.strongest,
        "complete": result.run.identity is not None,
        "identity": phrases.line(result.run.identity or ""),
        "converged": result.converged.tolist(),
        "states": [phrases.state(status) for status in result.status],
        "scores": _packed(torch.tensor(sheet.rows), torch.float32),
        "errors": None if errors is None else _packed(_of_units(errors, sheet), torch.float32),
        "sumErrors": None if sum_errors is None else _packed(sum_errors, torch.float64),
        **{name: _packed(vector, torch.float64) for name, vector in vectors.items()},
    }


def _of_units(values: Tensor, sheet: Sheet) -> Tensor:
    return torch.tensor(merge_scores(values, sheet.units))


def _packed(values: Tensor, dtype: torch.dtype) -> str:
    """Return numbers as base64: compact, without loss of digits, and with NaN."""
    array = values.to(dtype).contiguous().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()

r"""What groups of inputs were worth: their scores added up, and a result as one record of a table.

With scores A [T, N] and the columns G of a group, its mass is :math:`m_t = \sum_{n \in G} A_{t,n}`
and its share :math:`\sum_{n \in G} |A_{t,n}| / \sum_n |A_{t,n}|`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.results.protocol import Told
from hf_attrib.text import Named, Span, parts_of
from hf_attrib.text.encoding import check_text

if TYPE_CHECKING:
    from hf_attrib.results.attribution import Attribution

__all__ = ["Mass", "Masses", "masses", "to_record"]

#: What columns are called that no group holds.
_REST = "rest"


@dataclass(frozen=True)
class Mass:
    r"""The scores of one group of inputs, added up.

    Args:
        name: of the group.
        tokens: indices of its tokens among the inputs.
        each: :math:`m_t` of each target, T numbers in the units of f (nats for log-probabilities).
        shares: of the sum of all magnitudes of a target, T numbers; NaN where that sum is 0.
        total: :math:`\sum_t m_t`.
        share: of the sum of magnitudes of all columns' totals, as
            :attr:`~hf_attrib.results.tables.Contribution.share`.
        standard_errors: of ``each``, T numbers; errors of scores are added, which bounds those of
            sums from above. ``None`` if the method draws no samples.
        standard_error: of ``total``, likewise.
        parts: the places that the group was named by, if there are several.
    """

    name: str
    tokens: tuple[int, ...]
    each: tuple[float, ...]
    shares: tuple[float, ...]
    total: float
    share: float
    standard_errors: tuple[float, ...] | None = None
    standard_error: float | None = None
    parts: tuple[Mass, ...] = ()


@dataclass(frozen=True)
class Masses(Told, Mapping[str, Mass]):
    r"""The masses of groups that share no token, by name, and of what no group holds as ``"rest"``.

    The masses of a target add up to the sum of its scores, and with it to the change of f:
    :math:`\sum_G m_{t,G} = f_t(x) - f_t(x_\mathrm{ref}) +` :attr:`completeness_errors`.

    Args:
        groups: the masses, in the order they were named; the last one is the rest.
        targets: text of each target, T.
        completeness_errors: by how much the scores of each target exceed f(x) - f(x_ref), T
            numbers in the units of f; NaN where the method has no reference.
    """

    groups: tuple[Mass, ...]
    targets: tuple[str, ...]
    completeness_errors: tuple[float, ...]

    def __getitem__(self, name: str) -> Mass:
        for mass in self.groups:
            if mass.name == name:
                return mass
        raise KeyError(f"{name!r:.80}; there are {', '.join(map(repr, self))}")

    def __iter__(self) -> Iterator[str]:
        return (mass.name for mass in self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def rest(self) -> Mass:
        """The mass of all columns that no group holds."""
        return self.groups[-1]

    @property
    def completeness_error(self) -> float:
        """By how much the sum of all scores exceeds that of f(x) - f(x_ref), in units of f."""
        return math.fsum(self.completeness_errors)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a record for each group and target, of plain numbers; ``None`` for NaN."""
        return [
            {
                "group": mass.name,
                "generated": t,
                "generated_piece": piece,
                "mass": _plain(mass.each[t]),
                "share": _plain(mass.shares[t]),
                "standard_error": mass.standard_errors and _plain(mass.standard_errors[t]),
                "completeness_error": _plain(self.completeness_errors[t]),
            }
            for t, piece in enumerate(self.targets)
            for mass in self.groups
        ]

    def __str__(self) -> str:
        missed = f"{self.completeness_error:+12.4g} more than f(x) - f(x_ref)"
        lines = [*map(_line, self.groups), missed]
        return "\n".join(lines if math.isfinite(self.completeness_error) else lines[:-1])


def _line(mass: Mass) -> str:
    error = "" if mass.standard_error is None else f" ± {mass.standard_error:<8.2g}"
    # `repr` keeps text from steering the terminal.
    return f"{mass.total:+12.4g}{error} {mass.share:6.1%}  {len(mass.tokens):5d} {mass.name!r}"


def masses(result: Attribution, groups: Mapping[str, Named]) -> Masses:
    """Add up the scores of groups, as :meth:`Attribution.mass` says."""
    if not groups:
        raise InputError("there is no group; name at least one, as mass(fact='Paris').")
    return _masses(result, groups)


def _masses(result: Attribution, groups: Mapping[str, Named]) -> Masses:
    parts = {name: _parts(result, name, given) for name, given in groups.items()}
    owners: dict[int, str] = {}
    for name, spans in parts.items():
        for token in (i for span in spans for i in range(span.start, span.stop)):
            if (other := owners.setdefault(token, name)) != name:
                raise InputError(
                    f"the groups {other!r:.80} and {name!r:.80} share token {token}, "
                    f"{result.inputs.pieces[token]!r:.80}, which would count twice; keep them "
                    "apart, or ask for one at a time."
                )
    rest = tuple(span for span in result.columns if span.start not in owners)
    found = [_mass(result, name, spans) for name, spans in parts.items()]
    residual = result.scores.double().sum(-1) - (result.value - result.reference_value).double()
    return Masses(
        (*found, _mass(result, _REST, rest, parted=False)),
        result.response_pieces,
        tuple(residual.tolist()),
    )


def _parts(result: Attribution, name: str, given: Named) -> tuple[Span, ...]:
    """Return the spans of a group, each of which is whole columns."""
    check_text(name)
    if name == _REST:
        raise InputError(f"{_REST!r} is what no group holds; call this group something else.")
    spans = parts_of(result.inputs, name, given)
    edges = {edge for column in result.columns for edge in (column.start, column.stop)}
    for span in spans:
        if not {span.start, span.stop} <= edges:
            raise InputError(
                f"group {name!r:.80}: {result.inputs.piece(span)!r:.80} is a part of a column, "
                "which is one in this result; explain by tokens (groups='token'), or name all of "
                "the column."
            )
    return spans


def _mass(result: Attribution, name: str, spans: tuple[Span, ...], parted: bool = True) -> Mass:
    """Add up the columns of some spans, and those of each span if there are several.

    Args:
        result: whose columns.
        name: of the group.
        spans: each of which is whole columns.
        parted: whether to look at each span on its own as well.
    """
    tokens = tuple(i for span in spans for i in range(span.start, span.stop))
    inside = set(tokens)
    columns = [n for n, column in enumerate(result.columns) if column.start in inside]
    scores, errors = result.scores.double(), result.standard_error
    each, total = scores[:, columns].sum(-1), scores.sum(0)
    summed = None if errors is None else errors.double()[:, columns].sum(-1)
    parts = spans if parted and len(spans) > 1 else ()
    return Mass(
        name=name,
        tokens=tokens,
        each=tuple(each.tolist()),
        shares=tuple(_share(scores, columns).tolist()),
        total=float(each.sum()),
        share=float(_share(total, columns)),
        standard_errors=None if summed is None else tuple(summed.tolist()),
        standard_error=None if summed is None else float(summed.sum()),
        parts=tuple(_mass(result, result.inputs.piece(span), (span,)) for span in parts),
    )


def _share(scores: Tensor, columns: list[int]) -> Tensor:
    """Return the part of some columns in the sum of all magnitudes; NaN where that is 0."""
    return scores[..., columns].abs().sum(-1) / scores.abs().sum(-1)


def to_record(result: Attribution, groups: Mapping[str, Named]) -> dict[str, Any]:
    """Return a result as one record, as :meth:`Attribution.to_record` says."""
    found, total = _masses(result, groups), result.scores.double().sum(0)
    error = None if result.standard_error is None else result.standard_error.double().sum(0)
    record: dict[str, Any] = {
        "prompt": _prompt_text(result),
        "response": result.response.text,
        "generated": list(result.response_pieces),
        "generated_ranges": [[span.start, span.stop] for span in result.rows],
        "pieces": list(result.pieces),
        "ranges": [[span.start, span.stop] for span in result.columns],
        "token_ids": result.input_ids.tolist(),
        "attribution": _plain(total.tolist()),
        "attribution_error": error if error is None else _plain(error.tolist()),
        "value": _plain(float(result.value.double().sum())),
        "reference_value": _plain(float(result.reference_value.double().sum())),
        "completeness_error": _plain(found.completeness_error),
        "converged": bool(result.converged.all()),
        "method": result.run.method,
        "model": result.run.model,
    }
    for mass in found.groups:
        record |= {
            f"{mass.name}_tokens": list(mass.tokens),
            f"{mass.name}_mass": _plain(mass.total),
            f"{mass.name}_share": _plain(mass.share),
            f"{mass.name}_standard_error": _plain(mass.standard_error),
        }
    return record


def _prompt_text(result: Attribution) -> str:
    """Return the text of the prompt, be the generated prefix scored as well or not."""
    if result.sequence is not None:
        return result.sequence.prompt.text
    ends = [
        end
        for (_, end), role in zip(result.inputs.offsets, result.inputs.roles, strict=True)
        if role != "generated"
    ]
    return result.inputs.text[: max(ends)]


def _plain(value: Any) -> Any:
    """Return numbers, or nested lists of them, as JSON has them: what is not finite is ``None``."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if value is None or math.isfinite(value) else None

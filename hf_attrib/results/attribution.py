"""The frozen result of an explanation: scores, the proof that they add up, and where from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.results import selection, tables
from hf_attrib.results.convergence import Status, statuses
from hf_attrib.results.files import write_atomically
from hf_attrib.results.masses import Masses, masses, to_record
from hf_attrib.results.passages.result import Passages
from hf_attrib.results.protocol import Result, figure, latex
from hf_attrib.results.run import Run
from hf_attrib.text import Document, Grouping, Named, Span, Tokens, TokenSequence

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


__all__ = ["NO_CITATIONS", "Attribution", "Run"]

#: How the note begins that says why documents have no table.
NO_CITATIONS = "there are no citations: "

_OF_ROWS = ("value", "reference_value", "probability", "sum_standard_error", "error_bound")


@dataclass(frozen=True, eq=False)
class Attribution(Result):
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
        probability: the model's own probability of each row's tokens, [T]; where arguments of
            ``generate`` chose them by another one, a note names these.
        run: method, target, model, cost.
        rows: T spans of the response; none given means each token.
        columns: N spans that partition the inputs; none given means each token.
        standard_error: of each score, [T, N], or ``None`` if the method draws no samples.
        sum_standard_error: of the completeness residual, [T], or ``None`` as that of each score.
        error_bound: :attr:`bound` in units of f, [T], where the method gives one.
        sequence: all that the model read and generated, from which ``inputs`` and ``response`` are
            taken; with its ids the question can be asked again. ``None`` in results of files of
            version 1.
        passages: what the documents of the prompt were worth, where they are the groups; see
            :attr:`documents` and :meth:`citations`.
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
    error_bound: Tensor | None = field(default=None, repr=False)
    sequence: TokenSequence | None = field(default=None, repr=False)
    passages: Passages | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows or self.response.singles())
        object.__setattr__(self, "columns", self.columns or self.inputs.singles())
        if not self.rows:
            raise ValueError("there are no rows: no generated token was explained")
        if self.sequence is not None:
            self.sequence.check_parts(self.inputs, self.response, self.run.attribute_to)
        self.inputs.check_partition(self.columns)
        self.response.check_within(self.rows)
        expected = (len(self.rows), len(self.columns))
        for name in ("scores", "standard_error"):
            self._check_shape(name, expected)
        for name in _OF_ROWS:
            self._check_shape(name, expected[:1])
        if bool(((self.probability < 0) | (self.probability > 1)).any()):
            raise ValueError("probability reaches beyond 0 to 1")
        self._check_contrast()

    def _check_shape(self, name: str, expected: tuple[int, ...]) -> None:
        given = getattr(self, name)
        if given is not None and tuple(given.shape) != expected:
            raise ValueError(f"{name} is {tuple(given.shape)}, expected {expected}")

    def _check_contrast(self) -> None:
        ids, fork = self.run.contrast_ids, self.run.fork
        if fork is not None and [row.start for row in self.rows] != [fork]:
            raise ValueError(f"the one row must begin where another answer parts, at token {fork}")
        if fork is None and ids is not None and len(ids) != len(self.response):
            raise ValueError(f"there are {len(ids)} contrasts for {len(self.response)} tokens")

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
        """What a reader must know before relying on the scores."""
        return self.run.notes

    @property
    def documents_given(self) -> tuple[Document, ...]:
        """The documents that came with the prompt; columns of one are called by its name."""
        return self.run.documents

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What each document was worth for the rows, as :meth:`Passages.to_rows` says.

        Scores are among documents, the rest of the prompt being always there; :attr:`scores` has
        the rest of the prompt among its columns.

        Raises:
            InputError: the result has no table of documents.
        """
        rows = [i for span in self.rows for i in range(span.start, span.stop)]
        part = (min(rows), max(rows) + 1)
        if len(set(rows)) < part[1] - part[0]:
            raise InputError("the rows are not one part of the answer; take one of them.")
        return self._table().to_rows(part)

    def citations(self, style: str | None = None, threshold: float | None = None) -> Any:
        """Return each sentence of the answer with the documents that it rests on.

        Args:
            style: as for :meth:`Passages.citations`.
            threshold: likewise.

        Raises:
            InputError: the result has no table of documents, or there is no such style.
        """
        return self._table().citations(style, threshold)

    def _table(self) -> Passages:
        if self.passages is None:
            for note in self.run.notes:
                if note.startswith(NO_CITATIONS):
                    raise InputError(note)
            raise InputError(
                "this result has no table of documents; explain(documents=...) makes one where "
                "documents are the groups and the method plays groups, as the default does, and "
                "model.passages(...) in any case."
            )
        return self.passages

    @property
    def gap(self) -> Tensor:
        r"""Relative completeness gap of each target, [T].

        :math:`|\sum_n A_{t,n} - \Delta_t| / \max(|\Delta_t|, r)` with
        :math:`\Delta_t = f_t(x) - f_t(x_\mathrm{ref})` and r the target's resolution;
        NaN where the method has no reference.
        """
        change = (self.value - self.reference_value).double()
        residual = self.scores.double().sum(-1) - change
        return residual.abs() / change.abs().clamp_min(self.run.resolution)

    @property
    def converged(self) -> Tensor:
        """Whether each target's numbers are right as far as the method can tell, [T] bool.

        The sum of its scores is within the tolerance of f(x) - f(x'); so are, where the method
        bounds their error, the scores themselves, by
        :data:`hf_attrib.integration.ROW_TOLERANCE` times the tolerance; both of that very change,
        be it below the resolution. False without a reference.
        """
        good = ("converged", "sum converged")
        return torch.tensor([status in good for status in self.status], dtype=torch.bool)

    @property
    def status(self) -> tuple[Status, ...]:
        """What is known of each target's numbers, T words (:data:`Status`)."""
        return statuses(self)

    @property
    def bound(self) -> Tensor | None:
        r"""Bound on the error of each row, [T], relative as :attr:`gap` is.

        With :math:`A^*` the exact scores :math:`\sum_n |A_{t,n} - A^*_{t,n}|` lay below it wherever
        it was measured on models; it is an estimate, no proof. ``None`` where there is none.
        """
        if self.error_bound is None:
            return None
        change = (self.value - self.reference_value).double().abs()
        return self.error_bound.double() / change.clamp_min(self.run.resolution)

    @property
    def total(self) -> Tensor:
        """Scores summed over the response, [N]."""
        return self.scores.sum(0)

    @property
    def decided(self) -> Tensor | None:
        """Whether the rank of each column by :attr:`total` is settled, [N] bool.

        It is where the interval of two standard errors around the total meets none of another
        column. Errors of rows are added, which bounds that of the total from above. A column that
        is exactly 0, such as one that may not move, has no rank and is left out: False. ``None``
        where the method draws no samples.
        """
        if self.standard_error is None:
            return None
        total, error = self.total.double(), self.standard_error.double().sum(0)
        order = total.argsort()
        order = order[((total != 0) | (error != 0))[order]]
        low, high = (total - 2 * error)[order], (total + 2 * error)[order]
        nothing = low.new_full((1,), torch.inf)
        highest_below = torch.cat([-nothing, high[:-1].cummax(0).values])
        lowest_above = torch.cat([low[1:].flip(0).cummin(0).values.flip(0), nothing])
        apart = (low > highest_below) & (high < lowest_above)
        return torch.zeros(len(total), dtype=torch.bool).scatter(0, order, apart)

    @property
    def top_decided(self) -> Tensor | None:
        """Whether the input that is strongest for each row is settled, [T] bool.

        It is where its size less two standard errors is above the size of each other score with
        two standard errors of its own. ``None`` where the method draws no samples.
        """
        if self.standard_error is None:
            return None
        size, wide = self.scores.double().abs(), 2 * self.standard_error.double()
        first = size.argmax(1, keepdim=True)
        others = (size + wide).scatter(1, first, -torch.inf).amax(1)
        return (size - wide).gather(1, first)[:, 0] > others

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Attribution]:
        return (self[t] for t in range(len(self)))

    def __getitem__(self, key: int | slice | str) -> Attribution:
        """Return a result of some rows: ``r[3]``, ``r[3:5]``, or ``r["Paris"]``.

        A text stands for the rows that spell it, white space around it aside.

        Raises:
            InputError: there are no such rows, or several runs of rows spell the text.
        """
        return selection.select(self, key)

    def group(self, by: Grouping | None = None, response: Grouping | None = None) -> Attribution:
        """Join columns, and rows if asked to, so that every sum stays what it was.

        Scores are added, f is added over rows, and the probability multiplied. Errors are added
        as well, which bounds those of the sums from above. What is already joined stays so.

        Args:
            by: ``"token"``, ``"word"``, ``"sentence"``, ``"line"``, ``"paragraph"``, ``"role"``,
                ``"turn"`` (each message of a chat), ``"document"`` (each of those that came with
                the prompt, and what else is in it), or parts: names with a range of tokens or a
                text that occurs once, a list of such, or a compiled regular expression, each match
                of which is a part; what lies between turns or parts is grouped by role.
            response: how to join rows, said in the same way.

        Raises:
            InputError: there is no such rule or part.
        """
        return selection.group(self, by, response)

    def top(self, k: int = 10) -> tables.Ranking:
        """Return the k columns with the largest magnitude of :attr:`total`, strongest first.

        Columns that scored nothing are left out; scores that are not finite come first.
        """
        return tables.top(self, k)

    def mass(self, /, **groups: Named) -> Masses:
        r"""Add up the scores of groups of inputs, and of what is left as ``"rest"``.

        :math:`m_{t,G} = \sum_{n \in G} A_{t,n}` in the units of f, next to the share of G in
        :math:`\sum_n |A_{t,n}|`, standard errors, and by how much all scores miss their identity.

        Args:
            **groups: what each is made of: a text that occurs once, a range ``(start, stop)`` of
                tokens, a :class:`Span`, a compiled regular expression (every match), or a list of
                such; or the name of a rule: ``"document"`` are the documents that came with the
                prompt, ``"turn"`` the messages, ``"sentence"``, ``"word"`` and ``"token"`` all
                that is neither special nor the template's. Groups may share no token.

        Raises:
            InputError: a part is not there, is there more than once, belongs to two groups, or is
                a part of what is one column in this result.
        """
        return masses(self, groups)

    def to_record(self, /, **groups: Named) -> dict[str, Any]:
        """Return the result as one record of plain lists and numbers, as data sets hold them.

        Prompt, response, pieces, :attr:`total` as ``attribution`` [N] with ``ranges``, the tokens
        of each column, start and stop; f(x), f(x_ref) and the completeness error, summed over the
        rows; and of each group ``NAME_tokens``, ``NAME_mass``, ``NAME_share`` and
        ``NAME_standard_error``, of the rest as well. What is not finite is ``None``. A record for
        each target is ``[one.to_record(...) for one in result]``.

        Args:
            **groups: as for :meth:`mass`; none gives the rest alone.

        Raises:
            InputError: as for :meth:`mass`.
        """
        return to_record(self, groups)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a record for each of the T · N scores; what the result lacks is ``None``."""
        return tables.to_rows(self)

    def to_dataframe(self) -> DataFrame:
        """Return :meth:`to_rows` as a pandas data frame (``pip install hf_attrib[table]``)."""
        return tables.to_dataframe(self)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return :meth:`to_rows` as CSV with a header; write it to a file, if one is given."""
        return _written(tables.to_csv(self), path)

    def to_latex(self, path: str | os.PathLike[str] | None = None) -> str:
        r"""Return the prompt, coloured by :attr:`total`, as LaTeX to ``\input``; write it likewise.

        It needs the package ``xcolor``. Characters that pdfLaTeX lacks are shown by their code
        points there, and as they are by LuaLaTeX and XeLaTeX with a font that has them.
        """
        return _written(latex(self), path)

    def plot(self) -> Figure:
        """Return a matplotlib figure of scores, [T, N], below their totals.

        Save it by its ``savefig``, as PNG, PDF or SVG (``pip install hf_attrib[plot]``).

        Raises:
            InputError: matplotlib is not installed, or more than 300 rows or columns are to be
                drawn.
        """
        drawn: Figure = figure(self)
        return drawn


def _written(content: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        write_atomically(path, content)
    return content

"""Explanations as a function of batches of rows, for engines that run data sets."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from typing_extensions import Unpack

from hf_attrib.engine import Question, is_answer, size_of
from hf_attrib.engine.options import DEFAULTS, ExplainOptions, check_names, field_names
from hf_attrib.errors import AttributionWarning, InputError
from hf_attrib.explainer import Explainer
from hf_attrib.model import DTYPES, load_model
from hf_attrib.runs.rows import (
    INPUTS,
    KINDS,
    checked_lengths,
    columns_of,
    entries_of,
    failure,
    features_of,
    id_of,
    plain,
    record_of,
    request_of,
)
from hf_attrib.text import Requests
from hf_attrib.text.grouping import RULES
from hf_attrib.validation import automatic_contest

__all__ = ["Explain"]

#: How much is kept of scores, and what that means to ``explain``.
_SCORES: Mapping[str, Mapping[str, Any]] = {
    "groups": {"spans": "response"},
    "tokens": {"groups": "token"},
}
#: Arguments of ``explain`` that say how the rows of a call are treated together.
_OF_CALLS = ("attention_mask", "on_error")
#: What says how prompts are written, and is no part of the question to the engine.
_OF_PROMPTS = ("template_options", "placement", "template")


class Explain:
    r"""Explains batches of rows: a function for ``Dataset.map``, Ray, Spark and Dask.

    It holds names and numbers only, so it can be pickled; each process loads the model when it
    comes to its first row. Rows are explained one by one, as in :func:`explain_dataset`, so that
    what is found of a row is the same to the last bit, whatever else is in its batch: engines cut
    batches anew when they go on, and rows padded together differ by about 1e-6. All that one row
    takes, its subsets or the nodes of its path, runs together. :meth:`Explainer.explain` of a list
    takes 0.5 to 0.9 times the time on a small model, where passes cost more than what they compute.

    >>> explain = Explain("keys-llama", columns={"prompt": "question"})
    >>> found = explain({"question": ["Bob's key is blue. Q: What color is Bob's key? A:", ""]})
    >>> found["answer"]
    [" Bob's key is blue.</s>", '']
    >>> found["groups"][0]
    ['<s>', "Bob's key is blue.", " Q: What color is Bob's key?", ' A:']
    >>> found["error"][1]
    'the prompt is empty; give at least one token to explain.'

    Args:
        model: an embedded model, a model of the Hugging Face hub, or a local folder.
        revision: branch, tag or commit on the hub.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``; of several GPUs a worker takes
            that of its ``rank``.
        dtype: ``"auto"`` keeps what the model was saved in.
        trust_remote_code: whether to run Python code that comes with the model.
        batch_size: as for :class:`Explainer`.
        max_memory: as for :class:`Explainer`.
        columns: for ``prompt``, ``messages``, ``input_ids``, ``documents``, ``response``,
            ``response_ids`` or ``contrast`` the name of the column that holds it, if it is another.
        scores: ``"groups"`` keeps the score of each sentence, or document where the row has such,
            for the answer as a whole; ``"tokens"`` that of each token for each generated token.
            ``groups`` and ``spans`` say otherwise.
        results: whether all of each result is kept as well, as JSON in the column ``result``.
        prefix: of the names of all columns that are returned.
        **question: what :meth:`Explainer.explain` takes by name, in texts and numbers; what belongs
            to a row stands in its columns.

    Raises:
        InputError: an argument cannot be used, or is no text, number or list of such.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        trust_remote_code: bool = False,
        batch_size: int | None = None,
        max_memory: str | int | None = None,
        columns: Mapping[str, str] | None = None,
        scores: str = "groups",
        results: bool = False,
        prefix: str = "",
        **question: Unpack[ExplainOptions],
    ) -> None:
        if not isinstance(model, str):
            raise InputError(
                f"model is a {type(model).__name__}; expected the name or the folder of one, which "
                "each process loads for itself."
            )
        if scores not in _SCORES:
            raise InputError(f"scores is {scores!r:.80}; expected 'groups' or 'tokens'.")
        if dtype not in DTYPES:
            raise InputError(f"dtype {dtype!r} is unknown; expected one of {', '.join(DTYPES)}.")
        if max_memory is not None:
            size_of(max_memory)
        if not isinstance(columns, Mapping | None):
            raise InputError(
                f"columns is {columns!r:.80}; expected a mapping, as in "
                "columns={'prompt': 'question'}."
            )
        if not isinstance(prefix, str):
            raise InputError(f"prefix is {prefix!r:.80}; expected a text, as in 'attribution_'.")
        self.columns = dict(columns or {})
        columns_of({*self.columns.values(), *INPUTS}, self.columns)
        self.prefix = prefix
        self.device = device
        self._model = model
        self._origin: dict[str, Any] = {
            "revision": revision,
            "dtype": dtype,
            "trust_remote_code": trust_remote_code,
        }
        self._limits: dict[str, Any] = {"batch_size": batch_size, "max_memory": max_memory}
        self._whole = results
        self._asked: dict[str, Any] = {**_SCORES[scores], **question}
        self._by_row = scores == "groups" and "groups" not in question
        self._explainer: Explainer | None = None
        self._made: Question | None = None
        self._generation: Mapping[str, Any] = {}
        #: All that results depend on besides the rows, as JSON can say it.
        self.question = self._checked()

    def _checked(self) -> dict[str, Any]:
        """Return the question in plain words, with the fields of its method.

        Raises:
            InputError: it makes no sense, or cannot be written down.
        """
        asked = self._asked
        if theirs := [name for name in asked if name in (*INPUTS[2:-1], *_OF_CALLS)]:
            raise InputError(f"{theirs[0]} belongs to a row; give it as a column, or leave it out.")
        try:
            written = json.loads(json.dumps(asked, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            odd = next(name for name, value in asked.items() if not _writable(value))
            raise InputError(
                f"{odd} is {asked[odd]!r:.80}, which cannot be sent to other processes; write it "
                "as text, numbers or lists, as in method='smooth_grad(samples=2)'."
            ) from None
        check_names(asked, ExplainOptions, "Explain", None)
        for name, others in (("groups", ()), ("spans", ("response",))):
            if isinstance(rule := asked.get(name), str) and rule not in (*RULES, *others):
                expected = ", ".join((*others, *RULES))
                raise InputError(f"{name} is {rule!r:.80}; expected {expected}, or parts.")
        ours = {name: value for name, value in asked.items() if name not in _OF_PROMPTS}
        fields = set[str]()
        if asked.get("method") == "auto":
            automatic_contest(ours)
        else:
            if answer := is_answer(ours.get("contrast")):
                del ours["contrast"]  # which goes with each row
            self._made, self._generation = Question.of(ours)
            if answer:
                self._made.check_fork()
            written["method"], fields = str(self._made.method), field_names()
        written = {
            n: v for n, v in written.items() if n not in fields and v != DEFAULTS.get(n, ...)
        }
        return {"model": self._model, **self._origin, **written, "results": self._whole}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model out: each process loads its own, and the fingerprint does not change."""
        return {**self.__dict__, "_explainer": None}

    def __repr__(self) -> str:
        return f"Explain({self._model!r}, {self._asked})"

    @property
    def features(self) -> Any:
        """The types of the columns that are returned, as ``datasets.Features``."""
        import datasets  # which only those need who ask

        kinds = {self.prefix + name: kind for name, kind in KINDS.items()}
        names = {"text": "string", "int": "int64", "float": "float64", "flag": "bool"}
        scalar = {kind: datasets.Value(name) for kind, name in names.items()}
        return datasets.Features(features_of(kinds, scalar, datasets.List))

    def __call__(self, batch: Mapping[str, Any], rank: int | None = None) -> dict[str, list[Any]]:
        """Explain each row of a batch.

        Args:
            batch: columns by name: lists, arrays of whatever type, or series.
            rank: of this worker, as ``Dataset.map(with_rank=True)`` gives it.

        Returns:
            a column of as many entries for each name of :data:`hf_attrib.runs.COLUMNS`. Of a row
            that could not be explained ``error`` says why, and the others are empty or NaN.

        Raises:
            InputError: the model cannot be loaded, the question makes no sense to it, or the
                columns are not as they were said to be.
        """
        _check_batch(batch)
        taken = [self.prefix + name for name in KINDS if self.prefix + name in batch]
        if taken:
            raise InputError(
                f"the batch has a column {taken[0]!r}, which would be overwritten; give a prefix "
                "for what is returned, as in prefix='attribution_'."
            )
        rows = self._read(batch)
        found = [self.row(values, self.id_of(values), rank) for values in rows]
        return {self.prefix + name: [record[name] for record in found] for name in KINDS}

    def ids(self, batch: Mapping[str, Any]) -> list[str]:
        """Return the ids that the rows of a batch will have, for which nothing is loaded.

        Where rows with these ids stand in what an engine wrote before, they need not run again.

        >>> explain = Explain("keys-llama")
        >>> batch = {"prompt": ["Bob's key is blue.", "Bob's key is red."]}
        >>> done = set(explain.ids(batch)[:1])
        >>> [own in done for own in explain.ids(batch)]
        [True, False]

        Args:
            batch: as for a call.

        Raises:
            InputError: the columns are not as they were said to be.
        """
        return [self.id_of(values) for values in self._read(batch)]

    def _read(self, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what is read of each row of a batch, by the names of ``explain``."""
        _check_batch(batch)
        names = columns_of(list(batch), self.columns)
        given = {name: entries_of(batch, column) for name, column in names.items()}
        return [
            {name: plain(column[place]) for name, column in given.items()}
            for place in range(checked_lengths(given))
        ]

    def id_of(self, values: Mapping[str, Any]) -> str:
        """Return the id of a row: a hash of what is read from it, and of the question."""
        return id_of(values, self.question)

    def row(
        self, values: Mapping[str, Any], row_id: str, rank: int | None = None
    ) -> dict[str, Any]:
        """Return what is written about one row.

        Args:
            values: of its columns, by the names of ``explain``, as :func:`plain` returns them.
            row_id: its id, which seeds what is sampled of it.
            rank: of this worker.
        """
        explainer = self.explainer(rank)
        try:
            return self.found(explainer, values, row_id)
        except Exception as error:
            return failure(row_id, error)

    def found(self, explainer: Explainer, values: Mapping[str, Any], row_id: str) -> dict[str, Any]:
        """Return what is written about a row that can be explained; arguments as for :meth:`row`.

        Raises:
            Exception: it cannot.
        """
        request = self.request(values)
        with torch.random.fork_rng(range(torch.cuda.device_count())), _unwarned():
            # The same draws, whichever rows ran before it, and in whichever process.
            torch.manual_seed(_seed(row_id))
            return record_of(row_id, explainer.explain(**request), self._whole)

    def request(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``explain`` for one row.

        Raises:
            InputError: the row holds no prompt, or something that is none.
        """
        request = request_of(values)
        groups = "document" if "documents" in request else "sentence"
        return {**({"groups": groups} if self._by_row else {}), **self._asked, **request}

    def explainer(self, rank: int | None = None) -> Explainer:
        """Return what explains, which is loaded when it is first asked for.

        Raises:
            InputError: there is no such model or device, or the question makes no sense to it.
        """
        if self._explainer is None:
            device = self.device
            if device == "cuda" and rank is not None and torch.cuda.device_count():
                device = f"cuda:{rank % torch.cuda.device_count()}"
            loaded = load_model(self._model, device=device, **self._origin)
            explainer = Explainer(*loaded, **self._limits)
            if self._made is not None:  # or else each row would say what none can mend
                nothing = Requests([], many=True)
                explainer.estimate_requests(nothing, self._made, self._generation)
            self._explainer = explainer
        return self._explainer


class _unwarned(warnings.catch_warnings):
    """Leave unsaid what stands in the notes of each row."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", AttributionWarning)


def _check_batch(batch: Any) -> None:
    """Refuse what holds no columns by name; data frames do, and are no mappings."""
    if not hasattr(batch, "keys"):
        raise InputError(
            f"a batch is {batch!r:.80}; expected columns by name, as in {{'prompt': [...]}}."
        )


def _seed(row_id: str) -> int:
    """Return a seed that is that of no other row; equal rows draw differently."""
    return int(hashlib.sha256(row_id.encode()).hexdigest()[:15], 16)


def _writable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True

"""One answer of a log: what ``explain`` takes to explain it, and what the log says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.results.attribution import Attribution
from hf_attrib.results.logs.comparison import LogComparison, compared
from hf_attrib.results.protocol import Told
from hf_attrib.text import Document

__all__ = ["LogRow"]

#: What a tokenizer decodes bytes to that are no character.
_BROKEN = "\ufffd"


@dataclass(frozen=True)
class LogRow(Told):
    """An answer that another engine wrote.

    Args:
        line: its number in the log, from 1.
        source: ``"vllm"``, ``"llama-server"`` or ``"openinference"``.
        question: what :meth:`Explainer.explain` takes by name to explain it: ids where the log
            holds ids, which nothing decodes and tokenises again.
        log_probabilities: that the log holds of the tokens of the answer, ``None`` where it holds
            none.
        text: of the answer, as the engine decoded it.
        documents: that the trace retrieved before the answer.
        id: of the response or span.
        model: that wrote it, as the log calls it.
        choice: its number among the answers of one line.
        prompt_tokens: how many tokens the engine read, where the prompt is no ids.
        notes: what a reader of the explanation must know; :meth:`explain` puts them into its.
    """

    line: int
    source: str
    question: Mapping[str, Any]
    log_probabilities: tuple[float | None, ...] | None = None
    text: str | None = field(default=None, repr=False)
    documents: tuple[Document, ...] = field(default=(), repr=False)
    id: str | None = None
    model: str | None = None
    choice: int = 0
    prompt_tokens: int | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = self.source if self.model is None else f"{self.source}, {self.model!r:.80}"
        # `repr` keeps text from steering the terminal.
        said = "an answer of ids" if self.text is None else f"{self.text!r:.80}"
        return f"line {self.line} ({by}): {said}"

    def explain(self, model: Any, **options: Any) -> Attribution:
        """Explain the answer, and say in the result's notes what the log left open.

        Args:
            model: an :class:`Explainer`, or a model that was attached.
            **options: further arguments of its ``explain``.

        Raises:
            InputError: the ids are of another vocabulary, or the text of the prompt is not the
                tokens that the engine read; or what ``explain`` refuses.
        """
        explainer = getattr(getattr(model, "explain", None), "__self__", None)
        if explainer is None:
            raise InputError(
                f"expected an Explainer or an attached model; got {type(model).__name__}. Attach "
                "it: hf_attrib.attach(model, tokenizer)."
            )
        try:
            self._check_vocabulary(explainer)
            question = self._as_read(explainer.tokenizer)
            result: Attribution = explainer.explain(**(question | options))
        except InputError as error:
            error.args = (f"line {self.line} of the log: {error}", *error.args[1:])
            raise
        run = replace(result.run, notes=(*result.run.notes, *self.notes))
        return replace(result, run=run)

    def compare(self, result: Attribution) -> LogComparison:
        """Hold the log's log-probabilities against those of the model that explained.

        Both are those of the answer's tokens given what is before them, in nats; engines that
        compute in other precisions differ a little, other weights or another prompt differ much.

        Args:
            result: of this row, whole, cut to some rows or grouped.

        Raises:
            InputError: the log holds no log-probabilities, or the result is of other ids.
        """
        return compared(self, result)

    def _check_vocabulary(self, explainer: Any) -> None:
        """Refuse ids that do not read as the log's text does."""
        ids, tokenizer = self.question.get("response_ids"), explainer.tokenizer
        if ids is None or tokenizer is None or self.text is None or _BROKEN in self.text:
            return
        if max(ids) >= len(tokenizer):
            return  # which explain says, if they are none of the model's
        decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if self.text.strip() not in decoded and _BROKEN not in decoded:
            raise InputError(
                f"its ids read {decoded!r:.80} here and {self.text!r:.80} in the log, so the "
                "vocabulary is another one; explain with the tokenizer that wrote the log."
            )

    def _as_read(self, tokenizer: Any) -> dict[str, Any]:
        """Return the question with a prompt of as many tokens as the engine read.

        Servers write a prompt with the marks that begin it, and tokenizers add these once more.
        """
        question = dict(self.question)
        text = question.get("prompt")
        if self.prompt_tokens is None or not isinstance(text, str) or tokenizer is None:
            return question
        counts = []
        for added in (True, False):
            ids = list(tokenizer(text, add_special_tokens=added)["input_ids"])
            counts.append(len(ids))
            if len(ids) == self.prompt_tokens:
                if added:
                    return question
                del question["prompt"]
                return question | {"input_ids": ids}
        raise InputError(
            f"the engine read {self.prompt_tokens} tokens, but its prompt is {counts[0]} tokens "
            f"here, and {counts[1]} without special ones; log the request with a prompt of ids."
        )

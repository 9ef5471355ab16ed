"""What an explainer can be asked about passages: which of them an answer rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from hf_attrib.baselines import BaselineLike
from hf_attrib.engine.answering import Answering
from hf_attrib.engine.engine import Engine
from hf_attrib.engine.given import given_to
from hf_attrib.engine.options import DEFAULTS, GenerateOptions, documented_by
from hf_attrib.engine.passages import PassageQuestion, about_passages, in_passages
from hf_attrib.engine.question import Plan
from hf_attrib.engine.sentences import with_sentences
from hf_attrib.engine.sharing import Sharing
from hf_attrib.errors import InputError
from hf_attrib.methods import Method
from hf_attrib.results import Passages
from hf_attrib.text import Grouping, Ids

__all__ = ["DETAILS", "Citing", "PassagesOptions"]

#: What may be cited of a document: all of it, or the sentences that matter.
DETAILS = ("passage", "sentence")

#: What a call asks that says nothing.
_DEFAULTS: Mapping[str, Any] = {
    "mode": "embed",
    "detail": "passage",
    "movable": DEFAULTS["movable"],
    "placement": DEFAULTS["placement"],
    "on_error": DEFAULTS["on_error"],
}


class PassagesOptions(GenerateOptions, total=False):
    """What :meth:`Explainer.passages` may be given by name.

    Args:
        groups: the passages: names with text that occurs once or with ranges of tokens, or a list
            of such, as for :meth:`Explainer.explain`; in the order in which they are numbered. By
            default the documents.
        documents: the passages, placed in the prompt as for :meth:`Explainer.explain`; each has
            a text, and there are as many for each prompt of a list.
        placement: where they are to stand, ``"auto"`` or ``"template"``.
        template: how they and the question stand in a prompt that is a text.
        origins: what is known of each passage, a mapping for each: ``id``, ``title``,
            ``source``, ``url``, and ``score`` of the retrieval, all kept with the result and used
            for nothing; ``text`` says which of the passage's characters are the document's.
        threshold: nats of log-odds that a sentence must lose without the passages it cites; by
            default that of the mode in :data:`hf_attrib.results.passages.THRESHOLDS`.
        mode: how passages are taken away: ``"embed"``, ``"token"``, ``"attention"`` or ``"drop"``.
        budget: forward rows at most; by default 64, or 10 for each passage. All subsets are run
            where that reaches for them, so of up to 6 passages.
        method: what ranks passages where it does not: a method that plays groups, as
            ``"kernel_shap"``; by default ``"shapley"`` along drawn orders, whose scores sum to the
            gain exactly. Where it is named it scores them in any case.
        detail: ``"sentence"`` asks again about the sentences inside the passages that are cited,
            which then cite these alone; by default ``"passage"``.
        samples: of that method.
        seed: of that method.
        input_ids: the prompt as token ids, instead of ``prompt``.
        response: an answer to explain instead of generating one; a list for a list of prompts.
        response_ids: the same as token ids.
        baseline: what takes the place of passages in mode ``"embed"`` or ``"token"``, as for
            :meth:`Explainer.explain`.
        movable: ``"content"`` holds special and template tokens; ``"all"`` moves them too; or a
            flag for each input token.
        template_options: further arguments of the chat template.
        attention_mask: which of ``input_ids`` are read, as tokenizers return it; it cuts padding.
        on_error: what a prompt that fails does to a list of them: ``"raise"``, or ``"return"`` to
            have its error in the place of its result.
        **arguments: go to ``generate``.
    """

    groups: Grouping
    documents: Any
    placement: str
    template: str | None
    origins: Sequence[Mapping[str, Any]] | None
    threshold: float | None
    mode: str
    budget: int | None
    method: str | Method
    detail: str
    samples: int | None
    seed: int
    input_ids: Ids | None
    response: str | Sequence[str] | None
    response_ids: Ids | Sequence[Ids] | None
    baseline: BaselineLike | None
    movable: str | Sequence[bool]
    template_options: Mapping[str, Any] | None
    attention_mask: Any
    on_error: str


class Citing:
    """Calls about the passages of a prompt to one model."""

    model: Any
    _engine: Engine
    _answering: Answering

    @documented_by(PassagesOptions, _DEFAULTS)
    def passages(
        self, prompt: Any = None, **options: Unpack[PassagesOptions]
    ) -> Passages | list[Passages]:
        """Tell which passages of the prompt each sentence of the answer rests on.

        Args:
            prompt: a text, messages, or a list of either, as for :meth:`explain`.
            **options: see :class:`hf_attrib.engine.PassagesOptions`.

        Raises:
            InputError: an argument cannot be used, or there are too many passages.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        requests, given = given_to(self.model, prompt, options, PassagesOptions, "passages")
        if options.get("documents") is not None:
            if given["groups"] != "document":
                raise InputError(
                    "groups came next to documents, which are the passages; leave one out."
                )
            each = (len(one.documents) for one in requests.each if one.documents)
            given["documents"] = next(each, 1)  # as many for each prompt, which is checked
        detail = given.pop("detail", _DEFAULTS["detail"])
        if detail not in DETAILS:
            raise InputError(
                f"detail is {detail!r:.80}; expected {' or '.join(map(repr, DETAILS))}."
            )
        question, generation = about_passages(given)

        def work(plan: Plan, sharing: Sharing) -> Iterator[Passages]:
            if detail == "passage":
                return in_passages(self._engine, plan, sharing.of_rows)
            return self._with_sentences(plan, question, sharing)

        found = self._answering.worked(requests, question, generation, work)
        self._answering.warn(found)
        return found if requests.many else found[0]

    def _with_sentences(
        self, plan: Plan, question: PassageQuestion, sharing: Sharing
    ) -> Iterator[Passages]:
        for place in range(len(plan.cases)):
            # Each to its end, so that the next one finds the model as it was.
            (found,) = in_passages(self._engine, plan.part(place, place + 1), sharing.of_rows)
            yield with_sentences(self._engine, found, question, sharing.of_rows)

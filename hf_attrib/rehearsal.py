"""What stands in for an explainer's parts while it only estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hf_attrib.estimation import Estimate
from hf_attrib.processes import Processes
from hf_attrib.question import Question
from hf_attrib.sequence import Request, TokenSequence

__all__ = ["Rehearsal"]


class Rehearsal:
    """Takes the places of an explainer's parts, and estimates what they would do.

    Args:
        transcriber: writes down prompts, and responses that are given.
        engine: runs rows.
    """

    def __init__(self, transcriber: Any, engine: Any) -> None:
        self.transcriber = transcriber
        self.engine = engine
        self._at_most = False

    def transcribe(
        self, request: Request, template_options: Mapping[str, Any], generation: Mapping[str, Any]
    ) -> TokenSequence:
        """Write down a prompt with its response, or one that stands for any that is no longer."""
        self._at_most = request.response is None and request.response_ids is None
        if self._at_most:
            request = self.transcriber.stand_in(request, template_options, generation)
            generation = {}
        found: TokenSequence = self.transcriber.transcribe(request, template_options, generation)
        return found

    def attribute(
        self, sequences: Sequence[TokenSequence], question: Question, processes: Processes
    ) -> list[Estimate]:
        """Estimate what each sequence would cost alone, in one process."""
        if self._at_most and isinstance(question.spans, str) and question.spans != "response":
            # As many words as tokens, at most.
            singles = [(t, t + 1) for t in range(max(len(s.response) for s in sequences))]
            question = replace(question, spans=singles)
        return [self.engine.estimate(s, question, self._at_most) for s in sequences]

"""How processes divide a list of prompts: prompt by prompt, or the rows of each prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hf_attrib.execution import ALONE, Processes
from hf_attrib.model import Transcriber
from hf_attrib.results import Result, from_json, to_json
from hf_attrib.text import TokenSequence

__all__ = ["Sharing"]

_T = TypeVar("_T")
_R = TypeVar("_R", bound=Result)


@dataclass(frozen=True, eq=False)
class Sharing:
    """What this process does of the work on some prompts.

    Prompts are dealt out if there is one for each process; otherwise all processes work on each.

    Args:
        processes: those that share it.
        prompts: how many prompts there are.
    """

    processes: Processes
    prompts: int

    @property
    def by_prompt(self) -> bool:
        """Whether prompts are dealt out."""
        return 1 < self.processes.count <= self.prompts

    @property
    def of_rows(self) -> Processes:
        """The processes that share the rows of a prompt."""
        return ALONE if self.by_prompt else self.processes

    def own(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return what this process has to do with, of one thing for each prompt."""
        return items[self.processes.index :: self.processes.count] if self.by_prompt else items

    def answered(
        self, sequences: list[TokenSequence], transcriber: Transcriber
    ) -> list[TokenSequence]:
        """Return sequences that all processes share with the answers of the first process.

        Args:
            sequences: prompts and what this process answered, perhaps by sampling.
            transcriber: writes answers down.
        """
        if self.of_rows.count == 1:
            return sequences
        written = self.processes.texts(json.dumps([s.response.ids.tolist() for s in sequences]))
        return [
            s
            if s.response.ids.tolist() == ids
            else replace(s, response=transcriber.generated(ids, s.prompt))
            for s, ids in zip(sequences, json.loads(written[0]), strict=True)
        ]

    def joined(self, results: list[_R]) -> list[_R]:
        """Return the results of all prompts, in order, from this process's own.

        Args:
            results: this process's own.
        """
        if not self.by_prompt:
            return results
        count = self.processes.count
        found: list[_R | None] = [None] * self.prompts
        texts = self.processes.texts(json.dumps([to_json(result) for result in results]))
        for index, text in enumerate(texts):
            found[index::count] = [
                from_json(each.encode(), "a result", type(results[0])) for each in json.loads(text)
            ]
        return [result for result in found if result is not None]

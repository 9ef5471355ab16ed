"""The sentences inside cited passages: the same question again, about these."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from hf_attrib.engine.engine import Engine
from hf_attrib.engine.passages import PassageQuestion, about_passages, in_passages
from hf_attrib.execution import Processes
from hf_attrib.results import Passages
from hf_attrib.text import partition

__all__ = ["with_sentences"]


def with_sentences(
    engine: Engine, found: Passages, asked: PassageQuestion, processes: Processes
) -> Passages:
    """Return a result with one about the sentences of all passages that it cites.

    They are asked about together, so that of copies in two passages each shows; passages that
    are not cited are always there.

    Args:
        engine: of the model, which is isolated.
        found: what was found of the passages.
        asked: about them.
        processes: those that share the rows to run.
    """
    cited = sorted({i for part in found.parts() for i in found.confirm(part).cited})
    parts = {i: _sentences(found, i) for i in cited}
    if all(len(some) < 2 for some in parts.values()):
        return found
    groups = {
        f"[{i + 1}].{number}": where
        for i, some in parts.items()
        for number, where in enumerate(some, start=1)
    }
    given: dict[str, Any] = {"baseline": asked.baseline, "movable": asked.movable}
    given |= {"threshold": found.threshold, "mode": asked.ranking.mode}
    inside, _ = about_passages({"groups": groups, **given})
    assert found.sequence is not None
    (sentences,) = in_passages(engine, engine.plan(inside, [found.sequence]), processes)
    run = replace(
        found.run,
        forward_rows=found.run.forward_rows + sentences.run.forward_rows,
        seconds=found.run.seconds + sentences.run.seconds,
    )
    return replace(found, run=run, sentences=sentences)


def _sentences(found: Passages, index: int) -> list[tuple[int, int]]:
    """Return the tokens of each sentence of a passage; white space alone is none."""
    span, inputs = found.spans[index], found.inputs
    edges = {each.start for each in partition(inputs, "sentence")}
    inside = sorted(edge for edge in edges if span.start < edge < span.stop)
    extents = inputs.offsets
    return [
        (start, stop)
        for start, stop in pairwise([span.start, *inside, span.stop])
        if inputs.text[extents[start][0] : extents[stop - 1][1]].strip()
    ]

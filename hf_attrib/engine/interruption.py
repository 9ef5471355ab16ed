"""What is left of work that is interrupted: the targets that were done, as results that say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hf_attrib.engine.ready import ReadyBatch
from hf_attrib.engine.record import attributions
from hf_attrib.errors import leave
from hf_attrib.field import Part
from hf_attrib.results import Attribution, take

__all__ = ["noted", "salvaged"]


@contextmanager
def salvaged(ready: ReadyBatch, model: Any, tokenizer: Any) -> Iterator[None]:
    """Hand over the targets that a method has finished inside with what interrupts it.

    Args:
        ready: what the method is called on.
        model: that is run.
        tokenizer: that names contrasts.
    """
    try:
        yield
    except BaseException as stop:
        # Not of errors: what they say may be about the very numbers.
        if not isinstance(stop, Exception):
            leave(stop, _finished(stop, ready, model, tokenizer))
        raise


def _finished(
    stop: BaseException, ready: ReadyBatch, model: Any, tokenizer: Any
) -> list[Attribution]:
    part = getattr(stop, "part", None)
    # A method that holds another one makes something else of what that one has found.
    if not isinstance(part, Part) or part.method is not ready.plan.question.method:
        return []
    found = []
    for index, whole in enumerate(attributions(ready, part.found, model, tokenizer)):
        rows = len(whole.rows)
        done = part.done[index, :rows].nonzero()[:, 0].tolist()
        if len(done) == rows:
            found.append(whole)
        elif done:
            said = f"{len(done)} of {rows} targets were explained; the others are missing"
            found.append(noted(take(whole, done), said))
    return found


def noted(result: Attribution, said: str) -> Attribution:
    """Return a result that says that it is not all that was asked for.

    Args:
        result: what there is.
        said: what of it.
    """
    note = f"interrupted: {said}."
    return replace(result, run=replace(result.run, notes=(note, *result.run.notes)))

"""What is said of work that takes long, by the logger ``hf_attrib``: one voice for all callers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hf_attrib.execution.rows import Progress

__all__ = ["PATIENCE", "Foresight", "say"]

#: Seconds that a caller waits in silence.
PATIENCE = 20.0

#: Whether a larger piece of work speaks for those inside it.
_spoken_for: ContextVar[bool] = ContextVar("spoken_for", default=False)


def say(message: str) -> None:
    """Say something about the work at hand, unless a larger piece of work speaks for it.

    It is a warning of the logger ``hf_attrib``, which Python shows on standard error.

    Args:
        message: what to say.
    """
    if not _spoken_for.get():
        logging.getLogger("hf_attrib").warning(message)


class Foresight:
    """Tells early how long many pieces of work take: from the second on, as the first loads things.

    Args:
        what: one piece is called, in plural.
        progress: called with (done, in all), as this is.
        resumed: what becomes of finished pieces if the work is interrupted.
    """

    def __init__(self, what: str, progress: Progress, resumed: str = "") -> None:
        self._what = what
        self._progress = progress
        self._resumed = resumed
        self._begun: tuple[float, int] | None = None
        self._said = False

    def __call__(self, done: int, total: int) -> None:
        """Pass on how much is done, and say once how long the rest takes, if that is long."""
        self._progress(done, total)
        now = time.monotonic()
        began, before = self._begun = self._begun or (now, done)
        if self._said or done <= before or done >= total:
            return
        self._said = True
        left = (now - began) / (done - before) * (total - done)
        if left >= PATIENCE:
            token = _spoken_for.set(False)
            say(
                f"{done:,} of {total:,} {self._what} are done; by the pace of the last "
                f"{done - before:,} the others take about {float(f'{left:.2g}'):,.0f} s."
                f"{self._resumed}"
            )
            _spoken_for.reset(token)

    @contextmanager
    def speaking(self) -> Iterator[Foresight]:
        """Speak for all work inside."""
        token = _spoken_for.set(True)
        try:
            yield self
        finally:
            _spoken_for.reset(token)

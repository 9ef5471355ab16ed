"""Turns that threads take at what they share, and that a process forked meanwhile starts without.

A lock that another thread held when the process forked stays locked in the child for ever, and
what that thread had changed stays changed. So the child begins with new locks, and undoes what
threads that it does not have would have undone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import RLock, get_ident
from weakref import WeakSet

__all__ = ["Turn"]

_ALL: WeakSet[Turn] = WeakSet()


class Turn:
    """Something that one thread at a time may change, and puts back before the next one's turn."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._holders: list[tuple[int, ExitStack]] = []
        _ALL.add(self)

    @contextmanager
    def taken(self) -> Iterator[ExitStack]:
        """Wait for the turn; what is put on the stack is undone at its end.

        A thread that has the turn may take it again.
        """
        with self._lock, ExitStack() as undo:
            self._holders.append((get_ident(), undo))
            undo.callback(self._holders.pop)
            yield undo

    def renew(self) -> None:
        """Begin anew in a forked process, unless the thread that goes on in it has the turn."""
        if self._holders and self._holders[-1][0] == get_ident():
            return
        self._lock = RLock()
        for _, undo in reversed(self._holders.copy()):
            with suppress(Exception):  # the fork came in the middle of the very change
                undo.close()
        self._holders.clear()


def _renew_all() -> None:
    for turn in list(_ALL):
        turn.renew()


if hasattr(os, "register_at_fork"):  # elsewhere processes do not fork
    os.register_at_fork(after_in_child=_renew_all)

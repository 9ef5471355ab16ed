"""What can go wrong, and whose move it is.

::

    HFAttribError
    ├── InputError(ValueError)     the call: change an argument
    ├── UnsupportedModelError      the model: its gradient or its inputs cannot be trusted
    ├── MemoryLimitError(MemoryError) the machine: one sequence alone does not fit
    ├── ProcessError               another process: it failed, or does something else
    └── ResultFileError(ValueError) the file: not a result this version can read

Every message says what came, what was expected and what to do. A warning of class
:class:`AttributionWarning` marks a result that stands but whose reader must know something.
Errors and warnings that end a call hold in ``results`` what was done before. What interrupts a
call, as Ctrl-C does, holds in ``unfinished`` what was found of the prompts in work: attributions of
those targets that were done, whose first note says so.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = [
    "AttributionWarning",
    "HFAttribError",
    "InputError",
    "MemoryLimitError",
    "ProcessError",
    "ResultFileError",
    "UnsupportedModelError",
    "keep",
    "leave",
    "warn",
]

_PACKAGE = f"{Path(__file__).parent}{os.sep}"


class HFAttribError(Exception):
    """Any error that hf_attrib raises on purpose; ``results`` are those of the prompts before.

    Errors that it does not raise itself, such as ``KeyboardInterrupt``, come with them as well.
    """

    results: Sequence[Any] = ()


class InputError(HFAttribError, ValueError):
    """An argument of the call cannot be used."""


class UnsupportedModelError(HFAttribError):
    """The model cannot be explained faithfully; the message names the module and the reason."""


class MemoryLimitError(HFAttribError, MemoryError):
    """A single sequence takes more memory than there is, or than the call allows."""


class ProcessError(HFAttribError, RuntimeError):
    """A process that shares the work has failed, or does not do the same as the others."""


class ResultFileError(HFAttribError, ValueError):
    """A file is no saved result of the kind asked for, is damaged, or has a newer version."""


class AttributionWarning(UserWarning):
    """The result stands, with a reservation that it also carries: a note, or a gap too large.

    ``results`` are all those of the call, which a filter that makes warnings errors takes away.
    """

    results: Sequence[Any] = ()


class _Kept(list[Any]):
    """Results that :func:`keep` has put on an error, and not whoever made the error."""


def keep(error: BaseException, results: Sequence[Any]) -> None:
    """Hand what is done to the caller with the error that ends the work, whatever error it is.

    Args:
        error: goes on as it is, even one that is none of this package, such as Ctrl-C.
        results: what is done; they replace those of an earlier call that the same error ended.
    """
    own = getattr(error, "results", None)
    if isinstance(own, _Kept) or not own:  # which may be its own
        with suppress(AttributeError, TypeError):  # an error that holds nothing
            error.results = _Kept(results)  # type: ignore[attr-defined]


def leave(stop: BaseException, unfinished: Sequence[Any]) -> None:
    """Hand what is done of a prompt to the caller with what interrupts the work on it.

    Args:
        stop: goes on as it is.
        unfinished: results that say what they lack; those of an earlier call give way.
    """
    with suppress(AttributeError, TypeError):  # it may hold nothing
        stop.unfinished = list(unfinished)  # type: ignore[attr-defined]


def warn(warning: Warning) -> None:
    """Warn of something a reader must know, at the line of the caller outside of this package.

    Args:
        warning: what to say.
    """
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level)

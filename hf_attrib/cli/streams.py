"""Standard output and standard error, as every command uses them; imported without torch."""

from __future__ import annotations

import codecs
import os
import sys

from hf_attrib.errors import InputError

__all__ = ["PLAINER", "complain", "is_main", "put"]

#: How to write what a terminal cannot: name of an error handler of Python's codecs.
PLAINER = "hf_attrib.plainer"
#: Signs that have a plain double of the same width; anything else becomes a question mark.
_PLAINER = {"⁺": "+", "⁻": "-", "±": "~", "·": ".", "…": "~", "−": "-", "█": "#", "▒": "-"}


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace the characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAINER.get(c, "?") for c in lacking), error.end


codecs.register_error(PLAINER, _plainer)


def is_main() -> bool:
    """Return whether this process speaks and writes: the first of those a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def complain(message: str) -> None:
    """Print one line about what went wrong; text from files cannot steer the terminal.

    Of several processes that a launcher started, the first one speaks for all.
    """
    if not is_main():
        return
    if not (message.isascii() and message.isprintable()):
        # Only here, as this imports torch, for which a misspelt command need not wait.
        from hf_attrib.render.safe_text import visible

        message = visible(message)
    print(f"hf-attrib: {' '.join(message.split())}", file=sys.stderr)


def put(text: str) -> None:
    """Write to standard output; a reader that closes it early, such as head, is no error.

    Raises:
        InputError: it cannot be written.
    """
    if not is_main():
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python flushes once more at exit, which would fail again and say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot write standard output: {error.strerror}.") from None

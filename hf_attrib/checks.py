"""What fields of methods and attacks may be."""

from __future__ import annotations

from collections.abc import Collection

from hf_attrib.errors import InputError

__all__ = ["at_least", "not_negative", "number", "one_of", "positive", "share"]

#: What tensors can count.
_MOST = 2**63 - 1


def at_least(fewest: int, **counts: int) -> None:
    """Refuse counts that are no whole numbers or too small.

    Raises:
        InputError: naming the field.
    """
    for name, value in counts.items():
        if type(value) is not int or value < fewest:
            raise InputError(
                f"{name} is {value!r:.80}; expected at least {fewest}, a whole number."
            )
        if value > _MOST:
            raise InputError(f"{name} is {value!r:.80}; expected at most {_MOST}.")


def positive(**sizes: float) -> None:
    """Refuse sizes that are not numbers above 0, or beyond any use.

    Raises:
        InputError: naming the field.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise InputError(
                f"{name} is {value!r:.80}; expected a number above 0 and below 1,000,000."
            )


def not_negative(**sizes: float) -> None:
    """Refuse sizes that are not numbers of at least 0, or beyond any use.

    Raises:
        InputError: naming the field.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            raise InputError(
                f"{name} is {value!r:.80}; expected a number of at least 0 and below 1,000,000."
            )


def share(**shares: float) -> None:
    """Refuse shares that are not numbers from 0 to 1.

    Raises:
        InputError: naming the field.
    """
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{name} is {value!r:.80}; expected a number from 0 to 1.")


def one_of(known: Collection[str], **names: str) -> None:
    """Refuse names that are none of those known.

    Raises:
        InputError: naming the field.
    """
    for field, name in names.items():
        if name not in known:
            raise InputError(f"{field} {name!r:.80} is unknown; expected {', '.join(known)}.")


def number(**given: float | str) -> float:
    """Return a positive number that may come as text, as a field of several types does.

    Raises:
        InputError: it is none.
    """
    ((name, value),) = given.items()
    try:
        if isinstance(value, bool):
            raise TypeError
        size = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r:.80}; expected auto or a number above 0.") from None
    positive(**{name: size})
    return size

"""Sizes of memory, read from text and written in words."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from operator import index
from typing import SupportsIndex

from hf_attrib.errors import InputError

__all__ = ["size_of", "written"]

_UNITS = ("", "K", "M", "G", "T")
_SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(?:([KMGT])(I?))?B?\s*", re.ASCII | re.IGNORECASE)
#: More bytes than this are no memory, and no number that a device could count.
_MOST = 2**63


def size_of(given: str | SupportsIndex) -> int:
    """Return a size in bytes that was given as text, ``"2GiB"`` or ``"500 mb"``, or in bytes.

    Units are powers of 1000, or with an ``i`` of 1024, in capital or small letters.

    Raises:
        InputError: it is no size.
    """
    size = 0
    if isinstance(given, str):
        if found := _SIZE.fullmatch(given):
            number, unit, binary = found.groups()
            power = _UNITS.index((unit or "").upper())
            size = int(Decimal(number) * (1024 if binary else 1000) ** power)
    elif hasattr(given, "__index__") and not isinstance(given, bool):
        size = index(given)
    if not 1 <= size < _MOST:
        raise InputError(
            f"max_memory is {given!r:.80}; expected bytes, or a size such as '2GiB' or '500MB'."
        )
    return size


def written(size: float) -> str:
    """Return a size in words, no smaller than it is, so that it can be asked for.

    >>> written(3 * 2**29)
    '1.5 GiB'
    """
    whole = math.ceil(size)
    power = min(4, int(math.log2(max(whole, 1))) // 10)
    number = whole / 2 ** (10 * power)
    # Three digits, and all of those before the point.
    places = max(0, 2 - int(math.log10(max(number, 1)))) if power else 0
    number = math.ceil(number * 10**places) / 10**places
    unit = ("byte" if number == 1 else "bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{number:.10g} {unit}"

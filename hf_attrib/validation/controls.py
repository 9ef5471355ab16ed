"""Orders that know nothing of the model, and random subsets: what every method is compared with.

The reverse of an order is no control of its own: deleting along an order and inserting along its
reverse are the same rows, so its deletion area is the insertion area of the order, and its headline
is the order's with the other sign.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hf_attrib.validation.metrics import Array, Flags

__all__ = [
    "RAREST",
    "control_names",
    "control_scores",
    "counted",
    "drawn_for",
    "random_subsets",
    "rarity",
]

#: Controls besides random orders; one of them depends on what other prompts there are.
RAREST = "rarest first"
_FIXED = ("first to last", "last to first", RAREST)


def control_names(random_orders: int) -> tuple[str, ...]:
    """Return what controls are called: random orders, and those that take the place or the word."""
    return (*(f"random {i + 1}" for i in range(random_orders)), *_FIXED)


def drawn_for(seed: int, ids: Sequence[int]) -> np.random.Generator:
    """Return the random numbers of one sequence of ids, whatever came before it."""
    return np.random.default_rng([seed, *ids])


def control_scores(rarity: Array, random_orders: int, draw: np.random.Generator) -> Array:
    """Return scores whose order is that of each control, [C, n].

    Random orders come in pairs, one the reverse of the other, so that two take the rows of one.
    Each is as random as any; p-values against pairs are what they claim, or too large by a little.

    Args:
        rarity: of each unit, [n].
        random_orders: how many to draw.
        draw: of random numbers.
    """
    places = np.arange(len(rarity), dtype=np.float64)
    shuffled = [draw.permutation(places) for _ in range(0, random_orders, 2)]
    paired = [each for some in shuffled for each in (some, -some)][:random_orders]
    return np.stack([*paired, -places, places, rarity])


def rarity(pieces: Sequence[str], seen: Mapping[str, int]) -> Array:
    """Return how rare units are among all prompts, [n].

    Args:
        pieces: their text.
        seen: how often each text is there.
    """
    return np.array([-float(seen[piece]) for piece in pieces])


def counted(pieces: Sequence[Sequence[str]]) -> Counter[str]:
    """Return how often each text is there."""
    return Counter(piece for some in pieces for piece in some)


def random_subsets(units: int, count: int, draw: np.random.Generator) -> Flags:
    """Return different subsets, neither all units nor none, each unit kept half of the time.

    Args:
        units: n.
        count: how many; if there are fewer, all of them.
        draw: of random numbers.
    """
    most = 2**units - 2
    if most <= count:
        every = np.arange(1, most + 1)
        return np.asarray((every[:, None] >> np.arange(units)) & 1, dtype=np.bool_)
    found: dict[bytes, Flags] = {}
    while len(found) < count:
        keep = draw.random(units) < 0.5
        if 0 < keep.sum() < units:
            found[keep.tobytes()] = keep
    return np.stack(list(found.values()))

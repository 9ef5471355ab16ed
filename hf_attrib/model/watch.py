"""Whether a model is still the one that a batch was observed on.

Others may change it while it is explained: another thread that trains it, merges an adapter or
switches to another one, or whoever is called back. What computes the same goes on; scores that
would mix two models are refused. What comes and goes between two looks is not seen, nor is a
write through ``.data`` that is taken back before the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hf_attrib.errors import UnsupportedModelError
from hf_attrib.model.devices import offloads
from hf_attrib.model.state import Snapshot
from hf_attrib.model.weights import Weights, modules_of

__all__ = ["Watch", "two_models", "weights_of"]

#: Looking takes one part in so many of the time at most.
_SELDOM = 100


def weights_of(model: Any) -> Any:
    """Return what tells whether weights were written to, or ``None`` where they come and go."""
    # What is loaded for each pass is another tensor after it.
    return None if offloads(model) else Weights(modules_of(model))


def two_models(model: Any) -> UnsupportedModelError:
    """Return the error that says that weights were written to while a model was explained."""
    return UnsupportedModelError(
        f"the weights of {type(model).__name__} changed while it was explained, so that its scores "
        "would mix two models; train and explain in turns, or explain a copy."
    )


class Watch:
    """Looks at a model between its passes.

    Args:
        model: as it was observed.
        moved: observes it again, and returns by how much a log-probability has moved; 0 if only
            by rounding.
    """

    def __init__(self, model: Any, moved: Callable[[], float]) -> None:
        self._model, self._moved = model, moved
        self._state, self._weights = Snapshot(model), weights_of(model)
        self._next = 0.0

    def look(self) -> None:
        """Demand that the model computes the same, if it is time to look.

        Raises:
            UnsupportedModelError: somebody has changed it.
        """
        started = time.perf_counter()
        if started < self._next:
            return
        self._compare()
        now = time.perf_counter()
        self._next = now + _SELDOM * (now - started)

    def close(self) -> None:
        """Demand that the model computes the same, and that its weights were left alone.

        Raises:
            UnsupportedModelError: somebody has changed it.
        """
        if not self.same_weights():
            raise self.refusal()
        self._compare()

    def same_weights(self) -> bool:
        """Tell whether nobody was seen to write to the weights."""
        return self._weights is None or self._weights.same(weights_of(self._model))

    def refusal(self) -> UnsupportedModelError:
        """Return the error that says that weights were written to."""
        return two_models(self._model)

    def _compare(self) -> None:
        changes = [change for change in self._state.changes() if not change.own]
        if not changes:
            return
        name = type(self._model).__name__
        # A pass may leave something new; whether it matters is told by what is computed.
        if (change := self._moved()) > 0:
            what = ", ".join(dict.fromkeys(map(str, changes[:3])))
            raise UnsupportedModelError(
                f"{name} was changed while it was explained ({what}; a log-probability moves by "
                f"{change:.2g}), so that its scores would mix two models; change and explain it "
                "in turns, or explain a copy."
            )
        self._state = Snapshot(self._model)

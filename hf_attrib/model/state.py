"""What a model remembers from pass to pass besides its weights, put back as it was.

Some models change themselves while they run: frequencies of positions grow with the longest pass
so far, or a short pass replaces sparse attention by full attention for good. What such a model
computes next depends on what was asked before.

Others change it meanwhile too: another thread, or whoever is called back, names an adapter or
sets a field of a config. That stays. What is the model's own is found out by experiment: in a
pause nobody changes it, and two passes that are run again from the same state both change it
again. Modules that have come or gone, or have other weights, are none of a pass's doing. And no
experiment is made while others change anything, or where weights were written to or have come or
gone, as by a model that rescales itself once and notes that it has: a note without what it speaks
of would have the model do it again.

What remains: a value that another thread changes in three passes in a row, and in no pause of
:data:`_PAUSE` at most, passes for the model's own; and one that it has changed is as it was
before while these passes run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from hf_attrib.model.devices import offloads
from hf_attrib.model.held import LARGEST, LEFT_ALONE, Held, copied, fill, held_by, same
from hf_attrib.model.weights import Weights, modules_of

__all__ = ["Snapshot", "state_restored"]

_MISSING = object()
#: Passes that must change something again before it is the model's own.
_PASSES = 2
#: Seconds that a pause to see what others do takes at least and at most, and so many are made.
_PAUSE, _PAUSES = (0.02, 4.0), 3

#: Whether a model changes something itself, by module: where in it, and under which name. What
#: is not there has never been seen to change.
_OWN: WeakKeyDictionary[nn.Module, dict[tuple[str, str], bool]] = WeakKeyDictionary()


class Change:
    """Something else under a name than before, or something else in a container.

    Args:
        held: what holds it.
        name: the name; empty if it is the content that has changed.
        before: what was there, if anything, or a copy of the content.
        after: what is there now.
    """

    def __init__(self, held: Held, name: Any, before: Any, after: Any) -> None:
        self.held, self.name = held, name
        self._before, self._after = before, after
        #: Whether it was there before. What is put into a container changes the container.
        self.replaced = before is not _MISSING or not held.named

    @property
    def _key(self) -> tuple[str, str]:
        """Where it is in its module. Keys that are new say nothing of the next ones."""
        new = self._before is _MISSING and not self.held.named
        return self.held.path, "" if new else f"{self.name!s:.80}"

    @property
    def place(self) -> tuple[int, str, str]:
        """Where it is, comparable."""
        return id(self.held.module), *self._key

    @property
    def own(self) -> bool | None:
        """Whether the model changes it itself, if that is known."""
        return _OWN.get(self.held.module, {}).get(self._key)

    @property
    def rebuilt(self) -> bool:
        """Whether a module has come or gone, or one of other weights took its place."""
        if self.held.path != "_modules":
            return False
        weights = [
            {*map(id, module.parameters())} if isinstance(module, nn.Module) else None
            for module in (self._before, self._after)
        ]
        return None in weights or weights[0] != weights[1]

    def learn(self, own: bool) -> None:
        """Remember whether the model changes it itself."""
        _OWN.setdefault(self.held.module, {})[self._key] = own

    def undo(self) -> None:
        """Put back what was there, if nobody has put something else there since."""
        self._swap(self._after, self._before)

    def redo(self) -> None:
        """Take back :meth:`undo`."""
        self._swap(self._before, self._after)

    def _swap(self, old: Any, new: Any) -> None:
        value = self.held.value
        if not isinstance(value, dict):
            if same(value, old):
                fill(value, new)
        elif value.get(self.name, _MISSING) is not old:
            return
        elif new is _MISSING:
            del value[self.name]
        else:
            value[self.name] = new

    def __str__(self) -> str:
        """Name it to a reader, as "active_adapter of Linear"."""
        owner, path = type(self.held.module).__name__, self.held.path
        within = path if path and not path.startswith("_") else ""
        if not isinstance(self.held.value, dict):
            return f"{within or 'something'} of {owner}"
        return f"{self.name} of {f'the {within} of ' if within else ''}{owner}"


class Snapshot:
    """What the modules of a model hold besides parameters, hooks and training modes.

    Args:
        model: it is read once, when this is made.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.modules = model, modules_of(model)
        self._before: list[tuple[Held, Any, int]] = []
        #: Tensors of which no copy is kept.
        self.large: list[Tensor] = []
        for held in held_by(self.modules):
            content = copied(held.value)
            if content is not None:
                self._before.append((held, content, _version(held.value)))
            elif isinstance(held.value, Tensor) and held.value.numel() > LARGEST:
                self.large.append(held.value)

    def same(self) -> bool:
        """Tell quickly whether nothing has changed; writes that are not counted are not seen."""
        return all(
            len(held.value) == len(before)
            and all(map(is_, list(held.value.values()), before.values()))
            if isinstance(held.value, dict)
            else held.value._version == version
            if isinstance(held.value, Tensor)
            else same(held.value, before)
            for held, before, version in self._before
        )

    def changes(self) -> list[Change]:
        """Return all that has changed."""
        if self.same():
            return []
        entries: list[Change] = []
        contents: list[Change] = []
        # Where a model notes what it has written, the write itself may not have been counted.
        for held, before, _ in self._before:
            if isinstance(held.value, dict):
                entries += _entries(held, before)
            elif not same(held.value, before):
                contents.append(Change(held, "", before, copied(held.value)))
        return entries + contents


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else -1


def _entries(held: Held, before: dict[Any, Any]) -> Iterator[Change]:
    """Yield what has changed under the names of a module, an object or a mapping."""
    now, apart = dict.copy(held.value), () if held.path else LEFT_ALONE
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name, _MISSING), now.get(name, _MISSING)
        if old is not new and name not in apart:
            yield Change(held, name, old, new)


def _calm(model: nn.Module, seconds: float) -> bool:
    """Tell whether nobody changes a model while no pass of ours runs; what they do is learnt."""
    for _ in range(_PAUSES):
        before = Snapshot(model)
        time.sleep(min(max(seconds, _PAUSE[0]), _PAUSE[1]))
        changes = [change for change in before.changes() if change.own is not False]
        if not changes:
            return True
        for change in changes:
            change.learn(False)
    return False


@contextmanager
def state_restored(
    model: nn.Module, again: Callable[[], object] | None = None
) -> Iterator[Callable[[], bool]]:
    """Put back attributes, buffers and submodules that passes inside the context change.

    Parameters, hooks and training modes are left alone. Of plain attributes, tensors, lists, sets
    and dicts are also put back if they were written to; of configs, their fields.

    Args:
        model: it may be run any number of times inside the context.
        again: runs such a pass once more, where something has changed of which it is not known
            whether the model does that itself. Without it, such a change stays.

    Yields:
        a function that tells whether anything that was there has changed so far.
    """
    before, started = Snapshot(model), time.perf_counter()
    # What is loaded for each pass is another tensor after it.
    weights = None if offloads(model) else Weights(before.modules, before.large)

    def written() -> bool:
        return weights is not None and not weights.same(Weights(modules_of(model), before.large))

    def restore(once_more: Callable[[], object] | None) -> None:
        _restore(before, once_more, written, _PASSES * (time.perf_counter() - started))

    try:
        yield lambda: any(change.replaced for change in before.changes())
    except Exception:
        restore(again)
        raise
    except GeneratorExit:  # whoever works on what a generator gave has failed, and not a pass
        restore(None)
        raise
    except BaseException:  # an interrupt: there is no time to find out whose a change is
        for change in [] if written() else before.changes():
            unknown = change.own is None and change.replaced and not change.rebuilt
            if change.own or unknown:
                change.undo()
        raise
    restore(again)


def _restore(
    before: Snapshot,
    again: Callable[[], object] | None,
    written: Callable[[], bool],
    pause: float,
) -> None:
    """Put back what the model changes itself, and find out what that is.

    Args:
        before: what it held.
        again: runs a pass once more, if there is one to run.
        written: whether weights were written to since.
        pause: seconds that passes which are run again take.
    """
    changes = before.changes()
    for change in changes:
        if change.own:
            change.undo()
    if again is None or all(change.own is not None for change in changes):
        return
    if written() or not _calm(before.model, pause):
        return
    changes = before.changes()
    unknown = [change for change in changes if change.own is None and not change.rebuilt]
    if not unknown or written():
        return
    own = _repeated(before, unknown, again)
    for change in unknown:
        change.learn(change.place in own)
        if not change.own:
            change.redo()


def _repeated(
    before: Snapshot, changes: list[Change], again: Callable[[], object]
) -> set[tuple[int, str, str]]:
    """Undo changes, and return the places of those that each of several passes makes again."""
    places = {change.place for change in changes}
    for change in changes:
        change.undo()
    for _ in range(_PASSES):
        try:
            with suppress(Exception):  # what it has changed until it failed counts as well
                again()
        finally:  # after an interrupt too, when nothing is learnt and nothing of it stays
            repeated = [change for change in before.changes() if change.place in places]
            for change in repeated:
                change.undo()
        places = {change.place for change in repeated}
        if not places:
            break
    return places

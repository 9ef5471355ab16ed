"""What a model remembers from pass to pass besides its weights, put back as it was.

Some models change themselves while they run: frequencies of positions grow with the longest pass
so far, or a short pass replaces sparse attention by full attention for good. What such a model
computes next depends on what was asked before.

Others change it meanwhile too: another thread, or whoever is called back, names an adapter or
sets a field of a config. That stays. What is the model's own is found out by experiment: a pass
that is run again from the same state changes it again. And where weights were written to as
well, as by a model that rescales itself once and notes that it has, all is left as it is, since
a note without what it speaks of would have the model do it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import is_
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from hf_attrib.model.devices import offloads
from hf_attrib.model.weights import Weights, modules_of

__all__ = ["Snapshot", "state_restored"]

#: What a module holds that others set on purpose, or that is put back elsewhere.
_LEFT_ALONE = {*vars(nn.Module()), "_hf_hook", "_compiled_call_impl"}
#: Larger tensors are put back if they are replaced, but no copy is kept of what is in them:
#: quantised weights are buffers too, and count as weights.
_LARGEST = 2**20
_CONTAINERS = frozenset({dict, list, set})
_MISSING = object()

#: Whether a model changes something itself, by module: where in it, and under which name. What
#: is not there has never been seen to change.
_OWN: WeakKeyDictionary[nn.Module, dict[tuple[str, str], bool]] = WeakKeyDictionary()
#: The dict that holds values, and whose it is: a module, and where in it.
_Holder: TypeAlias = tuple[nn.Module, str, dict[str, Any]]


class Change:
    """Something else under a name than before, or something else in it.

    Args:
        holder: what holds the name.
        name: the name.
        before: what was there, if anything.
        after: what is there now, if anything; the same object if its content has changed.
        content: what was in it.
    """

    def __init__(
        self, holder: _Holder, name: str, before: Any, after: Any, content: Any = None
    ) -> None:
        self.module, self.part, self._held = holder
        self.name = name
        self._before, self._after, self._content = before, after, content
        self._later = None if content is None else _copy(after)
        #: Whether it was there before.
        self.replaced = before is not _MISSING

    @property
    def place(self) -> tuple[int, str, str]:
        """Where it is, comparable."""
        return id(self.module), self.part, self.name

    @property
    def own(self) -> bool | None:
        """Whether the model changes it itself, if that is known."""
        return _OWN.get(self.module, {}).get((self.part, self.name))

    def learn(self, own: bool) -> None:
        """Remember whether the model changes it itself."""
        _OWN.setdefault(self.module, {})[self.part, self.name] = own

    def undo(self) -> None:
        """Put back what was there, if nobody has put something else there since."""
        self._swap(self._after, self._before, self._content)

    def redo(self) -> None:
        """Take back :meth:`undo`."""
        self._swap(self._before, self._after, self._later)

    def _swap(self, old: Any, new: Any, content: Any) -> None:
        if self._held.get(self.name, _MISSING) is not old:
            return
        if content is not None:
            _fill(new, content)
        elif new is _MISSING:
            del self._held[self.name]
        else:
            self._held[self.name] = new

    def __str__(self) -> str:
        """Name it to a reader, as "active_adapter of Linear"."""
        owner = type(self.module).__name__
        config = self.part and not self.part.startswith("_")
        return f"{self.name} of {f'the {self.part} of ' if config else ''}{owner}"


class Snapshot:
    """What the modules of a model hold besides parameters, hooks and training modes.

    Args:
        model: it is read once, when this is made.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.modules = model, modules_of(model)
        self._before = [(holder, holder[2].copy()) for holder in _holders(self.modules)]
        self._contents: list[tuple[_Holder, str, Tensor | Any, Any, int]] = []
        #: Tensors of which no copy is kept.
        self.large: list[Tensor] = []
        for holder, before in self._before:
            for name, value in before.items():
                if isinstance(value, Tensor) and value.numel() > _LARGEST:
                    self.large.append(value)
                elif name not in _LEFT_ALONE and _writable(value):
                    version = value._version if isinstance(value, Tensor) else -1
                    self._contents.append((holder, name, value, _copy(value), version))

    def same(self) -> bool:
        """Tell quickly whether nothing has changed; writes that are not counted are not seen."""
        return all(
            len(held) == len(before) and all(map(is_, list(held.values()), before.values()))
            for (_, _, held), before in self._before
        ) and not any(
            value._version != version if isinstance(value, Tensor) else not _same(value, content)
            for _, _, value, content, version in self._contents
        )

    def changes(self) -> list[Change]:
        """Return all that has changed."""
        if self.same():
            return []
        found = []
        for holder, before in self._before:
            now = holder[2].copy()
            for name in [*before, *(name for name in now if name not in before)]:
                old, new = before.get(name, _MISSING), now.get(name, _MISSING)
                if old is not new and name not in _LEFT_ALONE:
                    found.append(Change(holder, name, old, new))
        # Where a model notes what it has written, the write itself may not have been counted.
        return found + [
            Change(holder, name, value, value, content)
            for holder, name, value, content, _ in self._contents
            if not _same(value, content)
        ]


def _holders(modules: list[nn.Module]) -> list[_Holder]:
    """Return all dicts that hold what modules remember, each once."""
    found: dict[int, _Holder] = {}
    for module in modules:
        held = vars(module)
        found[id(held)] = module, "", held
        for part in ("_buffers", "_modules"):
            found[id(held[part])] = module, part, held[part]
        for name, value in held.copy().items():
            if isinstance(value, PreTrainedConfig):
                found.setdefault(id(vars(value)), (module, name, vars(value)))
    return list(found.values())


def _writable(value: Any) -> bool:
    """Tell whether the content of a value is kept, besides the value itself."""
    if isinstance(value, Tensor):
        return not (value.is_inference() or value.is_meta)
    return type(value) in _CONTAINERS


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value.copy()


def _fill(value: Any, content: Any) -> None:
    """Put content into a tensor or a container."""
    if isinstance(value, Tensor):
        with torch.no_grad():
            value.copy_(content)
        return
    value.clear()
    fill = value.extend if isinstance(value, list) else value.update
    fill(content)


def _same(found: Any, before: Any) -> bool:
    """Tell whether two tensors are equal, or two containers hold the same, in the same order."""
    if isinstance(found, Tensor):
        return torch.equal(found, before)
    if isinstance(found, dict):
        return [*found] == [*before] and all(map(is_, list(found.values()), before.values()))
    return len(found) == len(before) and all(map(is_, list(found), before))


def _changing(model: nn.Module, seconds: float) -> set[tuple[int, str, str]]:
    """Return the places that change while no pass of ours runs: another thread is at them."""
    before = Snapshot(model)
    time.sleep(min(max(seconds, 0.01), 1.0))
    return {change.place for change in before.changes()}


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
    before = Snapshot(model)
    # What is loaded for each pass is another tensor after it.
    weights = None if offloads(model) else Weights(before.modules, before.large)

    def written() -> bool:
        return weights is not None and not weights.same(Weights(modules_of(model), before.large))

    try:
        yield lambda: any(change.replaced for change in before.changes())
    except Exception:
        _restore(before, again, written)
        raise
    except GeneratorExit:  # whoever works on what a generator gave has failed, and not a pass
        _restore(before, None, written)
        raise
    except BaseException:  # an interrupt: there is no time to find out whose a change is
        for change in [] if written() else before.changes():
            if change.own or (change.own is None and change.replaced):
                change.undo()
        raise
    _restore(before, again, written)


def _restore(
    before: Snapshot, again: Callable[[], object] | None, written: Callable[[], bool]
) -> None:
    """Put back what the model changes itself, and find out what that is.

    Args:
        before: what it held.
        again: runs a pass once more, if there is one to run.
        written: whether weights were written to since.
    """
    changes = before.changes()
    unknown = [change for change in changes if change.own is None]
    for change in changes:
        if change.own:
            change.undo()
    if not unknown or again is None or written():
        return
    for change in unknown:
        change.undo()
    asked = {change.place for change in unknown}
    started = time.perf_counter()
    try:
        with suppress(Exception):  # what it has changed until it failed counts as well
            again()
    except BaseException:  # an interrupt: nothing is learnt, and nothing of it stays
        for change in before.changes():
            if change.place in asked:
                change.undo()
        raise
    repeated = {change.place: change for change in before.changes()}
    others = _changing(before.model, time.perf_counter() - started)
    for change in unknown:
        change.learn(change.place in repeated and change.place not in others)
    for change in repeated.values():
        if change.own:
            change.undo()
    for change in unknown:
        if not change.own:
            change.redo()

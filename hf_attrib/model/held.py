"""What modules hold besides weights, down to the last container, with copies to put back.

A model may remember something in an attribute as well as in an object, a list or an array that
an attribute holds. What keeps account of weights, of hooks or of what runs is left alone.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import is_
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hf_attrib.model.weights import modules_of

__all__ = ["LARGEST", "LEFT_ALONE", "Held", "copied", "fill", "held_by", "same"]

#: What a module holds that others set on purpose, or that is put back elsewhere.
LEFT_ALONE = {*vars(nn.Module()), "_hf_hook", "_compiled_call_impl"}
#: Larger tensors are put back if they are replaced, but no copy is kept of what is in them:
#: quantised weights are buffers too, and count as weights.
LARGEST = 2**20
#: Objects of these packages are not looked into.
_MACHINERY = {"accelerate", "bitsandbytes", "deepspeed", "hf_attrib", "torch"}
_MACHINERY |= {"builtins", "concurrent", "enum", "functools", "logging", "threading", "weakref"}
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device)
_LISTS = (list, set, deque)
_WRITES = {dict.__setitem__, OrderedDict.__setitem__}, {dict.__delitem__, OrderedDict.__delitem__}
#: So many containers within each other are looked into, each of so many things at most.
_DEPTH, _MOST = 6, 1000


class Held(NamedTuple):
    """What holds something that a model may remember.

    Args:
        module: whose it is.
        path: where it is in the module; empty for the attributes of the module itself.
        value: names or keys and what is under them, or another container, or numbers.
        named: whether these are attributes, of a module or of an object.
    """

    module: nn.Module
    path: str
    value: Any
    named: bool = False


def held_by(modules: Iterable[nn.Module]) -> list[Held]:
    """Return all that modules hold, each once.

    Args:
        modules: they, and those that are found in their containers.
    """
    found: dict[int, Held] = {}
    seen: dict[int, Any] = {}
    ahead = [*modules]
    known = {id(module) for module in ahead}
    for module in ahead:  # which grows meanwhile
        attributes = vars(module)
        found[id(attributes)] = Held(module, "", attributes, named=True)
        for part in ("_buffers", "_modules"):
            found[id(attributes[part])] = Held(module, part, attributes[part], named=True)
        inside = [(n, v) for n, v in attributes.copy().items() if n not in LEFT_ALONE]
        for name, value in [*inside, *dict.copy(attributes["_buffers"]).items()]:
            for one in _inside(module, name, value, _DEPTH, seen):
                if isinstance(one.value, nn.Module):
                    more = [m for m in modules_of(one.value) if id(m) not in known]
                    known.update(map(id, more))
                    ahead += more
                else:
                    found.setdefault(id(one.value), one)
    return list(found.values())


def _inside(
    module: nn.Module, path: str, value: Any, depth: int, seen: dict[int, Any]
) -> Iterator[Held]:
    """Yield a value, if it can be written to, and all such values in it, each once."""
    if isinstance(value, _PLAIN) or id(value) in seen or not depth:
        return
    seen[id(value)] = value
    inside: Iterable[tuple[str, Any]] = ()
    if isinstance(value, nn.Module | np.ndarray) or type(value) in _LISTS:
        yield Held(module, path, value)
    elif isinstance(value, Tensor):
        if depth == _DEPTH or (type(value) is Tensor and value.numel() <= LARGEST):
            yield Held(module, path, value)
    elif isinstance(value, dict):
        kind = type(value)
        if kind.__setitem__ in _WRITES[0] and kind.__delitem__ in _WRITES[1]:
            yield Held(module, path, value)
            pairs = enumerate(dict.copy(value).items())
            inside = ((f"{path}[{_key(key, place)}]", one) for place, (key, one) in pairs)
    elif isinstance(value, MethodType):
        inside = ((path, value.__self__),)
    elif (names := _attributes(value)) is not None:
        yield Held(module, path, names, named=True)
        inside = ((f"{path}.{name}", one) for name, one in names.copy().items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        inside = ((f"{path}[{place}]", one) for place, one in enumerate(tuple(value)))
    for name, one in islice(inside, _MOST):
        yield from _inside(module, name, one, depth - 1, seen)


def _key(key: Any, place: int) -> str:
    """Return what a key is called; what another would write may be long, slow or an error."""
    if isinstance(key, str):
        return repr(key[:80])
    return repr(key) if type(key) in (int, float, bool) else f"{type(key).__name__} {place}"


def _attributes(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an object that may be a model's memory."""
    try:
        names = getattr(value, "__dict__", None)
    except Exception:  # a proxy of something that is not there now, which no model can hold on to
        return None
    apart = type(value).__module__.partition(".")[0] in _MACHINERY
    return names if type(names) is dict and not apart else None


def copied(value: Any) -> Any:
    """Return a copy of what is in a value, or ``None`` if none is kept."""
    if isinstance(value, Tensor):
        kept = not (value.is_inference() or value.is_meta or value.numel() > LARGEST)
        return value.detach().clone() if kept else None
    if isinstance(value, np.ndarray):
        return value.copy() if value.size <= LARGEST and not value.dtype.hasobject else None
    return dict.copy(value) if isinstance(value, dict) else value.copy()


def fill(value: Any, content: Any) -> None:
    """Put content into a tensor, an array or a container that is no mapping."""
    if isinstance(value, Tensor):
        with torch.no_grad():
            if value.shape == content.shape:
                value.copy_(content)
            else:
                value.data = content.clone()
    elif isinstance(value, np.ndarray):
        value[...] = content
    else:
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(content)


def same(found: Any, before: Any) -> bool:
    """Tell whether two tensors are equal, or two containers hold the same, in the same order."""
    if isinstance(found, Tensor):
        return torch.equal(found, before)
    if isinstance(found, np.ndarray):
        return bool(found.tobytes() == before.tobytes())
    if isinstance(found, set):
        return {*map(id, found)} == {*map(id, before)}
    if isinstance(found, dict):
        found, before = list(found.values()), before.values()
    return len(found) == len(before) and all(map(is_, list(found), before))

"""Flags from dataclass fields: those of the command's own options and those of the methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

import typer
from rich.markup import escape
from typer.models import OptionInfo

from hf_attrib.attacks import attacks
from hf_attrib.hyperparameters import former_names
from hf_attrib.methods import methods

__all__ = ["flagged", "method_fields"]

#: What typer can read from a word; a field of another type gets the word itself.
_READABLE = (bool, int, float, str)
#: Methods that help names, of those that share a field and its default.
_NAMED = 3


def flagged(function: Callable[..., None]) -> Callable[..., None]:
    """Turn a function of option groups into a command with a flag for each of their fields.

    Args:
        function: takes dataclasses, whose fields are annotated as typer's parameters are and whose
            ``panel`` is the title above these in ``--help``; and perhaps ``**fields``: those fields
            of methods that were given. A method's field that is called like an option of the
            command has no flag of its own.
    """
    hints = get_type_hints(function)
    groups: dict[str, Any] = {n: kind for n, kind in hints.items() if is_dataclass(kind)}
    own = [p for kind in groups.values() for p in _parameters(kind)]
    taken = {parameter.name for parameter in own}
    foreign = [p for p in _method_parameters() if p.name not in taken] if "fields" in hints else []

    def command(**given: Any) -> None:
        made = {
            name: kind(**{f.name: given[f.name] for f in fields(kind)})
            for name, kind in groups.items()
        }
        set_fields = {p.name: given[p.name] for p in foreign if given[p.name] is not None}
        function(**made, **set_fields)

    command.__signature__ = inspect.Signature([*own, *foreign])  # type: ignore[attr-defined]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command


def method_fields() -> Mapping[str, Mapping[str, Field[Any]]]:
    """Return the fields of methods and attacks by name, and within a name by method."""
    found: dict[str, dict[str, Field[Any]]] = {}
    for name, kind in _kinds().items():
        for f in fields(kind):
            if f.metadata.get("flag", True):  # some take what cannot be written
                found.setdefault(f.name, {})[name] = f
    return found


def _parameters(group: Any) -> list[inspect.Parameter]:
    """Return the fields of an option group as typer reads parameters."""
    hints, parameters = get_type_hints(group, include_extras=True), []
    for f in fields(group):
        if isinstance(info := hints[f.name].__metadata__[0], OptionInfo):
            info.rich_help_panel = group.panel
            info.metavar = "" if isinstance(f.default, bool) else None  # a switch takes no word
        default = inspect.Parameter.empty if f.default is MISSING else f.default
        parameters.append(_parameter(f.name, default, hints[f.name]))
    return parameters


def _method_parameters() -> list[inspect.Parameter]:
    """Return what typer reads the fields of all methods from; those not given are ``None``."""
    parameters = []
    for name, by_method in method_fields().items():
        info = typer.Option(
            None,
            help=escape(_about(by_method)),
            rich_help_panel="Fields of methods",
            show_default=False,
        )
        kinds = {_kind(_kinds()[method], name) for method in by_method}
        kind = kinds.pop() if len(kinds) == 1 else str
        parameters.append(_parameter(name, info, kind | None))
    return [*parameters, *_former_parameters()]


def _former_parameters() -> list[inspect.Parameter]:
    """Return hidden flags for the names that fields had one release ago."""
    found = {}
    for kind in _kinds().values():
        for old, new in former_names(kind).items():
            info = typer.Option(None, hidden=True)
            found[old] = _parameter(old, info, _kind(kind, new) | None)
    return list(found.values())


def _about(by_method: Mapping[str, Field[Any]]) -> str:
    """Return what a field is, said once for all methods that say the same, and its defaults."""
    said: dict[str, dict[str, list[str]]] = {}
    for method, f in by_method.items():
        defaults = said.setdefault(f.metadata.get("help", ""), {})
        defaults.setdefault(str(f.default), []).append(method)
    return " ".join(
        f"{about} ({'; '.join(f'{_listed(names)}: {value}' for value, names in defaults.items())})"
        for about, defaults in said.items()
    )


def _listed(names: list[str]) -> str:
    """Write a list, of which only the beginning if it is long."""
    more = len(names) - _NAMED
    return ", ".join(names) if more < 2 else f"{', '.join(names[:_NAMED])} and {more} more"


def _kinds() -> dict[str, Any]:
    """Return all methods and attacks, whose fields have flags."""
    return {**methods(), **attacks()}


def _kind(method: Any, name: str) -> type:
    """Return the type of a method's field, ``None`` aside."""
    hint = get_type_hints(method)[name]
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 and kinds[0] in _READABLE else str


def _parameter(name: str, default: Any, kind: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

"""What there is to choose from: methods, attacks and embedded models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hf_attrib import embedded
from hf_attrib.attacks import Attack, attacks
from hf_attrib.cli.output import rendered
from hf_attrib.methods import AXIOMS, Method, methods

__all__ = ["attacks_table", "methods_table", "models_table"]

_Facts: TypeAlias = Iterator[tuple[str, str]]

#: How a method is said to answer for axioms.
_ANSWERS = {
    "keeps": "yes",
    "in the mean": "in the mean",
    "breaks": "no",
    "not applicable": "n/a",
}


def methods_table() -> str:
    """Return what every method does, what its scores mean and which fields it has."""
    hint = Text("The name of an attack is a method, too: see hf-attrib attacks.")
    return rendered(_table(methods(), _facts), Text(), hint)


def attacks_table() -> str:
    """Return what every attack does and which fields it has."""
    return rendered(_table(attacks(), _attack_facts))


def _table(kinds: Mapping[str, type[Any]], facts: Callable[[Any], _Facts]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for i, (name, kind) in enumerate(kinds.items()):
        if i:
            table.add_row()
        about = next(iter((inspect.getdoc(kind) or "").splitlines()), "")
        table.add_row(Text(name, "bold"), about)
        for label, value in facts(kind):
            table.add_row(Text(f"  {label}", "dim"), Text(value))
        for f in fields(kind):
            flag = f"  --{f.name.replace('_', '-')}"
            said = f"{f.metadata.get('help', '')} (default {f.default})"
            table.add_row(Text(flag, "dim"), Text(said.strip()))
    return table


def _facts(kind: type[Method]) -> _Facts:
    claims = kind().claims
    yield "scores sum to", claims.identity or "nothing in particular"
    yield "signed", "yes" if claims.signed else "no"
    yield "stochastic", "yes" if claims.stochastic else "no"
    yield "cost", claims.cost
    for label, answer in _ANSWERS.items():
        axioms = [axiom.replace("_", " ") for axiom in AXIOMS if claims.keeps(axiom) == answer]
        if axioms:
            yield label, ", ".join(axioms) + (", as it finds x' itself" if answer == "n/a" else "")


def _attack_facts(kind: type[Attack]) -> _Facts:
    yield "stochastic", "yes" if kind.stochastic else "no"
    yield "takes a baseline", "yes" if kind.uses_reference else "no"


def models_table() -> str:
    """Return what the embedded models do and where they lie."""
    parts: list[RenderableType] = []
    for name in embedded.names():
        about = Padding(Text(embedded.DESCRIPTIONS[name]), (0, 0, 0, 2))
        # In one piece, so that it can be copied; on its own, rich would break a text all the same.
        path = Text(f"  {embedded.path(name)}", "dim", no_wrap=True, overflow="ignore")
        parts += [Text(name, "bold"), about, Group(path)]
    return rendered(*parts)

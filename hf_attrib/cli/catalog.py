"""What there is to choose from: methods and embedded models."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hf_attrib import embedded
from hf_attrib.cli.output import rendered
from hf_attrib.methods import Method, methods

__all__ = ["methods_table", "models_table"]


def methods_table() -> str:
    """Return what every method does, what its scores mean and which fields it has."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for i, (name, kind) in enumerate(methods().items()):
        if i:
            table.add_row()
        about = next(iter((inspect.getdoc(kind) or "").splitlines()), "")
        table.add_row(Text(name, "bold"), about)
        for label, value in _facts(kind):
            table.add_row(Text(f"  {label}", "dim"), Text(value))
    return rendered(table)


def _facts(kind: type[Method]) -> Iterator[tuple[str, str]]:
    claims = kind.claims
    yield "signed", "yes" if claims.signed else "no"
    yield "scores sum to", claims.identity or "nothing in particular"
    yield "stochastic", "yes" if claims.stochastic else "no"
    yield "cost", claims.cost
    for f in fields(kind):
        about = f.metadata.get("help", "")
        yield f"--{f.name.replace('_', '-')}", f"{about} (default {f.default})".strip()


def models_table() -> str:
    """Return what the embedded models do and where they lie."""
    parts: list[RenderableType] = []
    for name in embedded.names():
        about = Padding(Text(embedded.DESCRIPTIONS[name]), (0, 0, 0, 2))
        # In one piece, so that it can be copied; on its own, rich would break a text all the same.
        path = Text(f"  {embedded.path(name)}", "dim", no_wrap=True, overflow="ignore")
        parts += [Text(name, "bold"), about, Group(path)]
    return rendered(*parts)

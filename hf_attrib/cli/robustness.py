"""The options of ``hf-attrib robustness``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from hf_attrib.attacks import attacks
from hf_attrib.cli.files import STDSTREAM, check_distinct, check_writable
from hf_attrib.robustness import RadiusSearch, radius_search

__all__ = ["AttackOptions", "OutputOptions"]


@dataclass(frozen=True)
class AttackOptions:
    """Which attack moves which inputs, and how far."""

    panel: ClassVar[str] = "Attack"

    attack: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(attacks())}; or with fields, as 'bim(steps=20)'."),
    ] = "bim"
    eps: Annotated[float, typer.Option(help="The largest radius, in embedding scales.")] = 1.0
    bisections: Annotated[
        int, typer.Option(help="How often the interval around a radius is halved.")
    ] = 6
    baseline: Annotated[
        str | None, typer.Option(help="As for hf-attrib explain, of attacks that take one.")
    ] = None
    attribute_to: Annotated[
        str, typer.Option(help="prompt; or all, to attack the tokens generated before, too.")
    ] = "prompt"
    movable: Annotated[
        str, typer.Option(help="content; or all, to attack special and template tokens, too.")
    ] = "content"

    def search(self, seed: int | None) -> RadiusSearch:
        """Return the search asked for, which checks itself.

        Args:
            seed: of an attack that draws random numbers, unless it is written with one.

        Raises:
            InputError: some value is unknown or out of range.
        """
        search, _ = radius_search(self.attack, self.eps, self.bisections, {})
        if seed is None or not search.attack.stochastic or "seed=" in self.attack.replace(" ", ""):
            return search
        seeded: Any = search.attack
        return replace(search, attack=replace(seeded, seed=seed))


@dataclass(frozen=True)
class OutputOptions:
    """Where a robustness result goes besides the terminal."""

    panel: ClassVar[str] = "Output"

    json: Annotated[
        Path | None, typer.Option(help="Save the result; - prints it instead of the table.")
    ] = None
    html: Annotated[Path | None, typer.Option(help="Write a page into this file, too.")] = None

    def __post_init__(self) -> None:
        check_distinct(self.json, self.html)
        for path in (self.json, self.html):
            if path is not None and (path is self.html or path != STDSTREAM):
                check_writable(path)

"""Write the generated pages of the documentation; the tests check that they are up to date."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

from hf_attrib.methods import AXIOMS, Claims, Method, methods

HEAD = """\
# Methods

Written by `python docs/make.py` from the registry; `hf-attrib methods` prints the same in a
terminal. A claim in this table is a test that runs:

- *completeness*: scores sum to f(x) - f(x'). *In the mean*: to what the second column says, within
  the standard error that the result carries.
- *dummy*: an input that f ignores scores 0.
- *linearity*: the scores of a f + b g are a and b times theirs.
- *sensitivity*: if x and x' differ in one input and f differs, that input scores non-zero.

Costs count f(x), too, for T explained tokens, K steps, S samples and N inputs that move. A
forward row serves all T tokens; a backward row serves one. Where directional rows, one for each
group of inputs, are cheaper than backward rows, they take their place ([how](directions.md)).

"""


def kept(axiom: str, claims: Claims) -> str:
    """Say whether a law is kept: always, in the mean over samples, or not."""
    if axiom == "completeness" and claims.stochastic and claims.identity and claims.baseline:
        return "in the mean"
    return "yes" if axiom in claims.axioms else "no"


def methods_page() -> str:
    """Return the table of methods, and a section on each."""
    lines = [
        "| method | scores sum to | signed | stochastic | " + " | ".join(AXIOMS) + " | cost |",
        "|---" * (5 + len(AXIOMS)) + "|",
    ]
    for name, method in methods().items():
        claims = method.claims
        cells = [f"`{name}`", claims.identity or "nothing exact"]
        cells += ["yes" if flag else "no" for flag in (claims.signed, claims.stochastic)]
        cells += [kept(axiom, claims) for axiom in AXIOMS]
        lines.append("| " + " | ".join([*cells, claims.cost]) + " |")
    return HEAD + "\n".join([*lines, *map(section, methods().values())]) + "\n"


def section(method: type[Method]) -> str:
    """Return what a method's docstring says, and its fields."""
    about, _, rest = (inspect.getdoc(method) or "").partition("\n\nArgs:")
    about = about.partition("\n\nReturns:")[0]
    source = re.search(r"^Source: (.+)$", rest or inspect.getdoc(method) or "", re.M)
    parts = [f"\n## {method.name}", markdown(about)]
    own = method.claims.baseline
    parts.append(f"Baseline unless you name one: {own}." if own else "It has no baseline.")
    if method.claims.many_references:
        parts[-1] += " Takes distributions: `vocabulary`, `noise`, or a list of prompts."
    parts += [f"- `{f.name}` = `{f.default}`: {f.metadata['help']}" for f in fields(method)]
    return "\n\n".join([*parts, f"Source: {source[1]}" if source else ""]).rstrip()


def markdown(text: str) -> str:
    """Turn the marks of a docstring into those of Markdown."""
    text = re.sub(r"\.\. math:: ?((?:.+\n?)+)", r"```math\n\1\n```\n", text + "\n")
    text = re.sub(r"\n\n```$", "\n```", text, flags=re.M)
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    return re.sub(r"(?<!`)``(?!`)", "`", text).strip()


PAGES = {"methods.md": methods_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (Path(__file__).parent / page).write_text(write(), encoding="utf-8")

"""Write the generated pages of the documentation; the tests check that they are up to date."""

from dataclasses import fields
from pathlib import Path

from hf_attrib.methods import AXIOMS, Claims, methods


def kept(axiom: str, claims: Claims) -> str:
    """Say whether a law is kept: always, in the mean over samples, or not."""
    if axiom == "completeness" and claims.stochastic and claims.identity:
        return "in the mean"
    return "yes" if axiom in claims.axioms else "no"


def methods_page() -> str:
    """Return the table of methods, from the claims that the tests hold them to."""
    lines = [
        "# Methods",
        "",
        "Written by `python docs/make.py` from the registry. A claim in this table is a test that",
        "runs; `hf-attrib methods` prints the same in a terminal.",
        "",
        "| method | scores sum to | signed | stochastic | " + " | ".join(AXIOMS) + " | cost |",
        "|---" * (5 + len(AXIOMS)) + "|",
    ]
    for name, method in methods().items():
        claims = method.claims
        cells = [f"`{name}`", claims.identity or "nothing exact"]
        cells += ["yes" if flag else "no" for flag in (claims.signed, claims.stochastic)]
        cells += [kept(axiom, claims) for axiom in AXIOMS]
        lines.append("| " + " | ".join([*cells, claims.cost]) + " |")
    for name, method in methods().items():
        lines += ["", f"## {name}", "", (method.__doc__ or "").split("\n\n")[0].strip(), ""]
        lines.append(f"Baseline unless you name one: {method.default_baseline}.")
        for field in fields(method):
            lines += ["", f"- `{field.name}` = `{field.default}`: {field.metadata['help']}"]
    return "\n".join(lines) + "\n"


PAGES = {"methods.md": methods_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (Path(__file__).parent / page).write_text(write(), encoding="utf-8")

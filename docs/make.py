"""Write the generated pages of the documentation; the tests check that they are up to date."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import hf_attrib
from hf_attrib.attacks import UpdateRule, attacks
from hf_attrib.methods import AXIOMS, Method, methods
from hf_attrib.validation import DEFAULT_METRICS, METRICS

#: What benchmarks wrote.
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"

METHODS = f"""\
# Methods

Written by `python docs/make.py` from the registry; `hf-attrib methods` prints the same in a
terminal, all but the last column. Each *yes* in this table is a test that runs, and each *no* a
counterexample that runs ([laws](../tests/helpers/laws.py),
[counterexamples](../tests/helpers/counterexamples.py)).

{chr(10).join(f"- *{axiom.replace('_', ' ')}*: {law}" for axiom, law in AXIOMS.items())}

*In the mean*: within the standard error that the result carries, as scores are means over what was
drawn. *n/a*: the method finds x' itself, so there is no pair of x and x' for the law to speak of.
Where scores sum to f(x) - f(x'), x' is the baseline, which you may choose; x_adv is where a walk
ends that the method finds. What a sum misses of its identity is in every result (`result.gap`).

Costs count f(x), too, for T explained tokens, K steps, S samples and N inputs that move. A
forward row serves all T tokens; a backward row serves one. Where directional rows, one for each
group of inputs, are cheaper than backward rows, they take their place ([how](directions.md)).
The names of [attacks](attacks.md) are methods, too: `fundamental` with that attack.

*Sanity*: which [checks](validation.md#what-scores-must-not-do) a method fails as it is without any
options, with the number that the check looks at, a mean over prompts, or `?` where that could be
chance; a mark is a warning and no proof.
"""

ATTACKS = """\
# Attacks

Written by `python docs/make.py` from the registry; `hf-attrib attacks` prints the same in a
terminal. An attack is a rule that says where an input moves, step by step. It is the `update` of
`fundamental` and other [methods](methods.md), which integrate the true gradient of f along its
walk; its name is a method, too: `explain(prompt, method="mim")`. You may [write
one](write-an-attack.md).

J is what an attack raises: for the tokens explained, the sum of -f, or each -f on a walk of its
own. Radii and steps are in units of u, the typical size of a coordinate of the embedding table;
only inputs that may move do. Where a rule was made for images and is another one here, its section
says what has changed. *Gradients for each step*: at how many points that of J is found, together;
attacks of another kind say nothing. *Takes a baseline*: the rule depends on a reference x'.

"""

METRICS_PAGE = f"""\
# Metrics of faithfulness

Written by `python docs/make.py` from the table of metrics. s is the score of the answer, a mean
over its tokens; a metric is called normalised where it is in units of s(all units) - s(none). One
that takes the sizes of scores has no value for controls, which are orders alone. Those measured
unless others are named: {", ".join(f"`{name}`" for name in DEFAULT_METRICS)}.
[How they are used](validation.md).

"""

WHICH = """\
# Which method

Written by `python docs/make.py` around the tables that `benchmarks/faithfulness.py` and
`benchmarks/planted.py` wrote.

- **Nothing to choose**: the default, `loo_shapley`. It predicts small ablations as well as
  leaving out does, finds facts that are said twice, which leaving out does not, and its scores
  are signed and sum to f(x) - f(x') exactly. It runs about four forward rows for each token of
  the prompt, however many tokens were generated; prompts of more than 128 tokens are explained by
  words or parts of sentences, unless `groups="token"` asks for each.
- **Passages, sentences, turns**: the default with `groups=`. Up to 6 are tried in all
  combinations.
- **How sure**: `samples=8` and more run further orders of the sentences; standard errors shrink
  and more ranks are decided.
- **A long prompt and a short answer**: gradients. Their cost grows with the generated tokens and
  not with those of the prompt: `saliency` is one backward row for each, `integrated_gradients` as
  many as its certificate takes (`method=` of the tables below). For N tokens of the prompt, T
  generated and K gradients, 4 N forward rows cost more than K T forward and backward rows once N
  is above 3 K T / 4.
- **A path and its certificate**: `integrated_gradients` where the axioms of a path count
  (linearity, the same scores for the same function however it is computed), or a bound on every
  score does.

## What a model does without the tokens that rank highest

Tokens are taken away from the highest score down, and from the lowest up, at 5, 10, 20, 30 and 50
% of the prompt; the table has by how much more the answer's log-probability falls in the first
case. They are dropped, or replaced by a token that stands for nothing. The default was chosen on
the development prompts; the held-out ones were run once, after that. captum, inseq and
interpreto are run as they are without any options: 50, 50 and 10 steps, their own baseline;
interpreto's KernelSHAP takes 100 subsets, and both of its methods are told to look at tokens.

### Held-out prompts

{held_out}
### Development prompts

{development}
## Causes that are known

{planted}
*once*: the highest score is on the word that was planted. *twice*: the same fact is said again
somewhere, and the highest score is on either copy; *both words*: the two highest scores are on both
copies. *both facts*: of scores for sentences, both copies are the two highest among the facts.

## What it costs

{costs}
A long prompt is explained by words or parts of sentences, and `model.estimate` tells what that
takes (`benchmarks/long_prompt.py`):

{long_prompt}"""


REFERENCE = """\
# Reference

Written by `python docs/make.py`: every name that `import hf_attrib` offers. The site shows here
what the docstrings say; in Python, `help(hf_attrib.attach)` does.
"""


def yes(flag: bool) -> str:
    """Say it in a word."""
    return "yes" if flag else "no"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    every = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in every)


def methods_page() -> str:
    """Return the table of methods, and a section on each."""
    axioms = [axiom.replace("_", " ") for axiom in AXIOMS]
    sanity = json.loads((RESULTS / "sanity-keys-llama.json").read_text(encoding="utf-8"))
    rows = []
    for name, method in methods().items():
        claims = method().claims
        cells = [f"`{name}`", claims.identity or "nothing exact"]
        cells += [yes(claims.signed), yes(claims.stochastic)]
        marks = sanity_marks(sanity["found"].get(name))
        rows.append([*cells, *map(claims.keeps, AXIOMS), claims.cost, marks])
    heads = ["method", "scores sum to", "signed", "stochastic", *axioms, "cost", "sanity"]
    tried = (
        f"Tried by `benchmarks/sanity.py` on {len(sanity['prompts'])} prompts of the embedded "
        f"{sanity['model']}.\n\n"
    )
    return (
        METHODS
        + tried
        + "\n".join([table(heads, rows), *map(method_section, methods().values())])
        + "\n"
    )


def sanity_marks(found: dict[str, dict[str, Any]] | None) -> str:
    """Return which sanity checks a method failed, and of which it cannot be said."""
    if found is None:
        return "not tried"
    marks = {"failed": "fails", "undecided": "?"}
    said = []
    for check, one in found.items():
        if one["outcome"] in marks:
            number = "" if one["value"] is None else f" ({one['value']:.3g})"
            said.append(f"{marks[one['outcome']]} *{check}*{number}")
    return ", ".join(said) or "passed"


def attacks_page() -> str:
    """Return the table of attacks, and a section on each."""
    rows = []
    for name, attack in attacks().items():
        about, source = first_line(attack), source_of(attack)
        points = str(attack().samples()) if issubclass(attack, UpdateRule) else ""
        facts = attack.stochastic, attack.uses_reference, attack.implementation_invariant
        rows.append([f"[`{name}`](#{name})", about, points, *map(yes, facts), source])
    heads = ["attack", "walk", "gradients for each step", "stochastic", "takes a baseline"]
    heads += ["implementation invariance", "source"]
    parts = [table(heads, rows), *map(section, attacks().values())]
    return ATTACKS + "\n".join(parts) + "\n"


def method_section(method: type[Method]) -> str:
    """Return what a method's docstring says, its baseline, and its fields."""
    claims = method().claims
    baseline = (
        f"Baseline unless you name one: {claims.baseline}."
        if claims.baseline
        else "It has no baseline."
    )
    if claims.many_references:
        baseline += " Takes distributions: `vocabulary`, `noise`, or a list of prompts."
    return section(method, baseline)


def first_line(kind: type) -> str:
    """Return the sentence that a docstring starts with."""
    return (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")


def source_of(kind: type) -> str:
    """Return what a docstring names as its source."""
    found = re.search(r"^Source: (.+(?:\n.+)*)$", inspect.getdoc(kind) or "", re.M)
    return found[1].replace("\n", " ").rstrip(".") if found else ""


def section(kind: type, *more: str) -> str:
    """Return what a docstring says, and the fields of its class."""
    about = re.split(r"\n\n(?:Args|Returns|Raises|Source):", inspect.getdoc(kind) or "")[0]
    parts = [f"\n## {kind.name}", markdown(about), *more]
    parts += [f"- `{f.name}` = `{f.default}`: {f.metadata['help']}" for f in fields(kind)]
    source = source_of(kind)
    return "\n\n".join([*parts, f"Source: {source}." if source else ""]).rstrip()


def markdown(text: str) -> str:
    """Turn the marks of a docstring into those of Markdown."""
    text = re.sub(r"\.\. math:: ?((?:.+\n?)+)", r"```math\n\1\n```\n", text + "\n")
    text = re.sub(r"\n\n```$", "\n```", text, flags=re.M)
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    text = re.sub(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"(?<!`)``(?!`)", "`", text).strip()


def metrics_page() -> str:
    """Return the table of metrics."""
    rows = [
        [f"`{name}`", metric.about, metric.better or "no merit", yes(metric.sizes)]
        for name, metric in METRICS.items()
    ]
    return METRICS_PAGE + table(["metric", "what it is", "better", "takes sizes"], rows) + "\n"


def which_page() -> str:
    """Return advice around the tables that benchmarks wrote."""
    tables = {
        key: (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        for key, name in {
            "held_out": "faithfulness-held-out",
            "development": "faithfulness-development",
            "planted": "planted",
            "costs": "faithfulness-costs",
            "long_prompt": "long-prompt-gemma",
        }.items()
    }
    return WHICH.format(**tables)


def readme() -> str:
    """Return the README with the rows of the held-out table that most people ask for."""
    lines = (RESULTS / "faithfulness-held-out.md").read_text(encoding="utf-8").splitlines()
    about, rows = lines[0], [line for line in lines if line.startswith("|")]
    asked = (
        "loo_shapley",
        "occlusion (drop)",
        "integrated_gradients",
        "captum",
        "inseq",
        "interpreto",
        "random",
    )
    kept = [row for row in rows[2:] if row.startswith(tuple(f"| {name} " for name in asked))]
    table = "\n".join([about, "", *rows[:2], *kept])
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    start, _, rest = text.partition("<!-- held-out -->")
    return f"{start}<!-- held-out -->\n{table}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


#: What the reference groups public names by, in the order of need; what none names comes last.
_TOPICS = {
    "Explaining": ["attach", "Explainer", "estimate", "Estimate", "embedded"],
    "Results": ["Attribution", "Comparison", "Interactions", "Passages", "compare", "load"],
    "Validate": ["evaluate", "Evaluation", "Choice"],
    "Robustness": ["Robustness", "RobustAccuracy", "robust_accuracy"],
    "Data sets": ["Explain", "explain_dataset", "estimate_dataset", "load_run", "read_log"],
}


def reference_page() -> str:
    """Return the page that mkdocstrings fills from docstrings, with every public name."""
    named = {name for names in _TOPICS.values() for name in names}
    rest = [name for name in hf_attrib.__all__ if name not in named]
    parts = [REFERENCE]
    for topic, names in {**_TOPICS, "Others": rest}.items():
        parts += [f"## {topic}\n", *(f"::: hf_attrib.{name}\n" for name in names)]
    return "\n".join(parts)


PAGES = {
    "../README.md": readme,
    "api.md": reference_page,
    "attacks.md": attacks_page,
    "methods.md": methods_page,
    "metrics.md": metrics_page,
    "which-method.md": which_page,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (Path(__file__).parent / page).write_text(write(), encoding="utf-8")

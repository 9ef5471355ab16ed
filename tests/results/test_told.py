"""Whatever users are given is looked at in words: in a notebook, in a terminal, printed."""

import inspect
import io
from html import unescape
from importlib import import_module
from unittest.mock import Mock

import pytest
from helpers.made_results import paris, passages
from helpers.text_checks import harmless
from rich.console import Console

import hf_attrib
from hf_attrib.engine import Estimate
from hf_attrib.results import Log, LogComparison, LogRow, Result, Told
from hf_attrib.results.tables import Ranking
from hf_attrib.runs import DatasetEstimate
from hf_attrib.validation import EvaluationEstimate
from hf_attrib.validation.costs import Share

HOSTILE = "\x1b[2J<b>[red]\u202e"
#: What is public and is nothing that is found: doors, questions, errors.
DOORS = {"Explain", "Explainer", "Method"}

ESTIMATE = Estimate(3, 2, 3, False, 8, (4, 4), (0, 0), (0, 0), (0.1, 0.2), 1024)
SHARE = Share("saliency", (1, 2), (0, 0), (0, 0), (0.1, 0.2))
ROW = LogRow(7, "vllm", {"response_ids": [1]}, text=HOSTILE, model=HOSTILE)
MADE = {
    "estimate": ESTIMATE,
    "estimate of an evaluation": EvaluationEstimate(1, False, (SHARE,), SHARE),
    "estimate of a run": DatasetEstimate(2, 0, ((0, ESTIMATE),), ((1, "why"),), (4, 4), (1, 1), 48),
    "masses": paris(model=HOSTILE).mass(name=(1, 3)),
    "ranking": paris().top(3),
    "row of a log": ROW,
    "log": Log((ROW,) * 12, {9: "why"}),
    "comparison with a log": LogComparison(7, (HOSTILE,), (-1.0,), (-1.5,)),
    "attribution": paris(),
    "passages": passages(),
}  # fmt: skip


def public():
    """All classes that some face of the package exports."""
    for folder in ("", ".results", ".robustness", ".validation", ".runs", ".engine"):
        face = import_module(f"hf_attrib{folder}")
        found = {name: getattr(face, name) for name in face.__all__}
        yield from ((name, kind) for name, kind in found.items() if inspect.isclass(kind))


def test_all_that_the_package_gives_is_told():
    for name in hf_attrib.__all__:
        kind = getattr(hf_attrib, name)
        if inspect.isclass(kind) and not issubclass(kind, Exception) and name not in DOORS:
            assert issubclass(kind, Told), name


def test_what_is_told_says_itself_in_words_of_its_own():
    kinds = {kind for _, kind in public() if issubclass(kind, Told)} | {Ranking}
    assert len(kinds) > 12
    for kind in kinds - {Told, Result}:
        assert kind.__str__ not in (object.__str__, tuple.__str__), kind


@pytest.mark.parametrize("name", MADE)
def test_no_look_at_it_is_a_dump_of_fields(name):
    made = MADE[name]
    said, kind = str(made), type(made).__name__
    screen = io.StringIO()
    Console(file=screen, width=1000, color_system=None).print(made)
    pretty = Mock()
    made._repr_pretty_(pretty, False)  # what IPython calls, and its notebooks
    notebook = made._repr_html_()
    for look in (said, screen.getvalue(), notebook):
        assert f"{kind}(" not in look
        assert "Share(" not in look
        assert "tensor(" not in look
        assert harmless(look)
    pretty.text.assert_called_once_with(said)
    assert "<b>[red]" not in notebook
    body = notebook.rpartition("<pre>")[2].partition("</pre>")[0]
    assert unescape(body) == said

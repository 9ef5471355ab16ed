"""The architecture is a list: a module imports only from modules above it, and stays small."""

import ast
from pathlib import Path

import pytest

import hf_attrib

PACKAGE = Path(hf_attrib.__file__).parent

#: From mathematics to screens. `hf_attrib/__init__.py` and `__main__.py` see everything.
ORDER = [
    "errors",
    "checks",
    "registry",
    "sizes",
    "quadrature",
    "paths",
    "space",
    "decomposition",
    "fingerprint",
    "processes",
    "rows",
    "pairs",
    "directions",
    "layer",
    "targets",
    "field",
    "meter",
    "probe",
    "memory",
    "integrals",
    "mesh",
    "nodes",
    "residuals",
    "adaptive",
    "span_field",
    "sampling",
    "function_field",
    "attacks",
    "methods",
    "flips",
    "tokens",
    "grouping",
    "chat",
    "encoding",
    "devices",
    "inject",
    "lengths",
    "sequence",
    "requests",
    "batch",
    "baselines",
    "embedding_space",
    "prefix",
    "forward",
    "forward_mode",
    "observation",
    "embedding_field",
    "stepwise",
    "self_check",
    "question",
    "run",
    "attribution",
    "json_value",
    "storage",
    "robustness",
    "robustness_file",
    "robust_accuracy",
    "query",
    "pairing",
    "tables",
    "agreement",
    "compare",
    "record",
    "opening",
    "estimation",
    "engine",
    "attacking",
    "sharing",
    "rehearsal",
    "explainer",
    "binding",
    "render",
    "embedded",
    "loading",
    "cli",
]

#: A result knows how to show and save itself, and loads what that takes only when asked.
LATE = {("attribution", name) for name in ("query", "render", "storage", "tables")} | {
    ("compare", "render"),
    ("robust_accuracy", "render"),
    ("robustness", "render"),
    ("robustness", "robustness_file"),
}

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or "__" not in p.name)


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree, nodes):
    """Parts of hf_attrib that import statements among nodes name."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_attrib"):
            names = (node.module or "").split(".")[1:]
            yield from names[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("hf_attrib."):
                    yield alias.name.split(".")[1]


def test_the_order_names_every_part():
    assert {part(p) for p in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upwards(path):
    tree = ast.parse(path.read_text())
    own = ORDER.index(part(path))
    for name in imported(tree, ast.walk(tree)):
        if name.startswith("__") or name not in ORDER:
            continue
        assert ORDER.index(name) <= own or (part(path), name) in LATE, f"{path.name} -> {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 40, node.name


METHOD_FILES = sorted(
    p for p in (PACKAGE / "methods").glob("*.py") if p.stem not in ("__init__", "base")
)


@pytest.mark.parametrize("path", METHOD_FILES, ids=lambda p: p.stem)
def test_a_method_knows_nothing_of_models(path):
    tree = ast.parse(path.read_text())
    allowed = {
        "adaptive",
        "attacks",
        "checks",
        "errors",
        "field",
        "integrals",
        "methods",
        "paths",
        "quadrature",
        "sampling",
        "space",
    }
    assert set(imported(tree, ast.walk(tree))) <= allowed
    others = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert others <= {
        "__future__",
        "collections",
        "dataclasses",
        "hf_attrib",
        "itertools",
        "math",
        "torch",
        "typing",
    }
    (made,) = [n for n in tree.body if isinstance(n, ast.ClassDef)]
    code = sum(
        n.end_lineno - n.lineno + 1
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef | ast.AnnAssign) and n.col_offset <= 4
    )
    assert code <= 60, f"{made.name} has {code} lines of code"


def test_public_names_are_sorted_and_documented():
    assert list(hf_attrib.__all__) == sorted(hf_attrib.__all__)
    for name in hf_attrib.__all__:
        assert getattr(hf_attrib, name).__doc__, name

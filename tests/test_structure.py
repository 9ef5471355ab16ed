"""The house: few rooms on the top floor, each folder with a face, no file or function too long.

Which folder may import which is checked by import-linter (``pyproject.toml``), not here.
"""

import ast
import importlib
from pathlib import Path

import pytest

import hf_attrib

PACKAGE = Path(hf_attrib.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})

#: What makes a reader wonder whether there are two ideas, in lines; docstrings of functions aside.
_FILE, _FUNCTION = 400, 50


def dotted(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_the_top_floor_has_few_rooms():
    assert len([p for p in PACKAGE.iterdir() if p.name != "__pycache__"]) <= 23


@pytest.mark.parametrize("folder", FOLDERS, ids=dotted)
def test_each_folder_says_what_lives_there(folder):
    face = importlib.import_module(dotted(folder))
    assert face.__doc__.strip().endswith((".", '"'))
    names = getattr(face, "__all__", [])
    assert list(names) == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert all(hasattr(face, name) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_files_and_functions_are_as_long_as_one_idea(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= _FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < _FUNCTION, node.name


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name != "cli"], ids=dotted)
def test_nothing_is_imported_late_to_avoid_a_circle(path):
    """The command imports late what takes long; nothing imports it, so it can hide no circle."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            late = [n for n in ast.walk(node) if isinstance(n, ast.ImportFrom)]
            own = [n.module for n in late if (n.module or "").startswith("hf_attrib")]
            assert not own, f"{node.name} imports {own}"


def test_public_names_are_sorted_and_documented():
    assert list(hf_attrib.__all__) == sorted(hf_attrib.__all__)
    for name in hf_attrib.__all__:
        assert getattr(hf_attrib, name).__doc__, name

"""The package is imported without what takes seconds, and its names are there all the same."""

import ast
import importlib
import inspect
import pickle
import pkgutil
from pathlib import Path

import pytest
from helpers.fresh import HEAVY, loaded_after

import hf_attrib


@pytest.mark.parametrize(
    "use",
    ["", "hf_attrib.__version__", "hf_attrib.InputError", "dir(hf_attrib)", "hf_attrib.embedded"],
)
def test_what_needs_no_model_imports_no_torch(use):
    assert loaded_after(f"import hf_attrib\n{use}") == []


def test_what_needs_a_model_imports_torch():
    assert loaded_after("import hf_attrib\nhf_attrib.attach") == list(HEAVY)


def test_what_editors_see_is_what_there_is():
    """A type checker reads the imports that never run; users get those of the table."""
    tree = ast.parse(Path(hf_attrib.__file__).read_text(encoding="utf-8"))
    branch = next(n for n in tree.body if isinstance(n, ast.If))
    homes = {a.name: n.module for n in branch.body for a in n.names}
    assert sorted(homes) == hf_attrib.__all__
    for name, home in homes.items():
        declared = getattr(importlib.import_module(home), name)
        assert getattr(hf_attrib, name) is declared
        assert inspect.ismodule(declared) or home == f"hf_attrib.{hf_attrib._HOMES[name]}"


def test_public_names_hide_no_module():
    for module in pkgutil.iter_modules(hf_attrib.__path__):
        if module.name != "__main__":
            assert inspect.ismodule(getattr(hf_attrib, module.name)), module.name
    assert hf_attrib.methods.IntegratedGradients in hf_attrib.methods.methods().values()


def test_public_names_are_listed_and_others_are_refused():
    assert {*hf_attrib.__all__, "__version__"} <= set(dir(hf_attrib))
    assert all(hasattr(hf_attrib, name) for name in dir(hf_attrib))
    with pytest.raises(AttributeError, match="module 'hf_attrib' has no attribute 'expalin'"):
        hf_attrib.expalin  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'expalin'"):
        from hf_attrib import expalin  # noqa: F401


def test_public_classes_and_functions_are_pickled_by_name():
    for name in set(hf_attrib.__all__) - {"embedded", "methods"}:
        value = getattr(hf_attrib, name)
        assert pickle.loads(pickle.dumps(value)) is value

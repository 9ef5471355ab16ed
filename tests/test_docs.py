"""What the documentation says is what the code does."""

import importlib.util
import json
import re
import sys
import types
from pathlib import Path

import pytest

import hf_attrib
from hf_attrib.attacks import base as attacks
from hf_attrib.methods import base

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


OTHERS = (
    "contrast",
    "datasets",
    "devices",
    "documents",
    "faq",
    "interactions",
    "local-approximation",
    "mass",
    "passages",
    "reading",
    "robustness",
    "scaling",
    "transformers",
    "validation",
    "write-a-method",
    "write-an-attack",
)
#: It runs other libraries, whose imports alone take seconds.
MIGRATING = pytest.param("docs/migrating.md", marks=pytest.mark.slow)
PAGES = ["README.md", *(f"docs/{name}.md" for name in OTHERS), MIGRATING]


@pytest.fixture
def _own_kinds(monkeypatch):
    """Forget methods and attacks that a page defines."""
    for registry in (base._METHODS, attacks._ATTACKS):
        monkeypatch.setattr(registry, "_classes", dict(registry.all()))


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit")  # as torch loads its compiler
@pytest.mark.filterwarnings("ignore:.*model_config.yaml")  # which inseq leaves open
@pytest.mark.usefixtures("_own_kinds")
@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    """In order and in one namespace, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    monkeypatch.setitem(sys.modules, "page", types.ModuleType("page"))
    found = blocks("python", (ROOT / page).read_text(encoding="utf-8"))
    assert found
    for block in found:
        exec(compile(block, page, "exec"), namespace)
    assert capsys.readouterr().out


def test_shell_blocks_name_commands_that_exist():
    from typer.testing import CliRunner

    from hf_attrib.cli import app

    commands = [line for block in blocks("bash") for line in block.splitlines()]
    asked = {m[1] for line in commands for m in re.finditer(r"hf-attrib ([a-z]+)", line)}
    assert "explain" in asked
    for command in asked:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command


def test_ci_runs_the_readme_commands():
    for name, part in (
        ("install and explain", "hf-attrib explain"),
        ("install and test", "pytest"),
    ):
        marker = README.split(f"<!-- {name} -->\n```bash\n")
        assert len(marker) == 2
        assert part in marker[1].split("```")[0]
        assert name in (ROOT / ".ci" / "run").read_text()


def test_generated_pages_are_up_to_date():
    spec = importlib.util.spec_from_file_location("make", ROOT / "docs" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    for page, write in make.PAGES.items():
        assert (ROOT / "docs" / page).read_text(encoding="utf-8") == write(), (
            "run python docs/make.py"
        )


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_sanity_checks_that_fail_are_marked_in_the_table_of_methods(keys):
    report = json.loads((ROOT / "benchmarks/results/sanity-keys-llama.json").read_text())
    lines = (ROOT / "docs/methods.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    for name, checks in report["found"].items():
        marks = rows[name].rpartition(" | ")[2]
        failed = [check for check, one in checks.items() if one["outcome"] == "failed"]
        assert ("passed" in marks) == (not failed)
        assert all(f"fails *{check}* ({checks[check]['value']:.3g})" in marks for check in failed)
    # What was found is still found.
    some = ["saliency", "occlusion"]
    found = hf_attrib.Explainer(*keys).sanity(
        report["prompts"], some, ["other target", "weights"], max_new_tokens=3
    )
    for check in found.checks:
        known = report["found"][check.method][check.check]
        assert check.outcome == known["outcome"]
        assert check.value == pytest.approx(known["value"], abs=0.02)


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)|src=\"(?!https?:)([^\"]+)\"", README):
        assert (ROOT / (target[0] or target[1])).exists(), target


def test_the_drawing_of_the_layers_is_that_of_their_rules():
    spec = importlib.util.spec_from_file_location("draw_layers", ROOT / "docs" / "draw_layers.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    assert draw.PICTURE.read_text(encoding="utf-8") == draw.drawing()
    assert {room for layer in draw.layers() for room in layer} == {
        path.stem
        for path in (ROOT / "hf_attrib").iterdir()
        if (path.is_dir() or path.suffix == ".py") and not path.name.startswith("_")
    }


def test_the_page_on_architecture_names_what_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", page)
    assert len(set(named)) > 20
    for name in named:
        assert (ROOT / "hf_attrib" / name).exists() or list(
            (ROOT / "hf_attrib").rglob(f"*/{name}")
        ), name
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert len(glossary.splitlines()) <= 40

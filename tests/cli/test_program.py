"""The program's own pages: help, version and the lists of what there is to choose."""

import dataclasses
import re
import subprocess
import sys

import pytest
from helpers.fresh import loaded_after

import hf_attrib
from hf_attrib.attacks import attacks
from hf_attrib.cli import flags


def test_version_and_bare_call(run):
    assert run("--version") == (0, f"hf-attrib {hf_attrib.__version__}\n", "")
    code, out, _ = run()
    assert code == 0
    assert all(name in out for name in NAMES)


NAMES = (
    "explain",
    "rag",
    "robustness",
    "evaluate",
    "show",
    "compare",
    "methods",
    "attacks",
    "models",
)


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["--version"], [], ["exlpain"], ["--explain"]]
)
def test_the_program_answers_without_torch_until_a_command_is_named(words):
    assert loaded_after("from hf_attrib.cli import main\nmain()", *words) == []


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_a_page_that_says_what_the_list_says(run, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    listed = re.search(rf"│ {name} +(\S.*\.) +│", run("--help")[1])[1]
    code, page, _ = run(name, "--help")
    assert code == 0
    assert f"{name} [OPTIONS]" in page
    assert f" {listed} " in page


def test_a_misspelt_command_is_answered_with_one_that_exists(refused):
    assert refused("exlpain").endswith("No such command 'exlpain'. Did you mean 'explain'?\n")
    assert "No such command 'r\\x1b[31mé'" in refused("r\x1b[31mé")


def test_help_has_a_flag_for_every_field_of_every_method(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run("explain", "--help")
    assert code == 0
    assert "Example: hf-attrib explain" in out
    out = " ".join(out.replace("│", " ").split())  # in one line, as it is broken anywhere
    for name, kind in {**hf_attrib.methods.methods(), **attacks()}.items():
        assert name in out or name in attacks()
        for field in dataclasses.fields(kind):
            if field.name == "generator":  # a function, which cannot be written
                assert "--generator" not in out
                continue
            assert f"--{field.name.replace('_', '-')} " in out
            if field.name not in ("seed", "spans"):  # options of the command itself
                assert field.metadata["help"] in out
                assert f": {field.default}" in out
    assert "or the name of one of hf-attrib attacks" in out


@pytest.mark.parametrize(
    ("command", "kinds"), [("methods", hf_attrib.methods.methods()), ("attacks", attacks())]
)
def test_lists_say_all_there_is_to_choose(run, command, kinds):
    code, out, _ = run(command)
    flat = " ".join(out.split())
    assert code == 0
    for name, kind in kinds.items():
        assert name in flat
        assert " ".join(kind.__doc__.splitlines()[0].split()) in flat
        for field in dataclasses.fields(kind):
            assert f"--{field.name.replace('_', '-')}" in flat
            assert f"(default {field.default})" in flat


def test_methods_says_what_each_keeps(run):
    flat = " ".join(run("methods")[1].split())
    for method in hf_attrib.methods.methods().values():
        assert method().claims.cost in flat
    assert "keeps dummy, implementation invariance, linearity breaks completeness, sens" in flat
    assert "scores sum to f(x) - f(x_adv) signed yes stochastic no cost 14 forward" in flat
    assert "breaks linearity not applicable sensitivity, as it finds x' itself" in flat
    assert flat.endswith("see hf-attrib attacks.")


def test_models_gives_paths_in_one_piece(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    code, out, _ = run("models")
    assert code == 0
    for name in hf_attrib.embedded.names():
        assert f"  {hf_attrib.embedded.path(name)}\n" in out


def test_help_says_of_each_method_what_a_shared_flag_is(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    out = " ".join(run("explain", "--help")[1].replace("│", " ").split())
    for name in ("idgi", "integrated_gradients"):
        fields = dataclasses.fields(hf_attrib.methods.methods()[name])
        steps = next(field for field in fields if field.name == "steps")
        assert f"{steps.metadata['help']} ({name}: {steps.default}" in out
    assert "; fgsm: 1)" in out


def test_help_cuts_long_lists_of_methods_that_share_a_default():
    field = dataclasses.fields(Shared)[0]
    few, many = (dict.fromkeys("abcdefg"[:n], field) for n in (4, 7))
    assert flags._about(few) == "Nodes. (a, b, c, d: 3)"
    assert flags._about(many) == "Nodes. (a, b, c and 4 more: 3)"


@dataclasses.dataclass
class Shared:
    nodes: int = dataclasses.field(default=3, metadata={"help": "Nodes."})


def test_an_extension_in_a_folder_of_its_own_answers_without_torch(tmp_path):
    """As ``hf extensions install`` lays one out: an executable, called by its path."""
    program = tmp_path / "hf-attrib" / "hf-attrib"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom hf_attrib.cli import main\ntry:\n    main()\n"
        "finally:\n    print('torch' in sys.modules)\n"
    )
    program.chmod(0o755)
    found = subprocess.run(
        [program, "--help"], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert "Usage: hf-attrib [OPTIONS] COMMAND" in found.stdout
    assert found.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", {"COMP_WORDS": "hf-attrib e", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "hf-attrib e"}),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "hf-attrib e", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        ),
    ],
)
def test_shells_complete_commands(run, monkeypatch, shell, words):
    for name, value in ({"_HF_ATTRIB_COMPLETE": f"complete_{shell}"} | words).items():
        monkeypatch.setenv(name, value)
    code, out, err = run()
    assert (code, err) == (0, "")
    assert [name in out for name in ("explain", "evaluate", "robustness", "compare")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_completion_is_installed_where_the_shell_looks(run, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, _, err = run("--install-completion", "bash")
    assert (code, err) == (0, "")
    (script,) = tmp_path.glob(".bash_completions/hf-attrib.sh")
    assert "complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def test_completion_belongs_to_the_program_alone(run):
    assert "--install-completion" in run("--help")[1]
    assert "--install-completion" not in run("methods", "--help")[1]

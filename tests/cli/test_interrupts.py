"""Ctrl-C: exit status 130, what is done is shown and written, and nobody takes it for all."""

import json

import pytest
from helpers.command_line import PROMPT

import hf_attrib
from hf_attrib.integration import adaptive
from hf_attrib.methods.perturbation.game import Game
from hf_attrib.runs.explain import Explain


def interrupt(*_):
    raise KeyboardInterrupt


def test_the_finished_tokens_are_shown_and_written(run, monkeypatch, tmp_path):
    scores, calls = adaptive._integral, []

    def fourth(*given):
        calls.append(given)
        return interrupt() if len(calls) == 4 else scores(*given)

    monkeypatch.setattr(adaptive, "_integral", fourth)
    file, page, svg = (tmp_path / name for name in ("a.json", "a.html", "a.svg"))
    written = ("--json", file, "--html", page, "--svg", svg)
    code, out, err = run("explain", PROMPT, "--method", "integrated_gradients", *written)
    assert code == 130
    result = hf_attrib.load(file)
    assert len(result) == 3 < len(result.response)
    said = f"interrupted: 3 of {len(result.response)} targets were explained"
    assert result.notes[0].startswith(said)
    assert "Generated tokens" in out
    assert all(said in text for text in (" ".join(out.split()), err, page.read_text()))
    assert "interrupted" in svg.read_text()


@pytest.mark.parametrize("command", [("explain",), ("rag", "--document"), ("evaluate",)])
def test_where_nothing_is_finished_nothing_is_shown(run, monkeypatch, tmp_path, command):
    monkeypatch.setattr(Game, "_run", interrupt)
    name, *document = command
    text = tmp_path / "a.txt"
    text.write_text(PROMPT)
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": PROMPT, "response": " Bob's key is blue."}) + "\n")
    given = {"explain": [PROMPT], "rag": ["--question", PROMPT, *document, text],
             "evaluate": [file]}[name]  # fmt: skip
    code, out, err = run(name, *given)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "hf-attrib: interrupted: nothing was finished."


def test_a_run_of_rows_says_how_it_goes_on(run, monkeypatch, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": PROMPT}) + "\n")
    monkeypatch.setattr(Explain, "found", interrupt)
    code, out, err = run("dataset", rows, tmp_path / "run")
    assert (code, out) == (130, "")
    assert f"interrupted: the same command goes on where {tmp_path / 'run'} ends." in err

"""The command in a process of its own: pipes, full disks, terminals and interrupts."""

import json
import os
import re
import subprocess
import sys

import pytest
from helpers.command_line import CAPTURED, ESCAPE, HF_ATTRIB, PROMPT, QUICK, in_terminal

from hf_attrib import Explainer, embedded
from hf_attrib.cli.output import Activity


def test_a_pipe_gets_the_result_alone_in_characters_that_it_knows():
    process = subprocess.run(
        [*HF_ATTRIB, "explain", *QUICK],
        input=PROMPT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("keys-llama")
    assert ESCAPE not in process.stdout
    assert all(line == line.rstrip() for line in process.stdout.splitlines())
    assert "--- -- - 0 + ++ +++" in process.stdout
    assert "?++" not in process.stdout


def test_json_on_standard_output_is_json_alone():
    process = subprocess.run([*HF_ATTRIB, "explain", PROMPT, *QUICK, "--json", "-"], **CAPTURED)
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(process.stdout)["format"] == "hf_attrib.attribution"


def test_bad_input_exits_with_2():
    process = subprocess.run([*HF_ATTRIB, "explain", PROMPT, "--method", "magic"], **CAPTURED)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1


def test_a_reader_that_stops_early_is_no_error():
    command = f"{' '.join(HF_ATTRIB)} methods"
    script = f"set -o pipefail; {command} | true"
    process = subprocess.run(["bash", "-c", script], **CAPTURED)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output():
    script = f"{' '.join(HF_ATTRIB)} methods > /dev/full"
    process = subprocess.run(["bash", "-c", script], **CAPTURED)
    assert process.returncode == 2
    message = "hf-attrib: cannot write standard output: No space left on device.\n"
    assert process.stderr == message


COLOUR = re.compile(r"\x1b\[[0-9;]*[34]8;[25];")


def test_a_terminal_gets_colours():
    code, out = in_terminal(["explain", PROMPT, *QUICK])
    assert code == 0
    assert COLOUR.search(out)


def test_the_end_of_an_answer_is_shown_while_it_is_written(monkeypatch):
    shown = []
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    explainer = Explainer(*embedded.load("keys-llama"))
    activity = Activity("Loading")
    monkeypatch.setattr(activity, "now", shown.append)
    ids = explainer.tokenizer(PROMPT, return_tensors="pt")
    asked = {"max_new_tokens": 40, "min_new_tokens": 40, **activity.streaming(explainer, "Done")}
    answer = explainer.tokenizer.decode(explainer.model.generate(**ids, **asked)[0, 1:])
    *lines, last = shown
    assert last == "Done"
    assert len(lines) > 5
    for line in lines:
        assert line.startswith("Generating: ")
        assert line.removeprefix("Generating: ") in " ".join(answer.split())
    explainer.model.generation_config.num_beams = 2
    assert activity.streaming(explainer, "Done") == {}


def test_an_interrupt_shows_progress_before_and_nothing_after():
    arguments = ["explain", PROMPT, "--method", "integrated_gradients", "--steps", "100000"]
    arguments += ["--rule", "midpoint"]
    code, out = in_terminal(arguments, until=b"Explaining")
    assert code == 130
    assert "Traceback" not in out

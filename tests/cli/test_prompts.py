"""Where the prompt comes from: an argument, a file, standard input, a chat."""

import json
import os
import pty
import sys

import pytest
from helpers.command_line import ESCAPE, PROMPT, QUICK, copied, saved

import hf_attrib


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_all_sources_give_the_same_prompt(run, pipe_in, tmp_path, ending):
    data = (PROMPT + ending).encode()
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\xef\xbb\xbf" + data)
    pipe_in(data)
    outs = [run("explain", *source, *QUICK, "--json", "-")[1] for source in ([], ["--file", file])]
    pipe_in(data)
    outs.append(run("explain", "-", *QUICK, "--json", "-")[1])
    pipe_in(b"ignored")
    outs.append(run("explain", PROMPT, *QUICK, "--json", "-")[1])
    scores = [(json.loads(out)["sequence"], json.loads(out)["scores"]) for out in outs]
    assert scores[1:] == scores[:1] * 3


def test_chat(run, folder, tmp_path):
    messages = tmp_path / "messages.json"
    turns = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]
    messages.write_text(json.dumps(turns))
    path, use = tmp_path / "r.json", ("--model", folder, "--chat", *QUICK)
    assert saved(run, path, "a b", *use).roles == ("template", "user", "user")
    roles = saved(run, path, "--file", messages, *use).roles
    assert roles == ("template", "user", "user", "template", "assistant")


def test_chat_of_a_text_file_is_one_message(run, folder, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("a b\n")
    result = saved(
        run, tmp_path / "r.json", "--file", file, "--model", folder, "--chat", *QUICK
    )  # fmt: skip
    assert result.roles == ("template", "user", "user")


@pytest.mark.parametrize(
    "prompt", ["🦙 and 日本語", "\x1b[31mred\x07", "[bold]b[/bold] [/]", "a " * 120]
)
def test_any_prompt_is_data(run, prompt):
    code, out, err = run("explain", prompt, *QUICK)
    assert (code, err) == (0, "")
    assert ESCAPE not in out
    assert "\x07" not in out


def test_no_prompt_at_a_terminal(refused, monkeypatch):
    master, slave = pty.openpty()
    with os.fdopen(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert "no prompt was given" in refused("explain")
    os.close(master)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"role": "user"}', "no list of messages"),
        (b"[]", "no list of messages"),
        (b'["hello"]', "no list of messages"),
        (b"[1]", "no list of messages"),
        (b'[[{"role": "user", "content": "a"}]]', "no list of messages"),
        (b'[{"role": "user"}]', "a message needs a role and a content"),
    ],
)
def test_bad_message_files(refused, folder, tmp_path, content, message):
    path = tmp_path / "messages.json"
    path.write_bytes(content)
    assert message in refused("explain", "--chat", "--file", path, "--model", folder)


def test_standard_input_that_is_no_text(refused, pipe_in):
    pipe_in(b"\xff\xfe")
    assert "standard input is not UTF-8" in refused("explain")


def test_chat_without_a_template(refused, folder, tmp_path):
    copied(folder, tmp_path / "m")
    (tmp_path / "m/chat_template.jinja").unlink()
    assert "no chat template" in refused("explain", "a", "--chat", "--model", tmp_path / "m")


def test_turns_of_a_chat_are_shown_as_groups(run, tmp_path):
    messages = tmp_path / "m.json"
    turns = ("Ada's key is red.", "Q: What color is Ada's key?")
    messages.write_text(json.dumps([{"role": "user", "content": turn} for turn in turns]))
    chat = ("explain", "--chat", "--file", messages, *QUICK)
    for shown in (run(*chat, "--group", "turn"), run(*chat, "--json", tmp_path / "r.json")):
        assert shown[0] == 0
    shown_again = run("show", tmp_path / "r.json", "--group", "turn")
    assert shown_again[0] == 0
    for out in (run(*chat, "--group", "turn")[1], shown_again[1]):
        assert "user 0" in out
        assert "user 1" in out
        assert "total attribution of each group" in out


def test_documents_of_a_file_are_scored_one_by_one(run, tmp_path):
    lines = ['"Ada\'s key is red."', '{"text": "Bob\'s key is blue.", "id": "b"}', ""]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    asked = ("explain", "What color is Bob's key?", "--documents", tmp_path / "d.jsonl", *QUICK)
    template = ("--template", "{documents} Q: {question} A:")
    code, out, _ = run(*asked, *template)
    assert code == 0
    assert "document 1" in out
    assert "document 2" in out
    assert "The documents stand in the given template." in " ".join(out.split())
    assert run(*asked, *template, "--json", tmp_path / "r.json")[0] == 0
    result = hf_attrib.load(tmp_path / "r.json")
    assert [d.id for d in result.documents_given] == [None, "b"]
    assert "document 2" in result.pieces
    assert "in a numbered frame" in " ".join(run(*asked)[1].split())
    assert "document 1" not in run(*asked, "--group", "word")[1]


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ("{", (), "line 1 of"),
        ("5", (), "document 1 is 5; expected a text"),
        ("", (), "documents is an empty list"),
        ('"a"', ("--template", "x"), "template holds {documents} 0 times"),
        ('"a"', ("--method", "auto", "--dry-run"), "tells no cost of --method auto"),
    ],
)
def test_bad_files_of_documents(refused, tmp_path, content, more, message):
    (tmp_path / "d.jsonl").write_text(content)
    asked = ("explain", "a", "--documents", tmp_path / "d.jsonl", *more)
    assert message in refused(*asked)


def test_a_place_for_no_documents(refused):
    assert "give --documents, too" in refused("explain", "a", "--template", "{documents}")
    assert "cannot read nowhere.jsonl" in refused("explain", "a", "--documents", "nowhere.jsonl")

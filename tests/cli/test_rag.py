"""``hf-attrib rag``: documents from wherever they are, citations in whatever shape, bad input."""

import json
import os

import pytest
from helpers.command_line import ESCAPE, in_terminal
from helpers.text_checks import harmless

import hf_attrib
from hf_attrib import Explainer, Passages

QUESTION = "What color is Bob's key?"
TEMPLATE = "{documents} Q: {question} A:"
ADA, BOB = "Ada's key is red.", "Bob's key is blue."
ASKED = ("rag", "--question", QUESTION)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with texts, which is where the command is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes" / "old").mkdir(parents=True)
    (tmp_path / "a.txt").write_text(f"{ADA}\n")
    (tmp_path / "notes" / "b.md").write_bytes(b"\xef\xbb\xbf" + f"{BOB}\r\n".encode())
    (tmp_path / "notes" / "c.md").write_text(BOB)
    (tmp_path / "notes" / ".hidden").write_bytes(b"\xff")
    (tmp_path / "notes" / "old" / "a.txt").write_text("Dean lives in Rome.")
    return tmp_path


@pytest.fixture
def saved(run, files):
    """What the command finds, as it saves it."""

    def called(*arguments):
        code, out, err = run(*ASKED, "--template", TEMPLATE, *arguments, "--save", files / "r.json")
        assert (code, err) == (0, "")
        assert "used, not that it is true" in " ".join(out.split())
        return hf_attrib.load(files / "r.json")

    return called


def known(result):
    return [(d.text, d.id, d.title, d.source) for d in result.run.documents]


def test_the_command_says_what_the_library_says(saved, keys):
    found = saved("--document", "a.txt", "--document", "notes/b.md", "--threshold", "0.75")
    documents = [{"text": ADA, "title": "a"}, {"text": BOB, "title": "b"}]
    own = Explainer(*keys).passages(
        QUESTION, documents=documents, template=TEMPLATE, threshold=0.75
    )
    assert isinstance(found, Passages)
    assert found.threshold == 0.75
    assert found.table.values.equal(own.table.values)
    assert found.scores.equal(own.scores)
    assert found.response.text == own.response.text
    assert found.citations("markers") == own.citations("markers")


def test_files_folders_and_patterns_are_named_by_their_names_alone(saved, files):
    a, b, c = (ADA, "a.txt", "a", "a.txt"), (BOB, "b.md", "b", "b.md"), (BOB, "c.md", "c", "c.md")
    assert known(saved("--document", files / "a.txt", "--document", "notes")) == [a, b, c]
    assert known(saved("--document", "notes/*.md", "--document", "a.txt")) == [b, c, a]
    both = known(saved("--document", "**/*.txt"))
    assert both == [a, ("Dean lives in Rome.", "a.txt (2)", "a", "a.txt")]
    assert str(files) not in (files / "r.json").read_text()


def test_a_file_that_looks_like_a_pattern_is_itself(saved, files):
    (files / "[ab].txt").write_text(BOB)
    assert known(saved("--document", "[ab].txt")) == [(BOB, "[ab].txt", "[ab]", "[ab].txt")]


def test_standard_input_is_a_document_or_the_question(run, saved, pipe_in, files):
    pipe_in(f"{BOB}\n".encode())
    found = saved("--document", "a.txt", "--document", "-")
    assert known(found)[1] == (BOB, "standard input", None, "standard input")
    (files / "q.txt").write_text(f"{QUESTION}\n")
    given = ("--document", "a.txt", "--template", TEMPLATE, "--json", "-")
    texts = []
    for asked in (("--question", "-"), ("--question-file", "-"), ("--question-file", "q.txt")):
        pipe_in(f"{QUESTION}\n".encode())
        code, out, _ = run("rag", *asked, *given)
        assert code == 0
        texts.append(json.loads(out)["sequence"])
    assert texts[1:] == texts[:1] * 2


def test_lines_of_a_file_bring_what_is_known_of_them(saved, files):
    lines = [
        ADA,
        {"text": BOB, "id": "b", "title": "On Bob", "url": "https://b.example", "score": 2},
    ]
    (files / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = saved("--documents", "d.jsonl")
    assert known(found) == [(ADA, None, None, None), (BOB, "b", "On Bob", None)]
    assert [row["retrieved_rank"] for row in found.documents] == [2, 1]


def test_messages_of_a_chat(run, files):
    (files / "m.json").write_text(json.dumps([{"role": "user", "content": QUESTION}]))
    given = ("--chat", "--document", "a.txt", "--document", "notes/b.md", "--response", BOB)
    one, other = (
        run("rag", *asked, *given, "--citations", "langchain")
        for asked in (("--question-file", "m.json"), ("--question", QUESTION))
    )
    assert one == other
    assert one[0] == 0
    refused = run(*ASKED, *given, "--placement", "template")
    assert refused[0] == 2
    assert "template" in refused[2]


@pytest.mark.parametrize("style", ["markers", "langchain", "anthropic", "cohere", "openai"])
def test_citations_alone_are_what_the_result_says(run, files, style):
    shown = ("--document", "notes/*.md", "--document", "a.txt", "--template", TEMPLATE)
    code, out, _ = run(*ASKED, *shown, "--citations", style, "--json", "r.json", "--html", "p.html")
    expected = hf_attrib.load("r.json").citations(style)
    assert code == 0
    if style == "markers":
        assert out == f"{expected}\n"
        assert "[1][2]" in out
    else:
        assert json.loads(out) == expected != []
    assert (files / "p.html").read_text() == hf_attrib.load("r.json").to_html()


def test_what_is_saved_is_shown_as_it_was_printed(run, files):
    shown = ("--document", "notes", "--template", TEMPLATE, "--json", "r.json")
    code, out, _ = run(*ASKED, *shown)
    assert code == 0
    assert run("show", "r.json") == (0, out, "")


def test_options_reach_the_question(saved):
    shown = ("--document", "a.txt", "--document", "notes")
    found = saved(*shown, "--mode", "drop", "--seed", "3", "--budget", "9", "--max-new-tokens", "2")
    assert found.run.method_fields["mode"] == "drop"
    assert found.run.method_fields["seed"] == 3
    assert len(found.table.subsets) <= 9
    assert len(found.response) == 2
    named = saved(*shown, "--method", "kernel_shap(samples=8)", "--mode", "token", "--seed", "5")
    assert named.run.method == "kernel_shap"
    fields = named.run.method_fields
    assert (fields["samples"], fields["mode"], fields["seed"]) == (8, "token", 5)
    assert saved(*shown, "--method", "occlusion", "--seed", "5").run.method == "occlusion"


HOSTILE = (
    "Bob\x1b[31m \x1b]8;;https://evil.example\x1b\\key\x07 \x9b2J\x7f \u202e is blue. \U0001f999"
)


def test_documents_steer_no_terminal(run, files):
    (files / "\x1b[31mred.txt").write_text(HOSTILE)
    shown = (*ASKED, "--document", "\x1b[31mred.txt", "--document", "a.txt")
    for more in ((), ("--citations", "markers"), ("--citations", "anthropic")):
        code, out, err = run(*shown, "--template", TEMPLATE, "--response", HOSTILE, *more)
        assert (code, err) == (0, "")
        assert harmless(out)


@pytest.mark.slow
def test_a_terminal_has_bars(files):
    shown = [*ASKED, "--document", "a.txt", "--document", "notes", "--template", TEMPLATE]
    code, seen = in_terminal(shown, environment={"COLUMNS": "80", "TERM": "xterm-256color"})
    assert code == 0
    assert "█" in seen
    assert "redundant" in seen


BAD_FILES = {
    "empty.txt": (b"", "empty.txt is empty; leave it out"),
    "blank.txt": (b" \n\t\n", "blank.txt is empty; leave it out"),
    "latin.txt": ("é".encode("latin-1"), "latin.txt is not UTF-8 text"),
    "x.pdf": (b"%PDF\0", "x.pdf holds NUL bytes, as binary files and UTF-16 do"),
    "wide.txt": ("a".encode("utf-16"), "wide.txt holds NUL bytes"),
    "d.jsonl": (b'"a"', "give it as --documents d.jsonl"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_document_is_named(refused, files, name):
    content, message = BAD_FILES[name]
    (files / name).write_bytes(content)
    assert message in refused(*ASKED, "--document", "a.txt", "--document", name)
    (files / "notes" / name).write_bytes(content)
    assert name in refused(*ASKED, "--document", "notes")


def test_a_file_that_may_not_be_read(refused, files, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", forbidden)
    assert "cannot read a.txt: Permission denied" in refused(*ASKED, "--document", "a.txt")


def test_a_name_that_is_no_text(refused, files):
    name = os.fsdecode(b"bad\xff.txt")
    (files / name).write_text(ADA)
    assert "is not UTF-8 text; rename it" in refused(*ASKED, "--document", name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--document", "nowhere.txt"], "cannot read nowhere.txt: No such file"),
        (["--document", "x" * 300], "cannot read"),
        (["--document", "*.rst"], "no file matches *.rst"),
        (["--document", "notes/old/*/"], "no file matches"),
        (["--document", ""], "--document is empty"),
        (["--document", os.devnull], "it is no regular file"),
        (["--document", "a.txt", "--document", "./a.txt"], "a.txt was given 2 times"),
        (["--document", "a.txt", "--document", "*.txt"], "a.txt was given 2 times"),
        (["--document", "-", "--document", "-"], "standard input was given 2 times"),
        (["--document", "a.txt", "--documents", "d.jsonl"], "both given"),
        (["--documents", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (["--documents", "a.txt"], "line 1 of a.txt is not JSON"),
        ([], "no documents were given"),
        (["--question-file", "a.txt", "--document", "a.txt"], "both given"),
        (["--document", "a.txt", "--threshold", "0"], "threshold is 0.0"),
        (["--document", "a.txt", "--threshold", "nan"], "threshold is nan"),
        (["--document", "a.txt", "--budget", "1"], "--budget is 1; expected at least 2"),
        (["--document", "notes", "--budget", "2"], "to rank 2 passages by"),
        (["--document", "a.txt", "--mode", "melt"], "mode 'melt' is unknown"),
        (["--document", "a.txt", "--method", "magic"], "method 'magic' is unknown"),
        (["--document", "a.txt", "--method", "saliency"], "does not play groups"),
        (["--document", "a.txt", "--template", "x"], "template holds {documents} 0 times"),
        (["--document", "a.txt", "--placement", "here"], "placement is 'here'"),
        (["--document", "a.txt", "--placement", "template"], "asks for the place of a chat"),
        (["--document", "a.txt", "--citations", "apa"], "--citations is 'apa'; expected markers"),
        (["--document", "a.txt", "--citations", "cohere", "--json", "-"], "both print"),
        (["--document", "a.txt", "--save", "none/r.json"], "cannot write none/r.json"),
        (["--document", "a.txt", "--save", "r", "--json", "r"], "two outputs"),
        (["--document", "a.txt", "--save", "r", "--html", "r"], "two outputs"),
        (["--document", "a.txt", "--html", "-"], "takes JSON only"),
        (["--document", "a.txt", "--response", ""], "the response is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(refused, files, arguments, message):
    assert message in refused(*ASKED, *arguments)


def test_questions_that_are_none(refused, files, pipe_in):
    given = ("--document", "a.txt")
    assert "no question was given" in refused("rag", *given)
    assert "the question is empty" in refused("rag", "--question", " \n", *given)
    assert "the question is empty" in refused("rag", "--chat", "--question", "", *given)
    assert "for one" in refused("rag", "--question", "-", "--document", "-")
    assert "for one" in refused("rag", "--question-file", "-", "--document", "-")


def test_too_many_documents_are_refused_before_any_is_read(refused, files):
    many = files / "many"
    many.mkdir()
    for i in range(1001):
        (many / f"{i}.txt").write_bytes(b"\xff")
    message = refused(*ASKED, "--document", "many")
    assert "there are 1,001 documents; expected at most 1,000" in message
    (files / "d.jsonl").write_text('"a"\n' * 1001)
    assert "there are 1,001 documents" in refused(*ASKED, "--documents", "d.jsonl")


def test_files_that_a_shell_wrote_are_documents(run, files):
    quoted = run(*ASKED, "--document", "a.txt", "--document", "notes/b.md", "--json", "-")
    assert quoted[0] == 0
    written = run(*ASKED, "--document", "a.txt", "notes/b.md", "--json", "-")
    titles = [
        [each["title"] for each in json.loads(out)["run"]["documents"]]
        for _, out, _ in (quoted, written)
    ]
    assert sorted(titles[0]) == sorted(titles[1]) == ["a", "b"]


def test_what_is_no_model_is_shown_without_escapes(refused):
    assert ESCAPE not in refused(*ASKED, "--document", "a.txt", "--model", "\x1b[31m")


def test_sentences_inside_documents_are_cited(run, refused, files):
    (files / "two.txt").write_text("Ada's key is red. Bob's key is blue.")
    code, out, _ = run(
        *ASKED, "--document", "two.txt", "a.txt", "--template", "{documents} Q: {question} A:",
        "--detail", "sentence", "--citations", "langchain",
    )  # fmt: skip
    assert code == 0
    assert {each["cited_text"] for each in json.loads(out)} <= {"Bob's key is blue."}
    message = refused(*ASKED, "--document", "a.txt", "--detail", "word")
    assert "--detail is 'word'; expected passage or sentence" in message

"""A new kind of result: one class, one registered view, one registered format; then it does all."""

import html
import pickle
import subprocess
import sys
from dataclasses import dataclass

import pytest
from helpers.made_results import paris
from helpers.text_checks import harmless
from rich.console import Console
from rich.text import Text

import hf_attrib
from hf_attrib import InputError, ResultFileError
from hf_attrib.render.safe_text import visible
from hf_attrib.results import FORMATS, Attribution, Comparison, Format, Result, view
from hf_attrib.results.json_value import Value
from hf_attrib.robustness import RobustAccuracy, Robustness


@dataclass(frozen=True)
class Tally(Result):
    """How often each word was said."""

    counts: tuple[tuple[str, int], ...]


def read_tally(file, version):
    def entry(value):
        word, count = value.entries(2)
        return word.text(), count.whole() * (1 if version > 1 else 10)  # version 1 counted tens

    return Tally(file.field("counts").list_of(entry))


@pytest.fixture
def tally(monkeypatch):
    """The kind as its module would register it; afterwards nobody knows it any more."""
    monkeypatch.setitem(
        FORMATS,
        Tally,
        Format("tally", "tally", 2, lambda made: {"counts": made.counts}, read_tally),
    )
    return Tally((("red", 2), ("<b>\x1b[31m", 1)))


view.register(
    Tally, lambda tally: Text("\n".join(f"{visible(word)}: {n}" for word, n in tally.counts))
)


def test_it_prints(tally, capsys):
    Console(width=40).print(tally)
    assert capsys.readouterr().out.startswith("red: 2\n")
    assert str(tally) == "red: 2\n<b>␛[31m: 1"


def test_it_is_saved_and_read(tally, tmp_path):
    tally.save(tmp_path / "t.json")
    assert Tally.load(tmp_path / "t.json") == hf_attrib.load(tmp_path / "t.json") == tally


@pytest.mark.parametrize("path", [None, 5, "", b"t.json", ["t.json"], "a\0b"])
def test_what_is_no_path_is_refused_in_words(tally, path):
    calls = [tally.save, tally.load, hf_attrib.load]
    for call in calls if path is None else [*calls, tally.to_html]:  # which may write nothing
        with pytest.raises(InputError, match="expected the path of a file; got "):
            call(path)


def test_a_folder_that_is_not_there_is_named_as_it_was_given(tally, tmp_path):
    path = tmp_path / "none" / "t.json"
    for call in (tally.save, tally.to_html):
        with pytest.raises(FileNotFoundError) as refused:
            call(path)
        assert refused.value.filename == str(path)


def test_it_shows_in_a_notebook_and_as_a_page(tally, tmp_path):
    page = tally.to_html(tmp_path / "t.html")
    assert (tmp_path / "t.html").read_text() == page
    assert "<pre>red: 2\n&lt;b&gt;␛[31m: 1</pre>" in page
    frame = tally._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert "<pre>red: 2\n&lt;b&gt;␛[31m: 1</pre>" in html.unescape(frame)
    assert harmless(page)


def test_the_command_line_shows_it(tally, tmp_path, capsys):
    from hf_attrib.cli import main

    tally.save(tmp_path / "t.json")
    with pytest.raises(SystemExit) as ended:
        main(["show", str(tmp_path / "t.json"), "--html", str(tmp_path / "t.html")])
    assert not ended.value.code
    assert capsys.readouterr().out == "red: 2\n<b>␛[31m: 1\n"
    assert (tmp_path / "t.html").read_text() == tally.to_html()


def test_files_of_an_older_version_are_read_and_of_a_newer_one_refused(tally, tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"format": "tally", "format_version": 1, "counts": [["a", 1]]}')
    assert Tally.load(path) == Tally((("a", 10),))
    newer = '{"format": "tally", "format_version": 3, "written_by": "hf_attrib 9.1"}'
    path.write_text(newer)
    message = r"format version 3, which 'hf_attrib 9.1' wrote; .* versions up to 2, so update it\.$"
    with pytest.raises(ResultFileError, match=message):
        Tally.load(path)
    path.write_text(newer.replace(', "written_by": "hf_attrib 9.1"', ""))
    with pytest.raises(ResultFileError, match=r"format version 3; this hf_attrib reads"):
        Tally.load(path)
    for wrong in ("0", "-1", "null", '"2"', "2.0"):
        path.write_text(newer.replace("3", wrong))
        with pytest.raises(ResultFileError, match="expected a whole number up to 2"):
            Tally.load(path)


def test_a_kind_reads_its_own_files_only(tally, tmp_path):
    tally.save(tmp_path / "t.json")
    paris().save(tmp_path / "a.json")
    with pytest.raises(ResultFileError, match="not a saved attribution, but a saved tally"):
        Attribution.load(tmp_path / "t.json")
    with pytest.raises(ResultFileError, match="not a saved tally, but a saved attribution"):
        Tally.load(tmp_path / "a.json")
    with pytest.raises(ResultFileError, match="not a saved robustness result, but a saved at"):
        Robustness.load(tmp_path / "a.json")


@pytest.mark.parametrize(
    "made",
    [hf_attrib.compare(paris(), paris()), RobustAccuracy((0.0,), (1.0,), (1.0,))],
    ids=["comparison", "robust accuracy"],
)
def test_what_cannot_be_saved_says_so(made, tmp_path):
    kind = type(made).__name__
    with pytest.raises(InputError, match=f"^a {kind} cannot be saved; save the results that it wa"):
        made.save(tmp_path / "r.json")
    assert not list(tmp_path.iterdir())
    paris().save(tmp_path / "a.json")
    with pytest.raises(InputError, match=f"^no file holds a {kind}"):
        type(made).load(tmp_path / "a.json")


@pytest.mark.parametrize("kind", [Attribution, Comparison, Robustness, RobustAccuracy])
def test_every_kind_is_a_result_and_fills_nothing_itself(kind):
    """What a kind looks like and how it is kept is registered, not written into its class."""
    assert issubclass(kind, Result)
    assert not {"save", "load", "to_html", "_repr_html_", "__rich__", "__str__"} & set(vars(kind))


def test_a_kind_without_a_view_says_so():
    class Unseen(Result):
        pass

    with pytest.raises(NotImplementedError, match="no view is registered for Unseen"):
        str(Unseen())


def test_values_know_their_place():
    with pytest.raises(ValueError, match=r"its counts\[0\] has 1 entries, expected 2"):
        read_tally(Value({"counts": [["a"]]}), 2)


@pytest.mark.parametrize("load", ["hf_attrib.results", "pickle"])
def test_a_result_looks_the_same_wherever_it_comes_from(tmp_path, load):
    """In a fresh process, from a file or a pickle, with nothing else of the package imported."""
    result, file = paris(), tmp_path / "r"
    if load == "pickle":
        file.write_bytes(pickle.dumps(result))
        read = f"import pickle; r = pickle.load(open({str(file)!r}, 'rb'))"
    else:
        result.save(file)
        read = f"from {load} import load; r = load({str(file)!r})"
    found = subprocess.run(
        [sys.executable, "-c", f"{read}; print(r)"], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(result).strip()

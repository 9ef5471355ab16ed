"""Robustness results: curves, files, views, and the command that makes them."""

import json
import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.attacked import attacked
from helpers.made_results import tokens
from helpers.text_checks import harmless
from markupsafe import escape

import hf_attrib
from hf_attrib import Explainer, InputError, Robustness, robust_accuracy
from hf_attrib.cli import main
from hf_attrib.errors import ResultFileError
from hf_attrib.robustness import AttackRun
from hf_attrib.text import Tokens, TokenSequence

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"


def result(radii, eps=1.0, run=None, **changes):
    """A result made up of radii."""
    count = len(radii)
    words = [f" w{t}" for t in range(count)]
    made = {
        "inputs": tokens(["a", " b"]),
        "response": tokens(words),
        "probability": torch.full((count,), 0.5).double(),
        "margin": torch.ones(count).double(),
        "radius": torch.tensor(radii, dtype=torch.float64),
        "failed": torch.zeros(count).double(),
        "attacked_margin": -torch.ones(count).double(),
        "flips_to": torch.full((count,), 5),
        "drop": torch.tensor([[1.5, 0.5]] * count).double(),
        "share": torch.tensor([[0.5, 0.5]] * count).double(),
        "nearest": torch.tensor([[-1, 5]] * count),
        "towards": torch.tensor([[6, -1]] * count),
        "names": {5: "five", 6: "six"},
        "run": run or replace(RUN, eps=eps),
    }
    return Robustness(**made | changes)


RUN = AttackRun(
    attack="bim", attack_fields={"steps": 10, "step": None}, norm="linf", eps=1.0, bisections=6,
    baseline=None, scale=0.1, attribute_to="prompt", movable="content", tolerance=0.02, model="m",
    model_revision=None, dtype="float32", versions={"torch": "2"}, seconds=0.5, forward_rows=3,
    backward_rows=2, directional_rows=0, notes=("note",),
)  # fmt: skip


def test_the_curve_counts_tokens_and_answers():
    several = [result([0.0, 0.2]), result([0.5, math.inf])]
    found = robust_accuracy(several, [0.6, 0, 0.2, 0.5])
    assert found.radii == (0, 0.2, 0.5, 0.6)
    assert found.tokens == (0.75, 0.5, 0.25, 0.25)
    assert found.answers == (0.5, 0.5, 0, 0)
    whole = robust_accuracy(several)
    assert (whole.radii[0], whole.radii[-1], len(whole.radii)) == (0, 1, 21)
    for shares in (whole.tokens, whole.answers):
        assert list(shares) == sorted(shares, reverse=True)
    assert robust_accuracy(several[0]).tokens[-1] == 0


@pytest.mark.parametrize(
    ("results", "radii", "message"),
    [
        ([], None, "there is no result"),
        ([result([0.5])], [2.0], "expected some from 0 to 1"),
        ([result([0.5])], [-0.1], "expected some from 0 to 1"),
        ([result([0.5])], [math.nan], "expected some from 0 to 1"),
        ([result([0.5])], [], "expected some from 0 to 1"),
        ([result([0.5]), result([0.5], eps=0.5)], [0.7], "expected some from 0 to 0.5"),
        ([result([0.5]), result([0.5], run=replace(RUN, attack="mim"))], None, "several attacks"),
    ],
)
def test_curves_beyond_what_was_tried_are_refused(results, radii, message):
    with pytest.raises(InputError, match=message):
        robust_accuracy(results, radii)


def assert_same_result(a, b):
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, torch.Tensor):
            assert value.dtype == other.dtype
            assert torch.equal(value, other), name
        elif isinstance(value, Tokens | TokenSequence):
            assert_same_result(value, other)
        else:
            assert value == other, name


def test_files_are_lossless(tmp_path):
    own = attacked(tiny.shared("t5"), eps=0.5, attack="dim", baseline="zero")
    for made in (own, result([0.0, 0.3, math.inf])):
        made.save(tmp_path / "r.json")
        assert_same_result(Robustness.load(tmp_path / "r.json"), made)


@pytest.mark.parametrize(
    ("path", "junk", "message"),
    [
        (["format"], "hf_attrib.attribution", "is not a saved robustness result"),
        (["format_version"], 3, "has format version 3"),
        (["radius"], [0.5], "its radius has 1 entries, expected 2"),
        (["radius", 0], None, "some radius is no radius"),
        (["radius", 0], "far", r"its radius\[0\] is \"far\", expected a number"),
        (["failed", 0], 0.9, "below one that failed"),
        (["probability", 1], 1.5, "probability reaches beyond 0 to 1"),
        (["flips_to", 0], -1, "is -1, expected a whole number"),
        (["flips_to", 0], None, "flips_to is no token"),
        (["share", 1, 0], -0.5, "share reaches beyond 0 to 1"),
        (["nearest", 0, 0], 9, "token 9 has no name"),
        (["towards", 0], [None], r"its towards\[0\] has 1 entries, expected 2"),
        (["drop", 0, 0], True, "expected a number"),
        (["names", 0], [5], "has 1 entries, expected 2"),
        (["run", "norm"], "l1", "norm is 'l1'"),
        (["run", "eps"], 0, "eps is 0"),
        (["run", "notes"], "x", "expected a list"),
    ],
)
def test_damaged_files_are_refused(tmp_path, path, junk, message):
    file = tmp_path / "r.json"
    result([0.5, math.inf]).save(file)
    content = json.loads(file.read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    file.write_text(json.dumps(content))
    with pytest.raises(ResultFileError, match=message):
        Robustness.load(file)


HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e[bold]"


def test_text_is_data_everywhere(tmp_path):
    made = result(
        [0.5],
        inputs=tokens([HOSTILE, HOSTILE]),
        response=tokens([HOSTILE]),
        names={5: HOSTILE, 6: HOSTILE},
        run=replace(RUN, model=HOSTILE, attack=HOSTILE, notes=(HOSTILE,)),
    )
    shown, page = str(made), made.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert harmless(shown)
    assert "[bold]" in shown
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert harmless(page.replace("\t", " "))
    assert not re.search(r"https?:|//[a-z]|@import|url\(| style=", page)


def test_the_view_says_what_was_found():
    shown = str(result([0.0, 0.25, math.inf], failed=torch.tensor([0, 0.125, 1.0]).double()))
    lines = shown.splitlines()
    (row,) = [line for line in lines if line.startswith("w1 ")]
    assert re.match(r"w1 +0.50 +0.125 to 0.25 +five +a>six 1.5 +b>>five 0.5$", row)
    (row,) = [line for line in lines if line.startswith("w2 ")]
    assert "> 1" in row
    assert "five" not in row.split("a>six")[0]
    assert "0   67 %" in re.sub(r" +", "   ", shown).replace("   %", " %")
    (row,) = [line for line in str(result([0.5])).splitlines() if line.startswith("w0 ")]
    assert " <= 0.5 " in row  # no radius was tried in vain
    drop = torch.tensor([[0.02, 0.01]]).double()
    assert "a>six 0.020" in str(result([0.5], drop=drop, attacked_margin=torch.ones(1).double()))
    narrow = hf_attrib.render.plain(result([0.5]).__rich__(), 30)
    assert max(map(len, narrow.splitlines())) <= 30
    assert re.search(r"^radius +tokens +answers$", narrow, re.M)
    assert re.search(r"^ +0 +100 % +100 %$", narrow, re.M)


def test_the_page_about_it_shows_what_is_found(keys):
    page = (Path(__file__).parents[2] / "docs" / "robustness.md").read_text(encoding="utf-8")
    found = Explainer(*keys).robustness(PROMPT)
    assert f'model.robustness("{PROMPT}")' in page
    for t, piece in enumerate(found.response.pieces):
        flips = re.escape(found.flips_to_piece(t))
        (row,) = re.findall(
            rf"^{re.escape(piece.strip())} +[01]\.\d\d  [\d.]+ to ([\d.]+) +{flips} ", page, re.M
        )
        assert float(row) == pytest.approx(float(found.radius[t]), rel=0.02)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code, *capsys.readouterr()


def test_the_command(tmp_path, capsys, keys):
    saved, page = tmp_path / "r.json", tmp_path / "r.html"
    quick = ("--bisections", 1, "--attack", "bim(steps=3)", "--response", " Bob's key is blue.")
    command = ("robustness", PROMPT, *quick)
    code, out, err = run(capsys, *command, "--json", saved, "--html", page)
    assert (code, err) == (0, "")
    assert out.startswith("keys-llama · bim(steps=3) · radii up to 1")
    assert "blue" in out
    found = Robustness.load(saved)
    assert page.read_text(encoding="utf-8") == found.to_html()
    again = tmp_path / "again.html"
    assert run(capsys, "show", saved, "--html", again) == (0, out, "")
    assert again.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    code, _, err = run(capsys, "show", saved, "--matrix")
    assert (code, "a robustness result has no --matrix" in err) == (2, True)
    expected = Explainer(*keys).robustness(
        PROMPT, response=" Bob's key is blue.", bisections=1, steps=3
    )
    torch.testing.assert_close(found.radius, expected.radius)
    drawn = ("--attack", "pgd(steps=1)", "--seed", 3)
    code, out, _ = run(capsys, *command, *drawn, "--json", "-")
    assert json.loads(out)["run"]["attack_fields"]["seed"] == 3
    drawn = ("--attack", "pgd(steps=1, seed=2)", "--seed", 3)
    code, out, _ = run(capsys, *command, *drawn, "--json", "-")
    assert json.loads(out)["run"]["attack_fields"]["seed"] == 2
    aimed = ("--attack", "dim(steps=1)", "--baseline", "id:2", "--json", "-")
    code, out, _ = run(capsys, *command, *aimed)
    assert json.loads(out)["run"]["baseline"] == "token 2"
    code, out, _ = run(capsys, *command, "--json", "-")
    assert code == 0
    assert json.loads(out)["radius"] == found.radius.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attack", "magic"), "attack 'magic' is unknown"),
        (("--attack", "bim(eps=1)"), "the attack has eps=1.0"),
        (("--eps", "-1"), "eps is -1.0; expected a number above 0"),
        (("--eps", "inf"), "eps is inf; expected a number above 0 and below 1,000,000"),
        (("--eps", "x"), "Invalid value for '--eps'"),
        (("--bisections", "-1"), "bisections is -1"),
        (("--movable", "x"), "movable is 'x'"),
        (("--baseline", "mean"), "attack bim takes no baseline"),
        (("--attack", "dim", "--baseline", "x"), "baseline 'x' is unknown"),
        (("--html", "-"), "standard output takes JSON only"),
        (("--html", "/nowhere/x"), "cannot write"),
        (("--json", "/tmp/same", "--html", "/tmp/same"), "was given for two outputs"),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, arguments, message):
    code, out, err = run(capsys, "robustness", PROMPT, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_notebooks_show_it_as_its_page_and_the_curve_as_text():
    made = result([0.5, math.inf])
    framed = made._repr_html_()
    assert escape("the weakest token is") in framed
    assert escape(made.to_html().partition("<body")[2].partition("</body>")[0].strip()) in framed
    assert str(escape(str(made))) in framed
    curve = robust_accuracy(made, [0.0, 1.0])
    assert re.search(r"^ +1 +50 % +0 %", str(curve), re.M)
    assert f"<pre>{curve}</pre>" in unescape(curve._repr_html_())

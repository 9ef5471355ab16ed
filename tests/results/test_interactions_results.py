"""Interactions once they are made: sums, pairs, files, tables, views, the command."""

import io
import json
from dataclasses import replace

import pytest
import torch
from helpers import tiny
from helpers.made_results import tokens
from helpers.text_checks import harmless
from rich.console import Console

import hf_attrib
from hf_attrib import Explainer, InputError, ResultFileError
from hf_attrib.cli import main
from hf_attrib.results import Interactions, Run

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

RUN = Run(
    method="shapley_taylor", method_fields={"mode": "embed"}, target="log_prob", contrast_ids=None,
    contrast_pieces=None, attribute_to="prompt", movable="content", baseline="zero", signed=True,
    identity="f(x) - f(x')", resolution=1e-3, tolerance=0.02, model="m", model_revision=None,
    dtype="float32", versions={"torch": "2"}, seconds=0.5, forward_rows=8, backward_rows=0,
    notes=("note",),
)  # fmt: skip


def result(**changes):
    matrix = torch.tensor([[[1.0, 2.0, -3.0], [2.0, 0.5, 0.0], [-3.0, 0.0, 4.0]]] * 2).double()
    matrix[1] /= 2
    made = {
        "matrix": matrix,
        "attribution": (matrix.sum(-1) + matrix.diagonal(dim1=1, dim2=2)) / 2,
        "inputs": tokens(["a", " b", " \x1b[31m<b>"]),
        "response": tokens([" c", " d"]),
        "start_value": torch.tensor([-5.0, -3.0]).double(),
        "end_value": torch.tensor([-0.5, 0.0]).double(),
        "probability": torch.tensor([0.6, 1.0]).double(),
        "run": RUN,
    }
    return Interactions(**made | changes)


def test_sums_count_each_pair_once():
    made = result()
    assert made.sums.tolist() == [4.5, 2.25]
    assert made.gap.tolist() == [0, 0.25]
    assert made.converged.tolist() == [True, False]
    assert made.disagreement.tolist() == [0, 0]
    assert made.main.tolist() == [[1, 0.5, 4], [0.5, 0.25, 2]]
    none = result(run=replace(RUN, identity=None))
    assert none.gap.isnan().all()
    assert not none.converged.any()


def test_strongest_pairs_come_first_and_zeros_not_at_all():
    made = result()
    assert [(p.first, p.second, p.score) for p in made.strongest()] == [(0, 2, -4.5), (0, 1, 3.0)]
    assert made.strongest(1, 1)[0].score == -1.5
    for k, row in ((0, None), (1, 2), (1, "a")):
        with pytest.raises(InputError):
            made.strongest(k, row)
    one = torch.full((2, 3, 3), torch.nan).double()
    one[:, 1], one[:, :, 1] = made.matrix[:, 1], made.matrix[:, 1]
    one = result(matrix=one, token=1)
    assert [(p.first, p.second) for p in one.strongest()] == [(0, 1)]
    assert one.sums.tolist() == [4.5, 2.25]
    assert [(r["first"], r["second"], r["kind"]) for r in one.to_rows()[:3]] == [
        (0, 1, "pair"), (1, 1, "main effect"), (1, 2, "pair"),
    ]  # fmt: skip
    assert len(made.to_rows()) == 2 * 6
    assert sum(row["score"] for row in made.to_rows()) == pytest.approx(float(made.sums.sum()))
    assert list(made.to_dataframe().columns) == list(made.to_rows()[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": torch.zeros(2, 3, 2)}, "matrix is"),
        ({"matrix": torch.arange(18.0).reshape(2, 3, 3)}, "not symmetric"),
        ({"attribution": torch.zeros(2, 2)}, "attribution is"),
        ({"probability": torch.tensor([0.5, 2])}, "beyond 0 to 1"),
        ({"token": 3}, "none of 3"),
    ],
)
def test_what_is_no_result_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        result(**changes)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_files_are_lossless(tmp_path, family):
    explainer = Explainer(tiny.model(family), tiny.tokenizer())
    asked = {"groups": "word", "max_new_tokens": 2}
    for more in ({"samples": 4}, {"method": "integrated_hessians", "steps": 2, "token": "red"}):
        made = explainer.interactions("the key is red", **asked, **more)
        made.save(tmp_path / "r.json")
        read = hf_attrib.load(tmp_path / "r.json")
        assert type(read) is Interactions
        for name, value in vars(made).items():
            other = getattr(read, name)
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(other, value, rtol=0, atol=0, equal_nan=True)
            elif name in ("rows", "columns", "token", "run"):
                assert value == other, name
        assert str(read) == str(made)


@pytest.mark.parametrize(
    ("name", "junk", "message"),
    [
        ("matrix", [[1.0]], "entries, expected 2"),
        ("token", 7, "none of 3"),
        ("columns", [], "empty"),
        ("format_version", 2, "format version 2"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, junk, message):
    result().save(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps(content | {name: junk}))
    with pytest.raises(ResultFileError, match=message):
        Interactions.load(tmp_path / "r.json")


@pytest.mark.parametrize("width", [20, 40, 80, 160])
@pytest.mark.parametrize("colors", [None, "standard", "truecolor"])
def test_it_prints_within_any_width(width, colors):
    screen = io.StringIO()
    console = Console(
        width=width, color_system=colors, force_terminal=True, record=True, file=screen
    )
    console.print(result())
    assert "\x1b[31m<b>" not in screen.getvalue()
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    assert "Strongest pairs" in text
    if width >= 80:
        assert "-4.5" in text
        assert "1 of 2 targets miss theirs by more than 2 %" in " ".join(text.split())
        assert "main effects and pairs sum to 6.75, f(x) - f(x') is 7.5" in " ".join(text.split())


def test_the_page_is_safe_and_the_command_shows_it(tmp_path, capsys):
    result().save(tmp_path / "r.json")
    with pytest.raises(SystemExit) as ended:
        main(["show", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")])
    assert ended.value.code == 0
    assert "Strongest pairs" in capsys.readouterr().out
    page = (tmp_path / "r.html").read_text()
    assert harmless(page)
    assert page.count('class="matrix"') == 3
    assert "-4.50" in page


def test_groups_of_one_text_are_told_apart():
    made = result(inputs=tokens(["a", " b", " b"]))
    text = str(made)
    assert "b₁" in text
    assert "b₂" in text

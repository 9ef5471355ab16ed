"""Figures hold the scores of a result, whatever its texts are."""

import io
import pickle
import sys

import pytest
import torch
from helpers.made_results import HOSTILE, attribution

import hf_attrib
from hf_attrib import InputError

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def evaluated():
    """Two methods on two prompts, with curves."""
    model, tokenizer = hf_attrib.embedded.load("keys-llama")
    prompts = [f"{name}'s key is red. Q: What color is {name}'s key? A:" for name in ("Ada", "Bob")]
    return hf_attrib.evaluate(
        model, tokenizer, prompts, ["saliency", "occlusion"],
        operators=["drop", "embed"], metrics=["deletion", "insertion"], random_orders=3,
        max_new_tokens=1,
    )  # fmt: skip


def test_a_heatmap_has_the_scores_their_totals_and_their_tokens():
    figure = attribution(
        [[1.0, -2.0, 0.5], [0.25, 1.0, -3.0]], ["A", " b", "c"], ["x", " y"]
    ).plot()
    above, axes, bar = figure.axes
    assert axes.images[0].get_array().tolist() == [[1, -2, 0.5], [0.25, 1, -3]]
    assert axes.images[0].get_clim() == (-3, 3)
    assert [patch.get_height() for patch in above.patches] == [1.25, -1, -2.5]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["A", "b", "c"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["x", "y"]
    assert bar.get_ylabel() == "score, log_prob\nfull colour from 3.00"


def test_scores_without_sign_begin_at_zero():
    figure = attribution([[1.0, 4.0]], ["a", "b"], ["c"], signed=False).plot()
    assert figure.axes[1].images[0].get_clim() == (0, 4)


def test_a_figure_can_be_pickled_and_is_drawn_where_notebooks_ask():
    figure = pickle.loads(pickle.dumps(attribution([[1.0, 4.0]], ["a", "b"], ["c"]).plot()))
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_any_text_is_drawn_as_text(form):
    """No formula, no missing glyph (which warns, and so fails here), no collapsed axes."""
    scores = torch.randn(3, len(HOSTILE))
    scores[0, 0], scores[1, 1] = torch.nan, torch.inf
    figure = attribution(scores, list(HOSTILE), ["$x_1$", "漢字", "\\alpha"], model="$m$ 漢").plot()
    figure.savefig(file := io.BytesIO(), format=form)
    assert len(file.getvalue()) > 1000
    labels = [tick.get_text() for tick in figure.axes[1].get_yticklabels()]
    assert labels == ["$x_1$", "<U+6F22><U+5B57>", "\\alpha"]


def test_too_many_tokens_are_refused():
    with pytest.raises(InputError, match="1 rows and 301 columns; a plot holds 300"):
        attribution(torch.ones(1, 301), ["a"] * 301, ["b"]).plot()


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch, evaluated):
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for result in (attribution([[1.0]], ["a"], ["b"]), evaluated):
        with pytest.raises(InputError, match=r"pip install 'hf_attrib\[plot\]'"):
            result.plot()


def test_an_evaluation_draws_its_curves(evaluated):
    figure = evaluated.plot()
    assert len(figure.axes) == 4
    deletion, insertion = figure.axes[:2]
    assert deletion.get_title() == "units go by drop"
    assert [line.get_label() for line in deletion.lines] == [*evaluated.labels, "random order"]
    for kind, axes in enumerate((deletion, insertion)):
        for m, line in enumerate(axes.lines[:2]):
            mean = evaluated.curves[:, m, 0, kind].nanmean(0)
            assert line.get_ydata() == pytest.approx(mean.tolist())
    assert deletion.lines[0].get_xdata().tolist() == list(range(0, 101, 10))
    figure.savefig(io.BytesIO(), format="svg")


def test_an_evaluation_without_curves_is_refused(evaluated):
    curves = torch.full_like(evaluated.curves, torch.nan)
    bare = type(evaluated)(
        **{
            **{name: getattr(evaluated, name) for name in evaluated.__dataclass_fields__},
            "curves": curves,
            "random_curves": torch.full_like(evaluated.random_curves, torch.nan),
        }
    )
    with pytest.raises(InputError, match="no metric of this evaluation asked for curves"):
        bare.plot()

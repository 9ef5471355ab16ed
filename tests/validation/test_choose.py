"""The most faithful method for one prompt: the contest decides, and says when it cannot."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.validation import METRICS
from hf_attrib.validation import choice as choice_module
from hf_attrib.validation.statistics import holm

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
THREE = ("sequential_ig", "saliency", "input_x_gradient")


@pytest.fixture(scope="module")
def choice(keys):
    return Explainer(*keys).choose(PROMPT, THREE)


def test_the_lowest_mean_rank_wins(choice):
    values = choice.evaluation.values[0, :, :, 0]
    ranks = (-values).argsort(0).argsort(0).double().mean(1) + 1
    assert list(choice.ranks) == pytest.approx(ranks.tolist())
    # The first two have one rank, since each is the best under one operator.
    first = [m for m, rank in enumerate(choice.ranks) if rank == min(choice.ranks)]
    rows = choice.evaluation.forward_rows[0] + 2 * choice.evaluation.backward_rows[0]
    assert len(first) == 2
    assert choice.winner == choice.evaluation.labels[min(first, key=lambda m: int(rows[m]))]
    assert choice.evaluation.run.metrics == ("morf_lerf",)


def test_the_winner_says_what_it_says_alone_and_how_it_was_chosen(keys, choice):
    assert choice.beats_random
    alone = Explainer(*keys).explain(PROMPT, method=choice.winner)
    torch.testing.assert_close(choice.attribution.scores, alone.scores)
    assert choice.attribution.notes[-1] == choice.reason
    assert f"{choice.winner} was chosen among 3 by morf_lerf: " in choice.reason
    text = str(choice)
    assert text.startswith(choice.reason[:60])
    assert "drop: " in text


def test_where_no_method_beats_random_it_says_so(keys):
    model, tokenizer = keys
    found = Explainer(model, tokenizer).choose(
        PROMPT, "input_x_gradient", operators=["drop", "token"], random_orders=20
    )
    assert not found.beats_random
    assert found.reason.startswith("No method beats random here (adjusted p = ")
    assert found.attribution.notes[-1] == found.reason


def test_the_best_of_several_is_adjusted_for_how_many_there_were(keys, choice):
    """Of several that know nothing the best would often beat 18 of 20 random orders."""
    assert choice.evaluation.run.random_orders == 29
    best = choice.evaluation.labels.index(choice.winner)
    apart = choice.evaluation.p_values[0, :, :, 0]
    assert choice.chance >= float(apart[best].max())
    for operator in range(2):
        assert choice_module._adjusted(choice.evaluation, operator) == pytest.approx(
            holm(apart[:, operator].numpy()).tolist()
        )
    few = Explainer(*keys).choose(PROMPT, THREE, operators="token", random_orders=20)
    assert not few.beats_random
    assert "with 20 random orders, which takes 29" in few.reason


def test_too_few_random_orders_can_show_nothing(keys):
    few, enough = (
        Explainer(*keys).choose(PROMPT, "sequential_ig", operators="token", random_orders=orders)
        for orders in (8, 9)
    )
    assert enough.beats_random
    assert not few.beats_random
    assert "cannot be said to beat random with 8 random orders, which takes 9" in few.reason


def test_an_operator_without_numbers_is_left_out_and_named():
    """Without a token that is held, a prompt cannot be dropped whole."""
    asked = {"responses": [[81, 82]], "movable": "all", "metrics": "deletion", "random_orders": 9}
    found = Explainer(tiny.shared("gpt2"), tiny.tokenizer()).choose(
        [[70, 71, 72, 280, 90]], ("saliency", "occlusion"), operators=["drop", "token"], **asked
    )
    values = found.evaluation.values[0, :, :, 0]
    assert values[:, 0].isnan().all()
    assert values[:, 1].isfinite().all()
    assert found.winner == found.evaluation.labels[int(values[:, 1].argmin())]
    assert found.chance == 2 * float(found.evaluation.p_values[0, :, 1, 0].min())
    assert "drop left out, as no method has a number by it" in found.reason


def test_a_method_without_a_number_where_others_have_one_comes_last():
    numbers = torch.tensor([[[1.0, torch.nan], [2.0, 0.5], [3.0, 0.1], [torch.nan, torch.nan]]])
    run = SimpleNamespace(metrics=("morf_lerf",), operators=("drop", "token"))
    made = SimpleNamespace(values=numbers[..., None], run=run)
    assert choice_module._mean_ranks(made)[:3].tolist() == [3.25, 1.5, 1.5]
    assert np.isnan(choice_module._mean_ranks(made)[3])


def test_an_attached_model_chooses(keys):
    model = hf_attrib.attach(*keys)
    assert model.choose(PROMPT, "saliency", random_orders=2).winner == "saliency"


@pytest.mark.parametrize(
    ("prompt", "methods", "options", "said"),
    [
        ([PROMPT, PROMPT], "saliency", {}, "2 prompts came, but a method is chosen for one"),
        (PROMPT, {"mine": [np.ones(26)]}, {}, "'mine' brings scores and no result"),
        (PROMPT, "saliency", {"metrics": "excess"}, "excess is no merit"),
        (PROMPT, "saliency", {"resume": "r.jsonl"}, "resume is for evaluate"),
    ],
)
def test_what_cannot_be_chosen_is_refused(keys, prompt, methods, options, said):
    with pytest.raises(InputError, match=said):
        Explainer(*keys).choose(prompt, methods, **options)


def test_a_prompt_of_one_unit_is_refused():
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    with pytest.raises(InputError, match="no method has a morf_lerf on this prompt"):
        explainer.choose("a", "saliency", responses="b", random_orders=2)


def test_every_merit_can_be_ranked_by(keys):
    assert {name for name, metric in METRICS.items() if not metric.sign} == {
        "excess",
        "lds_ceiling",
    }

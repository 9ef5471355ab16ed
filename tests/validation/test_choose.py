"""The most faithful method for one prompt: the contest decides, and says when it cannot."""

import numpy as np
import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.validation import METRICS

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
    assert found.reason.startswith("No method beats random here (p = ")
    assert found.attribution.notes[-1] == found.reason


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
    explainer = Explainer(tiny.model("llama"), tiny.tokenizer())
    with pytest.raises(InputError, match="no method has a morf_lerf on this prompt"):
        explainer.choose("a", "saliency", responses="b", random_orders=2)


def test_every_merit_can_be_ranked_by(keys):
    assert {name for name, metric in METRICS.items() if not metric.sign} == {
        "excess",
        "lds_ceiling",
    }

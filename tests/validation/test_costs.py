"""What an evaluation would cost: no more than it says, and no less, counted as it runs."""

import pytest
import torch

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.field import ablation

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPTS = [
    "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:",
    "Bob's key is green. Q: What color is Bob's key? A:",
]
RESPONSES = [" Bob's key is blue.", " green"]
METHODS = ["saliency", "occlusion", "loo_shapley", "integrated_gradients(steps=4)"]


@pytest.fixture
def judged(monkeypatch):
    """How many rows judging runs."""
    rows, once = [], ablation.ablated_rows

    def counted(field, keep, *more):
        rows.append(len(keep))
        return once(field, keep, *more)

    monkeypatch.setattr("hf_attrib.validation.evaluation.ablated_rows", counted)
    return rows


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"metrics": "all", "subsets": 9, "random_orders": 5},
        {"metrics": "morf_lerf", "groups": "word", "per_token": True},
        {"operators": ["embed", "attention"], "attribute_to": "all"},
    ],
)
def test_rows_are_those_that_the_run_counts(keys, judged, asked):
    explainer, asked = Explainer(*keys), {"responses": RESPONSES, **asked}
    told = explainer.estimate_evaluation(PROMPTS, METHODS, **asked)
    assert not judged  # nothing was judged
    found = explainer.evaluate(PROMPTS, METHODS, **asked)
    for m, share in enumerate(told.methods):
        assert share.label == found.labels[m]
        for kind, ends in (("forward", share.forward_rows), ("backward", share.backward_rows)):
            least, most = ends
            assert least <= int(getattr(found, f"{kind}_rows")[:, m].sum()) <= most
            assert most == least or m == 2  # the others decide nothing as they go
    least, most = told.judging.forward_rows
    own = sum(judged) + len(PROMPTS)  # each prompt runs once as it is
    assert least <= own <= most
    assert most < 3 * least
    assert told.total.forward_rows[1] == most + sum(s.forward_rows[1] for s in told.methods)


def test_answers_that_are_not_given_are_the_longest_there_could_be(keys, judged):
    explainer, few = Explainer(*keys), {"max_new_tokens": 3, "metrics": "morf_lerf"}
    told = explainer.estimate_evaluation(PROMPTS, METHODS[:2], **few)
    assert told.at_most
    found = explainer.evaluate(PROMPTS, METHODS[:2], **few)
    assert int(found.backward_rows[:, 0].sum()) <= told.methods[0].backward_rows[1]
    assert int(found.forward_rows[:, 1].sum()) <= told.methods[1].forward_rows[1]
    assert sum(judged) <= told.judging.forward_rows[1]
    text = str(told)
    assert text.startswith("2 prompts, whose answers are at most what generation may write")
    assert [line.split()[0] for line in text.splitlines()[2:]] == [*METHODS[:2], "judging", "in"]


def test_nothing_is_left_behind_and_scores_from_elsewhere_are_not_counted(keys):
    model = hf_attrib.attach(*keys)
    before = torch.get_rng_state()
    told = model.estimate_evaluation(PROMPTS[1], {"mine": lambda case: None}, responses=" green")
    assert torch.equal(torch.get_rng_state(), before)
    assert told.methods[0].forward_rows == (0, 0)
    assert told.judging.forward_rows[0] > 0
    with pytest.raises(InputError, match="estimate_evaluation has no argument 'metricz'"):
        model.estimate_evaluation(PROMPTS, metricz="lds")

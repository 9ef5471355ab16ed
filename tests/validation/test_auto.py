"""The method that predicts best of those a budget reaches for, and the contest that it won."""

import json

import pytest
import torch

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.validation import DEFAULT_METHODS

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
RESPONSE = " Bob's key is blue."
ASKED = {"method": "auto", "response": RESPONSE, "budget": 4000}


@pytest.fixture(scope="module")
def found(keys):
    return Explainer(*keys).explain(PROMPT, **ASKED)


def test_it_is_what_choose_chooses_among_those_within_the_budget(keys, found):
    contest = found.run.contest
    assert set(contest) < set(DEFAULT_METHODS)  # an adaptive integral may take more
    choice = Explainer(*keys).choose(PROMPT, list(contest), responses=RESPONSE)
    assert found.run.method == choice.winner == next(iter(contest))
    torch.testing.assert_close(found.scores, choice.attribution.scores)
    ranks = [numbers[0] for numbers in contest.values()]
    assert ranks == sorted(choice.ranks)
    heads = found.run.contest_heads
    assert heads[:3] == ("rank", "morf_lerf by drop", "morf_lerf by token")
    values = choice.evaluation.of(choice.winner, operator="token")
    assert contest[choice.winner][2] == pytest.approx(float(values), rel=1e-4)
    left = [name for name in DEFAULT_METHODS if name not in contest]
    assert found.notes[-1].endswith(f"; {', '.join(left)} would have gone beyond the budget.")


def test_rows_stay_within_the_budget(keys, monkeypatch):
    from hf_attrib.field import ablation

    rows, once = [], ablation.ablated_rows

    def counted(field, keep, *more):
        rows.append(len(keep))
        return once(field, keep, *more)

    monkeypatch.setattr("hf_attrib.validation.evaluation.ablated_rows", counted)
    explainer = Explainer(*keys)
    for budget in (500, 1500):
        rows.clear()
        run = explainer.explain(PROMPT, **{**ASKED, "budget": budget}).run
        at = [run.contest_heads.index(f"{kind} rows") for kind in ("forward", "backward")]
        own = sum(numbers[at[0]] + 2 * numbers[at[1]] for numbers in run.contest.values())
        assert own + sum(rows) <= budget
    with pytest.raises(InputError, match="budget is 9 rows, and the cheapest method"):
        explainer.explain(PROMPT, **{**ASKED, "budget": 9})


def test_the_contest_is_kept_and_shown(found, tmp_path):
    found.save(tmp_path / "r.json")
    back = hf_attrib.load(tmp_path / "r.json")
    assert back.run == found.run
    for text in (str(found), found.to_html()):
        assert f"contest 1: {found.run.method}: rank " in " ".join(text.split())
        assert "was chosen among" in " ".join(text.split())
    content = json.loads((tmp_path / "r.json").read_text())
    del content["run"]["contest"], content["run"]["contest_heads"]
    (tmp_path / "r.json").write_text(json.dumps(content))
    assert hf_attrib.load(tmp_path / "r.json").run.contest == {}


def test_where_no_method_beats_random_it_says_so(keys):
    # An answer that is as likely whatever the prompt is.
    result = Explainer(*keys).explain("Ada's key is", **{**ASKED, "response": "</s>"})
    assert any(note.startswith("No method beats random here") for note in result.notes)


def test_each_prompt_has_a_contest_of_its_own(keys):
    prompts = [PROMPT, "", "Bob's key is green. Q: What color is Bob's key? A:"]
    asked = {**ASKED, "response": [RESPONSE] * 3, "budget": 700, "on_error": "return"}
    first, failed, last = hf_attrib.attach(*keys).explain(prompts, **asked)
    assert isinstance(failed, InputError)
    assert "prompt 2 of 3" in str(failed)
    for one in (first, last):
        assert one.run.contest
    alone = Explainer(*keys).explain(prompts[2], **{**ASKED, "budget": 700})
    torch.testing.assert_close(alone.scores, last.scores)


def test_what_asks_one_method_takes_no_auto(keys):
    explainer = Explainer(*keys)
    for ask in (explainer.estimate, lambda prompt, method: explainer.evaluate(prompt, method)):
        with pytest.raises(InputError, match="method 'auto' runs several methods, and only expl"):
            ask(PROMPT, method="auto")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"contrast": " red"}, "contrast came with method='auto'"),
        ({"baseline": "pad"}, "baseline came with method='auto'"),
        ({"steps": 3}, "steps came with method='auto' and could be meant for any method"),
        ({"target": lambda logits, ids: logits[:, 0]}, "target is a function"),
        ({"budget": 0}, "budget is 0; expected at least 1"),
    ],
)
def test_what_has_no_meaning_for_several_methods_is_refused(keys, options, said):
    with pytest.raises(InputError, match=said):
        Explainer(*keys).explain(PROMPT, **{**ASKED, **options})

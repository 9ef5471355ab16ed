"""Evaluations of models: what is run, that it is what was asked, and that it can be taken up."""

import json

import numpy as np
import pandas
import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib import Explainer, InputError, evaluate
from hf_attrib.field import ablation
from hf_attrib.methods import Occlusion, Saliency, Shapley

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPTS = [
    "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:",
    "Bob's key is green. Q: What color is Bob's key? A:",
]
FEW = {"random_orders": 4, "subsets": 12}


@pytest.fixture(scope="module")
def found(keys):
    return evaluate(*keys, PROMPTS, ["sequential_ig", "saliency", "square_grad"], **FEW)


def without(model, tokenizer, prompt, response, dropped):
    """Mean log-probability of a response behind a prompt without some of its tokens."""
    ids = [i for n, i in enumerate(tokenizer(prompt)["input_ids"]) if n not in dropped]
    whole = torch.tensor([ids + response])
    with torch.no_grad():
        logits = model(whole).logits[0].log_softmax(-1)
    at = torch.arange(len(ids) - 1, len(ids) - 1 + len(response))
    return float(logits[at, torch.tensor(response)].double().mean())


def test_the_headline_is_what_the_model_itself_says(keys):
    model, tokenizer = keys
    result = Explainer(model, tokenizer).explain(PROMPTS[1], method="saliency")
    found = evaluate(
        model, tokenizer, PROMPTS[1], "saliency", operators="drop", metrics="morf_lerf", **FEW
    )
    response = result.response_ids.tolist()
    movable = [n for n, role in enumerate(result.roles) if role not in ("special", "template")]
    order = sorted(movable, key=lambda n: -float(result.total[n]))
    counts = [max(1, int(share * len(order) + 0.5)) for share in (0.05, 0.1, 0.2, 0.3, 0.5)]
    said = [
        np.mean([without(model, tokenizer, PROMPTS[1], response, some[:k]) for k in counts])
        for some in (order[::-1], order)
    ]
    assert float(found.of("saliency")) == pytest.approx(said[0] - said[1], abs=1e-4)
    assert found.prompts[0].units == len(order)


def test_each_subset_runs_once(keys, monkeypatch):
    rows = []
    once = ablation.ablated_rows

    def counted(field, keep, sequence, mode="embed", ends=None):
        rows.append((mode, keep.clone()))
        return once(field, keep, sequence, mode, ends)

    monkeypatch.setattr("hf_attrib.validation.evaluation.ablated_rows", counted)
    evaluate(*keys, PROMPTS[:1], ["saliency", "square_grad"], metrics="all", **FEW)
    assert [mode for mode, _ in rows] == ["drop", "token"]
    for _, keep in rows:
        assert len(keep.unique(dim=0)) == len(keep)
    # The headline alone: five rows from each end of each order, and the prompt as it is.
    rows.clear()
    evaluate(*keys, PROMPTS[:1], "saliency", metrics="morf_lerf", **FEW)
    units = 23
    counts = len({max(1, int(share * units + 0.5)) for share in (0.05, 0.1, 0.2, 0.3, 0.5)})
    # One method, two pairs of random orders and one of positions, which share their rows, and the
    # rarest first.
    most = 1 + 2 * counts * (1 + 2 + 1 + 1)
    assert most - 6 < len(rows[0][1]) <= most  # short ends may be the same by chance


def test_batches_and_passes_of_one_row_find_the_same(keys, found):
    alone = Explainer(*keys, batch_size=1).evaluate(
        PROMPTS[1], ["sequential_ig", "saliency", "square_grad"], **FEW
    )
    torch.testing.assert_close(alone.values, found.values[1:], atol=1e-4, rtol=1e-4)
    # Which word is rare depends on the other prompts.
    own, together = alone.controls[:, :6], found.controls[1:, :6]
    torch.testing.assert_close(own, together, atol=1e-4, rtol=1e-4)


def test_positions_are_one_another_in_reverse(found):
    first, last = (found.of(name) for name in ("first to last", "last to first"))
    torch.testing.assert_close(first, -last, atol=1e-5, rtol=0)
    deletion, insertion = (
        found.of("first to last", "deletion"),
        found.of("last to first", "insertion"),
    )
    torch.testing.assert_close(deletion, insertion, atol=1e-5, rtol=0)


def test_scores_from_elsewhere_are_judged_as_our_own(keys):
    explainer = Explainer(*keys)
    results = [explainer.explain(prompt, method="saliency") for prompt in PROMPTS]
    ready = iter(results)
    found = explainer.evaluate(
        PROMPTS,
        {
            "own": Saliency(),
            "results": results,
            "arrays": [result.scores.numpy() for result in results],
            "totals": [result.total.tolist() for result in results],
            "function": lambda case: next(ready).scores,
            "argued": {"method": "saliency", "target": "log_prob"},
        },
        **FEW,
    )
    assert found.labels == ("own", "results", "arrays", "totals", "function", "argued")
    for m in range(1, len(found.labels)):
        torch.testing.assert_close(found.values[:, m], found.values[:, 0], equal_nan=True)
    assert int(found.backward_rows[0, 0]) > 0 == int(found.backward_rows[0, 2])
    assert [c.signed for c in found.methods] == [False, True, True, True, True, False]


def test_sums_over_an_answer_are_judged_as_the_scores_that_they_sum(keys):
    explainer = Explainer(*keys)
    whole = {"method": "occlusion", "spans": "response"}
    by_token = explainer.explain(PROMPTS[1], method="occlusion")
    found = explainer.evaluate(
        PROMPTS[1],
        {"by token": "occlusion", "whole": whole, "totals": [by_token.total.tolist()]},
        metrics=["infidelity", "infidelity_scaled"],
        operators="token",
        **FEW,
    )
    assert len(by_token) > 1
    for other in ("whole", "totals"):
        for metric in found.run.metrics:
            own, same = (found.of(name, metric) for name in (other, "by token"))
            torch.testing.assert_close(own, same, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("groups", [None, "word"])
def test_models_operators_and_units(family, groups):
    model = tiny.shared(family)
    found = evaluate(
        model,
        tiny.tokenizer(model.config.is_encoder_decoder),
        ["one two three four", "five six seven"],
        ["saliency", "sequential_ig"],
        responses=["eight", "nine ten"],
        groups=groups,
        operators=["drop", "token", "embed", "attention"],
        metrics="all",
        **FEW,
    )
    assert found.run.unit == (groups or "token")
    assert found.values[..., found.run.metrics.index("morf_lerf")].isfinite().all()
    if groups:
        assert [prompt.units for prompt in found.prompts] == [4, 3]
    assert [judged.own for judged in found.summary if judged.method == "sequential_ig"].count(
        True
    ) == len(found.run.metrics)


def test_methods_that_play_groups_play_the_units_that_are_judged():
    """One that would join tokens of a long prompt scores each of them here."""

    class Joining(Shapley):
        most_players = 2

    model = tiny.shared("llama")
    found = evaluate(
        model,
        tiny.tokenizer(),
        "one two three",
        {"joining": Joining(samples=4), "drop": Occlusion(mode="drop")},
        responses=" four",
        **FEW,
    )
    assert found.values.isfinite().all()
    assert [method.own_operator for method in found.methods] == ["embed", "drop"]
    assert {j.method for j in found.summary if j.own} == {"drop"}


def test_scores_of_tokens_are_summed_over_the_words_that_are_judged(keys, tmp_path):
    explainer, words = Explainer(*keys), {"groups": "word", "metrics": "all", **FEW}
    entries = {
        "words": "saliency",
        "tokens": {"method": "loo_shapley", "groups": "token"},
        "of tokens": [r.scores for r in explainer.explain(PROMPTS, groups="token")],
        "own": {"method": "loo_shapley"},
    }
    found = explainer.evaluate(PROMPTS, entries, resume=tmp_path / "r.jsonl", **words)
    close = {"rtol": 1e-4, "atol": 1e-4, "equal_nan": True}
    torch.testing.assert_close(found.values[:, 1], found.values[:, 2], **close)
    assert not torch.allclose(found.values[:, 1], found.values[:, 3], **close)
    assert [m.written.endswith("groups=token") for m in found.methods] == [
        False,
        True,
        False,
        False,
    ]
    # Another question of the same name is not taken up.
    again = explainer.evaluate(
        PROMPTS, {"tokens": "loo_shapley"}, resume=tmp_path / "r.jsonl", **words
    )
    torch.testing.assert_close(again.values[:, 0], found.values[:, 3], **close)


@pytest.mark.parametrize("groups", ["sentence", {"all": (1, 20)}])
def test_scores_of_more_than_a_unit_are_refused(keys, groups):
    entry = {"mine": {"method": "saliency", "groups": groups}}
    with pytest.raises(InputError, match=r"'mine' scores .* as one, which lies in several of the"):
        evaluate(*keys, PROMPTS[0], entry, groups="word", **FEW)


def test_where_nothing_would_be_left_there_is_no_number():
    """Without a token that is held, a prompt cannot be dropped whole."""
    model = tiny.shared("gpt2")
    found = evaluate(
        model,
        tiny.tokenizer(),
        [[70, 71, 72, 280, 90]],
        "saliency",
        responses=[[81, 82]],
        operators=["drop", "token"],
        movable="all",
        **FEW,
    )
    deletion = found.of("saliency", "deletion")
    assert deletion.isnan().all()
    assert found.of("saliency", "deletion", "token").isfinite().all()
    assert found.of("saliency").isfinite().all()
    (judged,) = [j for j in found.summary if (j.operator, j.metric) == ("drop", "deletion")]
    assert (judged.prompts, judged.dropped) == (0, 1)
    assert np.isnan(judged.mean.mean)


def test_each_token_may_have_an_order_of_its_own(keys):
    asked = {"metrics": ["morf_lerf", "lds"], "operators": "drop", **FEW}
    found = evaluate(*keys, PROMPTS[:1], "saliency", per_token=True, **asked)
    result = Explainer(*keys).explain(PROMPTS[0], method="saliency")
    single = [
        evaluate(
            *keys,
            PROMPTS[:1],
            {"t": [result.scores[t]]},
            per_token=True,
            **asked,
        ).values
        for t in range(len(result))
    ]
    assert found.values.isfinite().all()
    # One order for all tokens is another question.
    assert not torch.allclose(found.values, single[0])


def test_an_evaluation_is_taken_up_where_it_ended(keys, tmp_path):
    path = tmp_path / "run.jsonl"
    whole = evaluate(*keys, PROMPTS, ["saliency", "square_grad"], resume=path, **FEW)
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + len(PROMPTS) * (2 + 7)
    path.write_text("\n".join(lines[:12]) + "\n" + lines[12][:40])
    runs = []
    again = evaluate(
        *keys,
        PROMPTS,
        ["saliency", "square_grad"],
        resume=path,
        progress=lambda done, total: runs.append((done, total)),
        **FEW,
    )
    close = {"rtol": 1e-4, "atol": 1e-4, "equal_nan": True}  # other rows run together
    torch.testing.assert_close(again.values, whole.values, **close)
    torch.testing.assert_close(again.controls, whole.controls, **close)
    assert runs[-1][0] == runs[-1][1]
    assert len(path.read_text().splitlines()) >= len(lines)
    with pytest.raises(InputError, match="another evaluation: seed was 0, is 1"):
        evaluate(*keys, PROMPTS, "saliency", resume=path, seed=1, **FEW)
    path.write_text(json.dumps({"other": 1}) + "\n")
    with pytest.raises(InputError, match="no file of an evaluation"):
        evaluate(*keys, PROMPTS, "saliency", resume=path, **FEW)


def test_prompts_that_are_added_change_which_words_are_rare(keys, tmp_path):
    options = {"metrics": "morf_lerf", "operators": "token", **FEW}
    file = tmp_path / "run.jsonl"
    evaluate(*keys, PROMPTS[:1], "saliency", resume=file, **options)
    before = len(file.read_text().splitlines())
    more = [PROMPTS[0], PROMPTS[1], "Q: key? A: red blue"]
    taken_up = evaluate(*keys, more, "saliency", resume=file, **options)
    fresh = evaluate(*keys, more, "saliency", **options)
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(taken_up.controls, fresh.controls, **close)
    # Nothing else of the first prompt ran again.
    written = [json.loads(line)["method"] for line in file.read_text().splitlines()[before:]]
    assert len(written) == 2 * 8 + 1
    assert sum(name.startswith("rarest first") for name in written) == 3


@pytest.mark.parametrize(
    ("methods", "options", "said"),
    [
        ([], {}, "methods are empty"),
        (["saliency", "saliency"], {}, "came twice"),
        ("salience", {}, "method 'salience' is unknown"),
        ([3], {}, "method 3 is none; expected a name"),
        ([[[1.0]]], {}, "one for each of 2 prompts"),
        ({"mine": [[1.0], [2.0]]}, {}, r"scores of mine are \(1,\); expected \[T, N\]"),
        ({"mine": ["a", "b"]}, {}, "expected numbers"),
        ({"mine": {"method": "saliency", "stepz": 3}}, {}, "stepz of 'mine' is neither"),
        ({"mine": {"method": "saliency", "max_new_tokens": 3}}, {}, "An entry may have method, "),
        *(
            ({"mine": {"method": "saliency", name: "all"}}, {}, f"{name} of 'mine' is asked of all")
            for name in ("attribute_to", "movable")
        ),
        (None, {}, "methods are None; expected a name, a Method"),
        ({"mine": {3: 5}}, {}, "3 of 'mine' is neither"),
        ("saliency", {"steps": 3}, "steps could be meant for any"),
        ("saliency", {"operatorz": "drop"}, "did you mean 'operators'"),
        ("saliency", {"responses": ["a"]}, "2 prompts came with 1 responses"),
        ("saliency", {"responses": 5}, "responses are 5; expected a text or ids for each"),
        ("saliency", {"responses": {"a": 1}}, "expected a text or ids for each prompt"),
        ("saliency", {"resume": 5}, "resume is 5; expected the name of a .jsonl file"),
        ("saliency", {"resume": "none/such.jsonl"}, "cannot write none/such.jsonl"),
        ("saliency", {"progress": 5}, "progress is 5; expected a function"),
    ],
)
def test_what_cannot_be_used_is_refused(keys, methods, options, said):
    with pytest.raises(InputError, match=said):
        evaluate(*keys, PROMPTS, methods, **FEW, **options)


def test_scores_from_elsewhere_are_taken_up_by_what_they_are(keys, tmp_path):
    options = {"resume": tmp_path / "run.jsonl", "metrics": "morf_lerf", "operators": "drop", **FEW}
    scores = [r.scores for r in Explainer(*keys).explain(PROMPTS, method="sequential_ig")]
    for sign in (1, -1):
        mine = {"mine": [sign * one for one in scores]}
        again, fresh = (evaluate(*keys, PROMPTS, mine, **o) for o in (options, FEW))
        expected = fresh.of("mine", "morf_lerf", "drop")
        torch.testing.assert_close(again.of("mine", "morf_lerf", "drop"), expected)


def test_another_question_of_the_same_method_is_not_taken_up(keys, tmp_path):
    options = {"resume": tmp_path / "run.jsonl", "metrics": "morf_lerf", "operators": "drop", **FEW}
    found = [
        evaluate(*keys, PROMPTS, {"a": {"method": "saliency", "target": target}}, **options).of("a")
        for target in ("logit", "log_prob", "logit")
    ]
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_scores_and_names_that_would_rank_nothing_are_refused(keys):
    bad = [torch.nan * r.total for r in Explainer(*keys).explain(PROMPTS, method="saliency")]
    with pytest.raises(InputError, match="not all finite numbers"):
        evaluate(*keys, PROMPTS, {"mine": bad}, **FEW)
    with pytest.raises(InputError, match="'random 1' is called as a control is"):
        evaluate(*keys, PROMPTS, {"random 1": "saliency"}, **FEW)


def test_no_prompts_are_refused(keys):
    with pytest.raises(InputError, match="there are no prompts"):
        evaluate(*keys, [])
    with pytest.raises(InputError, match="prompts are 5; expected a text, messages or ids"):
        evaluate(*keys, 5)
    with pytest.raises(InputError, match="a text, messages or ids, or a list of them"):
        evaluate(*keys, pandas.DataFrame({"prompt": PROMPTS}))


def test_arguments_of_explain_alone_are_one_method(keys):
    given = {"method": "saliency", "target": "logit"}
    found = evaluate(*keys, PROMPTS[1], given, operators="token", metrics="lerf", **FEW)
    assert found.labels == ("saliency, target=logit",)


def test_an_attached_model_evaluates(keys):
    model = hf_attrib.attach(*keys)
    found = model.evaluate(PROMPTS[1], "saliency", metrics="morf_lerf", **FEW)
    assert len(found) == 1
    with pytest.raises(InputError, match="was not judged; expected one of saliency"):
        found.of("other")

"""Evaluations as results: kept to the last bit, told in tables, shown on screens and pages."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import hf_attrib
from hf_attrib import Evaluation, ResultFileError
from hf_attrib.validation import Contestant, EvaluationRun, JudgedPrompt
from hf_attrib.validation.statistics import interval

METRICS = ("morf_lerf", "deletion", "excess", "infidelity")


def made(prompts=6, methods=3, metrics=METRICS, seed=0):
    """An evaluation of made-up numbers, of which the first method has the best."""
    draw = torch.Generator().manual_seed(seed)
    cells = 2, len(metrics)

    def some(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    values, controls = some(prompts, methods, *cells), some(prompts, 6, *cells)
    values[:, 0, :, 0] += 4
    values[0, :, 0, 1:2] = torch.nan
    return Evaluation(
        values=values,
        controls=controls,
        curves=some(prompts, methods, 2, 2, 11).sigmoid(),
        random_curves=some(prompts, 2, 2, 11).sigmoid(),
        seconds=some(prompts, methods).abs(),
        forward_rows=torch.arange(prompts * methods).reshape(prompts, methods),
        backward_rows=torch.zeros(prompts, methods, dtype=torch.int64),
        gap=torch.full((prompts, methods), torch.nan, dtype=torch.float64),
        methods=tuple(
            Contestant(f"method {m}", f"method_{m}(steps=3)", m > 0, "drop" if m else None)
            for m in range(methods)
        ),
        prompts=tuple(JudgedPrompt(f"prompt {p}", "answer", 9, 2) for p in range(prompts)),
        run=EvaluationRun(
            score="log_prob",
            unit="token",
            operators=("drop", "token"),
            metrics=metrics,
            controls=("random 1", "random 2", "random 3", "first", "last", "rare"),
            random_orders=3,
            per_token=False,
            subsets=8,
            seed=0,
            attribute_to="prompt",
            movable="content",
            model="a model",
            model_revision=None,
            dtype="float32",
            versions={"torch": "2"},
            notes=("something to know",),
        ),
    )


def shown(result, width=120):
    console = Console(width=width, file=io.StringIO())
    console.print(result)
    return console.file.getvalue()


def test_what_is_saved_is_read_to_the_last_bit(tmp_path):
    result = made()
    result.save(tmp_path / "e.json")
    back = hf_attrib.load(tmp_path / "e.json")
    assert isinstance(back, Evaluation)
    for name in ("values", "controls", "curves", "random_curves", "seconds", "gap"):
        assert torch.equal(getattr(back, name).nan_to_num(9), getattr(result, name).nan_to_num(9))
    assert back.forward_rows.tolist() == result.forward_rows.tolist()
    assert (back.methods, back.prompts, back.run) == (result.methods, result.prompts, result.run)
    assert str(back) == str(result)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: c["values"].pop(), "values is"),
        (lambda c: c["values"][0].pop(), "damaged"),
        (lambda c: c["run"].update(metrics=["depth"] * 4), "'depth' is unknown"),
        (lambda c: c["run"].update(operators=["by hand", "drop"]), "'by hand' is unknown"),
        (lambda c: c["run"].update(random_orders=9), "random_orders"),
        (lambda c: c.update(prompts=[]), "no prompts"),
        (lambda c: c.pop("gap"), "'gap'"),
        (lambda c: c["methods"][0].pop("label"), "label"),
        (lambda c: c["forward_rows"][0].__setitem__(0, 1.5), "whole number"),
    ],
)
def test_damaged_files_are_refused(tmp_path, damage, said):
    path = tmp_path / "e.json"
    made().save(path)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ResultFileError, match=said):
        Evaluation.load(path)


def test_the_summary_ranks_methods_and_says_how_sure_that_is():
    result = made()
    first, second, third = (
        j for j in result.summary if (j.operator, j.metric) == ("token", "morf_lerf")
    )
    assert first.method == "method 0"
    assert first.mean.mean > second.mean.mean > third.mean.mean
    values = result.of("method 0", operator="token").numpy()
    assert first.mean == interval(values)
    random = result.random_means()[:, 1, 0].numpy()
    assert first.over_random == interval(values - random)
    assert first.over_random.above
    assert first.next == second.method
    assert first.p_value == 4.0**-6  # of three random orders, of six prompts
    assert first.p_value < first.adjusted_p_value <= 18 * first.p_value
    merits = [j for j in result.summary if np.isfinite(j.p_value)]
    assert {j.metric for j in merits} == {"morf_lerf", "deletion", "infidelity"}
    assert all(j.adjusted_p_value >= j.p_value for j in merits)
    other = result.of(second.method, operator="token").numpy()
    assert first.over_next == interval(values - other)
    assert third.next is None
    assert np.isnan(third.over_next.mean)
    assert 0.9 < first.wins <= 1
    assert (first.own, second.own) == (False, False)
    lower = [j for j in result.summary if (j.operator, j.metric) == ("drop", "deletion")]
    assert [j.dropped for j in lower] == [1, 1, 1]
    assert [j.own for j in lower] == [j.method != "method 0" for j in lower]
    assert lower[0].mean.mean < lower[1].mean.mean
    assert lower[0].over_next.mean > 0
    (excess, *_) = [j for j in result.summary if j.metric == "excess"]
    assert excess.next is None
    assert np.isnan(excess.wins)


def test_p_values_are_of_each_prompt():
    result = made()
    best = result.p_values[:, 0, :, 0]
    assert best.shape == (6, 2)
    random = result.controls[0, :3, 0, 0]
    expected = (1 + int((random >= result.values[0, 0, 0, 0]).sum())) / 4
    assert float(best[0, 0]) == expected
    assert result.p_values[:, :, :, 2].isnan().all()
    assert result.p_values[0, 0, 0, 1].isnan()


def test_what_random_orders_cannot_show_is_not_told():
    few = made()
    assert {np.isnan(judged.significant) for judged in few.summary} == {True}
    said = " ".join(shown(few).split())
    assert "no method can be said to beat random with 3 random orders, as p is never below" in said
    assert "it takes 19 at least" in said
    controls = torch.zeros(6, 19, 2, len(METRICS), dtype=torch.float64)
    enough = replace(
        few,
        controls=controls,
        run=replace(few.run, controls=tuple(map(str, range(19))), random_orders=19),
    )
    assert "can be said" not in shown(enough)
    assert enough.summary[0].significant == float((few.values[:, 0, 0, 0] > 0).double().mean())


def test_prompts_of_one_unit_are_told_of_once():
    def told(of_others):
        result = made(prompts=3)
        result.values[0] = torch.nan
        result.values[1, :, :, 1:3] = of_others
        single = replace(result.prompts[0], units=1)
        result = replace(result, prompts=(single, *result.prompts[1:]))
        return " ".join(shown(result, 300).split())

    one = "1 of 3 prompts left out, as fewer than two units may be taken away"
    assert one in told(1.0)
    assert told(1.0).count("left out") == 1
    assert "deletion, excess by drop: 1 of 3 prompts left out, as s hardly" in told(torch.nan)
    assert told(torch.nan).count("left out") == 3


def test_tables():
    result = made()
    rows = result.to_rows()
    assert len(rows) == 6 * (3 + 6) * 2 * len(METRICS)
    assert rows[0]["value"] == float(result.values[0, 0, 0, 0])
    assert {row["method"] for row in rows if row["control"]} == set(result.run.controls)
    assert list(result.to_dataframe().columns) == list(rows[0])
    table = result.table()
    assert len(table) == 3 * 2 * len(METRICS)
    assert {"mean", "low", "high", "over_random_low", "seconds", "unit"} <= set(table[0])


def test_the_view_tells_who_predicts_best():
    text = shown(made())
    assert "Methods on a model · 6 prompts · unit token" in text
    assert "drop: method 0 predicts best by morf_lerf" in text
    assert "method 1 *" in text
    assert "note: something to know" in text
    assert "deletion by drop: 1 of 6 prompts left out" in text
    assert "▅" in text
    for width in (40, 60, 200):
        assert max(map(len, shown(made(), width).splitlines())) <= width


def test_no_method_may_beat_random():
    result = made()
    result.values[:, :, :, 0] = result.controls[:, :3, :, 0].mean(1, keepdim=True) - 1
    assert "drop: no method beats random here" in shown(result)


def test_the_verdict_is_that_of_the_adjusted_p_value():
    """An interval that is above 0 is not enough, where many are compared with random orders."""
    for more, beats in ((0.01, False), (9.0, True)):
        result = made(methods=12)
        result.values[:, :, :, 0] = -9
        result.values[:, 0, :, 0] = result.controls[:, :3, :, 0].mean(1) + more
        first = next(j for j in result.summary if (j.operator, j.metric) == ("drop", "morf_lerf"))
        assert first.method == "method 0"
        assert first.over_random.above
        assert first.beats_random is beats is (first.adjusted_p_value <= 0.05)
        assert ("drop: no method beats random here; method 0 comes first" in shown(result)) != beats
        assert ("drop: method 0 predicts best" in shown(result)) is beats


def test_of_methods_that_know_nothing_few_are_said_to_beat_random():
    draw, said = torch.Generator().manual_seed(3), 0
    for seed in range(200):
        result = made(prompts=4, methods=4, metrics=("morf_lerf",), seed=seed)
        every = torch.randn(4, 10, 2, 1, generator=draw, dtype=torch.float64)
        result = replace(result, values=every[:, :4], controls=every[:, 4:])
        said += any(judged.beats_random for judged in result.summary)
    assert said <= 0.05 * 200 + 2 * (200 * 0.05 * 0.95) ** 0.5


def test_too_few_prompts_decide_nothing_and_say_how_many_would():
    alone = made(prompts=1, methods=1)
    assert {j.beats_random for j in alone.summary} == {None}
    said = shown(alone, 300)
    assert (
        "drop: method 0 comes first; whether it beats random cannot be told from 1 prompt with "
        "3 random orders, as no adjusted p of 5 is below 1; it takes 4 prompts at least" in said
    )
    assert "beats random here" not in said
    enough = made(prompts=4, methods=1)
    enough.values[:, 0] = enough.controls.amax(1) + 1
    assert next(j for j in enough.summary if j.metric == "morf_lerf").beats_random
    many = made(prompts=40, methods=90)
    assert "it takes fewer methods, operators and metrics at least" in shown(many, 300)


def test_an_order_that_knows_nothing_may_do_better():
    result = made()
    result.controls[:, 4, :, 0] += 50
    said = " ".join(shown(result).split())
    assert "but the order last, which knows nothing of the model, does better" in said


def test_one_prompt_and_one_method():
    text = shown(made(prompts=1, methods=1))
    assert "1 prompt ·" in text
    assert "[" not in text.split("Normalised")[0].split("vs random")[1].split("\n")[1]


def test_the_page_is_closed_and_says_the_same():
    html = made().to_html()
    assert "drop: method 0 predicts best" in html
    assert "<polyline" in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert "method_0(steps=3); without signs" in html
    assert made()._repr_html_().startswith("<iframe")


def test_names_from_outside_steer_nothing(tmp_path):
    result = made()
    object.__setattr__(
        result, "methods", (Contestant("\x1b[31mred", "<b>", True, None), *result.methods[1:])
    )
    assert "\x1b" not in shown(result)
    assert "<b>" not in result.to_html().replace("<bdi>", "")

"""Directions give what pullbacks give, for all targets at once; groups are what their tokens add
up to; and how it was found depends on the question alone."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from helpers import tiny
from helpers.laws import DISTINCT
from helpers.problems import PROBLEMS
from helpers.residue import assert_same, prepared, state
from torch.autograd import forward_ad

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.execution import RowRunner
from hf_attrib.field.directions import NEVER, DirectionCost, cheaper, derivative, either
from hf_attrib.field.gradients import Query
from hf_attrib.field.groups import Groups
from hf_attrib.methods import IntegratedGradients, method, methods
from hf_attrib.model import (
    EmbeddingField,
    collate,
    embedding_field,
    forward_mode,
    isolated,
    sites_of,
)
from hf_attrib.model.sites import Sites
from hf_attrib.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

#: One of each kind of architecture that has a forward-mode derivative.
FAMILIES = ("llama", "gpt2", "gemma3_text", "falcon", "mamba", "t5", "bart")
#: They compute in float32 wherever they normalise, whatever type they are loaded in.
ROUNDED = ("llama", "gemma3_text", "qwen3", "mistral", "olmo2", "mamba", "t5")
PROMPT, RESPONSE = tiny.ids(9, seed=1), tiny.ids(5, seed=2)
GROUPS = {"first": (0, 3), "second": (4, 6)}  # and two that nobody named


def explain(model, batch_size=64, **options):
    options = {
        "input_ids": PROMPT,
        "response_ids": RESPONSE,
        "method": "integrated_gradients",
        "steps": 4,
    } | options
    return Explainer(model, batch_size=batch_size).explain(**options)


def close(found, expected, relative):
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) <= relative * scale


@pytest.fixture
def at_cost(monkeypatch):
    """Say what a direction costs: 0 for directions always, infinity for pullbacks."""
    return lambda cost: monkeypatch.setattr(embedding_field, "_DIRECTION", cost)


def both_ways(at_cost, model, **options):
    at_cost(math.inf)
    pulled = explain(model, **options)
    at_cost(0)
    return pulled, explain(model, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_directions_give_what_pullbacks_give(family, dtype, at_cost):
    model = tiny.model(family, dtype=dtype)
    pulled, along = both_ways(at_cost, model, attribute_to="all")
    assert (pulled.backward_rows, pulled.run.directional_rows) == (4 * len(RESPONSE), 0)
    moving = int((pulled.scores != 0).any(0).sum())
    assert (along.backward_rows, along.run.directional_rows) == (0, 4 * moving)
    assert along.forward_rows == pulled.forward_rows
    exact = dtype == torch.float64 and family not in ROUNDED
    close(along.scores, pulled.scores, 1e-10 if exact else 5e-6)
    assert torch.equal(along.value, pulled.value)
    assert torch.equal(along.scores == 0, pulled.scores == 0)  # what nothing depends on


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("asked", ["integrated_gradients", "expected_gradients", "discretized_ig"])
def test_directions_of_functions(problem, asked):
    fields = problem.field(), problem.field(row_budget=3)
    fields[1].direction_cost = DirectionCost(0)
    pulled, along = (method(asked, {})(f, problem.x, problem.baseline) for f in fields)
    torch.testing.assert_close(along.scores, pulled.scores, rtol=1e-10, atol=1e-10)
    assert fields[1].backward_rows.item() == 0
    assert fields[1].directional_rows.item() > 0


@pytest.mark.parametrize("size", [2, 64])
def test_chunks_change_nothing(size, at_cost):
    at_cost(0.6)  # some rows go either way
    model = tiny.model("llama")
    whole = explain(model, method="integrated_gradients", steps=None, groups=GROUPS)
    found = explain(
        model, method="integrated_gradients", steps=None, groups=GROUPS, batch_size=size
    )
    assert whole.backward_rows > 0
    assert whole.run.directional_rows > 0
    bound = found.error_bound + whole.error_bound
    assert bool(((found.scores - whole.scores).abs().sum(-1) <= bound).all())
    fixed = [explain(model, groups=GROUPS, batch_size=n) for n in (None, size)]
    close(fixed[1].scores, fixed[0].scores, 2e-6)
    assert fixed[0].run.directional_rows == fixed[1].run.directional_rows


def test_directions_run_as_few_rows_at_once_as_memory_allows(at_cost):
    at_cost(0)
    model, sizes = tiny.model("llama"), []
    explainer = Explainer(model, batch_size=2)
    explainer.explain(
        input_ids=PROMPT, response_ids=RESPONSE, method="integrated_gradients", steps=1
    )
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = explainer.explain(
        input_ids=PROMPT, response_ids=RESPONSE, method="integrated_gradients", steps=4
    )
    handle.remove()
    assert max(sizes) == 2
    assert sum(sizes) == found.forward_rows + found.run.directional_rows


def test_where_there_is_no_head_the_cut_is_at_the_logits():
    """Softcapping makes the two differ: what is behind the head counts as well."""
    model = tiny.model("gemma3_text", final_logit_softcapping=2.0)
    sequence = tiny.sequence(model, input_ids=PROMPT, response_ids=RESPONSE)
    batch = collate([sequence], [torch.ones(len(sequence.inputs), dtype=torch.bool)], None, 0)
    whole = sites_of(model)
    found, direction = [], torch.randn(1, len(sequence.inputs), model.config.hidden_size)
    with isolated(model):
        for sites in (whole, Sites(whole.modules, whole.encoder, None)):
            field = EmbeddingField(model, sites, batch, TARGETS["log_prob"])
            x = field.observe().x[0]
            rows, targets = torch.tensor([0]), torch.tensor([[3, 1]])  # some, in any order
            along = field.pushforward(x, rows, targets).along(rows, direction)
            linear = field.linearise(x, rows, targets)
            for column in (0, 1):
                weights = torch.eye(2)[column][None]
                expected = (linear.pullback(weights) * direction).sum()
                torch.testing.assert_close(along[0, column], expected, rtol=1e-4, atol=1e-6)
            found.append(along)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_tangents_survive_half_precision(at_cost):
    pulled, along = both_ways(at_cost, tiny.model("llama", dtype=torch.bfloat16))
    assert along.run.directional_rows > 0
    close(along.scores, pulled.scores, 0.05)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "mistral", "mamba"])
def test_a_prefix_that_never_moves_is_not_run_again(family, at_cost):
    model, lengths = tiny.model(family), []
    options = {"input_ids": tiny.ids(28, seed=1), "movable": [i >= 20 for i in range(28)]}
    options |= {"groups": [(20, 23), (23, 28)], "baseline": 7}
    at_cost(0)
    explain(model, **options)
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, args, output: lengths.append(output.shape[1])
    )
    again = explain(model, **options)
    handle.remove()
    whole = 28 + len(RESPONSE) - 1
    # Points, directions, and f at the start; the states of mamba are not reused.
    passes = [length for length in lengths if length > 1]  # a baseline's token is looked up alone
    assert passes[-3:] == [whole - 20 * (family != "mamba")] * 3
    pulled, along = both_ways(at_cost, model, **options)
    assert along.run.directional_rows == 4 * 2
    assert torch.equal(along.scores, again.scores)
    close(along.scores, pulled.scores, 5e-6)


# --- the choice


def asked(wanted, targets=8):
    rows = len(wanted)
    mask = torch.arange(targets) < torch.tensor(wanted)[:, None]
    nothing = torch.zeros(rows, dtype=torch.int64)
    return Query(None, nothing, torch.arange(targets).expand(rows, -1), mask, mask)


@pytest.mark.parametrize("cost", [0.5, 1.0, 2.5])
def test_each_row_goes_the_way_that_the_cost_model_says(cost):
    groups = Groups(torch.tensor([[0, 0, 1, 2]]), torch.tensor([[True, True, True, False]]))
    question = asked(range(9))
    found = cheaper(question, torch.ones(9, 8), groups, DirectionCost(cost))
    assert found.tolist() == [cost * 2 < wanted for wanted in range(9)]
    # A target that stands twice as far costs twice as much to pull back, and to reach.
    effort = torch.tensor([1.0] * 7 + [2.0]).expand(9, -1)
    found = cheaper(question, effort, groups, DirectionCost(cost))
    assert found.tolist() == [cost * 2 * (1 + (w == 8)) < w + (w == 8) for w in range(9)]


def test_no_directions_where_there_are_none_or_nothing_moves():
    groups = Groups.single(torch.ones(1, 2, dtype=torch.bool))
    assert not cheaper(asked([8, 0]), torch.ones(2, 8), groups, NEVER).any()
    free = DirectionCost(0)
    assert cheaper(asked([8, 0]), torch.ones(2, 8), groups, free).tolist() == [True, False]
    fixed = Groups.single(torch.zeros(1, 2, dtype=torch.bool))
    assert not cheaper(asked([8]), torch.ones(1, 8), fixed, free).any()


def test_rows_come_back_in_their_order():
    way = torch.tensor([False, True, True, False, True])
    (found,) = either(RowRunner(2), way, lambda r: (r * 10,), lambda r: (r,))
    assert found.tolist() == [0, 10, 20, 3, 40]
    for every in (True, False):
        (found,) = either(
            RowRunner(2), torch.full((3,), every), lambda r: (r * 10,), lambda r: (r,)
        )
        assert found.tolist() == [n * (10 if every else 1) for n in range(3)]


@pytest.mark.parametrize("answer", [32, 64])
def test_groups_cost_the_same_however_long_the_answer(answer):
    found = explain(
        tiny.model("llama"),
        groups=[(0, 3), (3, 6), (6, 9)],
        response_ids=tiny.ids(answer, seed=3),
        method="integrated_gradients",
        steps=5,
    )
    assert found.run.directional_rows == 5 * 3
    assert (found.backward_rows, found.forward_rows) == (0, 5 + 2)
    tokens = explain(
        tiny.model("llama"),
        response_ids=tiny.ids(12, seed=3),
        method="integrated_gradients",
        steps=5,
    )
    assert (tokens.backward_rows, tokens.run.directional_rows) == (5 * 12, 0)


def test_a_long_answer_to_a_short_prompt_takes_directions_by_itself():
    answer = tiny.ids(32, seed=3)
    found = explain(tiny.model("llama"), input_ids=PROMPT[:2], response_ids=answer, movable="all")
    assert found.run.directional_rows == 4 * 2
    assert found.backward_rows == 0


# --- groups


QUICK = {
    "agi": {"classes": 2, "eps": 0.25, "steps": 3, "rule": "simpson"},
    "attexplore": {"copies": 3, "eps": 0.25, "steps": 3, "rule": "simpson"},
    "big": {"steps": 3, "rule": "simpson"},
    "bsm": {"steps": 3},
    "isa": {"rounds": 2, "steps": 3, "rule": "simpson"},
    "la": {"classes": 2, "eps": 0.25, "steps": 3, "rule": "simpson"},
    "mfaba": {"eps": 0.25, "steps": 3, "rule": "simpson"},
    "integrated_gradients": {"steps": 6},
    "discretized_ig": {"words": 2, "nodes": 1},
    "expected_gradients": {"samples": 4},
    "smooth_grad": {"samples": 3},
    "square_grad": {"samples": 3},
    "var_grad": {"samples": 3},
    "guided_ig": {"steps": 3},
    "idgi": {"steps": 4},
    "baseline_average": {"inner": "integrated_gradients(steps=2)", "samples": 2},
    "noise_average": {"inner": "idgi(steps=2)", "samples": 2},
}


def plays(method):
    """Whether a method plays groups, whose scores are no sums of its players' own."""
    return method().claims.groups == "players"


@pytest.mark.parametrize("cost", [0, math.inf], ids=["directions", "pullbacks"])
@pytest.mark.parametrize(
    "name",
    [name for name in DISTINCT if not plays(methods()[name])],
)
def test_groups_are_what_their_tokens_add_up_to(name, cost, at_cost):
    at_cost(cost)
    model = tiny.model("llama")
    options = QUICK.get(name, {}) | {"method": name}
    options.setdefault("steps", None)
    options = {k: v for k, v in options.items() if v is not None}
    options |= {"input_ids": PROMPT, "response_ids": RESPONSE}
    found = Explainer(model).explain(**options, groups=GROUPS)
    expected = Explainer(model).explain(**options).group(GROUPS)
    assert found.columns == expected.columns
    assert found.pieces == expected.pieces
    close(found.scores, expected.scores, 1e-5)
    assert torch.equal(found.value, expected.value)
    torch.testing.assert_close(found.gap, expected.gap, rtol=1e-3, atol=1e-4, equal_nan=True)
    if expected.standard_error is not None:  # those of sums are bounds where tokens are added
        assert bool((found.standard_error <= expected.standard_error * (1 + 1e-4)).all())


@pytest.mark.parametrize("cost", [0, math.inf], ids=["directions", "pullbacks"])
@pytest.mark.parametrize(
    "options",
    [
        {"attribute_to": "all"},
        {"movable": [i in (0, 2, 5) for i in range(len(PROMPT))]},
        {"spans": [(0, 2), (2, 5)]},
        {"baseline": 7},
        {"target": "logit", "contrast": 9},
    ],
    ids=lambda o: next(iter(o)),
)
@pytest.mark.parametrize("family", ["t5", "mixtral"])
def test_groups_go_with_everything_else(family, options, cost, at_cost):
    at_cost(cost)
    model = tiny.model(family)
    found, tokens = (explain(model, groups=g, **options) for g in (GROUPS, None))
    expected = tokens.group(GROUPS)
    assert found.columns == expected.columns
    close(found.scores, expected.scores, 5e-6)
    assert torch.equal(found.scores == 0, expected.scores == 0)
    if family == "mixtral":
        assert found.run.directional_rows == 0


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_the_certificate_is_about_groups(family, at_cost):
    at_cost(1)
    model = tiny.model(family)
    found = explain(
        model,
        method="integrated_gradients",
        steps=None,
        groups=GROUPS,
        response_ids=tiny.ids(24, seed=4),
    )
    tokens = explain(
        model, method="integrated_gradients", steps=None, response_ids=tiny.ids(24, seed=4)
    ).group(GROUPS)
    assert found.run.directional_rows > 0
    assert bool(found.converged.all())
    missed = (found.scores - tokens.scores).abs().sum(-1)
    assert bool((missed <= found.error_bound + tokens.error_bound).all())


def test_the_result_is_a_result(tmp_path, at_cost):
    at_cost(0)
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    found = Explainer(model, tokenizer).explain(
        "Ada was born in 19.",
        response_ids=RESPONSE,
        groups="word",
        method="integrated_gradients",
        steps=4,
    )
    found.save(tmp_path / "a.json")
    again = hf_attrib.load(tmp_path / "a.json")
    assert torch.equal(again.scores, found.scores)
    assert again.columns == found.columns
    assert again.run == found.run
    assert again.run.directional_rows > 0
    shown = " ".join(str(again).split())
    assert f"{again.run.directional_rows} directional and 0 backward rows" in shown
    hf_attrib.compare(again, found)
    assert len(found.group("sentence").columns) < len(found.columns)


def test_files_from_before_directions_load(tmp_path):
    path = tmp_path / "a.json"
    explain(tiny.model("llama")).save(path)
    old = path.read_text().replace('"directional_rows": 0', '"unknown": 0')
    assert "directional_rows" not in old
    path.write_text(old)
    assert hf_attrib.load(path).run.directional_rows == 0


@pytest.mark.parametrize("cost", [0, math.inf], ids=["directions", "pullbacks"])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_batched_equals_single(family, cost, at_cost):
    at_cost(cost)
    model = tiny.model(family).double()  # in float32 rounding depends on the processor
    explainer = Explainer(model, tiny.tokenizer(family == "t5"), batch_size=4)
    texts = ["Ada's key is red.", "the key", "Bob was born in 19. Ada is in the blue."]
    responses = [tiny.ids(n, seed=10 + n) for n in (4, 1, 3)]
    options = {
        "method": "integrated_gradients",
        "steps": 3,
        "groups": "word",
        "attribute_to": "all",
    }
    batched = explainer.explain(texts, response_ids=responses, **options)
    for text, response, together in zip(texts, responses, batched, strict=True):
        alone = explainer.explain(text, response_ids=response, **options)
        assert together.columns == alone.columns
        close(together.scores, alone.scores, 1e-10)
        for kind in ("forward_rows", "backward_rows", "directional_rows"):
            assert getattr(together.run, kind) == getattr(alone.run, kind)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("page", "cannot group by 'page'"),
        ([(0, 3), (2, 4)], "share tokens"),
        ([(0, 30)], "is a range"),
        ({"a": "not there"}, "occurs 0 times"),
        (7, "cannot group by 7"),
    ],
)
def test_what_cannot_be_grouped_is_refused_before_the_model_runs(groups, message):
    model = tiny.model("llama")
    explainer = Explainer(model)
    explainer.explain(
        input_ids=PROMPT, response_ids=RESPONSE, method="integrated_gradients", steps=1
    )
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=message):
        explainer.explain(input_ids=PROMPT, response_ids=RESPONSE, groups=groups)


# --- models without


class Unforeseen(torch.autograd.Function):
    """An operation as extensions have them: backward is there, forward mode is not."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.sigmoid() * (1 - x.sigmoid())


class Wrong(Unforeseen):
    """Its forward mode forgets a factor."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_forward(x)
        return Unforeseen.forward(ctx, x)

    @staticmethod
    def jvp(ctx, tangent):
        return tangent.clone()


class Activation(torch.nn.Module):
    """An operation that longer inputs meet."""

    def __init__(self, function, least=0):
        super().__init__()
        self.function, self.least = function, least

    def forward(self, x):
        return self.function.apply(x) if x.shape[1] > self.least else x.sigmoid()


def with_operation(function, least=0):
    model = tiny.model("llama")
    for layer in model.model.layers:
        layer.mlp.act_fn = Activation(function, least)
    return model


@pytest.mark.parametrize("function", [Unforeseen, Wrong])
@pytest.mark.parametrize("least", [0, 12])
def test_a_model_without_forward_mode_is_pulled_back(function, least, at_cost):
    """The check at first use finds out; where its few tokens do not, the run itself does."""
    if function is Wrong and least:
        pytest.skip("nothing fails where a derivative is wrong for long inputs alone")
    model = with_operation(function, least)
    pulled, along = both_ways(at_cost, model)
    assert along.run.directional_rows == 0
    assert torch.equal(along.scores, pulled.scores)
    assert along.backward_rows == pulled.backward_rows
    assert forward_mode.lacks(model)
    groups = explain(model, groups=GROUPS)
    close(groups.scores, pulled.group(GROUPS).scores, 1e-6)


def test_what_is_lacking_is_remembered(at_cost, monkeypatch):
    at_cost(0)
    model, tries = with_operation(Unforeseen, least=12), []
    explainer = Explainer(model)
    options = {
        "input_ids": PROMPT,
        "response_ids": RESPONSE,
        "method": "integrated_gradients",
        "steps": 2,
    }
    explainer.explain(**options)

    def counted(*arguments):
        tries.append(1)
        return derivative(*arguments)

    monkeypatch.setattr(forward_mode, "derivative", counted)
    explainer.explain(**options)
    assert not tries


def test_an_error_of_the_model_is_no_lack_of_directions(at_cost, monkeypatch):
    at_cost(0)
    model = tiny.model("llama")
    explainer = Explainer(model)
    options = {
        "input_ids": PROMPT,
        "response_ids": RESPONSE,
        "method": "integrated_gradients",
        "steps": 2,
    }
    explainer.explain(**options)

    def fails(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(forward_mode, "derivative", fails)
    with pytest.raises(ZeroDivisionError):
        explainer.explain(**options)
    monkeypatch.undo()
    at_cost(0)
    assert explainer.explain(**options).run.directional_rows > 0


def test_where_one_direction_does_not_fit_pullbacks_do(at_cost, monkeypatch):
    """Plain attention takes memory that fused attention does not."""
    at_cost(0)
    model = tiny.model("llama")
    explainer = Explainer(model, batch_size=8)
    options = {
        "input_ids": PROMPT,
        "response_ids": RESPONSE,
        "method": "integrated_gradients",
        "steps": 2,
    }
    expected = explainer.explain(**options)
    assert expected.run.directional_rows > 0

    def ends(function, points, direction, room=0):
        if len(points) > room:
            raise MemoryError("all of it is gone")
        return derivative(function, points, direction)

    monkeypatch.setattr(forward_mode, "derivative", partial(ends, room=2))
    halved = Explainer(model, batch_size=8).explain(**options)
    assert halved.run.directional_rows == expected.run.directional_rows
    close(halved.scores, expected.scores, 1e-6)
    monkeypatch.setattr(forward_mode, "derivative", ends)
    found = explainer.explain(**options)
    assert (found.run.directional_rows, found.backward_rows > 0) == (0, True)
    close(found.scores, expected.scores, 5e-6)


# --- residue


def surroundings():
    kernels = torch.backends.cuda
    return (
        kernels.flash_sdp_enabled(),
        kernels.mem_efficient_sdp_enabled(),
        kernels.math_sdp_enabled(),
        kernels.cudnn_sdp_enabled(),
        forward_ad._current_level,
    )


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mixtral", "t5", "bart"])
def test_directions_leave_no_trace(family, at_cost):
    at_cost(0)
    model, tokenizer = prepared(family)
    before, around = state(model, tokenizer), surroundings()
    explainer = Explainer(model, tokenizer)
    explainer.explain(
        "the key is red", max_new_tokens=3, groups="word", method="integrated_gradients", steps=2
    )
    assert_same(before, state(model, tokenizer))
    assert surroundings() == around


def test_threads_take_turns():
    """Forward mode and the choice of kernels belong to the process."""
    around = surroundings()

    def slow(z):
        time.sleep(0.05)
        return z**2

    def work(n):
        return derivative(slow, torch.full((1, 1, 1), float(n)), torch.ones(1, 1, 1)).item()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [0, 2, 4, 6]
    assert surroundings() == around


@pytest.mark.parametrize("cost", [0, math.inf], ids=["directions", "pullbacks"])
def test_what_may_not_move_scores_zero_whatever_its_velocity(cost):
    problem = next(p for p in PROBLEMS if p.x.shape[2] == 4)
    field = problem.field()
    field.movable[0, 1] = False
    field.direction_cost = DirectionCost(cost)
    every = field.at(problem.x, torch.ones_like(problem.x)).gradient
    assert (every[..., 1] == 0).all()
    field.groups = Groups(torch.tensor([[0, 0, 1, 1]]), field.movable)
    found = field.at(problem.x, torch.ones_like(problem.x)).gradient
    torch.testing.assert_close(found[..., 0], every[..., 0])
    torch.testing.assert_close(found[..., 1], every[..., 2] + every[..., 3])


@pytest.mark.parametrize("cost", [0, math.inf], ids=["directions", "pullbacks"])
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_groups_are_those_of_each_sequence_of_a_batch(family, cost, at_cost):
    """One sequence has as many groups as inputs, the other has not."""
    at_cost(cost)
    model = tiny.model(family)
    explainer = Explainer(model, tiny.tokenizer(model.config.is_encoder_decoder))
    options = {
        "groups": "word",
        "method": "integrated_gradients",
        "steps": 3,
        "attribute_to": "all",
        "movable": "all",
    }
    texts, responses = [" the in is red blue key was", " in is abc"], [[300], [301]]
    together = explainer.explain(texts, response_ids=responses, **options)
    for text, response, found in zip(texts, responses, together, strict=True):
        alone = explainer.explain(text, response_ids=response, **options)
        close(found.scores, alone.scores, 1e-5)
        # Sums round as what is summed does, however much of it cancels.
        rounding = 1e-5 * alone.scores.abs().sum(-1)
        assert ((found.scores.sum(-1) - alone.scores.sum(-1)).abs() <= rounding).all()


def test_groups_of_a_function_are_sums():
    problem = next(p for p in PROBLEMS if p.x.shape[2] == 4)
    single, joined = problem.field(), problem.field()
    owner = torch.tensor([[0, 0, 1, 1]])
    joined.groups = Groups(owner, joined.movable)
    made = IntegratedGradients(steps=16)
    expected = made(single, problem.x, problem.baseline).scores
    for cost in (0, math.inf):
        joined.direction_cost = DirectionCost(cost)
        found = made(joined, problem.x, problem.baseline).scores
        summed = torch.stack([expected[..., :2].sum(-1), expected[..., 2:].sum(-1)], -1)
        torch.testing.assert_close(found, summed, rtol=1e-10, atol=1e-10)

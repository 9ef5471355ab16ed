"""Inputs taken away: f is what the model says of the inputs that are left, in each mode."""

import pytest
import torch
from helpers import tiny
from helpers.looking_ahead import looking_ahead

from hf_attrib import Explainer, InputError, UnsupportedModelError
from hf_attrib.engine import Question
from hf_attrib.field import MODES, FunctionField, Groups, Space, Table, ablated_rows
from hf_attrib.model import isolated

PROMPT, RESPONSE = [260, 70, 71, 72, 280, 90, 261], [81, 82, 83]
#: Subsets of seven inputs that stay; the last one is all of them.
KEEP = torch.tensor(
    [[1, 0, 1, 1, 1, 0, 1], [0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1], [1] * 7]
).bool()


def opened(model, **asked):
    """A field of one sequence, as a method sees it."""
    explainer = Explainer(model, tiny.tokenizer(model.config.is_encoder_decoder))
    sequence = tiny.sequence(model, input_ids=PROMPT, response_ids=RESPONSE)
    question, _ = Question.of({"method": "saliency", "movable": "all", **asked})
    engine = explainer._engine
    (ready,) = engine.each(engine.plan(question, [sequence]))
    return ready.field


def said(model, ids, mask=None, positions=None):
    """Log-probabilities of RESPONSE behind ids, by the model's own forward."""
    whole = torch.tensor([ids + RESPONSE[:-1]])
    inputs = {"input_ids": whole, "attention_mask": torch.ones_like(whole)}
    if mask is not None:
        inputs["attention_mask"][0, : len(ids)] = mask
    with torch.no_grad():
        logits = model(**inputs, position_ids=torch.arange(whole.shape[1])[None]).logits[0]
    return logits.log_softmax(-1)[len(ids) - 1 :].gather(1, torch.tensor(RESPONSE)[:, None])[:, 0]


def expected(model, keep, mode, stand_in):
    if mode == "drop":
        return said(model, [i for i, k in zip(PROMPT, keep, strict=True) if k])
    if mode == "token":
        return said(model, [i if k else stand_in for i, k in zip(PROMPT, keep, strict=True)])
    return said(model, PROMPT, keep.long())


@pytest.mark.parametrize("mode", ["attention", "drop", "token"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_f_is_that_of_the_inputs_that_are_left(family, mode):
    model = tiny.model(family, dtype=torch.float64)
    with isolated(model):
        field = opened(model)
        before = field.forward_rows.clone()
        whole = torch.ones(len(KEEP), 1, field.movable.shape[1], dtype=torch.bool)
        whole[:, 0, : len(PROMPT)] = KEEP
        found = field.ablated(whole, mode)[:, 0]
        stand_in = field.space.stand_in
    assert (field.forward_rows - before).tolist() == [len(KEEP)]
    for row, keep in zip(found, KEEP, strict=True):
        torch.testing.assert_close(row, expected(model, keep, mode, stand_in).to(row))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", ["llama", "t5", "bart"])
def test_nothing_taken_away_changes_nothing_and_groups_go_together(family, mode):
    model = tiny.model(family, dtype=torch.float64)
    with isolated(model):
        field, joined = opened(model), opened(model, groups=[(0, 3)], method="input_x_gradient")
        total, every = field.movable.shape[1], joined.groups.moving.shape[1]
        keep = torch.ones(2, 1, total, dtype=torch.bool)
        keep[1, 0, :3] = False
        alone = field.ablated(keep, mode)
        of_groups = torch.ones(2, 1, every, dtype=torch.bool)
        of_groups[1, 0, joined.groups.owner[0, 0]] = False
        together = joined.ablated(of_groups, mode)
        value = field.value(field.space.x[None])[0]
    torch.testing.assert_close(alone[0], value)
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(alone[1], alone[0])


def test_rows_of_any_sequences_lie_between_ends_that_may_be_named():
    ones, zero = torch.ones(2, 1, 3, 1), torch.zeros(2, 1, 3, 1)
    ones[1] = 5
    space = Space((), torch.zeros(3, dtype=torch.int64), lambda sample, seed: zero, ones)
    total = FunctionField(lambda z: z.sum((-1, -2))[:, None], 1, 3, space=space)
    total.sequences, total.movable = 2, torch.ones(2, 3, dtype=torch.bool)
    total.forward_rows = torch.zeros(2, dtype=torch.int64)
    total.groups = Groups.single(total.movable)
    keep = torch.tensor([[True, True, True], [True, False, False], [False, True, True]])
    rows = keep, torch.tensor([1, 1, 0])
    assert ablated_rows(total, *rows).flatten().tolist() == [15, 5, 2]
    assert total.forward_rows.tolist() == [1, 2]
    assert ablated_rows(total, *rows, ends=(ones, -ones)).flatten().tolist() == [15, -5, 1]


def test_embedded_away_is_a_point_of_the_field():
    model = tiny.model("llama", dtype=torch.float64)
    with isolated(model):
        field = opened(model, method="integrated_gradients", baseline="zero")
        keep = torch.ones(1, 1, field.movable.shape[1], dtype=torch.bool)
        keep[0, 0, [1, 4]] = False
        found = field.ablated(keep)
        point = field.space.x.clone()
        point[:, :, [1, 4]] = 0
        torch.testing.assert_close(found, field.value(point[None]))


@pytest.mark.filterwarnings("ignore:.*looks ahead")
@pytest.mark.parametrize("mode", MODES)
def test_models_that_look_ahead_lose_inputs_step_by_step(mode):
    model = looking_ahead()
    with isolated(model):
        field = opened(model)
        keep = torch.ones(2, 1, field.movable.shape[1], dtype=torch.bool)
        keep[1, 0, 2] = False
        found = field.ablated(keep, mode)
        torch.testing.assert_close(found[0], field.value(field.space.x[None])[0])
    assert not torch.allclose(found[1], found[0])


def test_what_may_not_move_stays():
    model = tiny.model("llama")
    with isolated(model):
        field = opened(model, movable=[True, False, True, True, True, True, True])
        keep = torch.ones(2, 1, field.movable.shape[1], dtype=torch.bool)
        keep[1, 0, 1] = False
        for mode in MODES:
            found = field.ablated(keep, mode)
            assert torch.equal(found[0], found[1])


def test_what_cannot_be_taken_away_is_refused():
    model = tiny.model("llama")
    with isolated(model):
        field = opened(model)
        nothing = torch.zeros(1, 1, field.movable.shape[1], dtype=torch.bool)
        for mode in ("drop", "attention"):
            with pytest.raises(InputError, match="leaves nothing to predict from"):
                field.ablated(nothing, mode)
        for keep in (nothing[0], nothing[..., :3], nothing.float(), [[True]]):
            with pytest.raises(InputError, match="expected bool"):
                field.ablated(keep)
        assert field.ablated(nothing[:0]).shape == (0, 1, 3)
        with pytest.raises(InputError, match="mode 'mask' is unknown; expected embed, token"):
            field.ablated(nothing, "mask")


def test_a_function_takes_inputs_to_the_reference_and_nowhere_else():
    x, gone = torch.tensor([[[[2.0], [3.0]]]]), torch.tensor([[[[1.0], [1.0]]]])
    table = Table(lambda ids: torch.zeros(len(ids), 1), 1)
    space = Space((table,), torch.tensor([0, 0]), lambda sample, seed: gone, x)
    product = FunctionField(lambda z: z[:, 0] * z[:, 1], 1, 2, space=space)
    keep = torch.tensor([[True, True], [False, True], [True, False], [False, False]])[:, None]
    assert product.ablated(keep).flatten().tolist() == [6, 3, 2, 1]
    with pytest.raises(InputError, match="no tokens to take away by 'drop'"):
        product.ablated(keep, "drop")
    bare = Space((table,), torch.tensor([0, 0]), lambda sample, seed: gone)
    with pytest.raises(InputError, match="made without its inputs"):
        FunctionField(lambda z: z[:, 0], 1, 2, space=bare).ablated(keep)


def test_a_model_that_ignores_its_mask_is_refused():
    model = tiny.model("llama")
    forward = model.forward

    def heedless(input_ids=None, attention_mask=None, position_ids=None, **kwargs):
        return forward(input_ids=input_ids, **kwargs)

    model.forward = heedless
    with isolated(model):
        field = opened(model)
        keep = torch.ones(1, 1, field.movable.shape[1], dtype=torch.bool)
        keep[0, 0, 2] = False
        with pytest.raises(UnsupportedModelError, match="attention_mask"):
            field.ablated(keep, "attention")


def test_an_encoder_that_has_nothing_to_read_is_refused():
    """Attention would go to the padding of whatever is in the same batch."""
    model = tiny.model("t5")
    with isolated(model):
        field = opened(model)
        keep = torch.zeros(1, 1, field.movable.shape[1], dtype=torch.bool)
        for mode in ("drop", "attention"):
            with pytest.raises(InputError, match="leaves nothing to predict from"):
                field.ablated(keep, mode)


@pytest.mark.parametrize(
    "make", [looking_ahead, lambda: tiny.model("llama"), lambda: tiny.model("t5")]
)
def test_each_place_may_have_a_token_of_its_own(make):
    """One for all places is mode token; others are what they are where inputs are gone alone."""
    model = make()
    with isolated(model):
        field = opened(model)
        keep = torch.ones(2, field.movable.shape[1], dtype=torch.bool)
        keep[1, 1:3] = False
        rows = field, keep, torch.zeros(2, dtype=torch.int64), "token"
        same = torch.full((1, keep.shape[1]), field.space.stand_in)
        expected = ablated_rows(*rows)
        torch.testing.assert_close(ablated_rows(*rows, stand_in=same), expected)
        same[0, 3:] = 90  # which stay as they are
        torch.testing.assert_close(ablated_rows(*rows, stand_in=same), expected)
        same[0, 1] = 90
        found = ablated_rows(*rows, stand_in=same)
        torch.testing.assert_close(found[0], expected[0])
        assert not torch.allclose(found[1], expected[1])

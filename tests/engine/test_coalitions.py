"""The game of an answer: what it says of subsets, and what shapiq makes of it."""

import sys

import numpy as np
import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer, InputError, attach
from hf_attrib.field import MODES

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
ASKED = {"groups": "sentence", "max_new_tokens": 2}


@pytest.fixture(scope="module")
def explainer(keys):
    return Explainer(*keys)


@pytest.fixture(scope="module")
def game(explainer):
    return explainer.game(PROMPT, **ASKED)


def subsets(count):
    return (np.arange(2**count)[:, None] >> np.arange(count)) % 2 == 1


def played(scores):
    """Which groups have scores, of those that do not all move."""
    return scores.abs().sum(0) > 0


def close(found, expected):
    torch.testing.assert_close(
        torch.as_tensor(found).double(), torch.as_tensor(expected).double(), rtol=0, atol=1e-5
    )


def test_players_and_targets_are_told_by_what_they_say(explainer, game):
    found = explainer.explain(PROMPT, method="shapley", **ASKED)
    assert game.players == tuple(np.array(found.pieces)[played(found.scores)])
    assert game.targets == found.response_pieces
    assert game.sequence.response.ids.tolist() == found.response_ids.tolist()
    assert "4 players for 2 targets" in repr(game)


@pytest.mark.parametrize("mode", MODES)
def test_values_are_what_leaving_out_sees(explainer, mode):
    game = explainer.game(PROMPT, mode=mode, **ASKED)
    whole = game(np.ones(len(game.players)))[0]
    lost = whole - game(~np.eye(len(game.players), dtype=bool))
    found = explainer.explain(PROMPT, method="occlusion", mode=mode, **ASKED)
    close(lost.T, found.scores[:, played(found.scores)])
    close(whole, found.value)


def test_nobody_is_what_scores_are_relative_to(explainer, game):
    found = explainer.explain(PROMPT, method="shapley", **ASKED)
    close(game(np.zeros(4))[0], found.reference_value)


def test_a_subset_runs_once_however_often_it_is_asked_for(explainer):
    game = explainer.game(PROMPT, **ASKED)
    every = game(subsets(4))
    assert game.rows == 16
    again = game(subsets(4)[[3, 3, 0]].tolist())
    assert game.rows == 16
    np.testing.assert_array_equal(again, every[[3, 3, 0]])
    assert game(np.zeros((0, 4), dtype=bool)).shape == (0, 2)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_of_any_model_tokens_play_where_no_groups_are_named(family):
    model = tiny.shared(family, dtype=torch.float64)
    explainer = Explainer(model, tiny.tokenizer(model.config.is_encoder_decoder))
    asked = {"prompt": "the key", "response": " is", "target": "logit"}
    game = explainer.game(**asked)
    values = game(subsets(len(game.players)))
    found = explainer.explain(**asked, method="shapley")
    close(values[-1] - values[0], found.scores.sum(1))


def test_spans_and_an_attached_model(keys):
    model = attach(*keys)
    game = model.game(PROMPT, **ASKED, spans="response")
    assert len(game.targets) == 1
    each = model.game(PROMPT, **ASKED)
    close(game(subsets(4))[:, 0], each(subsets(4)).sum(1))


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ([PROMPT, PROMPT], {}, "one prompt at a time"),
        (PROMPT, {"method": "shapley"}, "a game is what methods play"),
        (PROMPT, {"mode": "nope"}, "mode"),
        (PROMPT, {"samples": 8}, "samples came next to"),
        (PROMPT, {"gruops": "word"}, "did you mean 'groups'"),
    ],
)
def test_what_makes_no_game_is_refused(explainer, prompt, options, said):
    with pytest.raises(InputError, match=said):
        explainer.game(prompt, max_new_tokens=2, **options)


@pytest.mark.parametrize(
    "coalitions", [np.ones((2, 3)), np.full((1, 4), 2), np.ones((1, 1, 4)), [[0.5] * 4]]
)
def test_what_are_no_flags_of_players_is_refused(game, coalitions):
    with pytest.raises(InputError, match=r"expected flags \[R, 4\]"):
        game(coalitions)


def test_without_shapiq_the_error_names_it(game, monkeypatch):
    monkeypatch.setitem(sys.modules, "shapiq", None)
    with pytest.raises(ImportError, match="shapiq"):
        game.shapiq()


def of_order(found, order, count):
    """Interactions of shapiq, [n] or symmetric [n, n]."""
    values = np.zeros((count,) * order)
    for members, place in found.interaction_lookup.items():
        if len(members) == order:
            values[members] = values[members[::-1]] = found.values[place]
    return values


@pytest.mark.parametrize("row", [0, 1, -1, None])
def test_shapiq_computes_our_shapley_values(explainer, game, row):
    shapiq = pytest.importorskip("shapiq")
    exact = shapiq.ExactComputer(game.shapiq(row))("SV", order=1)
    scores = explainer.explain(PROMPT, method="shapley", **ASKED).scores
    scores = scores[:, played(scores)]
    close(of_order(exact, 1, 4), scores.sum(0) if row is None else scores[row])


@pytest.mark.parametrize(
    ("index", "method"),
    [("SII", "shapley_interactions"), ("STII", "shapley_taylor")],
)
def test_shapiq_computes_our_interactions(explainer, game, index, method):
    shapiq = pytest.importorskip("shapiq")
    found = explainer.interactions(PROMPT, method=method, **ASKED)
    moving = played(found.attribution)
    matrix = found.matrix[0][moving][:, moving]
    exact = shapiq.ExactComputer(game.shapiq(0))(index, order=2)
    pairs = matrix - matrix.diag().diag()
    close(of_order(exact, 2, 4), pairs)
    close(of_order(exact, 1, 4), matrix.diag())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_approximators_of_shapiq_take_the_game(explainer, game):
    shapiq = pytest.importorskip("shapiq")
    made = shapiq.KernelSHAPIQ(n=4, max_order=2, index="SII", random_state=0)
    found = made.approximate(budget=16, game=game.shapiq(0))
    scores = explainer.interactions(PROMPT, method="shapley_interactions", **ASKED)
    moving = played(scores.attribution)
    matrix = scores.matrix[0][moving][:, moving]
    close(of_order(found, 2, 4), matrix - matrix.diag().diag())


def test_players_have_names_of_their_own_in_shapiq(explainer):
    pytest.importorskip("shapiq")
    game = explainer.game(PROMPT, groups="word", max_new_tokens=1)
    made = game.shapiq(0)
    assert len(set(made.player_name_lookup)) == made.n_players == len(game.players)
    with pytest.raises(InputError, match="row is 1"):
        game.shapiq(1)

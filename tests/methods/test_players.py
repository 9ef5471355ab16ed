"""Methods that play groups of inputs: what they see, and what a result makes of it."""

from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import ClassVar

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer
from hf_attrib.field import Cost, Decomposition
from hf_attrib.methods import Claims, Method, base


@pytest.fixture
def shapley():
    """Exact Shapley values over groups, registered for one test only."""

    @dataclass(frozen=True)
    class Shapley(Method, name="exact_shapley"):
        CLAIMS: ClassVar = Claims(
            cost="2^G + 1 forward rows",
            axioms=frozenset({"completeness"}),
            identity="f(x) - f(x')",
            groups="players",
        )
        mode: str = "embed"

        def cost(self, targets, inputs):
            return Cost(values=2**inputs).exactly()

        def __call__(self, field, x, baseline):
            groups = field.groups.moving.shape[1]
            players = field.groups.moving[0].nonzero()[:, 0].tolist()
            subsets = [s for n in range(len(players) + 1) for s in combinations(players, n)]
            keep = torch.ones(len(subsets), 1, groups, dtype=torch.bool)
            for row, subset in zip(keep, subsets, strict=True):
                row[0, [p for p in players if p not in subset]] = False
            value = dict(zip(subsets, field.ablated(keep, self.mode), strict=True))
            scores = torch.zeros(field.sequences, field.targets, groups).to(value[()])
            for player in players:
                for subset in subsets:
                    if player not in subset:
                        n, s = len(players), len(subset)
                        weight = factorial(s) * factorial(n - s - 1) / factorial(n)
                        whole = tuple(sorted((*subset, player)))
                        scores[..., player] += weight * (value[whole] - value[subset])
            return Decomposition(scores, value[()])

    yield Shapley
    base._METHODS._classes.pop("exact_shapley")


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("mode", ["embed", "token"])
def test_groups_are_players_and_their_scores_add_up(shapley, family, mode):
    model = tiny.shared(family, dtype=torch.float64)
    explainer = Explainer(model, tiny.tokenizer(model.config.is_encoder_decoder))
    found = explainer.explain(
        "the key is red", groups="word", method=shapley(mode=mode), max_new_tokens=2
    )
    words = found.group("word")
    assert found.pieces == words.pieces  # there is nothing left to join
    moving = sum(role == "prompt" for role in found.roles)
    assert found.backward_rows == 0
    assert bool((found.scores.abs().sum(0) > 0).sum() == moving)
    torch.testing.assert_close(
        found.scores.sum(-1).double(), (found.value - found.reference_value).double()
    )
    estimate = explainer.estimate(
        "the key is red", groups="word", method=shapley(mode=mode), max_new_tokens=2
    )
    assert estimate.forward_rows[1] >= 2**moving


def test_tokens_are_players_where_no_groups_are_named(shapley):
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    found = explainer.explain(input_ids=[260, 70, 280, 90], response_ids=[81], method=shapley())
    assert found.scores.shape == (1, 4)
    assert bool(found.converged.all())

"""Interactions in models: known causes, sums, independent derivatives, what is refused and when."""

import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.methods import interactions, row_sums

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
PARTS = {"Ada": "Ada's key is red.", "name": (7, 10), "color": " blue", "asked": "What color"}


@pytest.fixture(scope="module")
def keys():
    return hf_attrib.embedded.load("keys-llama")


@pytest.fixture(scope="module")
def explainer(keys):
    return Explainer(*keys)


def test_a_name_and_its_color_make_the_answer_together(explainer):
    found = explainer.interactions(PROMPT, groups=PARTS)
    blue = found.response_pieces.index(" blue")
    strongest = found.strongest(1, blue)[0]
    assert strongest.score > 0.5
    assert {strongest.first_piece, strongest.second_piece} == {"name", "color"}
    assert float(found.gap.max()) < 1e-9
    assert float(found.disagreement.max()) < 1e-9
    assert found.converged.all()
    assert found.run.forward_rows == 2 ** int(found.attribution.abs().sum(0).count_nonzero())
    shapley = explainer.explain(PROMPT, method="shapley", groups=PARTS).scores.double()
    torch.testing.assert_close(row_sums(found.matrix), shapley, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["token", "attention", "drop"])
def test_pairs_go_in_all_modes(explainer, mode):
    found = explainer.interactions(PROMPT, groups=PARTS, mode=mode)
    assert float(found.gap.max()) < 1e-9
    assert found.run.identity == "f(x) - f(nothing)"


def test_drawn_orders_pair_many_words_with_exact_sums(explainer):
    found = explainer.interactions(PROMPT, groups="word", samples=4)
    assert float(found.gap.max()) < 1e-9
    assert found.standard_error.shape == found.matrix.shape
    assert found.run.forward_rows <= 4 * 20 * 21 / 2 + 2


@pytest.mark.parametrize("family", ["llama", "bart"])
@pytest.mark.parametrize("method", sorted(interactions()))
def test_single_and_batched_are_the_same_and_sums_are_right(family, method):
    explainer = Explainer(tiny.model(family), tiny.tokenizer())
    prompts = ["the key is red", "Ada was born in 19", "the"]
    options = {"method": method, "groups": "word", "max_new_tokens": 2}
    many = explainer.interactions(prompts, **options)
    for prompt, found in zip(prompts, many, strict=True):
        alone = explainer.interactions(prompt, **options)
        torch.testing.assert_close(found.matrix, alone.matrix, rtol=0, atol=1e-3)
        assert found.labels == alone.labels
        if found.run.identity is None:
            assert found.gap.isnan().all()
            change = found.end_value - found.start_value
            torch.testing.assert_close(found.main.sum(-1), change, rtol=0, atol=1e-5)
        else:
            assert float(found.gap.max()) < (1e-5 if "shapley" in method else 0.05)
            attributed = "shapley" if "shapley" in method else "integrated_gradients"
            other = explainer.explain(prompt, **options | {"method": attributed}).scores.double()
            size = float(other.abs().sum())
            assert float((row_sums(found.matrix) - other).abs().max()) < 0.03 * size


def hessians(model, ids, response, groups, nodes):
    """Integrated Hessians by second derivatives of torch, one target at a time, in few nodes."""
    table = model.get_input_embeddings().weight.detach()
    every = torch.cat([ids, response])
    x = table[every]
    start = x.clone()
    start[1 : len(ids)] = table.mean(0)  # the first token is special
    way = x - start
    weight = torch.zeros(len(groups), len(x))
    for row, (a, b) in enumerate(groups):
        weight[row, a:b] = 1

    def f(stretch, target):
        far = (stretch @ weight + (1 - weight.sum(0)))[:, None]
        out = model(inputs_embeds=(start + far * way)[None]).logits[0].log_softmax(-1)
        return out[len(ids) - 1 + target, response[target]]

    found = torch.zeros(len(response), len(groups), len(groups), dtype=torch.float64)
    for t, w in zip(nodes.nodes.tolist(), nodes.weights.tolist(), strict=True):
        at = torch.full((len(groups),), t, requires_grad=True)
        for target in range(len(response)):
            slope = torch.autograd.grad(f(at, target), at, create_graph=True)[0]
            rows = [torch.autograd.grad(one, at, retain_graph=True)[0] for one in slope]
            second = t * torch.stack(rows).double()
            both = second + second.T
            both.diagonal().copy_(second.diagonal() + slope.detach().double())
            found[target] += w * both
    return found


def test_differences_of_gradients_are_the_second_derivatives_of_torch(keys, explainer):
    from hf_attrib.integration import gauss_log

    groups = {"Ada": (1, 6), "Bob": (6, 13), "asked": (13, 24)}
    asked = {"method": "integrated_hessians", "groups": groups, "steps": 24}
    found = explainer.interactions(PROMPT, **asked, response=" Bob's key")
    model = keys[0]
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # fused attention has no second derivative
    try:
        own = list(groups.values())
        ids, response = found.inputs.ids, found.response.ids
        expected = hessians(model, ids, response, own, gauss_log(24))
    finally:
        model.set_attn_implementation(before)
    own = torch.tensor([1, 2, 3])
    off = (found.matrix[:, own][:, :, own] - expected).abs().amax((1, 2))
    assert (off < 1e-2 * expected.abs().amax((1, 2))).all()


def test_one_token_against_all_is_its_row_for_less(explainer):
    asked = {"method": "integrated_hessians", "groups": PARTS, "response": " Bob's key is blue"}
    whole = explainer.interactions(PROMPT, **asked)
    number = whole.labels.index("color")
    for which in ("color", number):
        one = explainer.interactions(PROMPT, **asked, token=which)
        assert one.token == number
        off = (one.matrix[:, number] - whole.matrix[:, number]).abs().max()
        assert float(off) < 1e-3 * float(whole.matrix.abs().max())
        assert one.run.backward_rows < whole.run.backward_rows / 2
    assert all("color" in (pair.first_piece, pair.second_piece) for pair in one.strongest(99))
    assert {row["first"] for row in one.to_rows()} | {row["second"] for row in one.to_rows()} == {
        *range(len(one.labels))
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": "word"}, r"20 groups have 1,048,576, each a row; .*samples=8"),
        ({"groups": "token", "method": "shapley_interactions"}, r"have 8,388,608, each a row"),
        ({"token": 3}, "shapley_taylor finds all pairs .* or take integrated_hessians"),
        ({"method": "integrated_hessians", "token": 99}, "token is 99, which is none of the 24"),
        ({"method": "integrated_hessians", "token": "key"}, "occurs 3 times"),
        ({"method": "integrated_hessians", "token": 0}, "may not move"),
        ({"method": "loo_shapley"}, "method of interactions 'loo_shapley' is unknown"),
        ({"method": "integrated_hessians", "samples": 4}, "has no field samples"),
        ({"baseline": "vocabulary"}, "is a distribution"),
        ({"group": "word"}, "did you mean 'groups'"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_anything_runs(
    explainer, monkeypatch, options, message
):
    monkeypatch.setattr(explainer.model, "generate", None)
    with pytest.raises(InputError, match=message):
        explainer.interactions(PROMPT, **options)


def test_the_same_tokens_are_grouped_and_models_are_attached(keys):
    model = hf_attrib.attach(*keys)
    found = model.interactions(PROMPT, spans="response", contrast=" red")
    assert len(found) == 1
    assert found.matrix.shape == (1, len(found.labels), len(found.labels))
    assert any("tokens are scored as" in note for note in found.run.notes)
    assert "interactions" in dir(type(model))
    both = model.interactions([PROMPT, PROMPT], groups=PARTS)
    assert [len(one.labels) for one in both] == [len(both[0].labels)] * 2


def test_what_misses_its_sum_is_said(explainer):
    asked = {"method": "integrated_hessians", "groups": PARTS, "steps": 2}
    with pytest.warns(hf_attrib.AttributionWarning, match=r"main effects and pairs miss f\(x\)"):
        explainer.interactions(PROMPT, **asked)


def test_kinks_are_missed_and_the_gap_says_so():
    """T5 of the old kind has ReLU, between whose kinks it is bent by attention and norms alone."""
    explainer = Explainer(tiny.model("t5"), tiny.tokenizer())
    asked = {"method": "integrated_hessians", "groups": "word", "max_new_tokens": 1}
    with pytest.warns(hf_attrib.AttributionWarning, match="main effects and pairs miss"):
        found = explainer.interactions("the key is red", **asked, max_nodes=32)
    assert not found.converged.any()

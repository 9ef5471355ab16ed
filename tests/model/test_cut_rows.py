"""Rows from which inputs are cut out: what they compute depends on no other row.

Cut rows have lengths of their own, and so a model that cares how long a pass is, or how it is
padded, is the one to ask.
"""

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

#: From which length on a longrope model computes something else.
LIMIT = 16
ANSWER = tiny.ids(3, seed=1)


def long_rope(**options):
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [8.0] * 4,
        "original_max_position_embeddings": LIMIT,
        "factor": 16.0,
    }
    return tiny.model("llama", rope_parameters=rope, **options)


def log_prob(model, prompt, answer):
    """Of each token of an answer, from a pass over its own prefix."""
    found = []
    for t, token in enumerate(answer):
        ids = torch.tensor([[*prompt, *answer[:t]]])
        with torch.no_grad():
            found.append(model(ids, use_cache=False).logits[0, -1].log_softmax(-1)[token])
    return torch.stack(found)


@pytest.mark.parametrize("method", ["loo_shapley", "occlusion(mode=drop)"])
def test_rows_of_other_lengths_change_nothing(method):
    """One prompt is a token past the limit, the other far beyond."""
    model = long_rope()
    prompts = [tiny.ids(LIMIT + 1), tiny.ids(30, seed=2)]
    answers = [ANSWER[:1], ANSWER[1:2]]
    tokenizer = tiny.tokenizer()
    texts = [tokenizer.decode(ids) for ids in prompts]
    options = {"method": method, "movable": "all"}
    together = Explainer(model, tokenizer).explain(texts, response_ids=answers, **options)
    for text, answer, found in zip(texts, answers, together, strict=True):
        single = Explainer(model, tokenizer).explain(text, response_ids=answer, **options)
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 3, 30])
@pytest.mark.parametrize("method", ["loo_shapley", "shapley(samples=4, mode=drop)"])
def test_rows_at_once_change_nothing(size, method):
    groups = [(1, 2), (2, 7), (7, 9)]
    movable = [False] + [True] * (size - 1)
    asked = {"input_ids": tiny.ids(size), "response_ids": ANSWER, "groups": groups}
    asked["movable"] = movable
    model = long_rope()
    one, many = (
        Explainer(model, batch_size=rows).explain(**asked, method=method) for rows in (1, 64)
    )
    torch.testing.assert_close(one.scores, many.scores, rtol=1e-4, atol=1e-5)


def test_a_cut_row_is_explained_by_passes_over_its_own_prefixes():
    """Just beyond the limit cut rows would cross it, and the default cuts none of them."""
    model, prompt = long_rope(), tiny.ids(LIMIT + 1)
    asked = {"input_ids": prompt, "response_ids": ANSWER, "method": "loo_shapley"}
    just, far = (
        Explainer(model).explain(**{**asked, "input_ids": ids}).run.forward_rows
        for ids in (prompt, tiny.ids(LIMIT + 2))
    )
    assert far - just > LIMIT - 2
    found = Explainer(model).explain(
        **{**asked, "input_ids": tiny.ids(LIMIT + 4), "method": "occlusion(mode=drop)"}
    )
    prompt = tiny.ids(LIMIT + 4)
    own = log_prob(model, prompt, ANSWER)
    lost = [own - log_prob(model, prompt[:i] + prompt[i + 1 :], ANSWER) for i in (1, 5, 12)]
    torch.testing.assert_close(
        found.scores[:, [1, 5, 12]].T, torch.stack(lost), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 2])
def test_a_cut_row_whose_targets_lie_on_both_sides_of_a_limit(size):
    """It is shorter than the prompt, which may lie on one side with all of its targets."""
    model, prompt = long_rope(), tiny.ids(size)
    model.generation_config.use_cache = False  # or generate computes something else
    asked = {"input_ids": prompt, "response_ids": ANSWER, "movable": "all"}
    batched, single = (
        Explainer(model, batch_size=rows).explain(**asked, method="occlusion(mode=drop)")
        for rows in (64, 1)
    )
    own = log_prob(model, prompt, ANSWER)
    lost = [own - log_prob(model, prompt[:i] + prompt[i + 1 :], ANSWER) for i in range(size)]
    for found in (batched, single):
        torch.testing.assert_close(found.scores.T, torch.stack(lost), rtol=1e-4, atol=1e-5)


def test_what_a_row_leaves_behind_is_gone_before_the_next():
    """A model that switches for good in a short pass, as BigBird's attention does."""
    model = tiny.model("llama")
    model.switched = False

    def before(module, args, kwargs):
        embeds, ids = kwargs.get("inputs_embeds"), kwargs.get("input_ids")
        size = (embeds if ids is None else ids).shape[1]
        module.switched = module.switched or size < LIMIT
        module.model.norm.variance_epsilon = 0.5 if module.switched else 1e-6

    model.register_forward_pre_hook(before, with_kwargs=True)
    groups = [(1, 2), (2, 9), (9, 20)]
    asked = {"input_ids": tiny.ids(20), "response_ids": ANSWER, "groups": groups}
    one, many = (
        Explainer(model, batch_size=rows).explain(**asked, method="occlusion(mode=drop)")
        for rows in (1, 64)
    )
    torch.testing.assert_close(one.scores, many.scores, rtol=1e-4, atol=1e-5)
    assert not model.switched

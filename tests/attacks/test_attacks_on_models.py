"""Every attack on models: batches, special tokens, half precision, layers."""

import pytest
import torch
from helpers import families, tiny
from helpers.attack_problems import MOMENTUM, RULES
from helpers.problems import PROBLEMS

from hf_attrib.attacks import AdvGAN, Attack, MomentumRule, Objective, attack, attacks
from hf_attrib.errors import InputError, UnsupportedModelError
from hf_attrib.explainer import Explainer
from hf_attrib.field import FunctionField
from hf_attrib.methods import Fundamental
from hf_attrib.model.sites import middle_of


def together(x):
    """One that looks at all embeddings it is given."""
    return x.mean(0) - 2 * x


QUICK: dict[str, Attack] = {
    name: attack(name, {"eps": 0.25, "steps": 1 if name == "fgsm" else 2})
    for name in [*RULES, "naa"]
} | {
    "pgd": attack("pgd", {"steps": 2, "restarts": 2}),  # whose radius takes rows, too
    "ssa": attack("ssa", {"eps": 0.25, "steps": 2, "copies": 3}),
    "sia": attack("sia", {"eps": 0.25, "steps": 2, "copies": 5}),
    "gra": attack("gra", {"eps": 0.25, "steps": 2, "copies": 3}),
    "mig": attack("mig", {"eps": 0.25, "steps": 2, "points": 3}),
    "naa": attack("naa", {"eps": 0.25, "steps": 2, "points": 3}),
    "cw": attack("cw", {"steps": 3, "kappa": 5.0}),  # the responses have no lead to lose
    "advgan": AdvGAN(together, eps=0.25),
}


def test_every_attack_is_tried_on_models():
    assert set(QUICK) == set(attacks())
    assert all(isinstance(made, Attack) for made in QUICK.values())
    assert {n for n, kind in attacks().items() if issubclass(kind, MomentumRule)} == {
        *MOMENTUM,
        "gra",
        "naa",
    }


@pytest.fixture(scope="module")
def models():
    made = {}

    def get(family, dtype=torch.float32):
        if (family, dtype) not in made:
            tokenizer = tiny.tokenizer(family == "t5")
            made[family, dtype] = Explainer(tiny.model(family, dtype=dtype), tokenizer)
        return made[family, dtype]

    return get


PROMPTS, RESPONSES = ["the key is red", "Ada"], [" blue", " in the key"]


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize(
    ("family", "objective"), [("llama", "per_token"), ("t5", "shared")], ids=lambda p: p
)
@pytest.mark.parametrize("name", list(QUICK))
def test_batches_and_counts_on_models(models, family, objective, name):
    """Batched equals single, special tokens stand still, and costs are what was announced."""
    explainer = models(family)
    made = Fundamental(QUICK[name], rule="simpson", objective=objective)
    together = explainer.explain(PROMPTS, response=RESPONSES, method=made)
    for prompt, response, found in zip(PROMPTS, RESPONSES, together, strict=True):
        alone = explainer.explain(prompt, response=response, method=made)
        size = 2e-5 * float(alone.scores.abs().max())
        assert size > 0
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-3, atol=size)
        fixed = [role in ("special", "template") for role in found.roles]
        assert any(fixed)
        assert not found.scores[:, fixed].any()
    expected = explainer.estimate(prompt, response=response, method=made)
    assert expected.forward_rows == (alone.forward_rows,) * 2
    assert expected.backward_rows == (alone.backward_rows,) * 2


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("name", list(QUICK))
def test_special_tokens_do_not_move(models, family, name, monkeypatch):
    walks = []
    walking = type(QUICK[name]).walk
    monkeypatch.setattr(
        type(QUICK[name]), "walk", lambda *given: walks.append(walking(*given)) or walks[-1]
    )
    made = Fundamental(QUICK[name], rule="left")
    found = models(family).explain(PROMPTS[0], response=RESPONSES[0], method=made)
    fixed = torch.tensor([role in ("special", "template") for role in found.roles])
    moved = (walks[0].points != walks[0].points[:1]).flatten(0, 2).any(-1).any(0)[: len(fixed)]
    assert fixed.any()
    assert torch.equal(moved, ~fixed)
    assert found.run.baseline == ("mean embedding" if QUICK[name].uses_reference else None)


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("name", list(QUICK))
def test_half_precision_is_finite_and_adds_up_or_says_so(models, name):
    explainer = models("llama", torch.bfloat16)
    found = explainer.explain(PROMPTS[0], response=RESPONSES[0], method=Fundamental(QUICK[name]))
    assert torch.isfinite(found.scores).all()
    change = found.value - found.reference_value
    gap = (found.scores.sum(-1) - change).abs() / change.abs().clamp_min(1e-3)
    assert ((gap <= 0.02) | ~found.converged).all()


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_an_objective_of_spans_can_be_aimed(models):
    """Sums of tokens, too: all tokens of the response are to flip."""
    options = {"response": RESPONSES[1], "spans": "response", "rule": "left"}
    for update in ("cw", "bim"):
        method = {"method": "fundamental", "update": update, "objective": "runner_up"}
        found = models("llama").explain(PROMPTS[1], **options, **method)
        assert found.scores.shape[0] == 1


def test_naa_finds_the_layer_in_the_middle(models):
    model = models("llama").model
    seen, inputs = [], torch.tensor([tiny.ids(4)])
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    with torch.enable_grad(), middle_of(model, 1, seen):
        model(input_ids=inputs)
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    with torch.no_grad():
        expected = model(input_ids=inputs, output_hidden_states=True).hidden_states
    torch.testing.assert_close(seen[0].detach(), expected[1])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (torch.nn.Linear(2, 2), "Linear has no list of layers"),
        (torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Identity()])), "Sequential has no list"),
    ],
)
def test_a_model_without_a_middle_is_refused(made, message):
    with pytest.raises(UnsupportedModelError, match=message), middle_of(made.eval(), 1, []):
        pass


@pytest.mark.parametrize("name", ["causal/gemma3", "causal/openai-gpt"])
def test_naa_finds_the_layers_of_text(name):
    """Of models that see, too; and of those whose layers return lists."""
    explainer = Explainer(families.build(name), families.tokenizer())
    question = {"input_ids": families.ids(7, 3), "response_ids": families.ids(3, 4)}
    found = explainer.explain(**question, method="naa")
    assert found.scores.any()
    assert found.converged.all()


def test_naa_refuses_states_that_are_not_by_row():
    explainer = Explainer(families.build("seq2seq/fsmt"), families.tokenizer())
    question = {"input_ids": families.ids(7, 3), "response_ids": families.ids(3, 4)}
    with pytest.raises(UnsupportedModelError, match="no list of layers that return states"):
        explainer.explain(**question, method="naa")


def test_naa_refuses_functions_without_a_layer():
    field = FunctionField(PROBLEMS[0].function, targets=2, positions=4, space=PROBLEMS[0].space())
    with pytest.raises(InputError, match="a plain function has no hidden layer"):
        attack("naa", {"eps": 0.5}).walk(Objective.shared(field), PROBLEMS[0].x)

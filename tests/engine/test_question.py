"""What is asked is settled before anything runs: refusals come before work."""

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from helpers import tiny
from transformers import GenerationConfig, GenerationMixin

from hf_attrib import Explainer, InputError, attach
from hf_attrib.attacks import attacks
from hf_attrib.engine import DEFAULTS, ExplainOptions, Question, RobustnessOptions
from hf_attrib.engine.options import GenerateOptions, MethodOptions, field_names
from hf_attrib.hyperparameters import former_names
from hf_attrib.methods import methods

PROMPT = "the key is red"


@pytest.fixture
def counted():
    """An explainer of a tiny model, and how often the model was run."""
    model, passes = tiny.model("llama"), []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    return Explainer(model, tiny.tokenizer()), passes


WRONG = {
    "baseline": "nothing",
    "baseline of no such token": {"baseline": 10**6},
    "baseline of another width": {"baseline": torch.zeros(7)},
    "baseline of another length": {"baseline": torch.zeros(3, 32)},
    "baseline that is a distribution": {"baseline": "noise"},
    "baseline text of two tokens": {"baseline": "token:the key is"},
    "contrast without text": {"contrast": ""},
    "contrast of a target that has none": {"contrast": "red", "target": "entropy"},
    "contrast of several parts": {"contrast": "red", "spans": "word"},
    "contrast beyond the vocabulary": {"contrast": 10**6},
    "groups": {"groups": "paragraphs"},
    "groups that are not there": {"groups": {"fact": "blue"}},
    "flags": {"movable": [True]},
    "groups of a rule that is none, of all that is read": {"groups": "no", "attribute_to": "all"},
    "spans": {"spans": "paragraphs"},
    "contrasts beyond the vocabulary": {"contrast": [10**6, 1, 2]},
    "target": {"target": "likelihood"},
    "method": {"method": "integrated"},
    "a hyperparameter out of range": {"method": "integrated_gradients", "steps": 0},
    "a misspelt argument": {"metod": "idgi"},
}


@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
def test_a_field_of_a_path_asks_for_one_where_no_method_is_named(keys):
    explainer = Explainer(*keys)
    named = explainer.explain("Ada's key", response=" is", method="integrated_gradients", steps=4)
    found = explainer.explain("Ada's key", response=" is", steps=4)
    assert found.run.method == "integrated_gradients"
    assert torch.equal(found.scores, named.scores)
    assert explainer.explain("Ada's key", response=" is").run.method == DEFAULTS["method"]
    with pytest.raises(InputError, match="eps was given and no method, and loo_shapley"):
        explainer.explain("Ada's key", response=" is", steps=4, eps=0.1)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("call", ["explain", "estimate"])
@pytest.mark.parametrize("many", [False, True], ids=["one", "list"])
def test_what_cannot_be_asked_is_refused_before_the_first_pass(counted, name, call, many):
    explainer, passes = counted
    wrong = WRONG[name] if isinstance(WRONG[name], dict) else {name: WRONG[name]}
    with pytest.raises(InputError):
        getattr(explainer, call)([PROMPT, PROMPT] if many else PROMPT, max_new_tokens=3, **wrong)
    assert not passes


def test_the_last_prompt_of_a_list_is_checked_before_the_first_answer(counted):
    explainer, passes = counted
    with pytest.raises(InputError, match="occurs 0 times"):
        explainer.explain(["the key is red", "the key is blue"], groups={"color": "red"})
    with pytest.raises(InputError, match="prompt is empty"):
        explainer.explain(["the key is red", ""])
    assert not passes


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("metod", "method"), ("baselin", "baseline"), ("stepss", "steps"), ("grups", "groups")],
)
def test_a_misspelt_argument_is_told_the_nearest(counted, wrong, near):
    with pytest.raises(InputError, match=f"no argument '{wrong}'; did you mean '{near}'"):
        counted[0].explain(PROMPT, **{wrong: "idgi"})
    with pytest.raises(InputError, match="robustness has no argument 'atack'; did you mean 'att"):
        counted[0].robustness(PROMPT, atack="bim")


def test_names_that_only_the_model_knows_reach_generate(counted):
    counted[0].explain(PROMPT, max_new_tokens=1, do_sample=False, method="saliency")
    with pytest.raises(InputError, match="attention_mask"):
        counted[0].explain(PROMPT, attention_mask=torch.ones(1, 4))


MISSPELT = """
import hf_attrib
from transformers import AutoModelForCausalLM

model = hf_attrib.attach(AutoModelForCausalLM.from_pretrained("x"))
explainer = hf_attrib.Explainer(model)
fine = explainer.explain("x", method="idgi", steps=3, max_new_tokens=2).scores
also = model.explain("x", groups="word").scores
explainer.explain("x", metod="idgi")
model.explain("x", baselin="zero")
model.robustness("x", atack="bim")
explainer.estimate("x", stepss=3)
"""


@pytest.mark.slow
def test_type_checkers_see_a_misspelt_argument(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "calls.py").write_text(MISSPELT)
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent"]
    command += ["--cache-dir", str(tmp_path / "cache"), str(tmp_path / "calls.py")]
    found = subprocess.run(command, capture_output=True, text=True).stdout
    wrong = {int(line.split(":")[1]) for line in found.splitlines() if ": error:" in line}
    assert wrong == {9, 10, 11, 12}, "\n".join(line[:200] for line in found.splitlines())
    assert 'did you mean "method"' in found


def test_editors_see_every_argument():
    model = attach(tiny.model("llama"), tiny.tokenizer())
    own = set(ExplainOptions.__annotations__) - set(MethodOptions.__annotations__)
    own -= set(GenerateOptions.__annotations__)
    for call in (Explainer.explain, model.explain, model.estimate):
        shown = inspect.signature(call).parameters
        assert own <= set(shown)
        assert {n: shown[n].default for n in DEFAULTS} == dict(DEFAULTS)
        assert all(f"\n    {name}: " in call.__doc__ for name in own)
    assert {"attack", "eps", "bisections"} <= set(inspect.signature(model.robustness).parameters)
    assert "\n    attack: " in model.robustness.__doc__


def test_the_lists_of_arguments_are_whole():
    """What a method, an attack, a question or generate takes is there for editors to see."""
    kinds = [*methods().values(), *attacks().values()]
    former = {old for kind in kinds for old in former_names(kind)}
    assert set(MethodOptions.__annotations__) == field_names() - former
    asked = {f.name for f in fields(Question)}
    assert asked <= set(ExplainOptions.__annotations__)
    taken = inspect.signature(GenerationMixin.generate).parameters
    assert set(GenerateOptions.__annotations__) <= {*vars(GenerationConfig()), *taken}
    assert {"max_new_tokens", "do_sample", "temperature"} <= set(GenerateOptions.__annotations__)
    assert set(RobustnessOptions.__annotations__) >= {"attack", "eps", "bisections", "baseline"}

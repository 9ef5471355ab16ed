"""Every family of transformers keeps the laws, or is refused with the reason.

The families that differ most are checked by default, all of them with ``-m slow``. The laws
are functions of a model that is built once; a failure names the law by the function it is in.
"""

import dataclasses
import importlib.util
import math
import re
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
import torch
import transformers
from helpers import families, tiny
from helpers.chat_templates import TEMPLATES
from helpers.residue import assert_same, state

from hf_attrib import Explainer, UnsupportedModelError
from hf_attrib.model import EmbeddingField, StepwiseField, collate, isolated, sites_of
from hf_attrib.model.forward import Prefix
from hf_attrib.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "support.md").read_text(encoding="utf-8").splitlines()
#: Other versions of transformers know other families.
of_this_version = pytest.mark.skipif(
    f" transformers {transformers.__version__}," not in " ".join(PAGE),
    reason="docs/support.md was written with another version of transformers",
)

BY_DEFAULT = (
    "causal/gemma3_text",
    "causal/gpt2",
    "causal/mamba",
    "causal/mixtral",
    "causal/qwen3_5_text",
    "causal/xlm",
    "pair/bert:gpt2",
    "seq2seq/bart",
    "seq2seq/t5",
)

CHATS_BY_DEFAULT = ("Gemma", "Qwen 3")

#: What cannot be explained, and the reason that users read.
REFUSED = {
    "causal/cpmant": r"the embeddings of CpmAntForCausalLM are \(1, 10, 32\) where \(1, 6\)",
    "causal/hrm_text": "is not its derivative",
    "causal/reformer": "the forward pass of .* fails on token ids",
    "causal/xlm": "looks ahead .* generate\\(\\) feeds it something else",
    "causal/xlnet": r"the embeddings of XLNetLMHeadModel are \(6, 1, 32\) where \(1, 6\)",
    "seq2seq/voxtral_realtime": "the forward pass of .* fails on token ids",
}

#: Later tokens change earlier logits, so every generated token takes a pass of its own.
STEPWISE = ("causal/prophetnet", "seq2seq/prophetnet")

#: They compute in float32 whatever the model's dtype, so their rounding cannot be taken away.
NEVER_DOUBLE = ("causal/inkling2_text",)

PROMPTS = families.ids(11, seed=1), families.ids(5, seed=2)
RESPONSES = families.ids(3, seed=3), families.ids(2, seed=4)
WHOLE = {
    "input_ids": PROMPTS[0],
    "response_ids": RESPONSES[0],
    "attribute_to": "all",
    "movable": "all",
}


def injection_is_exact(model, kind):
    """Injecting a model's own embeddings changes no bit, and other embeddings do."""
    with isolated(model):
        sequence = tiny.sequence(model, input_ids=PROMPTS[0], response_ids=RESPONSES[0])
        moves = torch.ones(len(sequence.inputs), dtype=torch.bool)
        batch = collate([sequence], [moves], None, 0)
        field = kind(model, sites_of(model), batch, TARGETS["log_prob"])
        seen = field.observe()
        assert torch.equal(field.value(seen.x[None])[0], seen.value)
        assert not torch.allclose(field.value(seen.x[None].flip(-1))[0], seen.value)


def explained_is_generated(explainer, cached):
    """The probabilities of a result are those that ``generate`` gave."""
    model = explainer.model
    written = model.generate(
        torch.tensor([PROMPTS[0]]),
        attention_mask=torch.ones(1, len(PROMPTS[0]), dtype=torch.long),
        max_new_tokens=3,
        do_sample=False,
        use_cache=cached,
        output_logits=True,
        return_dict_in_generate=True,
    )
    logits = torch.cat(written.logits)
    response = written.sequences[0, -len(logits) :]
    # An untrained encoder-decoder may write what it starts from, which is told apart by the whole.
    given = written.sequences if model.config.is_encoder_decoder else response
    found = explainer.explain(
        input_ids=PROMPTS[0], response_ids=given, method="integrated_gradients", steps=1
    )
    kept, config = len(found.response), model.generation_config
    assert {*response[kept:].tolist()} <= {config.pad_token_id, config.eos_token_id}  # padding
    expected = logits.softmax(-1)[range(len(response)), response][:kept]
    torch.testing.assert_close(found.probability, expected, rtol=1e-4, atol=1e-7)


def order_of_work_changes_nothing(explainer, tolerance):
    """Scores depend on no number of rows at once, no batch, no way to a gradient and no cache.

    Other row counts sum in another order. Where a family makes more of that than 1e-6 in float32
    (up to 2e-6 was seen), it must vanish in float64.
    """
    if disagreement(explainer) <= tolerance:
        return
    model = explainer.model
    with suppress(ValueError):  # some families know one implementation of experts only
        model.set_experts_implementation("batched_mm")  # the default one is for float32
    model.double()
    error = disagreement(explainer)
    model.float()
    assert error <= tolerance, f"off by {error:.1e} in float64"


def disagreement(explainer):
    """The largest relative difference between scores that should be the same."""
    found = other_ways(explainer)
    pairs = [(found[0], other) for other in found[1:]]
    texts = [" ".join(f"w{i}" for i in prompt) for prompt in PROMPTS]
    options = {
        "attribute_to": "all",
        "movable": "all",
        "method": "integrated_gradients",
        "steps": 3,
    }
    together = explainer.explain(texts, response_ids=list(RESPONSES), **options)
    for text, response, a in zip(texts, RESPONSES, together, strict=True):
        b = explainer.explain(text, response_ids=response, **options)
        pairs += [(a.scores, b.scores), (a.value, b.value), (a.reference_value, b.reference_value)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def other_ways(explainer):
    """Scores with a prefix that is run once, where a model allows it, by pullbacks, all at once;
    by directions of the inputs, where a model has them; and row by row, each of them whole."""
    model = explainer.model
    movable = [False] * 7 + [True] * (6 + model.config.is_encoder_decoder)
    row_by_row = Explainer(model, batch_size=1)
    options = WHOLE | {"movable": movable, "method": "integrated_gradients", "steps": 3}
    found = []
    for one, cost, prefix in (
        (explainer, math.inf, Prefix.of),
        (explainer, 0.0, Prefix.of),
        (row_by_row, math.inf, lambda *_: None),
    ):
        with (
            mock.patch("hf_attrib.model.embedding_field._DIRECTION", cost),
            mock.patch.object(Prefix, "of", prefix),
        ):
            found.append(one.explain(**options).scores)
    return found


def the_future_scores_zero(explainer):
    """A token that was generated later scores exactly 0, and one generated earlier does not."""
    scores = explainer.explain(**WHOLE, method="integrated_gradients", steps=2).scores
    generated = scores[:, -(len(RESPONSES[0]) - 1) :]
    for target in range(len(scores)):
        assert (generated[target, target:] == 0).all()
        assert (generated[target, :target] != 0).all()


def scores_add_up(explainer, routed):
    """Scores sum to the difference of f at enough nodes; experts make it jump, says a note."""
    for steps in (64, 256, 1024):
        found = explainer.explain(**WHOLE, method="integrated_gradients", steps=steps)
        assert torch.isfinite(found.scores).all()
        difference = found.value - found.reference_value
        error = float((found.scores.sum(-1) - difference).abs().max() / difference.abs().max())
        if error <= 0.01 or routed:
            break
    assert any("routes tokens to experts" in note for note in found.notes) == routed
    assert routed or error <= 0.01, f"the sum is off by {error:.1e} at {steps} nodes"


def the_default_adds_up(explainer):
    """Sums of the default are exact, its rows those of the estimate, and the future scores 0."""
    found = explainer.explain(**WHOLE)
    difference = found.value - found.reference_value
    torch.testing.assert_close(found.scores.sum(-1), difference, rtol=1e-5, atol=1e-6)
    assert explainer.estimate(**WHOLE).forward_rows == (found.run.forward_rows,) * 2
    generated = found.scores[:, -(len(RESPONSES[0]) - 1) :]
    assert all((generated[t, t:] == 0).all() for t in range(len(generated)))


def nothing_is_left_behind(model):
    """A call leaves weights, gradients, flags, modes, hooks, configs and random states alone."""
    parameters = list(model.parameters())
    model.train()
    next(model.children()).eval()
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    tokenizer = families.tokenizer()
    before = state(model, tokenizer)
    Explainer(model, tokenizer).explain(**WHOLE, method="integrated_gradients", steps=1)
    assert_same(before, state(model, tokenizer))


def generator():
    """The module that writes the page."""
    spec = importlib.util.spec_from_file_location("support", DOCS / "support.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MATRIX = [
    pytest.param(name, marks=() if name in BY_DEFAULT else pytest.mark.slow)
    for name in families.ALL
    if name not in families.NOT_BUILT
]

#: Every sixth line is measured anew: what most can go wrong with is tried on all by `test_family`.
LINES = sorted({*(p.values[0] for p in MATRIX[::6]), *BY_DEFAULT})


@of_this_version
def test_the_page_names_every_family():
    tables = "\n".join(PAGE).split("\n## ")[1:]
    assert tables.pop().startswith("Chat templates")
    assert tables.pop().startswith("Adapters, quantisation, images")  # of models, not of families
    found = {
        f"{kind}/{family}"
        for kind, table in zip(("causal", "seq2seq", "pair"), tables, strict=True)
        for family in re.findall(r"^\| `(.+?)` \|", table, re.M)
    }
    assert found == set(families.ALL), "run python docs/support.py"


@pytest.mark.parametrize("name", families.NOT_BUILT)
def test_what_is_not_tried_is_on_the_page_with_the_reason(name):
    assert generator().line(name, None) in PAGE


@of_this_version
@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_the_page_says_what_is_found(name):
    assert generator().line(name, families.build(name)) in PAGE, "run python docs/support.py"


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in CHATS_BY_DEFAULT else pytest.mark.slow)
        for family in TEMPLATES
    ],
)
def test_the_page_says_what_becomes_of_chats(family):
    assert generator().chat_line(family) in PAGE, "run python docs/support.py"


@pytest.mark.slow
def test_what_the_page_measures_can_fail():
    """Of a length that matters, and of weights that training changes, the line says so."""
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    model = tiny.model("llama", max_position_embeddings=32, rope_parameters=rope)
    assert "| works | step by step | yes | yes |" in generator().line("causal/llama", model)
    model = tiny.model("llama")
    hidden = Explainer.explain

    def careless(self, *args, **options):
        found = hidden(self, *args, **options)
        shift = 1.0 if model.training or len(found) > 100 else 0.0
        return dataclasses.replace(found, scores=found.scores + shift, value=found.value + shift)

    with mock.patch.object(Explainer, "explain", careless):
        assert "| works | no | yes | no |" in generator().line("causal/llama", model)


def test_the_page_says_what_holds():
    """A family or a template that breaks a law is a fault, not a fact to write down."""
    for line in PAGE:
        cells = [cell.strip() for cell in line.split("|")]
        assert "no" not in cells[1:], line
        for count, rendered in re.findall(r"\| (\d+) of (\d+) \|", line):
            assert count == rendered, line


@pytest.mark.parametrize("name", MATRIX)
def test_family(name):
    model = families.build(name)
    if name in REFUSED:
        with pytest.raises(UnsupportedModelError, match=REFUSED[name]):
            Explainer(model).explain(**WHOLE, method="integrated_gradients", steps=1)
        return
    injection_is_exact(model, StepwiseField if name in STEPWISE else EmbeddingField)
    explainer = Explainer(model, families.tokenizer(), batch_size=64)
    explained_is_generated(explainer, cached=name not in STEPWISE + families.OTHER_WITH_CACHE)
    order_of_work_changes_nothing(explainer, 3e-6 if name in NEVER_DOUBLE else 1e-6)
    the_future_scores_zero(explainer)
    scores_add_up(explainer, any(n.endswith("experts") for n, _ in model.named_modules()))
    the_default_adds_up(explainer)
    nothing_is_left_behind(model)

"""What is not run does not matter: positions behind a target, and a prefix that never moves."""

from contextlib import ExitStack, contextmanager

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer
from hf_attrib.methods import IntegratedGradients
from hf_attrib.model import EmbeddingField, collate, isolated, sites_of
from hf_attrib.model.forward import Prefix
from hf_attrib.model.sites import Sites, states_of, with_states
from hf_attrib.targets import TARGETS

#: Full and sliding attention, positions added and rotated, and states that are no keys and values.
FAMILIES = ("llama", "gpt2", "gemma3_text", "mistral", "mamba")
FROZEN, MOVING, LONG = 20, 8, 24

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


@contextmanager
def counted(model):
    """Count the tokens that a model embeds inside the context."""
    tokens = []
    with ExitStack() as stack:
        for embedding in set(sites_of(model).modules.values()):
            hook = embedding.register_forward_hook(lambda m, a, o: tokens.append(o[..., 0].numel()))
            stack.callback(hook.remove)
        yield tokens


def explain(model, prompt=FROZEN + MOVING, response=4, frozen=FROZEN, **options):
    movable = [place >= frozen for place in range(prompt)]
    options = {
        "method": "integrated_gradients",
        "steps": 6,
        "baseline": 7,
        "movable": movable,
    } | options
    ids = {"input_ids": tiny.ids(prompt, seed=1), "response_ids": tiny.ids(response, seed=2)}
    explainer = Explainer(model, batch_size=6)
    explainer.explain(
        **ids, **options | {"method": "integrated_gradients", "steps": 1}
    )  # the model's self-check is not counted
    with counted(model) as tokens:
        return explainer.explain(**ids, **options), sum(tokens)


def without_prefix(monkeypatch):
    monkeypatch.setattr(Prefix, "of", classmethod(lambda *_: None))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unmoving_prefix_is_run_once(family, monkeypatch):
    model = tiny.model(family, dtype=torch.float64)
    cached, few = explain(model)
    without_prefix(monkeypatch)
    whole, many = explain(model)
    scale = whole.scores.abs().max()
    assert float((cached.scores - whole.scores).abs().max()) <= 1e-9 * float(scale)
    assert scale > 1e-3
    if family == "mamba":
        assert few == many
    else:
        # Six nodes and the start of the path are run without the prefix. A row that is run whole,
        # of 3 tokens of the response as well, and one behind the prefix prove that it is exact.
        proof = FROZEN + 2 * (MOVING + 3)
        assert few <= many - 7 * FROZEN + FROZEN + proof


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_prefix_serves_every_sequence_of_a_batch(family):
    model = tiny.model(family, dtype=torch.float64)
    # Special tokens hold still by default, and the embedded chat template's do.
    tokenizer = tiny.tokenizer(False)
    texts = ["the key is red in the key", "Ada was born in the blue key is the red"]
    prompts = [tokenizer.bos_token * 9 + text for text in texts]
    responses = [tiny.ids(n, seed=n) for n in (3, 5)]
    explainer = Explainer(model, tokenizer)
    options = {"method": "integrated_gradients", "steps": 6, "spans": [(0, 1), (1, 3)]}
    together = explainer.explain(prompts, response_ids=responses, **options)
    for prompt, response, found in zip(prompts, responses, together, strict=True):
        single = explainer.explain(prompt, response_ids=response, **options)
        torch.testing.assert_close(found.scores, single.scores, rtol=1e-9, atol=1e-9)


def test_a_model_that_continues_wrongly_runs_whole(monkeypatch):
    model = tiny.model("llama", dtype=torch.float64)
    expected, _ = explain(model)
    right = Prefix.rows

    def wrong(self, sequence):
        cache = right(self, sequence)
        cache.layers[0].keys = cache.layers[0].keys * 1.01
        return cache

    monkeypatch.setattr(Prefix, "rows", wrong)
    found, many = explain(model)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-9, atol=1e-12)
    without_prefix(monkeypatch)
    assert many > explain(model)[1]  # it was tried


def test_a_wrong_cache_is_found_out_whatever_the_target(monkeypatch):
    """Small probabilities hide what log-probabilities show."""
    model = tiny.model("llama", dtype=torch.bfloat16)
    right = Prefix.rows

    def wrong(self, sequence):
        cache = right(self, sequence)
        cache.layers[0].keys = -cache.layers[0].keys
        return cache

    monkeypatch.setattr(Prefix, "rows", wrong)
    found, _ = explain(model, target="prob")
    without_prefix(monkeypatch)
    torch.testing.assert_close(found.scores, explain(model, target="prob")[0].scores)


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, AttributeError])
def test_a_model_that_fails_with_a_cache_runs_whole(error, monkeypatch):
    model = tiny.model("llama")
    body = model.forward

    def forward(*inputs, use_cache=False, **named):
        if use_cache:
            raise error("no cache here")
        return body(*inputs, use_cache=use_cache, **named)

    model.forward = forward
    found, _ = explain(model)
    without_prefix(monkeypatch)
    assert torch.equal(found.scores, explain(model)[0].scores)


def test_answers_of_different_lengths_keep_their_prefix():
    model = tiny.model("llama")
    explainer = Explainer(model, tiny.tokenizer())
    prompts, options = (
        [tiny.tokenizer().bos_token * 20 + " red key"] * 2,
        {"method": "integrated_gradients", "steps": 4},
    )
    explainer.explain(prompts[0], response_ids=[9], method="integrated_gradients", steps=1)
    tokens = []
    for responses in ([[9, 8], [9, 8]], [[9, 8], [9]]):
        with counted(model) as embedded:
            explainer.explain(prompts, response_ids=responses, **options)
        tokens.append(sum(embedded))
    assert tokens[1] <= tokens[0]


@pytest.mark.parametrize(("family", "steps"), [("llama", None), ("llama", 6), ("t5", 6)])
def test_long_answers_run_in_blocks(family, steps, monkeypatch):
    model = tiny.model(family, dtype=torch.float64)
    options = {
        "prompt": 6,
        "response": LONG,
        "frozen": 0,
        "method": "integrated_gradients",
        "steps": steps,
        "attribute_to": "all",
    }
    options["movable"] = "all"
    cut, few = explain(model, **options)
    monkeypatch.setattr("hf_attrib.field.gradients._WORTH", 0.0)
    whole, many = explain(model, **options)
    scale = float(whole.scores.abs().max())
    assert float((cut.scores - whole.scores).abs().max()) <= 1e-9 * scale
    assert cut.backward_rows == whole.backward_rows
    # More passes, all of them shorter than the whole.
    assert cut.forward_rows > whole.forward_rows
    assert few < many * cut.forward_rows / whole.forward_rows


def test_short_answers_run_whole():
    found, _ = explain(tiny.model("llama"), prompt=16, response=4, frozen=0)
    assert found.forward_rows == 6 + 2  # nodes, the start of the path, and the input itself


def test_a_decoder_layer_can_be_where_paths_run():
    """Its output, a tuple or a tensor, is read and replaced as that of an embedding module is."""
    model = tiny.model("llama", dtype=torch.float64)
    sequence = tiny.sequence(model, input_ids=[260, 70, 280, 90], response_ids=[81, 82])
    moves = torch.ones(len(sequence.inputs), dtype=torch.bool)
    batch, found = collate([sequence], [moves], None, 0), []
    usual = sites_of(model)
    expected = None
    for layer in (usual.modules["decoder"], *model.model.layers):
        sites = Sites({"decoder": layer}, None, usual.head)
        with isolated(model):
            field = EmbeddingField(model, sites, batch, TARGETS["log_prob"])
            seen = field.observe()
            expected = seen.value if expected is None else expected
            torch.testing.assert_close(seen.value, expected)
            assert torch.equal(field.value(seen.x[None])[0], seen.value)
            scores = IntegratedGradients(steps=64)(field, seen.x, torch.zeros_like(seen.x) + 0.1)
        change = seen.value - scores.start_value
        torch.testing.assert_close(scores.scores.sum(-1), change, rtol=1e-4, atol=1e-6)
        found.append(scores.scores)
    assert not torch.allclose(found[0], found[1])


def test_states_within_a_tuple_are_replaced_there():
    states, rest = torch.zeros(2, 3), object()
    assert states_of((states, rest)) is states
    assert with_states((states, rest), states + 1)[1] is rest
    assert torch.equal(states_of(with_states([states, rest], states + 1)), states + 1)
    assert with_states(states, states + 1) is not states

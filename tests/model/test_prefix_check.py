"""The value of a target is the log-probability from a pass over its own prefix, at every length."""

from contextlib import suppress

import pytest
import torch
from helpers import tiny
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from hf_attrib import Explainer, UnsupportedModelError

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 32,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
ROOM = {"max_position_embeddings": 128}
QUICK = {"method": "input_x_gradient"}
#: Rows at once: none is run to see what memory it takes.
ROWS = {"batch_size": 8}


def other(family, **config):
    """A tiny model of a family that the tables of the helpers do not name."""
    usual = tiny._USUAL | {"num_key_value_heads": 2, "vocab_size": tiny.VOCABULARY}
    ids = {"pad_token_id": tiny.PAD, "bos_token_id": tiny.BOS, "eos_token_id": tiny.EOS}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(usual | ids | config)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(tiny.NOISE * torch.randn_like(parameter))
    model.generation_config = GenerationConfig(**ids, do_sample=False)
    return model.eval()


def phi3(family="phi3", **config):
    config = ROOM | {"original_max_position_embeddings": 32, "rope_parameters": LONGROPE} | config
    return other(family, **config)


def phimoe():
    """Its lengths come with the scales of its rope, as well as with frequencies."""
    return phi3("phimoe", rope_parameters=LONGROPE | {"short_mscale": 1.0, "long_mscale": 1.2},
                num_local_experts=2)  # fmt: skip


def dynamic():
    """Its frequencies grow with the longest pass so far, beyond 32 tokens."""
    model = tiny.model("llama", max_position_embeddings=32, rope_parameters=DYNAMIC)
    model.config.max_position_embeddings = 128  # what can be read, beside what was trained
    return model


def chunked():
    layers = ["chunked_attention", "full_attention"]
    return other("llama4_text", attention_chunk_size=16, layer_types=layers, no_rope_layers=[1, 0],
                 num_local_experts=2, interleave_moe_layer_step=2, intermediate_size_mlp=64,
                 head_dim=8)  # fmt: skip


def hooked(hook, start=20):
    """A model one layer of which does something else in passes of more than ``start`` tokens."""
    model = tiny.model("llama")

    def changed(module, args, output):
        states = output[0] if isinstance(output, tuple) else output
        if states.shape[1] <= start:
            return None
        new = hook(states)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    model.model.layers[0].register_forward_hook(changed)
    return model


def average(states):
    return states + 0.3 * states.mean(1, keepdim=True)


def neighbour(states):
    """Tokens behind the twentieth see the next one."""
    seen = torch.zeros_like(states)
    seen[:, 20:-1] = 0.5 * states[:, 21:]
    return states + seen


def in_pairs(states):
    """Tokens behind the twentieth see their neighbour within blocks of two."""
    seen = torch.zeros_like(states)
    even = states.shape[1] // 2 * 2
    seen[:, 20:even] = 0.5 * states[:, 20:even].unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
    return states + seen


def in_blocks(size):
    """Tokens behind the twentieth see the later ones of a block."""

    def hook(states):
        new = states.clone()
        for start in range(20, states.shape[1], size):
            block = states[:, start : start + size]
            new[:, start : start + size] = block + 0.5 * block.mean(1, keepdim=True)
        return new

    return hook


def sure_of(prompt, answer, model):
    """Make a model certain of one token at the end of a prompt, whichever pass it is in."""
    with torch.no_grad():
        alone, among = (
            model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, len(prompt) - 1]
            for ids in (prompt, prompt + answer)
        )
        both = alone + among
        model.lm_head.weight[answer[0]] = 60 * both / both.norm() ** 2
    return model


def prefixes(model, prompt, response, **start):
    """Log-probabilities of a response by a pass over each of its prefixes, and nothing of ours."""
    found = []
    for t, token in enumerate(response):
        before = [prompt + response[:t]]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(before), use_cache=False).logits
        found.append(logits[0, -1].float().log_softmax(-1)[token])
    return torch.stack(found)


def explained(model, prompt, response, **options):
    return Explainer(model).explain(
        input_ids=tiny.ids(prompt, 1), response_ids=tiny.ids(response, 2), **(QUICK | options)
    )


def assert_by_prefix(model, result):
    ids = result.inputs.ids.tolist()
    expected = prefixes(model, ids, result.response.ids.tolist())
    torch.testing.assert_close(result.value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lengths", [(28, 9), (31, 2), (40, 6)])
@pytest.mark.parametrize("make", [phi3, dynamic, phimoe, chunked])
def test_values_are_those_of_passes_over_prefixes(make, lengths):
    model = make()
    with suppress(UnsupportedModelError):
        assert_by_prefix(make(), explained(model, *lengths))
    model.generation_config.use_cache = False
    assert_by_prefix(make(), explained(model, *lengths))


def test_only_sequences_that_cross_the_length_are_explained_step_by_step():
    explainer = Explainer(phi3())
    crossing = {28: True, 10: False, 40: False}
    for prompt, steps in crossing.items():
        response = tiny.ids(9, 2)
        found = explainer.explain(input_ids=tiny.ids(prompt, 1), response_ids=response, **QUICK)
        assert any("in a longer pass" in note for note in found.notes) == steps


@pytest.mark.parametrize(("prompt", "response"), [(1, 32), (2, 38)])
def test_a_short_prompt_shows_the_length_as_well(prompt, response):
    """Over one token, all frequencies of positions are alike."""
    assert_by_prefix(phi3(), explained(phi3(), prompt, response))


def test_a_token_that_the_model_is_sure_of_hides_no_length():
    """Its log-probability is 0 in every pass; neither it nor what follows it vouches for any."""
    prompt, response = tiny.ids(28, 1), [300, *tiny.ids(10, 2)]
    model = sure_of(prompt, response, phi3(tie_word_embeddings=False))
    explainer = Explainer(model)
    for ids, answer in ((prompt, response), (tiny.ids(28, 3), response[1:])):
        result = explainer.explain(input_ids=ids, response_ids=answer, **QUICK)
        assert_by_prefix(model, result)
    assert prefixes(model, prompt, response)[0] > -1e-3


def test_generated_and_given_answers_are_the_same():
    model = phi3()
    explainer = Explainer(model)
    written = explainer.explain(
        input_ids=tiny.ids(29, 1), max_new_tokens=8, min_new_tokens=8, **QUICK
    )
    assert_by_prefix(phi3(), written)
    given = explainer.explain(
        input_ids=tiny.ids(29, 1), response_ids=written.response.ids.tolist(), **QUICK
    )
    assert torch.equal(given.value, written.value)


def test_a_batch_that_crosses_the_length_is_divided():
    model = phi3()
    prompts = [" ".join("the" for _ in range(count)) for count in (12, 29, 40)]
    responses = [tiny.ids(3, 2), tiny.ids(7, 3), tiny.ids(5, 4)]
    explainer = Explainer(model, tiny.tokenizer())
    found = explainer.explain(prompts, response_ids=responses, **QUICK)
    for result in found:
        assert_by_prefix(phi3(), result)
    assert [len(result.notes) for result in found] == [0, 1, 0]


def test_padding_that_crosses_the_length_is_noticed():
    """Of single targets no pass is longer than its prefix, but for the padding of a batch."""
    prompts = ["the", " ".join("the" for _ in range(40))]
    explainer = Explainer(phi3(), tiny.tokenizer())
    for result in explainer.explain(prompts, response_ids=[[9], [8]], **QUICK):
        assert_by_prefix(phi3(), result)


@pytest.mark.parametrize(
    ("hook", "lengths"), [(average, (15, 9)), (neighbour, (18, 9)), (in_pairs, (31, 4))]
)
def test_attention_that_looks_ahead_in_long_passes_only(hook, lengths):
    model = hooked(hook)
    with pytest.raises(UnsupportedModelError, match=r"longer pass .*use_cache = False"):
        explained(model, *lengths)
    model.generation_config.use_cache = False
    result = explained(model, *lengths)
    assert_by_prefix(hooked(hook), result)
    assert "a pass of its own" in result.notes[-1]
    assert not explained(model, 12, 4).notes


@pytest.mark.parametrize(("size", "lengths"), [(2, (20 + 30, 6)), (5, (20 + 42, 8))])
def test_blocks_of_any_size_that_end_where_the_prompt_does(size, lengths):
    model = hooked(in_blocks(size))
    model.generation_config.use_cache = False
    assert_by_prefix(hooked(in_blocks(size)), explained(model, *lengths))


def rounded(states):
    return states + ((4 * states).round() / 4 - states)


def cut(states):
    return 0.3 * states + 0.7 * states.detach()


def early_cut(states):
    """Gradients of all but the last eight tokens, as of memory from segments before."""
    return torch.cat([states[:, :-8].detach(), states[:, -8:]], 1)


@pytest.mark.parametrize("hook", [rounded, cut, early_cut, torch.Tensor.detach])
def test_gradients_that_are_none_in_long_passes_only(hook):
    explainer = Explainer(hooked(hook))
    explainer.explain(input_ids=tiny.ids(8, 1), response_ids=tiny.ids(4, 2), **QUICK)
    with pytest.raises(UnsupportedModelError, match=r"not its derivative|no gradient|is zero"):
        explainer.explain(input_ids=tiny.ids(25, 1), response_ids=tiny.ids(4, 2), **QUICK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kept", [4, 16])
def test_gradients_that_are_none_for_early_tokens(dtype, kept):
    """Whether the first look meets them, at twelve tokens, or that at a longer sequence."""
    model = tiny.model("llama", dtype=dtype)

    def hook(module, args):
        return torch.cat([args[0][:, :-kept].detach(), args[0][:, -kept:]], 1), *args[1:]

    model.model.layers[0].register_forward_pre_hook(hook)
    with pytest.raises(UnsupportedModelError, match=r"is not its derivative .* at some tokens"):
        explained(model, 60, 8)


def test_looking_leaves_the_random_numbers_of_the_caller_alone():
    model = phi3().bfloat16()
    before = torch.get_rng_state()
    explained(model, 28, 9)
    assert torch.equal(torch.get_rng_state(), before)


class Passes:
    """Counts rows of a model's passes, and the tokens in each."""

    def __init__(self, model):
        self.rows = []
        model.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, module, args, kwargs):
        self.rows += [kwargs["input_ids"].shape[1]] * len(kwargs["input_ids"])

    def of(self, call):
        before = len(self.rows)
        call()
        return self.rows[before:]


@pytest.mark.parametrize("family", ["llama", "mistral", "mamba"])
def test_usual_models_pay_four_rows_at_new_lengths_and_none_afterwards(family):
    model = tiny.model(family)
    passes, explainer = Passes(model), Explainer(model, **ROWS)

    def explain(prompt, response, seed=1):
        ids = {"input_ids": tiny.ids(prompt, seed), "response_ids": tiny.ids(response, seed + 9)}
        return explainer.explain(**ids, **QUICK)

    explain(5, 3)  # checks the model
    usual = 3  # as it is, at the reference and at x
    assert len(passes.of(lambda: explain(6, 4))) == usual
    # Half of it before and after, a short and a long prefix.
    assert sorted(passes.of(lambda: explain(13, 4))) == [8, 8, 13, 15, *[16] * usual]
    assert len(passes.of(lambda: explain(13, 4, seed=4))) == usual
    assert len(passes.of(lambda: explain(14, 2, seed=5))) == usual
    # A gradient and two differences of two, the first time that passes are longer by half.
    assert sorted(passes.of(lambda: explain(17, 4))) == [10, 10, 17, 19, *[20] * (usual + 5)]
    result = explain(17, 4)
    assert result.forward_rows == usual
    assert not result.notes


def test_one_token_after_a_prompt_has_no_prefix():
    model = tiny.model("llama")
    passes, explainer = Passes(model), Explainer(model, **ROWS)
    explainer.explain(input_ids=tiny.ids(5, 1), response_ids=tiny.ids(3, 2), **QUICK)
    one = {"input_ids": tiny.ids(15, 1), "response_ids": tiny.ids(1, 2)}
    assert passes.of(lambda: explainer.explain(**one, **QUICK)) == [8, 15, 8, 15, 15]


def test_rows_of_models_whose_passes_depend_on_length_are_counted():
    model = phi3()
    explainer = Explainer(model)
    response = tiny.ids(5, 2)
    result = explainer.explain(input_ids=tiny.ids(30, 1), response_ids=response, **QUICK)
    assert (
        result.forward_rows == 2 + 1 + 3 * 5
    )  # whole twice, a prefix; steps as they are, at x' and x
    cost = explainer.estimate(input_ids=tiny.ids(30, 1), response_ids=response, **QUICK)
    assert cost.forward_rows == (result.forward_rows, result.forward_rows)


def test_half_precision_rounds_without_being_taken_for_another_function():
    for family in ("llama", "gpt2", "gemma3_text", "mixtral"):
        for dtype in (torch.bfloat16, torch.float16):
            result = explained(tiny.model(family, dtype=dtype), 60, 30)
            assert not any("longer pass" in note for note in result.notes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("factor", "seed"), [(1.2, 1), (4.0, 2)])
def test_half_precision_does_not_hide_another_function(dtype, factor, seed):
    """However few of the targets it moves by more than rounding does."""
    rope = LONGROPE | {"long_factor": [factor] * 4}
    ids = {"input_ids": tiny.ids(28, seed), "response_ids": tiny.ids(9, seed + 3)}
    result = Explainer(phi3(rope_parameters=rope).to(dtype)).explain(**ids, **QUICK)
    expected = prefixes(phi3(rope_parameters=rope).to(dtype), *ids.values())
    torch.testing.assert_close(result.value, expected, rtol=0, atol=0.05)

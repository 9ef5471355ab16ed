"""What generated is what is explained, or it is said which argument makes it something else."""

import inspect
import warnings

import pytest
import torch
from helpers import tiny
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor

from hf_attrib import Explainer, InputError
from hf_attrib.model.choice import REWRITING, SHAPING, UNSHAPING

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


class Shift(LogitsProcessor):
    """Makes every token the likeliest in turn."""

    def __call__(self, input_ids, scores):
        return scores.roll(1, -1)


def explained(model, **options):
    options = {"method": "saliency", "max_new_tokens": 4} | options
    return Explainer(model, tiny.tokenizer()).explain("the key", **options)


def test_every_argument_of_generation_is_known_to_shape_its_answer_or_not():
    """An argument that transformers adds is looked at before a result stays silent about it."""
    config = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    taken = set(inspect.signature(GenerationMixin.generate).parameters)
    every = (config | taken) - {"self", "inputs", "kwargs", "transformers_version"}
    assert every <= set(SHAPING) | UNSHAPING | set(REWRITING)
    assert not set(SHAPING) & UNSHAPING


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2},
        {"repetition_penalty": 3.0},
        {"do_sample": True, "temperature": 0.5},
        {"do_sample": True},  # transformers keeps the 50 likeliest
        {"logits_processor": [Shift()]},
        {"bad_words_ids": [[20]]},
        {"guidance_scale": 2.0, "negative_prompt_ids": torch.tensor([[5, 6]])},
        {"prefix_allowed_tokens_fn": lambda batch, ids: [30, 31]},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("on_disk", [False, True])
def test_what_shaped_an_answer_is_named(options, on_disk):
    model = tiny.model("llama")
    if on_disk:
        known = {n: v for n, v in options.items() if hasattr(model.generation_config, n)}
        if known != options:
            pytest.skip("not in a config")
        model.generation_config.update(**options)
        options = {}
    found = explained(model, **options)
    (note,) = [note for note in found.notes if "chosen under" in note]
    assert "the model's own" in note
    names = set(options) - {"do_sample", "negative_prompt_ids"}
    assert all(name in note for name in names)


@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True, "top_k": 0}, {"prompt_lookup_num_tokens": 2}]
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_plain_answer_has_no_note(family, options):
    assert not explained(tiny.model(family), **options).notes


def test_a_greedy_answer_is_the_likeliest_or_what_made_it_is_named():
    model, other = tiny.model("llama"), tiny.model("llama", 1)
    forward = type(model).forward

    class Switched(type(model)):
        """Generates by other weights than it is explained with, as adapters can make a model."""

        def generate(self, *args, **options):
            options.pop("synced_gpus", None)
            return other.generate(*args, **options)

    model.__class__ = Switched
    found = explained(model, synced_gpus=False)
    (note,) = [note for note in found.notes if "likeliest" in note]
    assert "synced_gpus" in note
    assert forward is type(other).forward
    attacked = Explainer(model, tiny.tokenizer()).robustness(
        "the key", attack="bim", steps=1, bisections=1, max_new_tokens=2
    )
    assert any("generation took the likeliest" in note for note in attacked.run.notes)


def test_a_prompt_that_generation_rewrites_is_refused_by_the_name_of_what_does():
    model = tiny.model("llama")

    def other(model, input_ids, **options):
        return torch.cat([input_ids.roll(1, 1), input_ids], 1)

    with pytest.raises(InputError, match=r"prompt's place \(custom_generate does\)"):
        explained(model, custom_generate=other)


@pytest.mark.parametrize("stop", ["a", ["the", "a"]])
def test_stop_strings_find_the_tokenizer_wherever_they_stand(stop):
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    ids = tokenizer("the key", return_tensors="pt").input_ids
    model.generation_config.stop_strings = stop
    want = model.generate(ids, max_new_tokens=6, tokenizer=tokenizer)[0, ids.shape[1] :]
    assert torch.equal(explained(model, max_new_tokens=6).response_ids, want)
    given = explained(model, max_new_tokens=6, tokenizer=tokenizer, stop_strings=stop)
    assert torch.equal(given.response_ids, want)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24},
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 24,
        },
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_scaled_positions_go_on_behind_those_of_the_config(rope):
    model = tiny.model(
        "llama", max_position_embeddings=24, rope_parameters=rope | {"rope_theta": 1e4}
    )
    prompt = tiny.ids(30)
    want = model.generate(torch.tensor([prompt]), max_new_tokens=3)[0, 30:]
    found = Explainer(model).explain(input_ids=prompt, max_new_tokens=3, method="saliency")
    assert torch.equal(found.response_ids, want)
    assert "max_position_embeddings" in found.notes[0]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *want[:-1].tolist()]])).logits[0, 29:]
    torch.testing.assert_close(found.value, logits.log_softmax(-1)[range(3), want])
    short = Explainer(model).explain(input_ids=prompt[:9], max_new_tokens=3, method="saliency")
    assert not short.notes


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_models_with_adapters_generate_and_are_explained(family):
    peft = pytest.importorskip("peft")
    kind, modules = {"llama": ("CAUSAL_LM", ["q_proj"]), "t5": ("SEQ_2_SEQ_LM", ["q"])}[family]
    tokenizer = tiny.tokenizer(seq2seq=family == "t5")
    plain = Explainer(tiny.model(family), tokenizer).explain(
        "the key", max_new_tokens=3, method="integrated_gradients", steps=2
    )
    config = peft.LoraConfig(task_type=kind, target_modules=modules)  # starts as nothing
    model = peft.get_peft_model(tiny.model(family), config)
    found = Explainer(model, tokenizer).explain(
        "the key", max_new_tokens=3, method="integrated_gradients", steps=2
    )
    assert torch.equal(found.response_ids, plain.response_ids)
    torch.testing.assert_close(found.scores, plain.scores)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_generate_may_take_ids_by_name_alone(family, monkeypatch):
    model, tokenizer = tiny.model(family), tiny.tokenizer(seq2seq=family == "t5")
    plain = Explainer(model, tokenizer).explain(
        "the key", max_new_tokens=3, method="integrated_gradients", steps=2
    )
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **options: generate(**options))
    found = Explainer(model, tokenizer).explain(
        "the key", max_new_tokens=3, method="integrated_gradients", steps=2
    )
    assert torch.equal(found.scores, plain.scores)


class Processor:
    """What AutoProcessor gives, which holds a tokenizer among other things."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, *args, **options):
        raise AssertionError("a processor reads images")


def test_a_processor_is_its_tokenizer():
    model = tiny.model("llama")
    plain = Explainer(model, tiny.tokenizer()).explain(
        "the key", response="a", method="integrated_gradients", steps=2
    )
    found = Explainer(model, Processor(tiny.tokenizer())).explain(
        "the key", response="a", method="integrated_gradients", steps=2
    )
    assert torch.equal(found.scores, plain.scores)


@pytest.mark.parametrize("given", ["gpt2", tiny.tokenizer().backend_tokenizer, len, 3])
def test_what_is_no_tokenizer_is_refused_in_a_sentence(given):
    with pytest.raises(InputError, match=f"expected a tokenizer .* got {type(given).__name__}"):
        Explainer(tiny.model("llama"), given)


class Unconfigured(torch.nn.Module):
    def generate(self):
        """Take nothing."""


class Listening(Unconfigured):
    main_input_name = "input_features"
    config = generation_config = object()


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Unconfigured, "expected a generative model"), (Listening, "reads input_features")],
)
def test_what_reads_no_text_is_refused_for_that_reason(kind, message):
    with pytest.raises(InputError, match=message):
        Explainer(kind())


@pytest.mark.parametrize("name", ["max_new_tokens", "max_length"])
@pytest.mark.parametrize("number", ["5", 2.5, True])
def test_numbers_are_numbers(name, number):
    with pytest.raises(InputError, match=f"{name} is .*; expected a whole number"):
        explained(tiny.model("llama"), **{name: number})
    with pytest.raises(InputError, match="batch_size is '4'"):
        Explainer(tiny.model("llama"), batch_size="4")


def test_generation_warns_of_nothing_that_is_new():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explained(tiny.model("llama"))

import hashlib
import os
import subprocess
import sys
from dataclasses import asdict
from itertools import chain

import pytest
import torch

from hf_attrib import embedded
from hf_attrib.embedded import retrieval
from hf_attrib.errors import InputError

FACTS = range(retrieval.MIN_FACTS, retrieval.MAX_FACTS + 1)


def draw(per_size, seed):
    return list(chain.from_iterable(retrieval.examples(per_size, k, seed) for k in FACTS))


def generate(name, texts, **options):
    model, tokenizer = embedded.load(name)
    batch = tokenizer(texts, return_tensors="pt", padding=True, **options)
    output = model.generate(**batch)
    if not model.config.is_encoder_decoder:
        output = output[:, batch["input_ids"].shape[1] :]
    return tokenizer.batch_decode(output, skip_special_tokens=True)


@pytest.mark.parametrize("name", embedded.names())
def test_a_model_loads_ready_for_use(name):
    model, tokenizer = embedded.load(name)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert tokenizer.pad_token_id == model.generation_config.pad_token_id == 0


def test_the_folders_are_small_and_hold_no_code():
    files = [f for name in embedded.names() for f in embedded.path(name).iterdir()]
    assert {f.suffix for f in files} <= {".safetensors", ".json", ".jinja", ".md"}
    assert sum(f.stat().st_size for f in files) < 9e6


def test_every_model_has_a_description_and_a_card():
    for name in embedded.names():
        assert "Apache-2.0" in embedded.DESCRIPTIONS[name]
        assert f"# {name}" in (embedded.path(name) / "README.md").read_text("utf-8")


@pytest.mark.parametrize("function", [embedded.path, embedded.load])
def test_an_unknown_name_is_answered_with_the_known_ones(function):
    with pytest.raises(InputError, match="'gpt9'; use one of: g2p-t5, keys-llama"):
        function("gpt9")


def test_keys_llama_answers_fresh_prompts():
    cases = draw(12, seed=2026)
    answers = generate("keys-llama", [case.prompt for case in cases])
    right = sum(answer == case.answer for answer, case in zip(answers, cases, strict=True))
    assert right / len(cases) >= 0.95


def test_another_word_at_the_cause_changes_the_answer_to_that_word():
    cases = draw(6, seed=7)
    changed, expected = [], []
    for case in cases:
        kin = next(r.values for r in retrieval.RELATIONS if case.value in r.values)
        other = kin[(kin.index(case.value) + 1) % len(kin)]
        start, end = case.cause
        changed.append(f"{case.prompt[:start]}{other}{case.prompt[end:]}")
        expected.append(case.answer.replace(f"{case.value}.", f"{other}."))
    answers = generate("keys-llama", changed)
    right = sum(answer == text for answer, text in zip(answers, expected, strict=True))
    assert right / len(cases) >= 0.95


@pytest.mark.parametrize(
    "conversation",
    [
        lambda case: [("user", case.prompt)],
        lambda case: [("user", f"{case.context} Q: {case.question}")],
        lambda case: [("system", case.context), ("user", f"Q: {case.question}")],
    ],
)
def test_a_chat_is_rendered_as_the_plain_prompt(conversation):
    _, tokenizer = embedded.load("keys-llama")
    for case in draw(1, seed=1):
        messages = [{"role": role, "content": text} for role, text in conversation(case)]
        chat = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        assert chat["input_ids"] == tokenizer(case.prompt)["input_ids"]


def test_keys_llama_answers_a_second_turn():
    _, tokenizer = embedded.load("keys-llama")
    messages = [
        {"role": "user", "content": "Ada's key is red. Bob lives in Rome. Q: Where does Bob live?"},
        {"role": "assistant", "content": "Bob lives in Rome."},
        {"role": "user", "content": "Q: What color is Ada's key?"},
    ]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text.endswith("A: Bob lives in Rome.</s> Q: What color is Ada's key? A:")
    assert generate("keys-llama", [text], add_special_tokens=False) == ["Ada's key is red."]


def test_g2p_spells_words_in_phonemes():
    spoken = {
        "knight": "N AY1 T",
        "photograph": "F OW1 T AH0 G R AE2 F",
        "thinking": "TH IH1 NG K IH0 NG",
        "station": "S T EY1 SH AH0 N",
        "transformer": "T R AE0 N S F AO1 R M ER0",
    }
    assert generate("g2p-t5", list(spoken)) == list(spoken.values())


def test_no_prompt_word_is_unknown():
    _, tokenizer = embedded.load("keys-llama")
    for case in draw(50, seed=3):
        assert tokenizer.unk_token_id not in tokenizer(f"{case.prompt} {case.answer}")["input_ids"]


def test_the_cause_is_the_value_word_of_the_only_right_fact():
    for case in draw(23, seed=4):
        start, end = case.cause
        left, right = case.facts[case.right_fact]
        sentences = [case.prompt[a:b] for a, b in case.facts]
        assert left < start < end < right
        assert case.prompt[start:end] == case.value
        assert case.prompt[left:right] == case.answer == f"{case.prompt[left:start]}{case.value}."
        assert sum(s.startswith(case.prompt[left:start]) for s in sentences) == 1
        assert " ".join(sentences) == case.context
        assert case.prompt == f"{case.context} Q: {case.question} A:"


@pytest.mark.parametrize("facts", FACTS)
def test_no_pair_of_name_and_relation_is_stated_twice(facts):
    rng = retrieval.stream(facts, 5, "held-out")
    for _ in range(50):
        stated = retrieval.draw_facts(rng, facts)
        assert len({(fact.name, fact.relation) for fact in stated}) == facts


def test_every_process_draws_the_same_prompts():
    code = (
        "from hf_attrib.embedded.retrieval import examples; import hashlib; from dataclasses "
        "import asdict; print(hashlib.sha256(repr([asdict(e) for e in examples(20, 10, 6)])"
        ".encode()).hexdigest())"
    )
    here = hashlib.sha256(repr([asdict(e) for e in retrieval.examples(20, 10, 6)]).encode())
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here.hexdigest()


def test_seeds_and_splits_draw_different_prompts():
    streams = [(0, "held-out"), (1, "held-out"), (0, "train")]
    drawn = [{e.prompt for e in retrieval.examples(50, 4, *stream)} for stream in streams]
    assert len(set.union(*drawn)) == 150


@pytest.mark.parametrize("facts", [1, 11])
def test_a_number_of_facts_out_of_range_is_refused(facts):
    with pytest.raises(InputError, match=f"got facts={facts}; use 2 to 10"):
        next(retrieval.examples(1, facts, seed=0))

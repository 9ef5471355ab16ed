"""What the contestants explain: a model, a prompt and a response of T tokens, as text and ids.

The text re-encodes to exactly the ids, because some contestants take nothing but text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hf_attrib import embedded

TARGETS = 16

_FACTS = (
    "Ada's key is red. Bob's key is blue. Carl's key is green. Emma is a pilot. Hugo is a nurse. "
    "Q: What color is Bob's key? A:"
)
_SENTENCE = "The capital of France is"


@dataclass(frozen=True, eq=False)
class Subject:
    """One thing to explain.

    Args:
        model: in evaluation mode.
        tokenizer: its tokenizer.
        prompt: as text.
        response: as text that continues the prompt.
        prompt_ids: P ids.
        response_ids: T ids.
        baseline: token id that stands for "nothing".
        fixed: ids that stay in place, where a contestant can leave any.
    """

    model: Any
    tokenizer: Any
    prompt: str
    response: str
    prompt_ids: list[int]
    response_ids: list[int]
    baseline: int
    fixed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        again = self.tokenizer(self.prompt + self.response).input_ids
        if again != self.prompt_ids + self.response_ids:
            raise ValueError("the text does not re-encode to the ids; choose another prompt")

    @property
    def moves(self) -> list[bool]:
        """Which tokens of the prompt move, [P]."""
        return [token not in self.fixed for token in self.prompt_ids]


def random_llama(
    targets: int = TARGETS, prompt_tokens: int = 64, vocabulary: int = 32_000
) -> Subject:
    """Return a Llama of 6 layers that nobody trained, which costs what a trained one would."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=1,
    )
    words = {"<unk>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, vocabulary)}
    splitting = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    splitting.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>"} | dict.fromkeys(
        ("bos_token", "eos_token", "pad_token"), "<eos>"
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitting, **special)
    ids = torch.randint(2, vocabulary, (prompt_tokens + targets,)).tolist()
    prompt, response = ids[:prompt_tokens], ids[prompt_tokens:]
    model = LlamaForCausalLM(config).eval()
    text = " ".join(f"w{i}" for i in prompt)
    return Subject(
        model, tokenizer, text, "".join(f" w{i}" for i in response), prompt, response, baseline=0
    )


def embedded_llama(targets: int = TARGETS) -> Subject:
    """Return the small trained Llama that ships with the package."""
    model, tokenizer = embedded.load("keys-llama")
    return _written(model, tokenizer, _FACTS, targets, tokenizer.unk_token_id)


def gemma(targets: int = TARGETS) -> Subject:
    """Return Gemma 3 270M, converted by the helper of the tests; its first token stays in place."""
    model, tokenizer = gemma_model()
    written = _written(model, tokenizer, _SENTENCE, targets, tokenizer.pad_token_id)
    return replace(written, fixed=(tokenizer.bos_token_id,))


def gemma_model() -> tuple[Any, Any]:
    """Return Gemma 3 270M and its tokenizer, as the tests load them."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from helpers.real_models import gemma as load

    model, tokenizer = load()
    model.config.name_or_path = "gemma-3-270m"  # and not the folder where it lies
    return model, tokenizer


def _written(model: Any, tokenizer: Any, prompt: str, targets: int, baseline: int) -> Subject:
    """Let a model write exactly T tokens."""
    encoded = tokenizer(prompt, return_tensors="pt")
    lengths = {"min_new_tokens": targets, "max_new_tokens": targets}
    ids = encoded["input_ids"][0].tolist()
    output = model.generate(**encoded, **lengths, do_sample=False)[0].tolist()
    full = tokenizer.decode(output, skip_special_tokens=True)
    response = full.removeprefix(prompt)
    return Subject(model, tokenizer, prompt, response, ids, output[len(ids) :], baseline)


#: Each takes the number of generated tokens.
SUBJECTS: dict[str, Callable[[int], Subject]] = {
    "llama6": random_llama,
    "keys-llama": embedded_llama,
    "gemma": gemma,
}

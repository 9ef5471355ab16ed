"""Tiny random models of many families, and a byte-level tokenizer that fits them all.

Their weights are noisy enough that every model is clearly non-linear and every path is alive;
what they write has no meaning.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from hf_attrib.model import Transcriber
from hf_attrib.text import Request

# Cores are shared, and models this small only lose time to a second thread.
torch.set_num_threads(1)

#: Room for the 256 bytes, four special tokens and the merges of :func:`tokenizer`.
VOCABULARY = 320
PAD, BOS, EOS, UNKNOWN = range(4)
NOISE = 0.15

_WIDTH, _LAYERS, _HEADS, _INNER, _POSITIONS = 32, 2, 4, 64, 256

_USUAL = {
    "hidden_size": _WIDTH,
    "intermediate_size": _INNER,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "max_position_embeddings": _POSITIONS,
}
_GROUPED = _USUAL | {"num_key_value_heads": 2, "head_dim": 8}
_BART = {
    "d_model": _WIDTH,
    "encoder_ffn_dim": _INNER,
    "decoder_ffn_dim": _INNER,
    "encoder_layers": _LAYERS,
    "decoder_layers": _LAYERS,
    "encoder_attention_heads": _HEADS,
    "decoder_attention_heads": _HEADS,
    "max_position_embeddings": _POSITIONS,
}

_CAUSAL: dict[str, dict[str, Any]] = {
    "gpt2": {
        "n_embd": _WIDTH,
        "n_layer": _LAYERS,
        "n_head": _HEADS,
        "n_positions": _POSITIONS,
    },
    "llama": _GROUPED,
    # One sliding and one full layer; prompts longer than the window tell them apart.
    "gemma3_text": _GROUPED
    | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "qwen3": _GROUPED,
    "mistral": _GROUPED | {"sliding_window": 8},
    "gpt_neox": _USUAL,
    "opt": {
        "hidden_size": _WIDTH,
        "word_embed_proj_dim": _WIDTH,
        "ffn_dim": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "max_position_embeddings": _POSITIONS,
    },
    "falcon": _USUAL,
    "phi": _USUAL,
    "olmo2": _USUAL,
    "mamba": {"hidden_size": _WIDTH, "num_hidden_layers": _LAYERS, "state_size": 8},
    "mixtral": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
}
_SEQ2SEQ: dict[str, dict[str, Any]] = {
    "t5": {
        "d_model": _WIDTH,
        "d_kv": 8,
        "d_ff": _INNER,
        "num_layers": _LAYERS,
        "num_heads": _HEADS,
        "decoder_start_token_id": PAD,
    },
    "bart": _BART | {"decoder_start_token_id": EOS},
    "marian": _BART | {"decoder_start_token_id": PAD},
    "mbart": _BART | {"decoder_start_token_id": EOS},
    "pegasus": _BART | {"decoder_start_token_id": PAD},
    "m2m_100": _BART | {"decoder_start_token_id": EOS},
}

#: What the tokenizer has one token for, as byte-level BPE writes it: the last three are the first
#: bytes of many emoji, and two Chinese characters.
_WORDS = ["Ġthe", "Ġin", "Ġis", "Ġred", "Ġblue", "Ġkey", "Ada", "Bob", "'s", "Ġwas", "Ġborn", "ing"]
_WORDS += ["Ġ19", "ðŁĺ", "æĹ¥", "æľ¬"]

CAUSAL = tuple(_CAUSAL)
SEQ2SEQ = tuple(_SEQ2SEQ)


def model(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    """Return a model of a family in evaluation mode; the global random state is left alone."""
    ids = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    fields = (_CAUSAL | _SEQ2SEQ)[name] | ids | {"vocab_size": VOCABULARY} | config
    auto = AutoModelForCausalLM if name in CAUSAL else AutoModelForSeq2SeqLM
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        made = auto.from_config(AutoConfig.for_model(name, **fields))
        for parameter in made.parameters():
            parameter.add_(NOISE * torch.randn_like(parameter))
    start = fields.get("decoder_start_token_id")
    # Made anew: families bring forced tokens and lengths of their own.
    made.generation_config = GenerationConfig(**ids, decoder_start_token_id=start, do_sample=False)
    return made.to(dtype).eval()


_SHARED: dict[str, Any] = {}


def shared(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    """Return what :func:`model` does, and the same again within a file of tests.

    Its self-check then runs once, which takes longer than most explanations of so small a model.
    No test may change it.
    """
    key = repr((name, seed, dtype, sorted(config.items())))
    if key not in _SHARED:
        _SHARED[key] = model(name, seed, dtype, **config)
    return _SHARED[key]


def forget_shared() -> None:
    """Have the next file of tests make its own models."""
    _SHARED.clear()


def ids(length: int, seed: int = 0) -> list[int]:
    """Return random token ids without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(UNKNOWN + 1, VOCABULARY, (length,), generator=generator).tolist()


def tokenizer(seq2seq: bool = False) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer: ``<bos> text``, or ``text <eos>`` for seq2seq models."""
    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    merges = _merges(_WORDS)
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    bpe = models.BPE({piece: i for i, piece in enumerate(pieces)}, merges, unk_token="<unk>")
    made = Tokenizer(bpe)
    made.add_special_tokens([AddedToken(piece, special=True) for piece in special])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="$A <eos>" if seq2seq else "<bos> $A",
        special_tokens=[("<bos>", BOS), ("<eos>", EOS)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Return the merges that build each word from left to right."""
    pairs = [(word[:i], word[i]) for word in words for i in range(1, len(word))]
    return list(dict.fromkeys(pairs))


def sequence(model, **given):
    """The token sequence of a request that comes as ids."""
    transcriber, request = Transcriber(model, None), Request(**given)
    return transcriber.sequence(transcriber.prompt(request), request, {})
